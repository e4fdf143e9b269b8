//! Rows of which every point comes for itself are not ordinary, and mean the same.

use super::*;

const DOCUMENT: &str = r#"{
  "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "pump"},
  "time": {"hot_horizon": "PT4M", "out_of_order": "PT20S"},
  "metric_definitions": {"temp": {}, "flow": {}},
  "transformation_engine": {"derived": {
    "ratio": {"expr": "temp / flow"}, "half": {"expr": "ratio / 2", "trigger": ["flow"]}}},
  "health_algorithm": {"type": "weighted_deductions", "rules": [
    {"id": "hot", "when": "temp > 215", "deduct": 30},
    {"id": "dry", "when": "flow < 4", "deduct": 50}]},
  "threshold_rules": [
    {"id": "temp_high", "metric": "temp", "levels": {
      "warning": {"op": "ge", "value": 216, "deadband": {"abs": 1}},
      "critical": {"op": "ge", "value": 218, "deadband": {"abs": 2}, "on_delay": "PT3S"}}},
    {"id": "ratio_high", "expr": "ratio > 60", "levels": {"warning": {"off_delay": "PT10S"}}}],
  "event_rules": [
    {"id": "hot", "when": "temp > 217", "event_type": "pump.hot", "severity": "critical",
     "message": "{{asset}} at {{metrics.temp|1}}"}]
}"#;

/// One epoch of rows, most of them the next of their asset, some late, again or without a metric.
fn rows(random: &mut Random, newest: &mut [i64; 4]) -> Vec<(u32, Row)> {
    let count = random.below(10);
    let row = |_| {
        let asset = random.below(4) as usize;
        let late = random.below(12) == 0;
        let time = match late {
            true => newest[asset] - random.below(200) as i64,
            false => newest[asset] + 1 + random.below(9) as i64,
        };
        newest[asset] = newest[asset].max(time);
        // Most values leave the rules as they are.
        let above = if random.below(8) == 0 { random.below(14) } else { 0 };
        let temp =
            (random.below(30) > 0).then(|| 205.0 + above as f64 + random.below(90) as f64 / 100.0);
        // Without any flow there is no ratio.
        let above = if random.below(8) == 0 { random.below(20) } else { 20 };
        let flow = (random.below(30) > 0).then(|| above as f64 + random.below(60) as f64 / 10.0);
        (asset as u32, (time, [temp, flow]))
    };
    (0..count).map(row).filter(|(_, (_, values))| values.iter().any(Option::is_some)).collect()
}

fn halves(rows: &[(u32, Row)]) -> Vec<(u32, Row)> {
    let of = |(asset, (time, [temp, flow])): &(u32, Row)| {
        [(*asset, (*time, [*temp, None])), (*asset, (*time, [None, *flow]))]
    };
    rows.iter().flat_map(of).collect()
}

#[test]
fn an_ordinary_row_means_what_its_points_do() {
    let mut on_lane = 0;
    for seed in 1..=40 {
        let mut random = Random(seed);
        let (mut whole, mut parts) = (Graph::new(DOCUMENT), Graph::new(DOCUMENT));
        let mut newest = [1_000; 4];
        for step in 0..200 {
            let what = format!("seed {seed} step {step}");
            let rows = rows(&mut random, &mut newest);
            let quality = if random.below(20) == 0 { 1 } else { 0 };
            whole.feed_with(quality, &rows);
            parts.feed_with(quality, &halves(&rows));
            on_lane += whole.state.assets.iter().filter(|asset| asset.is_on_lane).count();
            assert!(parts.state.assets.iter().all(|asset| !asset.is_on_lane), "{what}");
            same(
                &whole.said.clone().without_revisions(),
                &parts.said.clone().without_revisions(),
                &what,
            );
            match random.below(40) {
                0 => {
                    let (asset, from) =
                        (random.below(4) as u32, newest[0] - random.below(150) as i64);
                    let range = (from, from + random.below(40) as i64);
                    let outcome = whole.delete(asset, &["temp"], range);
                    assert_eq!(outcome, parts.delete(asset, &["temp"], range), "{what}");
                }
                1 => {
                    let second = newest.iter().max().unwrap() + random.below(30) as i64;
                    whole.tick(second);
                    parts.tick(second);
                }
                2 => {
                    let document = DOCUMENT.replace("216", &(214 + random.below(4)).to_string());
                    let (version, from) = (2 + step, newest[0] - random.below(100) as i64);
                    whole.publish(&document, version as u32, from);
                    parts.publish(&document, version as u32, from);
                }
                // What stands on the lane is saved with its asset.
                3 => {
                    whole.state.begin_save();
                    let mut bytes = Vec::new();
                    while whole.state.save_next(&mut bytes).is_some() {}
                    parts.state.begin_save();
                    let mut others = Vec::new();
                    while parts.state.save_next(&mut others).is_some() {}
                    assert!(whole.state.assets.iter().all(|asset| !asset.is_on_lane), "{what}");
                }
                _ => {}
            }
        }
    }
    assert!(on_lane > 1_000, "{on_lane}");
}
