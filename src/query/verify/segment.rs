//! The rows of one asset, cut where another version of its type takes over.

use super::base::Base;
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
    /// How many of the first rows the rules have looked at before; see [`Base`].
    pub seen: usize,
}

/// The segments from the era of the first point to the current one; none without a point.
///
/// A point counts when the version in force at its time measures the metric, and its value can be
/// read as the type that the metric has there. With a base the points are those behind it, and the
/// first segment is that of the base's version. Only eras that begin before `end` count.
pub(super) fn segments<'a>(
    history: &'a History,
    points: Vec<Accepted>,
    base: Option<&Base>,
    end: i64,
) -> Vec<Segment<'a>> {
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
    let of_base = |base: &Base| history.eras().iter().position(|place| *place == base.version);
    let first = match base {
        Some(base) => of_base(base),
        None => of_eras.keys().next().copied(),
    };
    let Some(first) = first else { return segments };
    for (era, place) in history.eras().iter().copied().enumerate().skip(first) {
        let version = history.version(place);
        if version.from >= end {
            break;
        }
        let mut rows = of_eras.remove(&era).unwrap_or_default();
        let base = base.filter(|_| segments.is_empty());
        let held = match segments.last() {
            None => match base {
                None => vec![None; version.rules.layout.slots.len()],
                Some(base) => {
                    rows.entry(base.last).or_default();
                    base.held_by(&version.rules)
                }
            },
            Some(before) => {
                rows.entry(version.from).or_default();
                before.held_by(&version.rules)
            }
        };
        let series = Series::of(rows, held, &version.rules);
        let seen = usize::from(base.is_some());
        segments.push(Segment { version: place, rules: &version.rules, series, seen });
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
