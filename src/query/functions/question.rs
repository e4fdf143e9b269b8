//! What can be asked of the points of a group, once they are in order.

use super::downsample::{lttb, m4};
use super::points::Points;
use super::weighted::{Between, average, counted, held};
use datafusion::common::{Result, ScalarValue, plan_err};

/// What to compute of points in order.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    Average(Between),
    Counted,
    CountedRate,
    Held,
    Lttb(usize),
    M4(usize),
}

/// What came out.
pub(super) enum Found {
    Number(Option<f64>),
    Line(Vec<(i64, f64)>),
}

impl Question {
    /// Computes it of one group. Lines of no points are null.
    pub fn of(self, group: &mut Points) -> Found {
        let (start, end) = (group.start, group.end);
        let points = group.sorted();
        Found::Number(match self {
            Self::Average(between) => average(points, between, start, end),
            Self::Counted => counted(points).map(|(sum, _)| sum),
            Self::CountedRate => counted(points)
                .filter(|(_, seconds)| *seconds > 0.0)
                .map(|(sum, seconds)| sum / seconds),
            Self::Held => held(points, end),
            Self::Lttb(count) => return Found::Line(lttb(points, count)),
            Self::M4(columns) => return Found::Line(m4(points, columns)),
        })
    }
}

/// What is between two points, as a constant says it.
pub(super) fn between(method: &ScalarValue) -> Result<Between> {
    match method.try_as_str().flatten().map(str::to_lowercase).as_deref() {
        Some("locf") => Ok(Between::Locf),
        Some("linear") => Ok(Between::Linear),
        Some(other) => {
            let known = crate::expr::nearest(other, ["locf", "linear"]).unwrap_or("locf");
            plan_err!("no method '{other}', did you mean '{known}'?")
        }
        None => plan_err!("the method is 'locf' or 'linear'"),
    }
}
