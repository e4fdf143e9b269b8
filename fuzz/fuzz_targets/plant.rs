//! The plant whose telemetry is fuzzed: one metric of each type.

use millstream::ingest::route::{
    DeviceShape, Directory, Metrics, Provisioned, Routed, Router, Settings,
};
use millstream::model::{DataType, Duration, Kind, NewDocument, Timestamp};
use std::sync::Arc;

pub struct Plant(Arc<Metrics>);

impl Plant {
    pub fn new() -> Self {
        Self(Metrics::new([
            ("p", DataType::Double),
            ("n", DataType::Integer),
            ("on", DataType::Bool),
            ("s", DataType::String),
        ]))
    }

    /// What becomes of a body that was received at a time.
    pub fn route(&self, decode: impl FnOnce(&mut Router)) -> Routed {
        let received_at = Timestamp(1_767_225_600_000_000);
        let mut router = Router::new(self, Settings::default(), "fuzz", received_at);
        decode(&mut router);
        let elements = router.elements();
        let routed = router.finish();
        check(&routed, elements);
        routed
    }
}

impl Directory for Plant {
    /// `d...` are known.
    fn device(&self, key: &str) -> Option<DeviceShape> {
        let max_future_skew = Duration(300_000_000);
        key.starts_with('d').then(|| DeviceShape { metrics: Arc::clone(&self.0), max_future_skew })
    }

    /// `n...` become known.
    fn provision(&self, key: &str) -> Option<Provisioned> {
        key.strip_prefix('n')?;
        let body = Some("{}".into());
        let document = NewDocument { kind: Kind::Devices, key: key.into(), body };
        Some(Provisioned { documents: vec![document], shape: self.device("d")? })
    }
}

/// What must hold of everything that is routed.
fn check(routed: &Routed, elements: u32) {
    let points: usize = routed.batches.iter().map(|batch| batch.points()).sum();
    assert_eq!(routed.points, points, "points are counted");
    for batch in &routed.batches {
        assert!(!batch.is_empty(), "no batch is empty");
        assert!(batch.messages().iter().all(|ordinal| *ordinal < routed.messages));
    }
    assert!(routed.rejected.iter().all(|one| one.index < elements), "what is refused was there");
    assert!(routed.rejected.is_sorted_by_key(|one| one.index), "in the order of the body");
    assert!(
        routed.rejected.is_empty() == routed.dead_letters.is_empty(),
        "what is refused is kept"
    );
}
