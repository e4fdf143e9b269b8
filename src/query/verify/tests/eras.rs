//! Documents that change while telemetry comes, and time that passes without it: worked by hand.
//! Times are in seconds, and versions are told as "in force from" and what they say.

use super::SECOND;
use crate::model::Quality;
use crate::query::verify::cell::Cell;
use crate::query::verify::history::History;
use crate::query::verify::points::Accepted;
use crate::query::verify::recompute::recompute;
use crate::query::verify::rules::Rules;
use crate::query::verify::shapes::SHAPES;

/// No beginning, and a clock that never ticked.
const NEVER: i64 = i64::MIN / SECOND;

/// A version: from when it is in force, and the document without its head.
type Version<'a> = (i64, &'a str);

fn history(versions: &[Version<'_>]) -> History {
    let mut history: Option<History> = None;
    for (from, says) in versions {
        let text = format!(
            r#"{{"apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {{"key": "pump"}}, {says}}}"#
        );
        let rules = Rules::of(serde_json::from_str(&text).unwrap()).unwrap();
        match &mut history {
            Some(history) => history.publish(from * SECOND, rules),
            None => history = Some(History::new(from * SECOND, rules)),
        }
    }
    history.unwrap()
}

fn point(time: i64, metric: &str, value: f64) -> Accepted {
    Accepted {
        event_time: time * SECOND,
        metric: metric.into(),
        number: Some(value),
        text: None,
        quality: Quality::GOOD,
    }
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::Time(time) => format!("{}s", time / SECOND),
        other => other.to_string(),
    }
}

