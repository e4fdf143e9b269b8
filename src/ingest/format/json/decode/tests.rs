use super::*;
use crate::ingest::route::testing::Plant;
use crate::ingest::route::{Message, Routed, Scalar, Settings};
use crate::model::Timestamp;
use arrow::array::{Array, AsArray};
use arrow::datatypes::Float64Type;

const NOW: i64 = 1_772_323_200_000_000;

fn route(body: &[u8], framing: Framing, device: Option<&str>) -> Routed {
    let plant = Plant::default();
    let mut router = Router::new(&plant, Settings::default(), "test", Timestamp(NOW));
    decode(body, framing, device, &mut router);
    router.finish()
}

/// Rows as `message device +seconds quality metric=value ...`, then refusals as `index reason`
/// with the bytes of the dead letter.
fn show(routed: &Routed) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &routed.batches {
        for row in 0..batch.len() {
            let mut line = format!(
                "{} {} {:+} {:x}",
                batch.messages()[row],
                batch.devices().value(row),
                (batch.event_times()[row] - NOW) / 1_000_000,
                batch.qualities()[row]
            );
            for (name, column) in batch.metrics().filter(|(_, column)| column.is_valid(row)) {
                let value = arrow::util::display::array_value_to_string(column, row).unwrap();
                line += &format!(" {name}={value}");
            }
            lines.push(line);
        }
    }
    for (one, letter) in routed.rejected.iter().zip(&routed.dead_letters) {
        let raw = String::from_utf8_lossy(&letter.raw);
        lines.push(format!("{} {} {raw}", one.index, one.reason));
    }
    lines
}

#[track_caller]
fn check_as(body: &str, framing: Framing, device: Option<&str>, expected: &[&str]) -> Routed {
    let routed = route(body.as_bytes(), framing, device);
    assert_eq!(show(&routed), expected, "{body}");
    routed
}

#[track_caller]
fn check(body: &str, expected: &[&str]) -> Routed {
    check_as(body, Framing::Detect, None, expected)
}

#[test]
fn the_three_forms_of_a_body() {
    let one = r#"{"deviceId":"pump-1","metrics":{"pressure":2.5,"starts":3,"running":true,"state":"on"},
        "timestamp":"2026-03-01T00:00:05Z","metadata":{"fw":[1,{"x":null}]},"messageId":7}"#;
    check(one, &["0 pump-1 +5 0 pressure=2.5 starts=3 running=true state=on"]);
    let two = r#" [ {"deviceId":"pump-1","metrics":{"pressure":1}} , {"deviceId":"pump-2","metrics":{"pressure":2}} ] "#;
    let rows = &["0 pump-1 +0 0 pressure=1.0", "1 pump-2 +0 0 pressure=2.0"];
    check(two, rows);
    let lines = "{\"deviceId\":\"pump-1\",\"metrics\":{\"pressure\":1}}\r\n\n{\"deviceId\":\"pump-2\",\"metrics\":{\"pressure\":2}}\n";
    check(lines, rows);
    check_as(lines, Framing::Lines, None, rows);
    check("[]", &[]);
    check(" \n", &["0 SYNTAX "]);
}

