use super::*;
use crate::ingest::route::testing::Plant;
use crate::model::{DataType, Kind};
use arrow::util::pretty::pretty_format_batches;

const NOW: i64 = 1_772_323_200_000_000;

fn message<'a>(device: &'a str, metrics: &[(&'a str, Scalar<'a>)]) -> Message<'a> {
    let metrics = metrics.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Message { device: Some(device.into()), metrics, ..Message::default() }
}

fn check(settings: Settings, messages: &[Message], batches: &str, refused: &str) -> Routed {
    let plant = Plant::default();
    let mut router = Router::new(&plant, settings, "test", Timestamp(NOW));
    for message in messages {
        router.message(message, b"raw");
    }
    let routed = router.finish();
    let rows: Vec<_> = routed.batches.iter().map(|batch| batch.rows().clone()).collect();
    let found: String = rows
        .iter()
        .map(|rows| pretty_format_batches(std::slice::from_ref(rows)).unwrap().to_string() + "\n")
        .collect();
    assert_eq!(found.trim(), batches.trim());
    let found: Vec<_> = routed
        .rejected
        .iter()
        .map(|one| format!("{} {} {}", one.index, one.metric.as_deref().unwrap_or("-"), one.reason))
        .collect();
    assert_eq!(found.join(", "), refused);
    routed
}

#[test]
fn one_bad_metric_loses_only_itself() {
    let messages = [message(
        "pump-1",
        &[
            ("pressure", Scalar::Double(2.5)),
            ("colour", Scalar::Integer(1)),
            ("starts", Scalar::Double(0.5)),
            ("running", Scalar::Null),
        ],
    )];
    let routed = check(
        Settings::default(),
        &messages,
        "
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| device | event_time           | quality | message | pressure | starts | running | state |
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| pump-1 | 2026-03-01T00:00:00Z | 0       | 0       | 2.5      |        |         |       |
+--------+----------------------+---------+---------+----------+--------+---------+-------+",
        "0 colour UNKNOWN_METRIC, 0 starts VALUE",
    );
    assert_eq!(routed.points, 1);
    assert_eq!(routed.dead_letters.len(), 2);
    assert_eq!(&*routed.dead_letters[0].raw, b"raw");
}

#[test]
fn devices_of_a_type_share_a_batch_and_types_do_not() {
    let messages = [
        message("pump-1", &[("pressure", Scalar::Integer(1))]),
        message("well-1", &[("P-TPT", Scalar::Integer(2))]),
        message("pump-2", &[("pressure", Scalar::Integer(3)), ("pressure", Scalar::Integer(4))]),
    ];
    check(
        Settings::default(),
        &messages,
        "
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| device | event_time           | quality | message | pressure | starts | running | state |
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| pump-1 | 2026-03-01T00:00:00Z | 0       | 0       | 1.0      |        |         |       |
| pump-2 | 2026-03-01T00:00:00Z | 0       | 2       | 4.0      |        |         |       |
+--------+----------------------+---------+---------+----------+--------+---------+-------+
+--------+----------------------+---------+---------+-------+
| device | event_time           | quality | message | P-TPT |
+--------+----------------------+---------+---------+-------+
| well-1 | 2026-03-01T00:00:00Z | 0       | 1       | 2.0   |
+--------+----------------------+---------+---------+-------+",
        "",
    );
}

#[test]
fn unknown_devices_are_provisioned_once_or_refused() {
    let metrics: &[(&str, Scalar)] = &[("pressure", Scalar::Integer(1))];
    let messages =
        [message("new-1", metrics), message("new-1", metrics), message("alien", metrics)];
    let rows = "
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| device | event_time           | quality | message | pressure | starts | running | state |
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| new-1  | 2026-03-01T00:00:00Z | 0       | 0       | 1.0      |        |         |       |
| new-1  | 2026-03-01T00:00:00Z | 0       | 1       | 1.0      |        |         |       |
+--------+----------------------+---------+---------+----------+--------+---------+-------+";
    let routed = check(Settings::default(), &messages, rows, "2 - UNKNOWN_DEVICE");
    assert_eq!(routed.documents.len(), 1);
    assert_eq!(routed.documents[0].kind, Kind::Devices);
    let settings = Settings { unknown_devices: UnknownDevices::Reject, ..Settings::default() };
    let all = "0 - UNKNOWN_DEVICE, 1 - UNKNOWN_DEVICE, 2 - UNKNOWN_DEVICE";
    let routed = check(settings, &messages, "", all);
    assert_eq!((routed.documents.len(), routed.messages), (0, 3));
}

#[test]
fn the_future_is_refused() {
    let mut early = message("pump-1", &[("pressure", Scalar::Integer(1))]);
    let mut late = early.clone();
    early.event_time = Some(Timestamp(NOW + 60_000_000));
    late.event_time = Some(Timestamp(NOW + 60_000_001));
    check(
        Settings::default(),
        &[late, early],
        "
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| device | event_time           | quality | message | pressure | starts | running | state |
+--------+----------------------+---------+---------+----------+--------+---------+-------+
| pump-1 | 2026-03-01T00:01:00Z | 0       | 1       | 1.0      |        |         |       |
+--------+----------------------+---------+---------+----------+--------+---------+-------+",
        "0 - FUTURE_TS",
    );
}

#[test]
fn dead_letters_stay_small() {
    let names: Vec<String> = (0..100).map(|i| format!("m{i}")).collect();
    let metrics: Vec<_> = names.iter().map(|name| (name.as_str(), Scalar::Integer(1))).collect();
    let plant = Plant::default();
    let mut router = Router::new(&plant, Settings::default(), "test", Timestamp(NOW));
    router.message(&message("pump-1", &metrics), &vec![b'x'; 1_000_000]);
    let routed = router.finish();
    assert_eq!((routed.rejected.len(), routed.dead_letters.len()), (100, 1));
    assert_eq!(routed.dead_letters[0].raw.len(), RAW_BYTES_MAX);
    assert!(routed.dead_letters[0].detail.ends_with("; and 92 more"));
    assert_eq!(DataType::Double, plant.pump.types()[0]);
}
