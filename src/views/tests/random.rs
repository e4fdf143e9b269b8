//! Random sequences of changes: what subscribers hear folds to what readers see, at every epoch.

use super::asked::Elsewhere;
use super::*;
use crate::model::{ErrorRow, FleetThresholdRow, Occurrence};
use futures::FutureExt;
use std::collections::BTreeMap;

/// A small generator (xorshift64*), so that a printed seed is all it takes to repeat a run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the dataflow would know: it makes changes that fit what it said before.
struct Plant {
    random: Random,
    layout: [u64; 2],
    version: u32,
    events: Vec<EventRow>,
    occurrences: Vec<Occurrence>,
    fleet: Vec<FleetThresholdRow>,
    errors: Vec<ErrorRow>,
}

/// Two layouts of a type that differ in metrics, rules and bands.
fn body(key: u64, layout: u64) -> String {
    let (metrics, band) = match layout {
        0 => (r#""a": {}, "b": {"type": "bool"}"#, "bad"),
        1 => (r#""b": {"type": "bool"}, "a": {}"#, "bad"),
        2 => (r#""a": {}, "b": {"type": "bool"}"#, "worse"),
        _ => (r#""c": {"type": "integer"}, "a": {"unit": "s"}, "d": {}"#, "worse"),
    };
    format!(
        r#"{{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
        "metadata": {{"key": "t{key}"}}, "metric_definitions": {{{metrics}}},
        "health_algorithm": {{"type": "weighted_deductions", "bands": [
            {{"lt": 50, "name": "{band}"}}, {{"name": "good"}}],
            "rules": [{{"id": "x", "when": "true", "deduct": 1}}]}},
        "threshold_rules": [{{"id": "r{layout}", "metric": "a", "levels": {{}}}}]}}"#
    )
}

impl Plant {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(0x9E37_79B9_7F4A_7C15u64.wrapping_mul(seed)),
            layout: [0, 0],
            version: 0,
            events: Vec::new(),
            occurrences: Vec::new(),
            fleet: Vec::new(),
            errors: Vec::new(),
        }
    }

    fn stride(&self, key: u64, table: Table) -> usize {
        let slim = self.layout[key as usize] < 3;
        match table {
            Table::Latest => 3 * if slim { 2 } else { 3 },
            Table::Health => 3,
            Table::Thresholds => 3,
            Table::Rollups(_) => 1 + 6 * if slim { 1 } else { 3 },
        }
    }

    fn publish(&mut self, key: u64, changes: &mut Vec<Change>) {
        let old = self.layout[key as usize];
        let new = self.random.below(4);
        self.layout[key as usize] = new;
        self.version += 1;
        let document = document(
            Kind::AssetTypes,
            &format!("t{key}"),
            key as u32,
            self.version,
            &body(key, new),
        );
        changes.push(Change::Documents(vec![(document, 1)]));
        // Layouts 0 and 2 differ only in what rows are called.
        if (old, new) != (0, 2) && (old, new) != (2, 0) && old != new {
            for table in [Table::Latest, Table::Rollups(Window::Minute)] {
                changes.push(Change::Reset(TypeId(key as u32), table));
            }
        }
        if self.random.chance(50) {
            changes.push(Change::Reset(TypeId(key as u32), Table::Thresholds));
        }
    }

    fn upserts(&mut self, table: Table) -> Change {
        let key = self.random.below(2);
        let stride = self.stride(key, table);
        let rows = self.random.below(6) as usize;
        let mut upserts = Upserts {
            asset_type: TypeId(key as u32),
            table,
            stride,
            assets: Vec::new(),
            windows: Vec::new(),
            words: Vec::new(),
        };
        for _ in 0..rows {
            upserts.assets.push((self.random.below(5) * 2 + key) as u32);
            if matches!(table, Table::Rollups(_)) {
                upserts.windows.push(self.random.below(3) as i64 * 60_000_000);
            }
            for word in 0..stride {
                let float = (self.random.below(100) as f64).to_bits();
                let time = [self.random.below(3), NEVER][usize::from(self.random.chance(20))];
                upserts.words.push(match (table, word) {
                    (Table::Latest | Table::Thresholds, word) if word % 3 == 1 => time,
                    (Table::Thresholds, _) => self.random.below(3),
                    (Table::Health, 0) => time,
                    (Table::Rollups(_), word) if word % 6 <= 1 => self.random.below(3),
                    (Table::Latest, word) if word % 3 == 2 => self.random.below(2) << 31,
                    _ if self.random.chance(10) => f64::NAN.to_bits(),
                    _ => float,
                });
            }
        }
        Change::Upserts(upserts)
    }

    fn epoch(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for key in 0..2 {
            if self.version < 2 || self.random.chance(10) {
                self.publish(key, &mut changes);
            }
        }
        let tables =
            [Table::Latest, Table::Health, Table::Thresholds, Table::Rollups(Window::Minute)];
        for table in tables {
            for _ in 0..self.random.below(3) {
                changes.push(self.upserts(table));
            }
        }
        let random = &mut self.random;
        let text = |random: &mut Random, what: &str| -> Arc<str> {
            format!("{what}{}", random.below(4)).into()
        };
        let event = EventRow {
            asset: format!("a{}", random.below(3)).into(),
            rule: text(random, "r"),
            event_type: "e".into(),
            severity: "info".into(),
            event_time: random.below(4) as i64,
            message: "m".into(),
            suppressed: false,
        };
        // Keys of events are unique, as those of rules at one event time are.
        if !self.events.contains(&event) {
            changes.push(Change::Events(turn(random, &mut self.events, event)));
        }
        let error = ErrorRow {
            asset: text(random, "a"),
            source: "s".into(),
            event_time: random.below(3) as i64,
            message: "m".into(),
        };
        if !self.errors.contains(&error) {
            changes.push(Change::Errors(turn(random, &mut self.errors, error)));
        }
        let since = random.below(5) as i64;
        let occurrence = Occurrence {
            asset: text(random, "a"),
            rule: "r".into(),
            level: "warning".into(),
            since,
            raised: since,
            condition_end: random.chance(50).then_some(9),
            cleared: None,
        };
        changes.push(Change::Occurrences(replace(&mut self.occurrences, occurrence, |a, b| {
            (&a.asset, a.since) == (&b.asset, b.since)
        })));
        let fleet = FleetThresholdRow {
            rule: text(random, "r"),
            level: "normal".into(),
            assets: random.below(3),
        };
        changes.push(Change::FleetThresholds(replace(&mut self.fleet, fleet, |a, b| {
            a.rule == b.rule
        })));
        for i in (1..changes.len()).rev() {
            changes.swap(i, self.random.below(i as u64 + 1) as usize);
        }
        changes
    }
}