#[test]
fn timestamps_and_qualities() {
    for (timestamp, expected) in [
        (r#""2026-03-01T01:00:10+01:00""#, "0 pump-1 +10 0 pressure=1.0"),
        ("1772323210", "0 pump-1 +10 0 pressure=1.0"),
        ("1772323210.5", "0 pump-1 +10 0 pressure=1.0"),
        ("1772323210000", "0 pump-1 +10 0 pressure=1.0"),
        ("1772323210000000", "0 pump-1 +10 0 pressure=1.0"),
        ("1772323210000000000", "0 pump-1 +10 0 pressure=1.0"),
        (r#""1772323210000""#, "0 pump-1 +10 0 pressure=1.0"),
        ("null", "0 pump-1 +0 0 pressure=1.0"),
    ] {
        check(
            &format!(
                r#"{{"deviceId":"pump-1","metrics":{{"pressure":1}},"timestamp":{timestamp}}}"#
            ),
            &[expected],
        );
    }
    for (timestamp, reason) in
        [(r#""yesterday""#, "TS"), ("[1]", "TS"), ("true", "TS"), ("1772333210", "FUTURE_TS")]
    {
        let body = format!(
            r#"{{"deviceId":"pump-1","metrics":{{"pressure":1}},"timestamp":{timestamp}}}"#
        );
        check(&body, &[&format!("0 {reason} {body}")]);
    }
    let body = r#"{"deviceId":"pump-1","metrics":{"pressure":1},"quality":"Bad"}"#;
    check(body, &["0 pump-1 +0 80000000 pressure=1.0"]);
    let body = r#"{"deviceId":"pump-1","metrics":{"pressure":1},"quality":"so so"}"#;
    check(body, &[&format!("0 SCHEMA {body}")]);
}

#[test]
fn a_bad_element_never_loses_its_neighbours() {
    let good = r#"{"deviceId":"pump-1","metrics":{"pressure":1}}"#;
    let (first, last) = ("0 pump-1 +0 0 pressure=1.0", "2 pump-1 +0 0 pressure=1.0");
    // Inside an array: anything whose brackets match.
    for (bad, reason) in [
        ("7", "SCHEMA"),
        ("[1,2]", "SCHEMA"),
        (r#""text""#, "SCHEMA"),
        ("null", "SCHEMA"),
        (r#"{"deviceId":"pump-1"}"#, "SCHEMA"),
        (r#"{"metrics":{"pressure":1}}"#, "SCHEMA"),
        (r#"{"deviceId":"","metrics":{"pressure":1}}"#, "SCHEMA"),
        (r#"{"deviceId":5,"metrics":{"pressure":1}}"#, "SCHEMA"),
        (r#"{"deviceId":"pump-1","metrics":[1]}"#, "SCHEMA"),
        (r#"{"deviceId":"pump-1","metrics":"x"}"#, "SCHEMA"),
        (r#"{"deviceId":"alien","metrics":{"pressure":1}}"#, "UNKNOWN_DEVICE"),
    ] {
        let rows = [first, last, &format!("1 {reason} {bad}")];
        check(&format!("[{good},{bad},{good}]"), &rows);
        if !bad.starts_with('[') {
            check(&format!("{good}\n{bad}\n{good}"), &rows);
        }
        check_as(&format!("{good}\n{bad}\n{good}"), Framing::Lines, None, &rows);
    }
    // On a line: anything.
    for bad in [
        "garbage",
        r#"{"deviceId":"pump-1","metrics":{"pressure":1}"#,
        r#"{"deviceId":"pump-1","metrics":{"pressure":NaN}}"#,
        r#"{"deviceId":"pump-1","metrics":{"pressure":Infinity}}"#,
        r#"{"deviceId":"pump-1","metadata":"#,
        r#"{"deviceId":"pum"#,
        r#"{"deviceId":"pump-1",}"#,
    ] {
        let rows = [first, last, &format!("1 SYNTAX {bad}")];
        check(&format!("{good}\n{bad}\n{good}"), &rows);
        check_as(&format!("{good}\n{bad}\n{good}"), Framing::Lines, None, &rows);
    }
}

#[test]
fn a_bad_metric_never_loses_its_neighbours() {
    for (bad, reason) in [
        (r#""colour":1"#, "UNKNOWN_METRIC"),
        (r#""starts":"x""#, "VALUE"),
        (r#""starts":[1]"#, "VALUE"),
        (r#""starts":{"value":1}"#, "VALUE"),
        (r#""starts":18446744073709551615"#, "VALUE"),
        (r#""starts":1e999"#, "VALUE"),
        (r#""starts":"NaN""#, "VALUE"),
    ] {
        let body =
            format!(r#"{{"deviceId":"pump-1","metrics":{{"pressure":1,{bad},"state":"on"}}}}"#);
        let refused = format!("0 {reason} {body}");
        check(&body, &["0 pump-1 +0 0 pressure=1.0 state=on", &refused]);
    }
}

#[test]
fn a_broken_array_keeps_what_came_before() {
    let good = r#"{"deviceId":"pump-1","metrics":{"pressure":1}}"#;
    let first = "0 pump-1 +0 0 pressure=1.0";
    for (rest, raw) in [
        (" {\"a\":1}]", "{\"a\":1}]"),
        (",{\"deviceId\":\"pump-1\",\"metr", "{\"deviceId\":\"pump-1\",\"metr"),
        (", garbage, {}]", "garbage, {}]"),
        (",]", "]"),
        ("", ""),
    ] {
        let routed = check(&format!("[{good}{rest}"), &[first, &format!("1 SYNTAX {raw}")]);
        assert!(routed.rejected[0].detail.starts_with("the array breaks at byte "));
    }
}

#[test]
fn limits_hold() {
    let good = r#"{"deviceId":"pump-1","metrics":{"pressure":1}}"#;
    for deep in [
        format!(
            r#"{{"deviceId":"pump-1","metadata":{}}}"#,
            "[".repeat(100_000) + &"]".repeat(100_000)
        ),
        format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000)),
    ] {
        let routed = route(format!("[{deep},{good}]").as_bytes(), Framing::Detect, None);
        assert_eq!((routed.points, routed.rejected.len()), (1, 1));
        assert_eq!(routed.rejected[0].reason, Reason::Limit);
    }
    // Never closed: the rest is searched for an end a limited number of times.
    let open = r#"{"a":[ "#.repeat(20_000) + &"{\"a\":[\n".repeat(20_000);
    assert_eq!(route(open.as_bytes(), Framing::Detect, None).points, 0);
    let many = format!("{}\n", good).repeat(ELEMENTS_MAX as usize + 2);
    let routed = route(many.as_bytes(), Framing::Detect, None);
    assert_eq!((routed.points, routed.rejected.len()), (ELEMENTS_MAX as usize, 1));
    assert_eq!(routed.rejected[0].reason, Reason::Limit);
    let metrics: Vec<String> = (0..=METRICS_MAX).map(|i| format!("\"m{i}\":1")).collect();
    let wide = format!(r#"{{"deviceId":"pump-1","metrics":{{{}}}}}"#, metrics.join(","));
    let routed = route(wide.as_bytes(), Framing::Detect, None);
    assert_eq!((routed.rejected.len(), routed.rejected[0].reason), (1, Reason::Limit));
    let broken: &[u8] = b"{\"deviceId\":\"pump-1\",\"metrics\":{\"state\":\"\xff\"}}\n";
    let routed = route(&[broken, good.as_bytes()].concat(), Framing::Detect, None);
    assert_eq!((routed.points, routed.rejected[0].reason), (1, Reason::Syntax));
    assert_eq!(&*routed.dead_letters[0].raw, broken.trim_ascii_end());
}

#[test]
fn a_door_that_knows_the_device_takes_bare_metrics() {
    let row = &["0 pump-7 +5 0 pressure=2.5 starts=3"];
    let device = Some("pump-7");
    check_as(r#"{"pressure":2.5,"starts":3,"ts":1772323205}"#, Framing::Detect, device, row);
    let full = r#"{"metrics":{"pressure":2.5,"starts":3},"ts":1772323205}"#;
    check_as(full, Framing::Detect, device, row);
    let own =
        r#"{"noise":1,"metrics":{"pressure":2.5,"starts":3},"ts":1772323205,"deviceId":"pump-8"}"#;
    check_as(own, Framing::Detect, device, &["0 pump-8 +5 0 pressure=2.5 starts=3"]);
}

/// A generator of numbers that is the same everywhere (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn random_message(random: &mut Random) -> Message<'static> {
    let names = ["pressure", "starts", "running", "state"];
    let mut metrics = Vec::new();
    for (i, name) in names.into_iter().enumerate() {
        let value = match (i, random.next() % 5) {
            (_, 0) => continue,
            // Up to 15 digits, as sensors have them, come back exactly.
            (0, _) => Scalar::Double((random.next() % 1_000_000_000) as f64 / 1e4),
            (1, _) => Scalar::Integer(random.next() as i64),
            (2, _) => Scalar::Bool(random.next().is_multiple_of(2)),
            _ => Scalar::Text(format!("\"{}\\ \n\u{1f600}é", random.next() % 9).into()),
        };
        metrics.push((name.into(), value));
    }
    let event_time = Some(Timestamp(NOW - (random.next() % 1_000_000_000_000) as i64));
    let device = Some(format!("pump-{}", random.next() % 20).into());
    Message { device, metrics, event_time, ..Message::default() }
}

fn to_json(message: &Message) -> String {
    let mut metrics = serde_json::Map::new();
    for (name, value) in &message.metrics {
        let value = match value {
            Scalar::Double(value) => (*value).into(),
            Scalar::Integer(value) => (*value).into(),
            Scalar::Bool(value) => (*value).into(),
            Scalar::Text(text) => text.to_string().into(),
            Scalar::Null | Scalar::Other(_) => serde_json::Value::Null,
        };
        metrics.insert(name.to_string(), value);
    }
    let timestamp = message.event_time.unwrap().to_string();
    serde_json::json!({"deviceId": message.device, "metrics": metrics, "timestamp": timestamp})
        .to_string()
}

#[test]
fn random_messages_survive_the_round_trip() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let plant = Plant::default();
        let mut expected = Router::new(&plant, Settings::default(), "test", Timestamp(NOW));
        let messages: Vec<_> = (0..50).map(|_| random_message(&mut random)).collect();
        let texts: Vec<_> = messages.iter().map(to_json).collect();
        for message in &messages {
            expected.message(message, b"");
        }
        let expected = expected.finish();
        for body in [format!("[{}]", texts.join(", ")), texts.join("\n")] {
            let found = route(body.as_bytes(), Framing::Detect, None);
            assert_eq!(found.batches, expected.batches);
            assert!(found.rejected.is_empty());
        }
    }
}

#[test]
fn random_damage_never_panics_and_is_always_told() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let texts: Vec<_> = (0..5).map(|_| to_json(&random_message(&mut random))).collect();
        let mut body = texts.join("\n").into_bytes();
        for _ in 0..1 + random.next() % 4 {
            let at = random.next() as usize % body.len();
            body[at] = b"{}[],:\"\n\x00\xff0"[random.next() as usize % 11];
        }
        let routed = route(&body, Framing::Detect, None);
        let rows: usize = routed.batches.iter().map(|batch| batch.len()).sum();
        assert!(rows + routed.rejected.len() > 0, "seed {seed}");
        for batch in &routed.batches {
            for (_, column) in batch.metrics() {
                if let Some(column) = column.as_primitive_opt::<Float64Type>() {
                    assert!(column.iter().flatten().all(f64::is_finite), "seed {seed}");
                }
            }
        }
    }
}
