use super::*;
use crate::historian::{Historian, Options};
use crate::model::{Document, Epoch, Kind as DocumentKind, Rows, Timestamp, TypeId};
use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const START: i64 = 1_772_323_200_000_000;
const DAY: i64 = 86_400_000_000;
const TYPE: &str = r#"{"apiVersion": "assets/v1", "kind": "AssetTypeProfile",
    "metadata": {"key": "pump"}, "metric_definitions": {"speed": {}, "flow": {}}}"#;

/// One view, and an epoch that tests set.
struct OneView(Mutex<Epoch>);

impl OneView {
    fn batch() -> RecordBatch {
        let assets: ArrayRef = Arc::new(StringArray::from(vec!["p-0", "p-1", "p-2"]));
        let scores: ArrayRef = Arc::new(Float64Array::from(vec![Some(10.0), Some(90.0), None]));
        RecordBatch::try_from_iter([("asset", assets), ("score", scores)]).unwrap()
    }
}

impl ViewSource for OneView {
    fn list(&self) -> Vec<(String, SchemaRef)> {
        vec![("asset_health".into(), Self::batch().schema())]
    }

    fn snapshot(&self, names: &[&str]) -> Result<Contents, String> {
        let views = names.iter().map(|_| vec![Self::batch()].into()).collect();
        let removed = std::collections::HashMap::new();
        let epoch = *self.0.lock().unwrap();
        Ok(Contents { epoch, clock: Timestamp::MIN, removed, views })
    }
}

struct Street {
    query: Query,
    historian: Arc<Historian>,
    views: Arc<OneView>,
    epoch: u64,
    expected: BTreeMap<(String, String, i64), f64>,
    _directory: tempfile::TempDir,
}

