//! The scoring functions.

use super::algorithm::{Algorithm, Band, Combine, Deduction, Deductions, Missing, Ramp, Scores};

/// The score of one row, 0 to 100, and what each part contributed.
///
/// `inputs` has one number for each part of [`Algorithm::parts`], conditions as 1 and 0, `None`
/// where the value is missing or bad. Into `contributions`, of the same length, goes the
/// deduction (deductions) or the score (scores) of each part, NaN where it took no part. `None`
/// when nothing can be said: all inputs are missing, or one is and [`Missing::Unknown`] is asked.
///
/// # Panics
/// When the lengths differ: that is a bug of the caller.
pub fn score(
    algorithm: &Algorithm,
    inputs: &[Option<f64>],
    contributions: &mut [f64],
) -> Option<f64> {
    assert_eq!(inputs.len(), contributions.len());
    contributions.fill(f64::NAN);
    match algorithm {
        Algorithm::WeightedDeductions(algorithm) => deduct(algorithm, inputs, contributions),
        Algorithm::ScoreBased(algorithm) => combine(algorithm, inputs, contributions),
    }
}

/// The band that a score falls into; the last one when no limit is above it.
pub fn band(bands: &[Band], score: f64) -> Option<&Band> {
    bands.iter().find(|band| band.lt.is_none_or(|lt| score < lt)).or(bands.last())
}

fn deduct(
    algorithm: &Deductions,
    inputs: &[Option<f64>],
    contributions: &mut [f64],
) -> Option<f64> {
    if inputs.iter().all(Option::is_none) {
        return None;
    }
    for ((rule, input), contribution) in
        algorithm.rules.iter().zip(inputs).zip(contributions.iter_mut())
    {
        *contribution = match (input, algorithm.missing) {
            (Some(input), _) => deduction(rule, *input),
            (None, Missing::Renormalise) => f64::NAN,
            (None, Missing::Worst) => most(rule),
            (None, Missing::Unknown) => return None,
        };
    }
    let mut total = 0.0;
    for (rule, contribution) in algorithm.rules.iter().zip(contributions.iter()) {
        let capped = rule.group.as_ref().is_some_and(|g| algorithm.group_caps.contains_key(g));
        if !capped && !contribution.is_nan() {
            total += contribution;
        }
    }
    for (group, cap) in &algorithm.group_caps {
        let of_group: f64 = (algorithm.rules.iter().zip(contributions.iter()))
            .filter(|(rule, c)| rule.group.as_ref() == Some(group) && !c.is_nan())
            .map(|(_, contribution)| contribution)
            .sum();
        total += of_group.min(*cap);
    }
    Some((algorithm.start - total).clamp(algorithm.floor, 100.0))
}

fn deduction(rule: &Deduction, input: f64) -> f64 {
    match (&rule.ramp, rule.deduct) {
        (Some(ramp), _) => along(ramp, input),
        (None, Some(points)) if input != 0.0 => points,
        _ => 0.0,
    }
}

fn most(rule: &Deduction) -> f64 {
    match &rule.ramp {
        Some(ramp) => ramp.from.deduct.max(ramp.to.deduct),
        None => rule.deduct.unwrap_or(0.0),
    }
}

/// The deduction at a value: linear between the ends, which may run upwards or downwards.
fn along(ramp: &Ramp, value: f64) -> f64 {
    let span = ramp.to.at - ramp.from.at;
    let part = if span == 0.0 { 1.0 } else { ((value - ramp.from.at) / span).clamp(0.0, 1.0) };
    ramp.from.deduct + part * (ramp.to.deduct - ramp.from.deduct)
}

fn combine(algorithm: &Scores, inputs: &[Option<f64>], contributions: &mut [f64]) -> Option<f64> {
    let (mut weights, mut sum, mut logs, mut worst) = (0.0, 0.0, 0.0, f64::INFINITY);
    for ((part, input), contribution) in
        algorithm.scores.iter().zip(inputs).zip(contributions.iter_mut())
    {
        let Some(input) = input else { continue };
        let score = curve(&part.points, *input);
        *contribution = score;
        weights += part.weight;
        sum += part.weight * score;
        logs += part.weight * score.max(0.0).ln();
        worst = worst.min(score);
    }
    if weights == 0.0 {
        return None;
    }
    Some(match algorithm.combine {
        Combine::WeightedAverage => sum / weights,
        Combine::Worst => worst,
        Combine::Geometric => (logs / weights).exp(),
    })
    .map(|score| score.clamp(0.0, 100.0))
}

/// Piecewise linear through the points, constant outside them.
fn curve(points: &[(f64, f64)], x: f64) -> f64 {
    let after = points.partition_point(|(at, _)| *at <= x);
    match (after.checked_sub(1).map(|i| points[i]), points.get(after)) {
        (Some((x0, y0)), Some((x1, y1))) => y0 + (x - x0) / (x1 - x0) * (y1 - y0),
        (Some((_, y)), None) => y,
        (None, Some((_, y))) => *y,
        (None, None) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: &str, inputs: &[Option<f64>], expected: Option<f64>) {
        let algorithm: Algorithm = serde_json::from_str(algorithm).unwrap();
        let mut contributions = vec![0.0; inputs.len()];
        assert_eq!(score(&algorithm, inputs, &mut contributions), expected, "{contributions:?}");
    }

    const DEDUCTIONS: &str = r#"{"type": "weighted_deductions", "rules": [
        {"id": "hot", "group": "heat", "when": "x", "deduct": 30},
        {"id": "ramp", "group": "heat", "metric": "y", "ramp": {"from": {"at": 10}, "to": {"at": 20, "deduct": 40}}},
        {"id": "dry", "when": "z", "deduct": 5}], "group_caps": {"heat": 50}}"#;

    #[test]
    fn deductions_ramp_and_are_capped_by_group() {
        check(DEDUCTIONS, &[Some(0.0), Some(5.0), Some(0.0)], Some(100.0));
        check(DEDUCTIONS, &[Some(0.0), Some(15.0), Some(1.0)], Some(75.0));
        check(DEDUCTIONS, &[Some(1.0), Some(25.0), Some(1.0)], Some(45.0));
        check(DEDUCTIONS, &[None, None, Some(1.0)], Some(95.0));
        check(DEDUCTIONS, &[None, None, None], None);
    }

    #[test]
    fn scores_combine() {
        for (how, expected) in [("weighted_average", 75.0), ("worst", 50.0)] {
            let algorithm = format!(
                r#"{{"type": "score_based", "combine": "{how}", "scores": [
                {{"metric": "a", "points": [[0, 0], [10, 100]]}},
                {{"metric": "b", "points": [[0, 100], [10, 0]]}},
                {{"metric": "c", "weight": 7, "points": [[0, 0]]}}]}}"#
            );
            check(&algorithm, &[Some(5.0), Some(0.0), None], Some(expected));
        }
    }

    #[test]
    fn the_last_band_has_no_limit() {
        let algorithm: Algorithm = serde_json::from_str(DEDUCTIONS).unwrap();
        let bands = algorithm.bands();
        for (score, name) in
            [(0.0, "critical"), (40.0, "degraded"), (70.0, "degraded"), (100.0, "healthy")]
        {
            assert_eq!(band(&bands, score).unwrap().name, name);
        }
    }
}
