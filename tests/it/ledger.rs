//! What a client knows by itself: which points it sent, and which were acknowledged. Written to a
//! file of its own and synced, as by somebody who will ask for them later.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// The points of one pump: one temperature a second, whose value tells the second.
pub struct Ledger {
    file: File,
    pump: usize,
    next: i64,
    /// Sent at least once.
    sent: BTreeSet<i64>,
    acknowledged: BTreeSet<i64>,
}

/// The value of a second.
pub fn value(second: i64) -> f64 {
    second as f64 / 8.0
}

impl Ledger {
    pub fn new(folder: &Path, pump: usize) -> Self {
        let file = File::create(folder.join(format!("ledger-{pump}"))).unwrap();
        let (sent, acknowledged) = (BTreeSet::new(), BTreeSet::new());
        Self { file, pump, next: 0, sent, acknowledged }
    }

    pub fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// What was sent and not acknowledged, then new seconds: so many in all.
    pub fn take(&mut self, count: usize) -> Vec<i64> {
        let in_doubt = self.sent.difference(&self.acknowledged).copied();
        let mut seconds: Vec<i64> = in_doubt.take(count).collect();
        while seconds.len() < count {
            seconds.push(self.next);
            self.next += 1;
        }
        self.sent.extend(&seconds);
        let list = seconds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        writeln!(self.file, "sent {list}").unwrap();
        seconds
    }

    /// Notes a second that went another way.
    pub fn sent(&mut self, second: i64) {
        self.sent.insert(second);
    }

    /// Notes an acknowledgement, durably.
    pub fn acknowledge(&mut self, seconds: &[i64]) {
        self.acknowledged.extend(seconds);
        let list = seconds.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        writeln!(self.file, "acknowledged {list}").unwrap();
        self.file.sync_data().unwrap();
    }

    /// The messages of some seconds; `more` metrics go with each.
    pub fn messages(&self, seconds: &[i64], more: &Value) -> Value {
        let message = |second: &i64| {
            let mut metrics = more.clone();
            metrics["TEMP"] = value(*second).into();
            json!({"deviceId": format!("PUMP-{}", self.pump), "timestamp": BASE + second, "metrics": metrics})
        };
        Value::Array(seconds.iter().map(message).collect())
    }

    /// Everything acknowledged is in telemetry exactly once with its value, and nothing else that
    /// was not sent. Looks at some seconds only; an open end takes the rest.
    #[track_caller]
    pub fn check(&self, kept: &Kept, seconds: Range<i64>) {
        let pump = format!("pump-{}", self.pump);
        for second in self.acknowledged.range(seconds.clone()) {
            let found = kept.get(&(pump.clone(), *second));
            assert_eq!(found, Some(&(value(*second), 1)), "{pump}, second {second}: acknowledged");
        }
        for ((_, second), found) in kept.range((pump.clone(), seconds.start)..(pump, seconds.end)) {
            assert!(self.sent.contains(second), "second {second} was never sent");
            assert_eq!(*found, (value(*second), 1), "second {second}");
        }
    }

    pub fn next(&self) -> i64 {
        self.next
    }
}

/// Values and numbers of rows by asset and second.
pub type Kept = BTreeMap<(String, i64), (f64, i64)>;

/// The temperatures in telemetry from a second on.
pub async fn kept(server: &Server, from: i64) -> Kept {
    let from = BASE + from;
    let query = format!(
        "SELECT asset, CAST(date_part('epoch', event_time) AS BIGINT) AS at, max(value) AS value, \
         count(*) AS n FROM telemetry WHERE metric = 'temperature' \
         AND event_time >= to_timestamp({from}) GROUP BY 1, 2"
    );
    let row = |row: &Value| {
        let key = (row["asset"].as_str().unwrap().to_owned(), row["at"].as_i64().unwrap() - BASE);
        (key, (row["value"].as_f64().unwrap(), row["n"].as_i64().unwrap()))
    };
    server.sql(&query).await.iter().map(row).collect()
}