impl Street {
    fn new(limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let historian = Arc::new(Historian::open(directory.path(), Options::default()).unwrap());
        let document = |kind, id, body: String| Document {
            kind,
            key: "k".into(),
            id,
            version: 1,
            effective_from: Timestamp::MIN,
            body: Some(body.into()),
        };
        let types = document(DocumentKind::AssetTypes, 0, TYPE.into());
        historian.apply_document(&types).unwrap();
        for id in 0..4 {
            let asset = format!(r#"{{"key": "p-{id}", "asset_type": "pump"}}"#);
            historian.apply_document(&document(DocumentKind::Assets, id, asset)).unwrap();
            let device = format!(r#"{{"key": "d-{id}", "device_type": "box"}}"#);
            historian.apply_document(&document(DocumentKind::Devices, id, device)).unwrap();
        }
        let views = Arc::new(OneView(Mutex::default()));
        let source: Arc<dyn ViewSource> = Arc::clone(&views) as _;
        let system = Arc::new(NoSystemTables);
        let query = Query::new(source, system, Arc::clone(&historian), limits).unwrap();
        let expected = BTreeMap::new();
        Self { query, historian, views, epoch: 0, expected, _directory: directory }
    }

    fn accept(&mut self, points: &[(u32, u32, i64, f64)]) {
        self.epoch += 1;
        let epoch = Epoch(self.epoch);
        let mut rows = Rows::new(TypeId(0), 2);
        let mut superseded = Vec::new();
        for (asset, slot, time, value) in points.iter().copied() {
            rows.assets.push(asset);
            rows.devices.push(asset);
            rows.times.push(time);
            rows.messages.push(0);
            rows.fresh.push(1 << slot);
            rows.quality.extend([0; 2]);
            let mut words = [0; 2];
            words[slot as usize] = value.to_bits();
            rows.words.extend(words);
            let metric = ["speed", "flow"][slot as usize].to_string();
            if self.expected.insert((format!("p-{asset}"), metric, time), value).is_some() {
                superseded.push((TypeId(0), asset, slot, time));
            }
        }
        self.historian.accept(epoch, rows).unwrap();
        self.historian.superseded(epoch, &superseded).unwrap();
        self.historian.close_epoch(epoch, Timestamp(0));
        *self.views.0.lock().unwrap() = epoch;
    }

    async fn table(&self, sql: &str) -> String {
        let answer = self.query.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        let bytes = render(answer, Form::Table, Vec::new()).await;
        String::from_utf8(bytes.unwrap_or_else(|e| panic!("{sql}: {e:?}"))).unwrap()
    }

    async fn error(&self, sql: &str) -> Error {
        match self.query.sql(sql).await {
            Ok(answer) => match answer.collect().await {
                Ok(batches) => panic!("{sql}: {}", pretty_format_batches(&batches).unwrap()),
                Err(error) => error,
            },
            Err(error) => error,
        }
    }
}

/// Three days, half in files, one correction across the border.
fn filled() -> Street {
    let mut street = Street::new(Limits::default());
    for day in 0..3 {
        let time = START + day * DAY;
        street.accept(&[(0, 0, time, 1.0), (1, 0, time, 2.0), (1, 1, time + 5, 3.0)]);
        if day == 1 {
            street.historian.flush().unwrap();
        }
    }
    street.accept(&[(1, 0, START, 20.0)]);
    street
}

#[tokio::test]
async fn files_and_hot_points_are_one_table() {
    let street = filled();
    let found = street.table("SELECT count(*) n, sum(value) s FROM telemetry").await;
    assert!(found.contains("| 9 | 36.0 |"), "{found}");
    let found = street
        .table("SELECT asset, value, epoch FROM telemetry WHERE metric = 'speed' AND event_time < '2026-03-02' ORDER BY asset")
        .await;
    assert!(found.contains("| p-1   | 20.0  | 4     |"), "{found}");
    assert!(!found.contains("| 2.0"), "{found}");
    let found = street
        .table("SELECT t.asset, h.score, max(t.value) m FROM telemetry t JOIN asset_health h USING (asset) GROUP BY 1, 2 ORDER BY 1")
        .await;
    assert!(found.contains("| p-0   | 10.0  | 1.0"), "{found}");
}

#[tokio::test]
async fn a_key_is_there_once_however_often_it_was_corrected() {
    let mut street = Street::new(Limits::default());
    let check = async |street: &Street, value: u32, place: &str| {
        let found = street.table("SELECT count(*) n, max(value) v FROM telemetry").await;
        assert!(found.contains(&format!("| 2 | {value}.0 |")), "{place}: {found}");
    };
    street.accept(&[(0, 0, START, 1.0), (1, 0, START, 1.0)]);
    for value in 2..8 {
        street.accept(&[(0, 0, START, value.into())]);
        check(&street, value, "in memory").await;
        if value % 3 == 0 {
            street.historian.flush().unwrap();
            check(&street, value, "in files").await;
        }
    }
}

#[tokio::test]
async fn explain_shows_both_and_what_was_pruned() {
    let street = filled();
    let all = street.table("EXPLAIN SELECT value FROM telemetry").await;
    for part in ["2026-03-01", "2026-03-02", "HotPointsExec", "RightAnti"] {
        assert!(all.contains(part), "{part}: {all}");
    }
    let sql = "EXPLAIN SELECT value FROM telemetry WHERE asset = 'p-0' AND event_time >= '2026-03-02T00:00:00Z'";
    let one = street.table(sql).await;
    assert!(!one.contains("2026-03-01/"), "{one}");
    for part in ["2026-03-02/", "pruning_predicate", "HotPointsExec"] {
        assert!(one.contains(part), "{part}: {one}");
    }
}

#[tokio::test]
async fn tables_are_listed_and_described() {
    let street = filled();
    let tables = street.table("SHOW TABLES").await;
    assert!(tables.contains("asset_health") && tables.contains("telemetry"), "{tables}");
    let columns = street.table("DESCRIBE telemetry").await;
    assert!(columns.contains("event_time") && columns.contains("Timestamp"), "{columns}");
    let columns = street.table("SHOW COLUMNS FROM asset_health").await;
    assert!(columns.contains("score"), "{columns}");
    let names = "SELECT column_name FROM information_schema.columns WHERE table_name = 'telemetry'";
    assert!(street.table(names).await.contains("quality"));
}

#[tokio::test]
async fn errors_say_their_kind_and_what_there_is() {
    let street = filled();
    let check = async |sql: &str, kind: Kind, hint: &str| {
        let error = street.error(sql).await;
        assert_eq!(error.kind(), kind, "{sql}: {error:?}");
        let said = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(said.contains(hint), "{sql}: {said}");
    };
    check("SELECT * FROM nosuch", Kind::UnknownTable, "asset_health, telemetry").await;
    check("DESCRIBE nosuch", Kind::UnknownTable, "telemetry").await;
    check("SELECT * FROM other.telemetry", Kind::UnknownTable, "other.telemetry").await;
    check("SELECT nosuch FROM telemetry", Kind::UnknownColumn, "event_time").await;
    check("SELECT * FROM telemtry", Kind::UnknownTable, "did you mean 'telemetry'?").await;
    check("SELECT valu FROM telemetry", Kind::UnknownColumn, "did you mean 'value'?").await;
    check("SELECT last(value) FROM telemetry", Kind::Syntax, "syntax: 1 arguments, write").await;
    check("SELEC 1", Kind::Syntax, "SELEC").await;
    check("SELECT 'open", Kind::Syntax, "Unterminated").await;
    check("", Kind::Syntax, "no statement").await;
    check("SELECT nosuch(1)", Kind::Syntax, "nosuch").await;
    check("SELECT 1; SELECT 2", Kind::Refused, "one by one").await;
    for statement in [
        "INSERT INTO telemetry VALUES (1)",
        "DELETE FROM telemetry",
        "UPDATE telemetry SET value = 1",
        "CREATE TABLE t (a INT)",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "COPY telemetry TO '/tmp/out.parquet'",
        "COPY (SELECT 1) TO '/tmp/out.parquet'",
        "DROP TABLE telemetry",
        "SET datafusion.runtime.memory_limit = '100G'",
        "RESET datafusion.runtime.memory_limit",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "BEGIN",
        "EXPLAIN INSERT INTO telemetry VALUES (1)",
        "EXPLAIN ANALYZE DELETE FROM telemetry",
        "TRUNCATE telemetry",
        "SELECT 1 INTO t",
        "WITH x AS (DELETE FROM telemetry) SELECT 1",
        "USE other",
    ] {
        let kind = street.error(statement).await.kind();
        assert!(matches!(kind, Kind::Refused | Kind::Syntax), "{statement}: {kind:?}");
    }
    check("INSERT INTO telemetry VALUES (1)", Kind::Refused, "INSERT").await;
    check("SELECT * FROM generate_series(1, 1000000000)", Kind::Refused, "generate_series").await;
    check("SELECT unnest(range(1, 1000000000))", Kind::Refused, "range").await;
    check("SELECT repeat('x', 1000000000)", Kind::Refused, "repeat").await;
    check("SELECT * FROM '/etc/passwd'", Kind::UnknownTable, "passwd").await;
}

#[tokio::test]
async fn hostile_texts_are_refused_and_bring_nothing_down() {
    let street = filled();
    let flat = |what: &str, n: usize| format!("SELECT 1 {}", what.repeat(n));
    let deep = |n: usize| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n));
    let joins = format!("SELECT 1 FROM telemetry {}", "CROSS JOIN telemetry ".repeat(17));
    let commas = format!("SELECT 1 FROM asset_health{}", ", asset_health".repeat(17));
    let cases = format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(200), " END".repeat(200));
    for text in [
        flat("+ 1", 2_000),
        flat("+ 1", 15_000),
        flat("OR 1 = 1 ", 3_000),
        flat("::int", 5_000),
        flat("IS NULL ", 5_000),
        flat("UNION ALL SELECT 1 ", 3_000),
        format!("SELECT {} 1", "NOT ".repeat(10_000)),
        format!("SELECT {} 1", "- ".repeat(10_000)),
        deep(100),
        deep(30_000),
        cases,
        joins,
        commas,
        format!("SELECT '{}'", "x".repeat(70_000)),
    ] {
        let error = street.error(&text).await;
        let start: String = text.chars().take(40).collect();
        assert_eq!(error.kind(), Kind::Limit, "{start}: {error}");
    }
    let recursive =
        "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n) SELECT * FROM n";
    assert_eq!(street.error(recursive).await.kind(), Kind::Refused);
    // What the limits let through must run.
    assert!(street.table(&flat("+ 1", 490)).await.contains("491"));
    street
        .table(
            &flat("OR score = 1 ", 240)
                .replace("SELECT 1", "SELECT * FROM asset_health WHERE false"),
        )
        .await;
    street.table(&deep(60)).await;
    street.table(&flat("UNION ALL SELECT 1 ", 400)).await;
}

