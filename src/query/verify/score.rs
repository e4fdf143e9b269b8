//! Health by the book.

use super::cell::{Cell, Row, contributions};
use super::rules::Rules;
use super::series::{Series, number};
use crate::health::{self, Algorithm};
use crate::model::Value;

/// The times at which conditions with a hold were true last, by the ids of their parts.
pub(super) type Holds = Vec<(String, i64)>;

/// The health at the newest row of a series. A condition with a hold counts while its last true
/// row is not longer ago than the hold; `before` knows those before the series.
pub(super) fn health(
    rules: &Rules,
    asset: &str,
    series: &mut Series,
    before: &Holds,
) -> (Vec<Row>, Holds) {
    let mut holds = Holds::new();
    let Some(algorithm) = &rules.document.health_algorithm else { return (Vec::new(), holds) };
    let newest = series.times.len() - 1;
    let now = series.times[newest];
    let parts = algorithm.parts();
    let mut inputs = Vec::with_capacity(parts.len());
    for (part, reads) in parts.iter().zip(&rules.health) {
        let values = series.look(&reads.input);
        let guarded = reads.guard.as_ref().is_some_and(|guard| {
            series.evaluate(part.id, guard)[newest] != Some(Value::Bool(true))
        });
        let mut input = values[newest].as_ref().filter(|_| !guarded).and_then(number);
        if let Some(hold) = part.hold {
            let is_true = |row: &usize| {
                values[*row].as_ref().is_some_and(|value| number(value).is_none_or(|x| x != 0.0))
            };
            let last = (0..series.times.len()).rev().find(is_true).map(|row| series.times[row]);
            let known = || before.iter().find(|(id, _)| id == part.id).map(|(_, time)| *time);
            if let Some(last) = last.or_else(known) {
                holds.push((part.id.to_owned(), last));
                if now <= last.saturating_add(hold.0) {
                    input = Some(1.0);
                }
            }
        }
        inputs.push(input);
    }
    let mut points = vec![0.0; parts.len()];
    let score = health::score(algorithm, &inputs, &mut points);
    let bands = algorithm.bands();
    let band = score.and_then(|score| health::band(&bands, score));
    let deducts = matches!(algorithm, Algorithm::WeightedDeductions(_));
    let took_part = |(_, points): &(&str, f64)| points.is_finite() && !(deducts && *points == 0.0);
    let named = parts.iter().map(|part| part.id).zip(points).filter(took_part);
    let row = vec![
        Cell::text(asset),
        Cell::Time(now),
        score.map_or(Cell::Null, Cell::number),
        band.map_or(Cell::Null, |band| Cell::text(&band.name)),
        contributions(named),
    ];
    (vec![row], holds)
}
