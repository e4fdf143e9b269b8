//! Documents of the plant in the stories, as some version may have them.

use serde_json::{Value, json};

/// A small generator, the same everywhere: splitmix64.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From zero to one less than this.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Copy>(&mut self, some: &[T]) -> T {
        some[self.below(some.len() as u64) as usize]
    }
}

/// Some version of the pumps' document. Later versions may hold from a time between these on, in
/// seconds; those keep the metrics of the version before, which has this `shape`.
pub fn pump(random: &mut Random, shape: &mut u64, past: Option<(i64, i64)>) -> Value {
    let past = past.filter(|_| random.one_in(2));
    if past.is_none() {
        *shape = random.below(24);
    }
    let mut metrics = json!({
        "temperature": {"unit": "Cel", "range": [-20, 105]},
        "flow": {"unit": "m3/h", "range": [0, 600]},
        "starts": {"type": if shape.is_multiple_of(3) { "double" } else { "integer" }},
        "state": {"type": "string"},
    });
    let mut derived = json!({
        "load": {"expr": "temperature * flow", "trigger": ["temperature", "flow"]},
        "per_start": {"sql": "load / starts"},
        "share": {"sql": "100 / CAST(starts AS BIGINT)"},
    });
    let mut mappings = vec![
        json!({"target": "temperature", "source": "TEMP"}),
        json!({"target": "flow", "source": "FLOW", "from_unit": "L/min", "optional": true}),
        json!({"target": "starts", "source": "STARTS", "optional": true}),
        json!({"target": "state", "source": "STATE", "optional": true}),
    ];
    if (*shape / 3).is_multiple_of(2) {
        metrics["on"] = json!({"type": "bool"});
        mappings.push(json!({"target": "on", "source": "ON"}));
    }
    if *shape / 6 == 0 {
        let metrics = metrics.as_object_mut().expect("metrics");
        metrics.remove("flow");
        mappings.remove(1);
        derived["load"] = json!({"expr": "temperature * 2"});
    }
    let mut time = json!({
        "out_of_order": random.pick(&["PT0S", "PT5S", "PT20S"]),
        "hot_horizon": random.pick(&["PT5M", "PT20M", "PT1H"]),
        "max_future_skew": "PT5M",
    });
    if let Some((first, now)) = past {
        // Within the shortest horizon, or further back than the longest.
        let back = [250, 9_000][random.below(2) as usize];
        let from = (now - random.below(back) as i64).max(first);
        let from = millstream::model::Timestamp(from * 1_000_000);
        time["effective_from"] = from.to_string().into();
    }
    let mut document = json!({
        "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "pump"},
        "time": time,
        "metric_definitions": metrics,
        "transformation_engine": {"mappings": mappings, "derived": derived},
        "health_algorithm": {"type": "weighted_deductions", "rules": [
            {"id": "hot", "metric": "temperature", "ramp": {"from": {"at": 60}, "to": {"at": 100, "deduct": 50}}},
            {"id": "tripped", "when": "state = 'tripped'", "deduct": 30, "hold": random.pick(&["PT0S", "PT1M"])}],
            "bands": [{"lt": 40, "name": "critical"}, {"lt": 80, "name": "degraded"}, {"name": "healthy"}]},
        "threshold_rules": thresholds(random),
        "event_rules": events(random),
    });
    if random.one_in(3) {
        document["aggregation_rules"] = json!([
            {"key": "hours", "metric": "*", "window": {"tumbling": "PT1H"}},
            {"key": "minutes", "metric": "*", "window": {"tumbling": random.pick(&["PT1M", "PT5M"])}}]);
    }
    document
}

fn thresholds(random: &mut Random) -> Value {
    let mut seconds = |most: u64| format!("PT{}S", random.below(most));
    let (on, off, brief) = (seconds(90), seconds(60), seconds(30));
    let mut levels = json!({
        "warning": {"op": "gt", "value": 60 + random.below(25), "deadband": {"abs": 3}, "on_delay": brief},
        "critical": {"op": "gt", "value": 85 + random.below(15), "deadband": {"abs": 5}, "on_delay": on, "off_delay": off},
    });
    if random.one_in(5) {
        levels.as_object_mut().expect("levels").remove("warning");
    }
    json!([
        {"id": "temperature_high", "metric": "temperature", "levels": levels},
        {"id": random.pick(&["is_tripped", "is_tripped", "has_tripped"]), "metric": "state",
         "levels": {"critical": {"op": "eq", "value": "tripped"}}},
        {"id": "loaded", "expr": "load > 20000", "levels": {"warning": {"off_delay": "PT10S"}}},
    ])
}

fn events(random: &mut Random) -> Value {
    let held = format!("PT{}S", 1 + random.below(60));
    let cooldown = format!("PT{}S", random.below(400));
    json!([
        {"id": "trip", "when": "state = 'tripped'", "event_type": "pump.tripped", "severity": "critical",
         "cooldown": cooldown, "message": "{{asset}} at {{metrics.temperature|1}} Cel, {{metrics.load|0}}"},
        {"id": "overheated", "when": "temperature > 90", "for": held, "event_type": "pump.overheated",
         "message": "{{metrics.temperature}} {{metrics.state}}"},
        {"id": "cooled", "when": "temperature > 80", "edge": "falling", "event_type": "pump.cooled"},
    ])
}

/// Some version of the fans' document. It has no rules but one.
pub fn fan(random: &mut Random) -> Value {
    let mut metrics = json!({"TEMP": {}, "ON": {"type": "bool"}});
    if random.one_in(2) {
        metrics["FLOW"] = json!({"type": random.pick(&["double", "integer"])});
    }
    let limit = 60 + random.below(40);
    json!({
        "apiVersion": "assets/v1", "kind": "AssetTypeProfile", "metadata": {"key": "fan"},
        "time": {"hot_horizon": "PT5M", "max_future_skew": "PT5M"},
        "metric_definitions": metrics,
        "threshold_rules": [{"id": "fan_hot", "metric": "TEMP",
            "levels": {"warning": {"op": "ge", "value": limit, "on_delay": "PT10S"}}}],
    })
}

pub fn device_types() -> [(&'static str, Value); 3] {
    let of = |key: &str, identity: Value, metrics: Value| {
        json!({"apiVersion": "devices/v1", "kind": "DeviceTypeProfile", "metadata": {"key": key},
            "identity": identity, "extraction_rules": metrics})
    };
    let metrics = json!([
        {"metric": "TEMP", "type": "double", "unit": "Cel"},
        {"metric": "FLOW", "type": "double", "unit": "L/min"},
        {"metric": "STARTS", "type": "integer"},
        {"metric": "STATE", "type": "string"},
        {"metric": "ON", "type": "bool"},
    ]);
    let provision = |pattern: &str, asset_type: &str, asset: &str| json!({"id_pattern": pattern, "provision": {"asset_type": asset_type, "asset": asset}});
    let probe =
        json!([{"metric": "TEMP", "type": "double"}, {"metric": "STATE", "type": "string"}]);
    [
        (
            "pump_box",
            of("pump_box", provision("^PUMP-(\\d+)$", "pump", "pump-$1"), metrics.clone()),
        ),
        ("fan_box", of("fan_box", provision("^FAN-(\\d+)$", "fan", "fan-$1"), metrics)),
        ("probe", of("probe", json!({}), probe)),
    ]
}

/// The key and the document of a link.
pub fn link(device: &str, asset: &str) -> (String, Value) {
    (format!("{device}->{asset}"), json!({"device": device, "asset": asset}))
}