#[tokio::test]
async fn rows_and_time_are_limited() {
    let limits =
        Limits { rows: 5, time: std::time::Duration::from_millis(300), ..Limits::default() };
    let mut street = Street::new(limits);
    let many: Vec<_> = (0..2000).map(|i| (0, 0, START + i, 1.0)).collect();
    street.accept(&many);
    let error = street.error("SELECT * FROM telemetry").await;
    assert_eq!(error.kind(), Kind::Limit, "{error}");
    let slow = "SELECT count(*) FROM telemetry a, telemetry b, telemetry c WHERE a.value + b.value < c.value";
    let error = street.error(slow).await;
    assert!(error.to_string().contains("no answer within"), "{error}");
}

#[tokio::test]
async fn every_form_holds_the_rows() {
    let street = filled();
    for (form, part) in [
        (Form::Table, "| p-1   | 90.0  |"),
        (Form::Json, r#"{"asset":"p-2","score":null}]"#),
        (Form::JsonLines, "{\"asset\":\"p-1\",\"score\":90.0}\n"),
        (Form::Csv, "asset,score\np-0,10.0\n"),
        (Form::Arrow, "p-0p-1p-2"),
        (Form::Parquet, "PAR1"),
    ] {
        let answer = street.query.sql("SELECT * FROM asset_health ORDER BY asset").await.unwrap();
        let bytes = render(answer, form, Vec::new()).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(part), "{form:?}: {text}");
    }
    let answer = street.query.sql("SELECT * FROM asset_health WHERE false").await.unwrap();
    let csv = render(answer, Form::Csv, Vec::new()).await.unwrap();
    assert_eq!(String::from_utf8(csv).unwrap(), "asset,score\n");
    let answer = street.query.sql("SELECT * FROM asset_health WHERE false").await.unwrap();
    let json = render(answer, Form::Json, Vec::new()).await.unwrap();
    assert_eq!(String::from_utf8(json).unwrap(), "[]");
}

