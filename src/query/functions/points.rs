//! The points of groups, collected to be put in order: 16 bytes for each.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::{Result, exec_datafusion_err};
use std::sync::Arc;

/// The points of one group in any order, and the bounds that its rows named.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    points: Vec<(i64, f64)>,
    /// The least start and the greatest end.
    pub start: Option<i64>,
    pub end: Option<i64>,
}

/// A start and an end.
pub(super) type Bounds = (Option<i64>, Option<i64>);

/// The bytes of these points.
pub(super) fn bytes(points: usize) -> usize {
    points * size_of::<(i64, f64)>()
}

impl Points {
    pub fn push(&mut self, time: i64, value: f64) {
        self.points.push((time, value));
    }

    pub fn bound(&mut self, (start, end): Bounds) {
        if let Some(start) = start {
            self.start = Some(self.start.map_or(start, |own| own.min(start)));
        }
        self.end = self.end.max(end);
    }

    pub fn extend(&mut self, points: &[(i64, f64)]) {
        self.points.extend_from_slice(points);
    }

    /// How many points there is room for.
    pub fn capacity(&self) -> usize {
        self.points.capacity()
    }

    /// The points by their times. Of several at one time only the greatest is left.
    pub fn sorted(&mut self) -> &[(i64, f64)] {
        if !self.points.is_sorted_by(|a, b| a.0 < b.0) {
            self.points.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        }
        self.points.dedup_by_key(|point| point.0);
        &self.points
    }
}

/// The columns that points travel in from one accumulator to another: lists of times and of
/// values, and the bounds.
pub(super) fn columns() -> [(&'static str, DataType); 4] {
    [
        ("times", DataType::List(item(DataType::Int64))),
        ("values", DataType::List(item(DataType::Float64))),
        ("start", DataType::Int64),
        ("end", DataType::Int64),
    ]
}

fn item(of: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(of, true))
}

/// Groups as columns.
pub(super) fn to_columns(groups: &[Points]) -> Result<Vec<ArrayRef>> {
    let lengths = groups.iter().map(|group| group.points.len());
    let all = || groups.iter().flat_map(|group| &group.points);
    let times = Int64Array::from_iter_values(all().map(|point| point.0));
    let values = Float64Array::from_iter_values(all().map(|point| point.1));
    let offsets = offsets(lengths)?;
    Ok(vec![
        Arc::new(ListArray::try_new(
            item(DataType::Int64),
            offsets.clone(),
            Arc::new(times),
            None,
        )?),
        Arc::new(ListArray::try_new(item(DataType::Float64), offsets, Arc::new(values), None)?),
        Arc::new(groups.iter().map(|group| group.start).collect::<Int64Array>()),
        Arc::new(groups.iter().map(|group| group.end).collect::<Int64Array>()),
    ])
}

/// Offsets of lists of these lengths.
pub(super) fn offsets(lengths: impl Iterator<Item = usize>) -> Result<OffsetBuffer<i32>> {
    let (mut end, mut ends) = (0_usize, vec![0]);
    for length in lengths {
        end += length;
        let end = i32::try_from(end);
        ends.push(end.map_err(|_| exec_datafusion_err!("more points than one batch can hold"))?);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(ends)))
}

/// Rows of arguments: when, how much, and the bounds if there are any.
pub(super) struct Rows {
    pub times: ArrayRef,
    pub values: ArrayRef,
    pub start: Option<ArrayRef>,
    pub end: Option<ArrayRef>,
}

impl Rows {
    /// Hands out the rows that have time and value and that the filter lets through.
    pub fn each(&self, filter: Option<&BooleanArray>, mut take: impl FnMut(usize, Row)) {
        let times = self.times.as_primitive::<Int64Type>();
        let values = self.values.as_primitive::<Float64Type>();
        let bound = |bound: &Option<ArrayRef>, row| {
            let bound = bound.as_ref()?.as_primitive::<Int64Type>();
            bound.is_valid(row).then(|| bound.value(row))
        };
        for row in 0..times.len() {
            let counts = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if counts && times.is_valid(row) && values.is_valid(row) {
                let (time, value) = (times.value(row), values.value(row));
                let bounds = (bound(&self.start, row), bound(&self.end, row));
                take(row, Row { time, value, bounds });
            }
        }
    }
}

/// One point with the bounds that it names.
pub(super) struct Row {
    pub time: i64,
    pub value: f64,
    pub bounds: Bounds,
}

/// Hands out the groups of columns that [`to_columns`] has made, with the places where they are.
pub(super) fn from_columns(
    columns: &[ArrayRef],
    mut take: impl FnMut(usize, &[(i64, f64)], Bounds),
) {
    let (times, values) = (columns[0].as_list::<i32>(), columns[1].as_list::<i32>());
    let (starts, ends) =
        (columns[2].as_primitive::<Int64Type>(), columns[3].as_primitive::<Int64Type>());
    let bound = |bounds: &Int64Array, row| bounds.is_valid(row).then(|| bounds.value(row));
    let mut points = Vec::new();
    for row in 0..times.len() {
        points.clear();
        if times.is_valid(row) && values.is_valid(row) {
            let (times, values) = (times.value(row), values.value(row));
            let times = times.as_primitive::<Int64Type>().values();
            let values = values.as_primitive::<Float64Type>().values();
            points.extend(times.iter().copied().zip(values.iter().copied()));
        }
        take(row, &points, (bound(starts, row), bound(ends, row)));
    }
}
