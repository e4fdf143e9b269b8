//! Averages and states by the time that they held.

/// What is between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Between {
    /// The value of the earlier one: last observation carried forward.
    Locf,
    /// A straight line.
    Linear,
}

const SECOND: f64 = 1e6;

/// The average over the time from the first point to the last, or within the bounds.
///
/// Points are in order. From a start on counts what was before it: the value then is the last one
/// before, or on the line to the next. Without a point before the start the average begins at the
/// first point. The last value holds until an end. `None` without a point before the end. Without
/// an end, the average over no time at all is the value.
pub(super) fn average(
    points: &[(i64, f64)],
    between: Between,
    start: Option<i64>,
    end: Option<i64>,
) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let from = start.map_or(first.0, |start| start.max(first.0));
    let until = end.unwrap_or(last.0);
    if until == from && end.is_none() {
        return Some(last.1);
    }
    if until <= from {
        return None;
    }
    let mut area = 0.0;
    for (at, (time, value)) in points.iter().copied().enumerate() {
        let next = points.get(at + 1).copied();
        let (begin, stop) = (time.max(from), next.map_or(until, |next| next.0.min(until)));
        if stop <= begin {
            continue;
        }
        let span = (stop - begin) as f64;
        let height = match (between, next) {
            (Between::Linear, Some(next)) => {
                let slope = (next.1 - value) / (next.0 - time) as f64;
                let middle = ((begin - time) as f64 + (stop - time) as f64) / 2.0;
                value + slope * middle
            }
            _ => value,
        };
        area += height * span;
    }
    Some(area / (until - from) as f64)
}

/// Seconds during which the value was 1: each value holds until the next point, the last one until
/// the end if there is one. `None` without points.
pub(super) fn held(points: &[(i64, f64)], end: Option<i64>) -> Option<f64> {
    let last = points.last()?.0;
    let until = end.unwrap_or(last);
    let next = points.iter().skip(1).map(|point| point.0).chain([until]);
    let spans = points.iter().zip(next).filter(|((_, value), _)| *value == 1.0);
    let micros = spans.map(|((time, _), next)| (next.min(until) - time).max(0)).sum::<i64>();
    Some(micros as f64 / SECOND)
}

/// How far a counter went, and in how many seconds. A value lower than the one before means that
/// the counter began at zero again.
pub(super) fn counted(points: &[(i64, f64)]) -> Option<(f64, f64)> {
    let (first, last) = (points.first()?, points.last()?);
    let step = |pair: &[(i64, f64)]| match pair[1].1 < pair[0].1 {
        true => pair[1].1,
        false => pair[1].1 - pair[0].1,
    };
    let sum = points.windows(2).map(step).sum();
    Some((sum, (last.0 - first.0) as f64 / SECOND))
}