/// Random points and corrections, flushed anywhere: SQL must say what a map says.
async fn check_random(seed: u64) {
    println!("seed {seed}");
    let mut state = seed;
    let mut below = |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % n
    };
    let mut street = Street::new(Limits::default());
    for _ in 0..12 {
        let mut points = BTreeMap::new();
        for _ in 0..below(30) {
            let time = START + below(5) as i64 * DAY / 2 + below(3) as i64;
            points.insert((below(4) as u32, below(2) as u32, time), below(100) as f64);
        }
        let points: Vec<_> = points.into_iter().map(|((a, s, t), v)| (a, s, t, v)).collect();
        street.accept(&points);
        if below(3) == 0 {
            street.historian.flush().unwrap();
        }
    }
    let filters: [(&str, fn(&(String, String, i64), f64) -> bool); 5] = [
        ("true", |_, _| true),
        ("asset = 'p-1'", |key, _| key.0 == "p-1"),
        ("asset IN ('p-0', 'p-2') AND metric = 'flow'", |key, _| {
            (key.0 == "p-0" || key.0 == "p-2") && key.1 == "flow"
        }),
        (
            "event_time >= '2026-03-01T12:00:00Z' AND event_time < '2026-03-02T12:00:00.000001Z'",
            |key, _| (START + DAY / 2..=START + DAY + DAY / 2).contains(&key.2),
        ),
        ("value > 50 OR asset = 'p-3'", |key, value| value > 50.0 || key.0 == "p-3"),
    ];
    for (filter, keep) in filters {
        let sql =
            format!("SELECT count(*) n, coalesce(sum(value), 0) s FROM telemetry WHERE {filter}");
        let kept: Vec<f64> =
            street.expected.iter().filter(|(key, v)| keep(key, **v)).map(|(_, v)| *v).collect();
        let found = street.table(&sql).await;
        let line = found.lines().nth(3).unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let wanted = [kept.len().to_string(), format!("{:?}", kept.iter().sum::<f64>())];
        assert_eq!(cells[1..3], wanted, "seed {seed}, {filter}: {found}");
    }
}

#[tokio::test]
async fn sql_says_what_a_plain_fold_says() {
    for seed in 1..=8 {
        check_random(seed).await;
    }
}