/// Inserts the row, and now and then retracts another.
fn turn<R: Clone>(random: &mut Random, rows: &mut Vec<R>, row: R) -> Vec<(R, i64)> {
    let mut changes = vec![(row.clone(), 1)];
    if rows.len() > 3 {
        let gone = rows.swap_remove(random.below(rows.len() as u64) as usize);
        changes.push((gone, -1));
    }
    rows.push(row);
    changes
}

/// Inserts the row in the place of the one that has the same key.
fn replace<R: Clone>(rows: &mut Vec<R>, row: R, same: impl Fn(&R, &R) -> bool) -> Vec<(R, i64)> {
    let mut changes = vec![(row.clone(), 1)];
    if let Some(place) = rows.iter().position(|other| same(other, &row)) {
        changes.push((rows.swap_remove(place), -1));
    }
    rows.push(row);
    changes
}

/// Views that are asked what has changed.
const TABLES: [&str; 6] =
    ["asset_metrics", "asset_health", "threshold_states", "rollups_1m", "asset_types", "assets"];

/// A client that keeps a view up to date by what it is told.
struct Client {
    view: &'static str,
    filter: Filter,
    key: Vec<usize>,
    subscription: Subscription,
    rows: BTreeMap<String, i64>,
    by_key: BTreeMap<Vec<String>, String>,
}