/// The rows of one view, without the name of the asset.
fn rows(
    versions: &[Version<'_>],
    points: &[(i64, &str, f64)],
    clock: i64,
    view: &str,
) -> Vec<String> {
    let points = points.iter().map(|(time, metric, value)| point(*time, metric, *value));
    let views = recompute(&history(versions), "p", points.collect(), clock * SECOND, None);
    let at = SHAPES.iter().position(|(name, _)| *name == view).unwrap();
    let show_row = |row: &Vec<Cell>| row[1..].iter().map(show).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<String> = views[at].iter().map(show_row).collect();
    rows.sort();
    rows
}

/// A document with one metric and one rule about it.
fn level(rule: &str, levels: &str) -> String {
    format!(
        r#""metric_definitions": {{"temp": {{}}}},
           "threshold_rules": [{{"id": "{rule}", "metric": "temp", "levels": {levels}}}]"#
    )
}

fn warning(limit: f64, delays: &str) -> String {
    level("high", &format!(r#"{{"warning": {{"op": "ge", "value": {limit}{delays}}}}}"#))
}

/// Checks `threshold_states` and `threshold_occurrences`.
fn check_thresholds(
    versions: &[Version<'_>],
    points: &[(i64, f64)],
    clock: i64,
    states: &[&str],
    occurrences: &[&str],
) {
    let points: Vec<_> = points.iter().map(|(time, value)| (*time, "temp", *value)).collect();
    assert_eq!(rows(versions, &points, clock, "threshold_states"), states);
    assert_eq!(rows(versions, &points, clock, "threshold_occurrences"), occurrences);
}

#[test]
fn a_lowered_limit_raises_where_it_takes_effect() {
    let (first, lower, lowest) = (warning(210.0, ""), warning(205.0, ""), warning(208.0, ""));
    let points = [(50, 207.0)];
    check_thresholds(&[(NEVER, &first)], &points, NEVER, &["high normal 50s 0"], &[]);
    check_thresholds(
        &[(NEVER, &first), (100, &lower)],
        &points,
        NEVER,
        &["high warning 100s 1"],
        &["high warning 100s 100s null null"],
    );
    // A point at that very time is the one that is looked at.
    check_thresholds(
        &[(NEVER, &first), (100, &lower)],
        &[(50, 207.0), (100, 201.0)],
        NEVER,
        &["high normal 50s 0"],
        &[],
    );
    // A version that goes back before another one takes its place: nothing was ever raised.
    let backdated = [(NEVER, &*first), (100, &*lower), (60, &*lowest)];
    check_thresholds(&backdated, &points, NEVER, &["high normal 50s 0"], &[]);
    // One at the same time takes its place too.
    let same = [(NEVER, &*first), (100, &*lower), (100, &*first)];
    check_thresholds(&same, &points, NEVER, &["high normal 50s 0"], &[]);
    // The first point is behind the change: its version is the first one.
    check_thresholds(
        &[(NEVER, &first), (100, &lower)],
        &[(150, 207.0)],
        NEVER,
        &["high warning 150s 1"],
        &["high warning 150s 150s null null"],
    );
}

#[test]
fn what_is_pending_goes_on_with_the_new_delays() {
    let slow = warning(210.0, r#", "on_delay": "PT60S", "off_delay": "PT60S""#);
    let quick = warning(210.0, r#", "on_delay": "PT30S", "off_delay": "PT5S""#);
    let slower = warning(210.0, r#", "on_delay": "PT90S", "off_delay": "PT90S""#);
    let points = [(0, 200.0), (80, 212.0), (150, 200.0)];
    check_thresholds(
        &[(NEVER, &slow), (100, &quick)],
        &points,
        NEVER,
        &["high warning 80s 1"],
        &["high warning 80s 110s 150s null"],
    );
    check_thresholds(&[(NEVER, &slow), (100, &slower)], &points, NEVER, &["high normal 0s 0"], &[]);
    // Over already by the new delays: both levels count at their own times, before the row at 100.
    let levels = |delays: [u8; 2]| {
        let of = |limit: i64, delay| {
            format!(r#"{{"op": "ge", "value": {limit}, "on_delay": "PT{delay}S"}}"#)
        };
        let (low, high) = (of(210, delays[0]), of(211, delays[1]));
        level("high", &format!(r#"{{"warning": {low}, "critical": {high}}}"#))
    };
    let (slow, quick) = (levels([60, 60]), levels([5, 10]));
    check_thresholds(
        &[(NEVER, &slow), (100, &quick)],
        &[(0, 200.0), (80, 212.0), (150, 212.0)],
        NEVER,
        &["high critical 80s 2"],
        &["high critical 80s 90s null null", "high warning 80s 85s null null"],
    );
}

#[test]
fn a_version_ends_what_falls_due_before_the_next_one() {
    let old = warning(210.0, r#", "off_delay": "PT60S""#);
    let late = warning(210.0, r#", "off_delay": "PT70S""#);
    let other = level("other", r#"{"warning": {"op": "ge", "value": 150}}"#);
    let points = [(10, 212.0), (30, 200.0)];
    let carried_over = "other warning 100s 1";
    // Cleared at 90 by the rule that is gone at 100. The new rule looks at what is held.
    check_thresholds(
        &[(NEVER, &old), (100, &other)],
        &points,
        NEVER,
        &[carried_over],
        &["high warning 10s 10s 30s 90s", "other warning 100s 100s null null"],
    );
    // It would be cleared at 100: the rule is gone, and its open stay goes without a row.
    check_thresholds(
        &[(NEVER, &late), (100, &other)],
        &points,
        NEVER,
        &[carried_over],
        &["other warning 100s 100s null null"],
    );
    // A rule that comes back starts anew.
    check_thresholds(
        &[(NEVER, &late), (100, &other), (200, &late)],
        &points,
        NEVER,
        &["high normal 200s 0"],
        &[],
    );
}

#[test]
fn a_stay_has_the_delays_of_the_version_that_ends_it() {
    let old = warning(210.0, r#", "on_delay": "PT10S""#);
    let new = warning(210.0, r#", "on_delay": "PT20S", "off_delay": "PT30S""#);
    check_thresholds(
        &[(NEVER, &old), (100, &new)],
        &[(10, 212.0), (60, 200.0), (70, 213.0), (140, 200.0), (180, 200.0)],
        NEVER,
        &["high normal 140s 4"],
        &["high warning 10s 20s 60s 60s", "high warning 70s 90s 140s 170s"],
    );
}

#[test]
fn a_level_that_is_gone_is_at_normal_and_nothing_is_booked() {
    let both = level(
        "high",
        r#"{"warning": {"op": "ge", "value": 210}, "critical": {"op": "ge", "value": 220}}"#,
    );
    let only = level("high", r#"{"warning": {"op": "ge", "value": 210}}"#);
    check_thresholds(
        &[(NEVER, &both), (100, &only)],
        &[(0, 200.0), (10, 211.0), (20, 230.0)],
        NEVER,
        &["high warning 10s 2"],
        &["high warning 10s 10s null null"],
    );
    let only = level("high", r#"{"critical": {"op": "ge", "value": 240}}"#);
    check_thresholds(
        &[(NEVER, &both), (100, &only)],
        &[(0, 200.0), (10, 211.0)],
        NEVER,
        &["high normal 0s 1"],
        &[],
    );
}

#[test]
fn time_that_passes_without_rows_ends_delays() {
    let rule = warning(210.0, r#", "on_delay": "PT60S", "off_delay": "PT30S""#);
    // Five seconds out of order are the default.
    let points = [(0, 200.0), (10, 212.0)];
    let before = (&["high normal 0s 0"], &[]);
    let after = (&["high warning 10s 1"], &["high warning 10s 70s null null"]);
    check_thresholds(&[(NEVER, &rule)], &points, NEVER, before.0, before.1);
    check_thresholds(&[(NEVER, &rule)], &points, 74, before.0, before.1);
    check_thresholds(&[(NEVER, &rule)], &points, 75, after.0, after.1);
    // A clock that is behind the rows changes nothing.
    check_thresholds(&[(NEVER, &rule)], &points, 3, before.0, before.1);
    let points = [(0, 200.0), (10, 212.0), (100, 200.0)];
    let open = (&["high warning 10s 1"], &["high warning 10s 70s 100s null"]);
    check_thresholds(&[(NEVER, &rule)], &points, 134, open.0, open.1);
    let closed = (&["high normal 100s 2"], &["high warning 10s 70s 100s 130s"]);
    check_thresholds(&[(NEVER, &rule)], &points, 135, closed.0, closed.1);
    // The current version says how much later than the clock.
    let patient = format!(r#""time": {{"out_of_order": "PT20S"}}, {rule}"#);
    let versions = [(NEVER, &*rule), (110, &*patient)];
    check_thresholds(&versions, &points, 149, open.0, open.1);
    check_thresholds(&versions, &points, 150, closed.0, closed.1);
}

fn event(says: &str) -> String {
    format!(
        r#""metric_definitions": {{"temp": {{}}, "flow": {{}}}}, "event_rules": [
            {{"id": "hot", "when": "temp > 90", "event_type": "t",
              "message": "{{{{asset}}}} {{{{temp}}}} {{{{flow}}}}"{says}}}]"#
    )
}

fn check_events(versions: &[Version<'_>], clock: i64, expected: &[&str]) {
    let points = [
        (0, "temp", 80.0),
        (30, "temp", 91.0),
        (40, "flow", 1.0),
        (70, "temp", 80.0),
        (80, "temp", 92.0),
        (90, "flow", 2.0),
        (120, "flow", 3.0),
    ];
    assert_eq!(rows(versions, &points, clock, "events"), expected);
}

#[test]
fn an_event_after_its_time_tells_what_was_known_just_before() {
    let rule = |seconds: i64| event(&format!(r#", "for": "PT{seconds}S""#));
    // At 40 a row follows at the same time: it is not known yet just before.
    check_events(
        &[(NEVER, &rule(10))],
        NEVER,
        &["hot 40s t info p 91 ? false", "hot 90s t info p 92 1 false"],
    );
    check_events(
        &[(NEVER, &rule(20))],
        NEVER,
        &["hot 100s t info p 92 2 false", "hot 50s t info p 91 1 false"],
    );
    check_events(
        &[(NEVER, &event(""))],
        NEVER,
        &["hot 30s t info p 91 ? false", "hot 80s t info p 92 1 false"],
    );
    // Time that passes fires it too.
    let fired = ["hot 140s t info p 92 3 false"];
    check_events(&[(NEVER, &rule(60))], NEVER, &[]);
    check_events(&[(NEVER, &rule(60))], 144, &[]);
    check_events(&[(NEVER, &rule(60))], 145, &fired);
}

#[test]
fn what_an_event_waits_for_goes_on_in_the_next_version() {
    let rule = |seconds: i64, says: &str| event(&format!(r#", "for": "PT{seconds}S"{says}"#));
    let first = rule(60, "");
    let with = |next: &str, expected: &[&str]| {
        check_events(&[(NEVER, &first), (100, next)], NEVER, expected);
    };
    // Waiting since 80. The row at 100 is of the new version, and so is the template.
    let other = r#""metric_definitions": {"temp": {}, "speed": {}}, "event_rules": [
        {"id": "hot", "when": "temp > 70", "for": "PT40S", "event_type": "t",
         "message": "{{temp}} {{flow}} {{speed}}"}]"#;
    with(&rule(40, ""), &["hot 120s t info p 92 2 false"]);
    with(&rule(35, ""), &["hot 115s t info p 92 2 false"]);
    check_events(&[(NEVER, &first), (110, other)], 125, &["hot 120s t info 92 {{flow}} ? false"]);
    // Over before the new version began: told by it all the same, from what was known then.
    with(&rule(20, ""), &["hot 100s t info p 92 2 false"]);
    with(&rule(5, r#", "severity": "critical""#), &["hot 85s t critical p 92 2 false"]);
    let other = other.replace("PT40S", "PT20S");
    check_events(&[(NEVER, &first), (110, &other)], 125, &["hot 100s t info 92 {{flow}} ? false"]);
    with(&event(""), &["hot 80s t info p 92 2 false"]);
    // What the old one waited for is no falling edge; the fall itself is one.
    let falling = event(r#", "edge": "falling""#);
    with(&falling, &[]);
    let falling_now = falling.replace("temp > 90", "temp > 95");
    with(&falling_now, &["hot 100s t info p 92 2 false"]);
    // A rule of another name has nothing to go on with: to it the condition is a rising edge.
    let renamed = event("").replace(r#""id": "hot""#, r#""id": "warm""#);
    with(&renamed, &["warm 100s t info p 92 2 false"]);
    // The old version fires what falls due before the new one begins, and the cooldown goes on.
    let (early, cool) = (rule(10, ""), event(r#", "cooldown": "PT30S""#));
    check_events(
        &[(NEVER, &early), (50, &cool)],
        NEVER,
        &["hot 40s t info p 91 ? false", "hot 80s t info p 92 1 false"],
    );
    let cool = event(r#", "cooldown": "PT50S""#);
    check_events(
        &[(NEVER, &early), (50, &cool)],
        NEVER,
        &["hot 40s t info p 91 ? false", "hot 80s t info p 92 1 true"],
    );
}

const TEMP: &str = r#""metric_definitions": {"temp": {}}"#;
const TEMP_FLOW: &str = r#""metric_definitions": {"flow": {}, "temp": {}}"#;

#[test]
fn a_metric_has_its_points_since_versions_have_it() {
    let points = [
        (10, "temp", 1.0),
        (20, "flow", 2.0),
        (110, "flow", 3.0),
        (120, "temp", 4.0),
        (210, "flow", 5.0),
    ];
    let check = |versions: &[Version<'_>], metrics: &[&str], minutes: &[&str]| {
        assert_eq!(rows(versions, &points, NEVER, "asset_metrics"), metrics);
        let rollups = rows(versions, &points, NEVER, "rollups_1h");
        let short: Vec<String> = rollups
            .iter()
            .map(|row| row.split(' ').take(4).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(short, minutes);
    };
    let (of_temp, of_flow) = ("temp 120s 4.0 null Good", "flow 210s 5.0 null Good");
    check(&[(NEVER, TEMP)], &[of_temp], &["temp 0s 2 5.0"]);
    // New from 100 on: the point at 20 counts in nothing.
    check(
        &[(NEVER, TEMP), (100, TEMP_FLOW)],
        &[of_flow, of_temp],
        &["flow 0s 2 8.0", "temp 0s 2 5.0"],
    );
    // Held from the other layout, and counted over both.
    check(&[(NEVER, TEMP_FLOW), (100, TEMP)], &[of_temp], &["temp 0s 2 5.0"]);
    check(
        &[(NEVER, TEMP_FLOW), (100, TEMP_FLOW)],
        &[of_flow, of_temp],
        &["flow 0s 3 10.0", "temp 0s 2 5.0"],
    );
    // Gone and back again: what was before is not the same history.
    check(
        &[(NEVER, TEMP_FLOW), (100, TEMP), (200, TEMP_FLOW)],
        &[of_flow, of_temp],
        &["flow 0s 1 5.0", "temp 0s 2 5.0"],
    );
    // So it is when the version without it is in force at no time any more.
    check(
        &[(NEVER, TEMP_FLOW), (200, TEMP), (100, TEMP_FLOW)],
        &[of_flow, of_temp],
        &["flow 0s 2 8.0", "temp 0s 2 5.0"],
    );
    // As another type it is another metric, and only points of its own type count.
    let whole = r#""metric_definitions": {"temp": {}, "flow": {"type": "integer"}}"#;
    check(
        &[(NEVER, TEMP_FLOW), (200, whole)],
        &[of_flow, of_temp],
        &["flow 0s 1 5.0", "temp 0s 2 5.0"],
    );
    let state = r#""metric_definitions": {"temp": {}, "flow": {"type": "string"}}"#;
    check(&[(NEVER, TEMP_FLOW), (200, state)], &[of_temp], &["temp 0s 2 5.0"]);
}

#[test]
fn a_window_counts_since_versions_have_it() {
    let windows = |spans: &[&str]| {
        let rules: Vec<String> = spans
            .iter()
            .map(|span| {
                format!(r#"{{"key": "{span}", "metric": "*", "window": {{"tumbling": "{span}"}}}}"#)
            })
            .collect();
        format!(r#"{TEMP}, "aggregation_rules": [{}]"#, rules.join(", "))
    };
    let (hours, both) = (windows(&["PT1H"]), windows(&["PT1H", "PT1M"]));
    let points = [(10, "temp", 1.0), (50, "temp", 2.0), (80, "temp", 4.0)];
    let versions = [(NEVER, &*hours), (40, &*both)];
    // The boundary of a version is no point, and settles nothing.
    let minutes = [
        "temp 0s 1 2.0 2.0 2.0 2.0 2.0 2.0 settled",
        "temp 60s 1 4.0 4.0 4.0 4.0 4.0 4.0 provisional",
    ];
    assert_eq!(rows(&versions, &points, NEVER, "rollups_1m"), minutes);
    let hour = ["temp 0s 3 7.0 1.0 4.0 2.3333333333333335 1.0 4.0 provisional"];
    assert_eq!(rows(&versions, &points, NEVER, "rollups_1h"), hour);
    let versions = [(NEVER, &*hours), (40, &*both), (125, &*both)];
    assert_eq!(rows(&versions, &points, NEVER, "rollups_1m"), minutes);
    let versions = [(NEVER, &*both), (40, &*hours)];
    assert!(rows(&versions, &points, NEVER, "rollups_1m").is_empty());
}

#[test]
fn derived_metrics_are_held_and_made_anew_by_a_trigger_alone() {
    let says = |expr: &str| {
        format!(
            r#"{TEMP_FLOW}, "transformation_engine": {{"derived": {{
                "power": {{"expr": "{expr}", "trigger": ["temp"]}}}}}},
               "threshold_rules": [{{"id": "high", "metric": "power",
                "levels": {{"warning": {{"op": "ge", "value": 15}}}}}}]"#
        )
    };
    let (times, plus) = (says("temp * flow"), says("temp + flow"));
    let versions = [(NEVER, &*times), (100, &*plus)];
    let mut points = vec![(10, "flow", 2.0), (20, "temp", 10.0), (100, "flow", 3.0)];
    // The row at 100 holds the 20 of the old version: no temperature comes with it.
    let check = |points: &[(i64, &str, f64)], power: &str, state: &str| {
        let metrics = rows(&versions, points, NEVER, "asset_metrics");
        assert_eq!(metrics[1], power, "{metrics:?}");
        assert_eq!(rows(&versions, points, NEVER, "threshold_states"), [state]);
    };
    check(&points, "power 20s 20.0 null Good", "high warning 20s 1");
    points.push((100, "temp", 11.0));
    check(&points, "power 100s 14.0 null Good", "high normal 100s 2");
    // A metric that was measured and is derived now is held too.
    let measured = r#""metric_definitions": {"temp": {}, "flow": {}, "power": {}}"#;
    let versions = [(NEVER, measured), (100, &*plus)];
    let points = [(10, "power", 16.0), (20, "flow", 1.0)];
    assert_eq!(rows(&versions, &points, NEVER, "threshold_states"), ["high warning 100s 1"]);
    // In a version that derives it, its points are archived and no more.
    let points = [(10, "power", 16.0), (110, "power", 1.0)];
    let metrics = rows(&versions, &points, NEVER, "asset_metrics");
    assert_eq!(metrics, ["power 10s 16.0 null Good"]);
}

#[test]
fn health_is_that_of_the_last_row_whatever_time_it_is() {
    let says = |deduct: i64| {
        format!(
            r#"{TEMP_FLOW}, "health_algorithm": {{"type": "weighted_deductions", "rules": [
                {{"id": "hot", "when": "temp > 90", "deduct": {deduct}, "hold": "PT5M"}},
                {{"id": "dry", "when": "flow < 1", "deduct": 7}}]}}"#
        )
    };
    let (first, second) = (says(30), says(40));
    let check = |versions: &[Version<'_>], clock: i64, expected: &str| {
        let points = [(10, "temp", 95.0), (10, "flow", 0.5), (20, "temp", 80.0)];
        let health = rows(versions, &points, clock, "asset_health");
        assert_eq!(health.len(), 1);
        assert!(health[0].starts_with(expected), "{health:?}");
    };
    check(&[(NEVER, &first)], NEVER, "20s 63.0 ");
    check(&[(NEVER, &first)], 10_000, "20s 63.0 ");
    // What was true is looked for in rows of the current version only.
    check(&[(NEVER, &first), (100, &second)], NEVER, "100s 93.0 ");
    // The temperature of 95 is held in the row at 15, and true there.
    check(&[(NEVER, &first), (15, &second)], NEVER, "20s 53.0 ");
}

#[test]
fn errors_are_those_of_all_rows() {
    let says = |metrics: &str, sql: &str| {
        format!(
            r#""metric_definitions": {{{metrics}}}, "event_rules": [
                {{"id": "odd", "when_sql": "{sql}", "event_type": "t"}}]"#
        )
    };
    let one = says(r#""temp": {"type": "integer"}"#, "1 / temp > 0");
    let two = says(r#""temp": {"type": "integer"}"#, "2 / temp > 0");
    let points = [(10, "temp", 0.0), (20, "temp", 1.0), (30, "temp", 0.0), (120, "temp", 5.0)];
    let errors = rows(&[(NEVER, &one), (100, &two)], &points, NEVER, "errors");
    let at: Vec<String> =
        errors.iter().map(|row| row.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(at, ["odd 100s", "odd 10s", "odd 30s"]);
}

#[test]
fn an_asset_without_a_point_that_counts_has_no_rows() {
    for (view, _) in SHAPES {
        assert!(rows(&[(NEVER, TEMP), (100, TEMP_FLOW)], &[], 500, view).is_empty());
        let early = [(50, "flow", 1.0), (120, "other", 2.0)];
        assert!(rows(&[(NEVER, TEMP), (100, TEMP_FLOW)], &early, 500, view).is_empty());
    }
}
