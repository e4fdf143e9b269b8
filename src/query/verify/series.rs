//! The series of one asset under one version of its type: a row for each event time at which it
//! has a point.

use super::rules::{Derivation, Input, Rules};
use crate::expr::Compiled;
use crate::model::{DataType, Quality, Value};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType as Arrow, Float64Type, Int64Type};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A value at an event time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub value: Value,
    pub quality: Quality,
}

/// Rows in event-time order.
pub(super) struct Series {
    types: Vec<DataType>,
    /// By slot: what was known before the first row.
    before: Vec<Option<Point>>,
    pub times: Vec<i64>,
    /// By slot, then row: the metric's own point.
    pub own: Vec<Vec<Option<Point>>>,
    /// By slot, then row: the newest point at or before the row.
    pub as_of: Vec<Vec<Option<Point>>>,
    /// Expressions that failed: source, row and message.
    pub errors: Vec<(String, usize, String)>,
}

impl Series {
    /// The series of these rows, each with slots and their points, derived metrics included.
    /// `before` is, by slot, what was known before the first row.
    pub(super) fn of(
        rows: BTreeMap<i64, Vec<(usize, Point)>>,
        before: Vec<Option<Point>>,
        rules: &Rules,
    ) -> Self {
        let slots = rules.layout.slots.len();
        let mut own = vec![vec![None; rows.len()]; slots];
        let mut times = Vec::with_capacity(rows.len());
        for (row, (time, points)) in rows.into_iter().enumerate() {
            times.push(time);
            for (slot, point) in points {
                own[slot][row] = Some(point);
            }
        }
        let as_of = own.iter().zip(&before).map(|(own, before)| held(own, before)).collect();
        let types = rules.layout.slots.iter().map(|slot| slot.data_type).collect();
        let mut series = Self { types, before, times, own, as_of, errors: Vec::new() };
        let mut settled: Vec<bool> = (0..slots).map(|slot| slot < rules.layout.measured).collect();
        let mut waiting: Vec<&Derivation> = rules.derived.iter().collect();
        while !waiting.is_empty() {
            let ready = |derived: &&Derivation| {
                derived.expr.inputs().iter().chain(&derived.trigger).all(|slot| settled[*slot])
            };
            // The catalog refuses cycles; without this a damaged document would never end.
            let Some(next) = waiting.iter().position(ready) else { break };
            let derived = waiting.remove(next);
            series.derive(derived, &rules.layout.slots[derived.slot].name);
            settled[derived.slot] = true;
        }
        series
    }

    /// The value of a metric as of a row, unless it is bad.
    pub(super) fn usable(&self, slot: usize, row: usize) -> Option<&Value> {
        let point = self.as_of[slot][row].as_ref()?;
        (!point.quality.is_bad()).then_some(&point.value)
    }

    /// The values of a metric's own points in all rows, unless they are bad.
    pub(super) fn own_usable(&self, slot: usize) -> Vec<Option<Value>> {
        let good = |point: &&Point| !point.quality.is_bad();
        let values = self.own[slot].iter();
        values.map(|own| own.as_ref().filter(good).map(|point| point.value.clone())).collect()
    }

    /// The time of the newest row that has a point of its own.
    pub(super) fn heard(&self) -> Option<i64> {
        let has_point = |row: &usize| self.own.iter().any(|points| points[*row].is_some());
        (0..self.times.len()).rev().find(has_point).map(|row| self.times[row])
    }

    /// The values of an expression in all rows.
    pub(super) fn evaluate(&mut self, source: &str, expr: &Compiled) -> Vec<Option<Value>> {
        let rows = self.times.len();
        let columns: Vec<ArrayRef> = expr.inputs().iter().map(|slot| self.column(*slot)).collect();
        let (values, errors) = expr.evaluate_rows(&columns, rows);
        self.errors.extend(errors.into_iter().map(|(row, e)| (source.into(), row, e.to_string())));
        values_of(&values)
    }

    /// The values that a rule looks at in all rows.
    pub(super) fn look(&mut self, input: &Input) -> Vec<Option<Value>> {
        match input {
            Input::Metric(slot) => {
                (0..self.times.len()).map(|row| self.usable(*slot, row).cloned()).collect()
            }
            Input::Expression(source, expr) => self.evaluate(source, expr),
        }
    }

    /// A derived metric has a point where one of its triggers has, and where there is a value.
    fn derive(&mut self, derived: &Derivation, name: &str) {
        let values = self.evaluate(name, &derived.expr);
        for (row, value) in values.into_iter().enumerate() {
            let triggered = derived.trigger.iter().any(|slot| self.own[*slot][row].is_some());
            let Some(value) = value.filter(|_| triggered) else { continue };
            let mut quality = Quality::GOOD;
            for slot in derived.expr.inputs() {
                if let Some(point) = &self.as_of[*slot][row] {
                    quality = quality.worst(point.quality);
                }
            }
            self.own[derived.slot][row] = Some(Point { value, quality });
        }
        self.as_of[derived.slot] = held(&self.own[derived.slot], &self.before[derived.slot]);
    }

    fn column(&self, slot: usize) -> ArrayRef {
        let values = (0..self.times.len()).map(|row| self.usable(slot, row));
        match self.types[slot] {
            DataType::Double => Arc::new(Float64Array::from_iter(values.map(|v| match v {
                Some(Value::Double(x)) => Some(*x),
                _ => None,
            }))),
            DataType::Integer => Arc::new(Int64Array::from_iter(values.map(|v| match v {
                Some(Value::Integer(x)) => Some(*x),
                _ => None,
            }))),
            DataType::Bool => Arc::new(BooleanArray::from_iter(values.map(|v| match v {
                Some(Value::Bool(x)) => Some(*x),
                _ => None,
            }))),
            DataType::String => Arc::new(StringArray::from_iter(values.map(|v| match v {
                Some(Value::String(x)) => Some(x.as_ref()),
                _ => None,
            }))),
        }
    }
}

/// Each row's newest point at or before it; `before` is that of the rows before these.
fn held(own: &[Option<Point>], before: &Option<Point>) -> Vec<Option<Point>> {
    let mut last = before.clone();
    let mut rows = Vec::with_capacity(own.len());
    for point in own {
        if point.is_some() {
            last.clone_from(point);
        }
        rows.push(last.clone());
    }
    rows
}

fn values_of(array: &ArrayRef) -> Vec<Option<Value>> {
    let value = |row: usize| {
        if array.is_null(row) {
            return None;
        }
        Some(match array.data_type() {
            Arrow::Int64 => Value::Integer(array.as_primitive::<Int64Type>().value(row)),
            Arrow::Boolean => Value::Bool(array.as_boolean().value(row)),
            Arrow::Utf8 => Value::String(array.as_string::<i32>().value(row).into()),
            _ => Value::Double(array.as_primitive::<Float64Type>().value(row)),
        })
    };
    (0..array.len()).map(value).collect()
}

/// The value as a number: bools count as 1 and 0, states are none.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(x) => Some(*x),
        Value::Integer(x) => Some(*x as f64),
        Value::Bool(x) => Some(f64::from(u8::from(*x))),
        Value::String(_) => None,
    }
}
