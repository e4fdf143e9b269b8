//! The rows of one asset, cut where another version of its type takes over.

use super::history::History;
use super::points::Accepted;
use super::rules::Rules;
use super::series::{Point, Series};
use std::collections::BTreeMap;

/// The rows of one asset that fall into one era.
pub(super) struct Segment<'a> {
    /// The place of the era's version in the order of publication.
    pub version: usize,
    pub rules: &'a Rules,
    /// One row at least. Behind another segment the first row is the *boundary row*, at the time
    /// at which the era begins: it holds what was known before, and has points of its own only
    /// when some fall on that very time.
    pub series: Series,
}

/// The segments from the era of the first point to the current one; none without a point.
///
/// A point counts when the version in force at its time measures the metric, and its value can be
/// read as the type that the metric has there.
pub(super) fn segments(history: &History, points: Vec<Accepted>) -> Vec<Segment<'_>> {
    let mut of_eras: BTreeMap<usize, BTreeMap<i64, Vec<(usize, Point)>>> = BTreeMap::new();
    for point in points {
        let era = history.era_at(point.event_time);
        let layout = &history.version(history.eras()[era]).rules.layout;
        let slot = layout.position(&point.metric).filter(|slot| *slot < layout.measured);
        let Some(slot) = slot else { continue };
        let data_type = layout.slots[slot].data_type;
        let Some(value) = point.value(data_type) else { continue };
        let rows = of_eras.entry(era).or_default();
        let point_of_row = Point { value, quality: point.quality };
        rows.entry(point.event_time).or_default().push((slot, point_of_row));
    }
    let mut segments: Vec<Segment<'_>> = Vec::new();
    let Some(first) = of_eras.keys().next().copied() else { return segments };
    for (era, place) in history.eras().iter().copied().enumerate().skip(first) {
        let version = history.version(place);
        let mut rows = of_eras.remove(&era).unwrap_or_default();
        let held = match segments.last() {
            None => vec![None; version.rules.layout.slots.len()],
            Some(before) => {
                rows.entry(version.from).or_default();
                before.held_by(&version.rules)
            }
        };
        let series = Series::of(rows, held, &version.rules);
        segments.push(Segment { version: place, rules: &version.rules, series });
    }
    segments
}

/// The last row at or before a time: the place of its segment and its place in there.
pub(super) fn row_at(segments: &[Segment<'_>], time: i64) -> Option<(usize, usize)> {
    let rows = |segment: &Segment<'_>| segment.series.times.partition_point(|at| *at <= time);
    let segment = segments.iter().rposition(|segment| rows(segment) > 0)?;
    Some((segment, rows(&segments[segment]) - 1))
}

impl Segment<'_> {
    /// What the metrics of another version hold after the last row, by name.
    fn held_by(&self, next: &Rules) -> Vec<Option<Point>> {
        let last = self.series.times.len() - 1;
        let held = |slot: &crate::catalog::Slot| {
            let was = self.rules.slot(&slot.name, slot.data_type)?;
            self.series.as_of[was][last].clone()
        };
        next.layout.slots.iter().map(held).collect()
    }
}