impl Client {
    fn new(views: &Views, view: &'static str, filter: &Filter, envelope: Envelope) -> Self {
        let subscription = views.subscribe(view, filter.clone(), envelope).unwrap();
        let key = View::parse(view).unwrap().key();
        let key = key.iter().map(|name| subscription.schema.index_of(name).unwrap()).collect();
        let mut client = Self {
            view,
            filter: filter.clone(),
            key,
            rows: BTreeMap::new(),
            by_key: BTreeMap::new(),
            subscription,
        };
        for line in lines(&client.subscription.snapshot.clone()) {
            client.take(&line, if envelope == Envelope::Diff { "1" } else { "upsert" });
        }
        client
    }

    fn take(&mut self, line: &str, op: &str) {
        let cells: Vec<&str> = line.split('|').collect();
        let key: Vec<String> = self.key.iter().map(|i| cells[*i].to_owned()).collect();
        match op {
            "upsert" => {
                self.by_key.insert(key, line.into());
            }
            "delete" => assert!(self.by_key.remove(&key).is_some(), "{}: {line}", self.view),
            diff => {
                let count = self.rows.entry(line.into()).or_default();
                *count += diff.parse::<i64>().unwrap();
                assert!(*count >= 0, "{}: {line} retracted before it came", self.view);
                if *count == 0 {
                    self.rows.remove(line);
                }
            }
        }
    }

    fn follow(&mut self, epoch: Epoch) {
        while let Some(Some(message)) = self.subscription.next().now_or_never() {
            let Message::Batch(delta) = message else { continue };
            assert_eq!(delta.epoch, epoch, "{}", self.view);
            let mut told = lines(std::slice::from_ref(&delta.rows));
            assert!(!told.is_empty());
            let unique = told.len();
            for line in &told {
                let (line, op) = line.rsplit_once('|').unwrap();
                self.take(line, op);
            }
            told.sort();
            told.dedup();
            assert_eq!(told.len(), unique, "{}: a row was told twice", self.view);
        }
    }

    fn contents(&self) -> Vec<String> {
        let multiset = self.rows.iter().flat_map(|(line, count)| {
            std::iter::repeat_n(line.clone(), usize::try_from(*count).unwrap())
        });
        let mut contents: Vec<String> = multiset.chain(self.by_key.values().cloned()).collect();
        contents.sort();
        contents
    }
}

#[test]
fn every_subscription_folds_to_the_snapshot_at_every_epoch() {
    for seed in 1..=12 {
        run(seed);
    }
}

fn fresh() -> Views {
    Views::with_clock(Limits::default(), Arc::new(ManualClock::at(0)))
}

