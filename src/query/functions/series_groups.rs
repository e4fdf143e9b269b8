//! The accumulators of aggregates over series.

use super::points::{Points, bytes, from_columns, offsets, to_columns};
use super::question::{Found, Question};
use super::series::{Kind, line};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use std::sync::Arc;

/// Many groups.
pub(super) struct Groups {
    kind: Kind,
    question: Question,
    groups: Vec<Points>,
    /// Points that there is room for in all groups.
    room: usize,
}

impl Groups {
    pub fn new(kind: Kind, question: Question) -> Self {
        Self { kind, question, groups: Vec::new(), room: 0 }
    }

    fn change(&mut self, group: usize, change: impl FnOnce(&mut Points)) {
        let group = &mut self.groups[group];
        let before = group.capacity();
        change(group);
        self.room += group.capacity() - before;
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Points> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.room -= taken.iter().map(Points::capacity).sum::<usize>();
        taken
    }
}

/// Answers as a column.
fn column(found: Vec<Found>) -> Result<ArrayRef> {
    if let Some(Found::Number(_)) | None = found.first() {
        let numbers = found.iter().map(|found| match found {
            Found::Number(number) => *number,
            Found::Line(_) => None,
        });
        return Ok(Arc::new(numbers.collect::<Float64Array>()));
    }
    lines(found.iter().map(|found| match found {
        Found::Line(line) => line.as_slice(),
        Found::Number(_) => &[],
    }))
}

/// Lines as a column of lists; lines without points are null.
fn lines<'a>(lines: impl Iterator<Item = &'a [(i64, f64)]> + Clone) -> Result<ArrayRef> {
    let all = || lines.clone().flatten();
    let times = TimestampMicrosecondArray::from_iter_values(all().map(|point| point.0));
    let values = Float64Array::from_iter_values(all().map(|point| point.1));
    let item = line();
    let DataType::Struct(fields) = item.data_type() else { return internal_err!("no struct") };
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(values)];
    let points = StructArray::try_new(fields.clone(), columns, None)?;
    let valid: NullBuffer = lines.clone().map(|line| !line.is_empty()).collect();
    let offsets = offsets(lines.map(<[_]>::len))?;
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(points), Some(valid))?))
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Points::default);
        self.kind.rows(values)?.each(opt_filter, |row, point| {
            self.change(group_indices[row], |group| {
                group.push(point.time, point.value);
                group.bound(point.bounds);
            });
        });
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Points::default);
        from_columns(values, |row, points, bounds| {
            self.change(group_indices[row], |group| {
                group.extend(points);
                group.bound(bounds);
            });
        });
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let question = self.question;
        let found = self.take(emit_to).into_iter().map(|mut group| question.of(&mut group));
        column(found.collect())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        to_columns(&self.take(emit_to))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut rows = vec![Points::default(); values[0].len()];
        self.kind.rows(values)?.each(opt_filter, |row, point| {
            rows[row].push(point.time, point.value);
            rows[row].bound(point.bounds);
        });
        to_columns(&rows)
    }

    fn size(&self) -> usize {
        bytes(self.room) + self.groups.capacity() * size_of::<Points>()
    }
}

/// One group, which may be asked again and again while it grows.
#[derive(Debug)]
pub(super) struct One {
    kind: Kind,
    question: Question,
    points: Points,
}

impl One {
    pub fn new(kind: Kind, question: Question) -> Self {
        Self { kind, question, points: Points::default() }
    }
}

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.kind.rows(values)?.each(None, |_, point| {
            self.points.push(point.time, point.value);
            self.points.bound(point.bounds);
        });
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        from_columns(states, |_, points, bounds| {
            self.points.extend(points);
            self.points.bound(bounds);
        });
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let columns = to_columns(std::slice::from_ref(&self.points))?;
        columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.question.of(&mut self.points) {
            Found::Number(number) => Ok(ScalarValue::Float64(number)),
            line @ Found::Line(_) => ScalarValue::try_from_array(&column(vec![line])?, 0),
        }
    }

    fn size(&self) -> usize {
        size_of::<Self>() + bytes(self.points.capacity())
    }
}
