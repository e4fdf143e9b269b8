//! Stories: what happens to a plant, step after step, the same for the same seed.

use super::documents::{self, Random};
use millstream::model::{Kind, NewDocument};
use serde_json::{Value, json};

/// Event times start here: 2023-11-14T22:10:00Z, in seconds.
const START: i64 = 1_699_999_800;
/// Pumps with a box of their own, and probes that are put here and there.
const PUMPS: u64 = 4;
const PROBES: u64 = 2;
/// How late messages are as a rule: more than the shortest horizon, less than the longest.
const LATE_SECONDS: u64 = 1_500;

/// What happens at one moment of the source's clock.
#[derive(Clone, Debug)]
pub struct Step {
    /// The clock, in seconds.
    pub now: i64,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// Messages in the order of their arrival. Where frames end among them does not matter.
    Telemetry(Vec<Value>),
    /// A message of now, and then, behind it, one from long before.
    LongAgo([Value; 2]),
    /// A document that is published or deleted; the catalog may refuse it.
    Document(NewDocument),
    /// Time passes and nothing comes.
    Silence,
}

/// Makes the steps of one story.
struct Author {
    random: Random,
    now: i64,
    /// Which metrics pumps have, and since when.
    shape: (u64, i64),
    /// Sent before: devices, times and metrics.
    sent: Vec<(String, i64, Value)>,
    /// Numbers of the pumps that were taken away.
    gone: Vec<u64>,
    steps: Vec<Step>,
}