#[test]
fn contents_that_were_read_back_go_on_alike() {
    for seed in 1..=12 {
        let (views, mut plant) = (fresh(), Plant::new(seed));
        let assets = (0..10).map(|id| {
            let body = format!(r#"{{"asset_type": "t{}"}}"#, id % 2);
            (document(Kind::Assets, &format!("a{id}"), id, 1, &body), 1)
        });
        let mut first = plant.epoch();
        first.push(Change::Documents(assets.collect()));
        views.apply(Epoch(1), first);
        let mut again = None;
        let mut elsewhere = TABLES.map(Elsewhere::new);
        let mut late = Random(seed);
        for epoch in 2..50 {
            if epoch == 10 + seed {
                // What comes later is not in the image, also when it is written after that.
                let image = views.image().unwrap();
                let changes = plant.epoch();
                views.apply(Epoch(epoch), changes.clone());
                let mut bytes = Vec::new();
                image.write(&mut bytes).unwrap();
                let restored = Image::read(&bytes, Limits::default()).unwrap();
                assert_eq!((image.epoch(), restored.epoch()), (Epoch(epoch - 1), Epoch(epoch - 1)));
                let other = fresh();
                other.restore(restored);
                assert_eq!(other.epoch(), Epoch(epoch - 1));
                other.apply(Epoch(epoch), changes);
                again = Some(other);
                assert!(Image::read(&bytes[..bytes.len() - 1], Limits::default()).is_err());
                continue;
            }
            let changes = plant.epoch();
            let Some(again) = &again else {
                views.apply(Epoch(epoch), changes);
                for table in elsewhere.iter_mut().filter(|_| late.chance(30)) {
                    table.ask(&views, &format!("seed {seed}, epoch {epoch}"));
                }
                continue;
            };
            views.apply(Epoch(epoch), changes.clone());
            again.apply(Epoch(epoch), changes);
            // Whoever has asked before, if he did, goes on asking what was read back.
            for table in &mut elsewhere {
                if late.chance(40) {
                    table.ask(again, &format!("seed {seed}, epoch {epoch}"));
                }
            }
            for view in View::ALL {
                let of = |views: &Views| show(views, view.name(), &Filter::default());
                assert_eq!(of(again), of(&views), "seed {seed}, epoch {epoch}, {view}");
            }
        }
    }
}

fn run(seed: u64) {
    let (views, mut plant) = (fresh(), Plant::new(seed));
    let assets = (0..10).map(|id| {
        let body = format!(r#"{{"asset_type": "t{}"}}"#, id % 2);
        (document(Kind::Assets, &format!("a{id}"), id, 1, &body), 1)
    });
    let mut first = plant.epoch();
    first.push(Change::Documents(assets.collect()));
    views.apply(Epoch(1), first);
    let asset = Filter { asset: Some("a2".into()), ..Filter::default() };
    let asset_type = Filter { asset_type: Some("t1".into()), ..Filter::default() };
    let metric = Filter { metric: Some("a".into()), ..Filter::default() };
    let mut clients: Vec<Client> = Vec::new();
    for epoch in 2..40 {
        // Some subscribe late, so that snapshots of all ages are folded.
        if epoch == 2 || epoch == 20 {
            for view in View::ALL {
                for filter in [&Filter::default(), &asset, &asset_type, &metric] {
                    for envelope in [Envelope::Diff, Envelope::Upsert] {
                        if views.subscribe(view.name(), filter.clone(), envelope).is_ok() {
                            clients.push(Client::new(&views, view.name(), filter, envelope));
                        }
                    }
                }
            }
        }
        views.apply(Epoch(epoch), plant.epoch());
        for client in &mut clients {
            client.follow(Epoch(epoch));
            let mut expected = show(&views, client.view, &client.filter);
            expected.sort();
            assert_eq!(
                client.contents(),
                expected,
                "seed {seed}, epoch {epoch}, {} by {:?}",
                client.view,
                client.filter
            );
        }
    }
}

#[test]
fn readers_see_whole_epochs_only() {
    let views = pump();
    let writer = std::thread::spawn({
        let views = views.clone();
        move || {
            for epoch in 2..2_000u64 {
                let health =
                    upserts(Table::Health, 0, None, &[epoch, (epoch as f64).to_bits(), 0, 0]);
                let threshold = upserts(Table::Thresholds, 0, None, &[0, 1, epoch]);
                views.apply(Epoch(epoch), vec![health, latest(0, epoch as f64, 1), threshold]);
            }
        }
    });
    let mut last = Epoch(0);
    while !writer.is_finished() {
        let names = ["asset_health", "asset_metrics", "threshold_states"];
        let (epoch, rows) = views.snapshot(&names, &Filter::default()).unwrap();
        assert!(epoch >= last);
        last = epoch;
        if epoch.0 < 2 {
            continue;
        }
        let number = format!("{:?}", epoch.0 as f64);
        assert!(lines(&rows[0])[0].contains(&format!("|{number}|")), "{epoch}");
        assert!(lines(&rows[1])[0].contains(&format!("|{number}|")), "{epoch}");
        assert!(lines(&rows[2])[0].ends_with(&format!("|{}", epoch.0)), "{epoch}");
    }
    writer.join().unwrap();
}