/// The story of a seed; it may be a few steps longer.
pub fn story(seed: u64, length: usize) -> Vec<Step> {
    let mut random = Random(seed);
    let now = START + random.below(3_600) as i64;
    let (sent, gone, steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut author = Author { random, now, shape: (0, now), sent, gone, steps };
    author.found();
    if author.random.one_in(2) {
        author.days_before();
    }
    while author.steps.len() < length {
        author.go_on();
    }
    author.steps
}

impl Author {
    fn tell(&mut self, what: What) {
        self.steps.push(Step { now: self.now, what });
    }

    fn put(&mut self, kind: Kind, key: &str, body: Option<Value>) {
        let body = body.map(|body| body.to_string().into());
        self.tell(What::Document(NewDocument { kind, key: key.into(), body }));
    }

    fn found(&mut self) {
        self.pump(None);
        let fan = documents::fan(&mut self.random);
        self.put(Kind::AssetTypes, "fan", Some(fan));
        for (key, body) in documents::device_types() {
            self.put(Kind::DeviceTypes, key, Some(body));
        }
        for probe in 0..PROBES {
            let key = format!("PROBE-{probe}");
            let body = json!({"key": key, "device_type": "probe"});
            self.put(Kind::Devices, &key, Some(body));
        }
    }

    fn go_on(&mut self) {
        self.now += self.random.below(60) as i64;
        match self.random.below(100) {
            0..63 => self.telemetry(),
            63..76 => self.long_ago(),
            76..80 => {
                self.now += self.random.below(1_800) as i64;
                self.tell(What::Silence);
            }
            80..86 => {
                self.pump(Some((self.shape.1, self.now)));
            }
            86..88 => {
                let fan = documents::fan(&mut self.random);
                self.put(Kind::AssetTypes, "fan", Some(fan));
            }
            88..92 => self.relink(),
            92..95 => self.remove(),
            95..98 => self.remake(),
            _ => self.rename(),
        }
    }

    fn pump(&mut self, past: Option<(i64, i64)>) {
        let was = self.shape.0;
        let pump = documents::pump(&mut self.random, &mut self.shape.0, past);
        if self.shape.0 != was {
            self.shape.1 = self.now;
        }
        self.put(Kind::AssetTypes, "pump", Some(pump));
    }

    /// Days of two pumps, of which an asset forgets most.
    fn days_before(&mut self) {
        let mut messages = Vec::new();
        let mut time = self.now - 170_000;
        while time < self.now {
            for pump in 0..2 {
                let (device, metrics) = (format!("PUMP-{pump}"), self.metrics());
                let at = time / 5 * 5;
                self.sent.push((device.clone(), at, metrics.clone()));
                messages.push(json!({"deviceId": device, "timestamp": at, "metrics": metrics}));
            }
            time += 60 + self.random.below(9_000) as i64;
        }
        self.tell(What::Telemetry(messages));
    }

    fn telemetry(&mut self) {
        let many = 1 + self.random.below(10);
        let messages = (0..many).map(|_| self.message()).collect();
        self.tell(What::Telemetry(messages));
    }

    /// A message from so long ago that its rows are forgotten by every version of the documents, if
    /// there are any; it may take the place of one.
    fn long_ago(&mut self) {
        let device = format!("PUMP-{}", self.random.below(2));
        let long_ago = match self.sent.len() as u64 {
            many if many > 0 && self.random.one_in(2) => {
                self.sent[self.random.below(many) as usize].1
            }
            _ => self.now - 4_000 - self.random.below(200_000) as i64,
        };
        let (one, two) = (self.metrics(), self.metrics());
        let at = |time: i64, metrics: Value| json!({"deviceId": device, "timestamp": time, "metrics": metrics});
        let messages = [at(self.now / 5 * 5, one), at(long_ago / 5 * 5, two)];
        self.now += 5;
        self.tell(What::LongAgo(messages));
    }

    fn message(&mut self) -> Value {
        let random = &mut self.random;
        match random.below(30) {
            0 => return json!({"deviceId": "VALVE-1", "metrics": {"TEMP": 1}}),
            1 => {
                // The clock of a device is hours ahead.
                let time = self.now + 20_000 + random.below(90_000) as i64;
                let device = format!("PUMP-{}", random.below(PUMPS));
                return json!({"deviceId": device, "timestamp": time, "metrics": {"TEMP": 1}});
            }
            2 => {
                return json!({"deviceId": "PUMP-1", "timestamp": self.now, "metrics": {"TEMP": "hot", "NOISE": 1, "FLOW": 7}});
            }
            _ => {}
        }
        let again = self.sent.len().min(12) as u64;
        if again > 0 && random.one_in(6) {
            let place = self.sent.len() - 1 - random.below(again) as usize;
            let (device, time, metrics) = self.sent[place].clone();
            if self.now - time < LATE_SECONDS as i64 {
                // The same again, or another value of it.
                let metrics = if self.random.one_in(2) { metrics } else { self.metrics() };
                return json!({"deviceId": device, "timestamp": time, "metrics": metrics});
            }
        }
        let random = &mut self.random;
        let device = match random.below(8) {
            0 => format!("PROBE-{}", random.below(PROBES)),
            1 => "FAN-1".to_owned(),
            _ => format!("PUMP-{}", random.below(PUMPS)),
        };
        let late = if random.one_in(4) { random.below(LATE_SECONDS) } else { random.below(30) };
        let time = (self.now - late as i64) / 5 * 5;
        let quality =
            ["Good", "Good", "Good", "Good", "Uncertain", "Bad"][random.below(6) as usize];
        let metrics = self.metrics();
        self.sent.push((device.clone(), time, metrics.clone()));
        json!({"deviceId": device, "timestamp": time, "metrics": metrics, "quality": quality})
    }

    fn metrics(&mut self) -> Value {
        let random = &mut self.random;
        let mut metrics = json!({});
        if !random.one_in(8) {
            metrics["TEMP"] = (50.0 + random.below(240) as f64 / 4.0).into();
        }
        if random.one_in(3) {
            metrics["FLOW"] = (random.below(90) as f64 * 100.0).into();
        }
        if random.one_in(6) {
            metrics["STARTS"] = random.below(6).into();
        }
        if random.one_in(5) {
            metrics["STATE"] = ["running", "stopped", "tripped"][random.below(3) as usize].into();
        }
        if random.one_in(6) {
            metrics["ON"] = (random.below(2) == 0).into();
        }
        metrics
    }

    /// Puts a probe on a pump, or takes it off.
    fn relink(&mut self) {
        let (probe, pump) = (self.random.below(PROBES), self.random.below(PUMPS));
        let link = documents::link(&format!("PROBE-{probe}"), &format!("pump-{pump}"));
        let body = (!self.random.one_in(3)).then_some(link.1);
        self.put(Kind::Links, &link.0, body);
    }

    /// Takes a pump away, with all its links; at times its box too.
    fn remove(&mut self) {
        let pump = self.random.below(PUMPS);
        let (asset, device) = (format!("pump-{pump}"), format!("PUMP-{pump}"));
        for from in 0..PROBES {
            let link = documents::link(&format!("PROBE-{from}"), &asset);
            self.put(Kind::Links, &link.0, None);
        }
        self.put(Kind::Links, &documents::link(&device, &asset).0, None);
        self.put(Kind::Assets, &asset, None);
        if self.random.one_in(2) {
            // It is provisioned again when it sends, and its asset with it.
            self.put(Kind::Devices, &device, None);
        }
        self.gone.push(pump);
    }

    /// An asset under the key of one that was taken away, perhaps of another type.
    fn remake(&mut self) {
        if self.gone.is_empty() {
            return;
        }
        let at = self.random.below(self.gone.len() as u64) as usize;
        let pump = self.gone.swap_remove(at);
        let (asset, device) = (format!("pump-{pump}"), format!("PUMP-{pump}"));
        let asset_type = if self.random.one_in(4) { "fan" } else { "pump" };
        let body = json!({"key": asset, "asset_type": asset_type});
        self.put(Kind::Assets, &asset, Some(body));
        let link = documents::link(&device, &asset);
        self.put(Kind::Links, &link.0, Some(link.1));
    }

    /// Another name for people changes no view but that of the assets.
    fn rename(&mut self) {
        let asset = format!("pump-{}", self.random.below(PUMPS));
        let name = format!("number {}", self.random.below(100));
        let body = json!({"key": asset, "asset_type": "pump", "display_name": name});
        self.put(Kind::Assets, &asset, Some(body));
    }
}
