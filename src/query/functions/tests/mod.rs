//! Every function against a naive computation, over random points in random partitions.

mod buckets;
mod ends;
mod gapfill;
mod series;

use super::*;
use crate::query::limits::Limits;
use crate::query::session::{self, Environment};
use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::datasource::MemTable;
use std::collections::BTreeMap;
use std::sync::Arc;

pub const SECOND: i64 = 1_000_000;

/// As many seeds as the environment asks for, or so many.
pub fn seeds(usual: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("MILLSTREAM_SEEDS").ok();
    0..asked.map_or(usual, |text| text.parse().expect("MILLSTREAM_SEEDS is a number"))
}

/// Random numbers of a seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn of(&mut self, range: std::ops::Range<i64>) -> i64 {
        range.start + self.below((range.end - range.start) as u64) as i64
    }
}

/// A row of the table `t`: who, when, how much, what.
#[derive(Clone, Debug)]
pub struct Row {
    pub asset: String,
    pub time: Option<i64>,
    pub value: Option<f64>,
    pub text: Option<String>,
}

/// Random rows of some assets, with nulls, and with equal times and values.
pub fn rows(random: &mut Random, count: u64, assets: u64, seconds: i64) -> Vec<Row> {
    let one = |_| Row {
        asset: format!("a{}", random.below(assets)),
        time: (random.below(12) > 0).then(|| random.of(0..seconds) * SECOND),
        value: (random.below(8) > 0).then(|| random.of(-20..60) as f64 / 4.0),
        text: (random.below(8) > 0).then(|| ["on", "off", "idle"][random.below(3) as usize].into()),
    };
    (0..count).map(one).collect()
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.time).collect();
    let column = |name, array| (name, array, true);
    RecordBatch::try_from_iter_with_nullable([
        column(
            "asset",
            Arc::new(StringArray::from_iter(rows.iter().map(|r| Some(&r.asset)))) as ArrayRef,
        ),
        column("event_time", Arc::new(times.with_timezone("UTC"))),
        column("value", Arc::new(Float64Array::from_iter(rows.iter().map(|r| r.value)))),
        column("text", Arc::new(StringArray::from_iter(rows.iter().map(|r| r.text.as_ref())))),
    ])
    .unwrap()
}

/// A session with the rows as table `t`, in random batches of random partitions.
pub fn table(random: &mut Random, rows: &[Row], limits: &Limits) -> SessionContext {
    let context = session::empty(&Environment::bare(limits), limits).unwrap();
    let schema = batch(&[]).schema();
    let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); 1 + random.below(4) as usize];
    let mut rest = rows;
    while !rest.is_empty() {
        let (now, later) = rest.split_at((1 + random.below(40) as usize).min(rest.len()));
        let part = random.below(parts.len() as u64) as usize;
        parts[part].push(batch(now));
        rest = later;
    }
    let table = MemTable::try_new(schema, parts).unwrap();
    session::register(&context, "t", Arc::new(table)).unwrap();
    context
}

/// Limits with so many threads.
pub fn threads(threads: usize) -> Limits {
    Limits { threads, ..Limits::default() }
}

pub async fn ask(context: &SessionContext, sql: &str) -> Vec<Vec<ScalarValue>> {
    let batches = context.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let batches = batches.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let value = |column: &ArrayRef, row| ScalarValue::try_from_array(column, row).unwrap();
    let row = |batch: &RecordBatch, row| batch.columns().iter().map(|c| value(c, row)).collect();
    batches.iter().flat_map(|b| (0..b.num_rows()).map(|r| row(b, r)).collect::<Vec<_>>()).collect()
}

/// What goes wrong when this is asked.
pub async fn wrong(context: &SessionContext, sql: &str) -> String {
    let error = match context.sql(sql).await {
        Ok(frame) => frame.collect().await.expect_err(sql),
        Err(error) => error,
    };
    crate::query::Error::from_datafusion(&error).to_string()
}

/// The rows of each asset.
pub fn groups(rows: &[Row]) -> BTreeMap<String, Vec<Row>> {
    let mut groups = BTreeMap::<String, Vec<Row>>::new();
    rows.iter().for_each(|row| groups.entry(row.asset.clone()).or_default().push(row.clone()));
    groups
}

/// Whether two answers are the same but for rounding.
pub fn same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * (1.0 + a.abs()) || a.to_bits() == b.to_bits(),
        (a, b) => a.is_none() && b.is_none(),
    }
}

pub fn double(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::Float64(value) => *value,
        other => panic!("{other:?} is no double"),
    }
}

pub fn micros(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampMicrosecond(value, _) => *value,
        ScalarValue::TimestampNanosecond(value, _) => value.map(|nanos| nanos / 1_000),
        other => panic!("{other:?} is no time"),
    }
}

#[test]
fn the_readme_names_every_function_and_limit() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let ours = session::empty(&Environment::bare(&threads(1)), &threads(1)).unwrap().state();
    let plain = SessionContext::new().state();
    let scalars = ours.scalar_functions().keys();
    let new = scalars.filter(|name| !plain.scalar_functions().contains_key(*name));
    let aggregates = ours.aggregate_functions().keys();
    let aggregates = aggregates.filter(|name| !plain.aggregate_functions().contains_key(*name));
    let names: Vec<&String> = new.chain(aggregates).collect();
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        assert!(readme.contains(&format!("`{name}(")), "README.md does not explain {name}");
    }
    let thousands = |number: i64| match number / 1_000 {
        many if many >= 1_000 => format!("{},{:03},000", many / 1_000, many % 1_000),
        many => format!("{many},000"),
    };
    for said in [
        format!("Adds {} rows at the most", thousands(super::gapfill::ROWS_ADDED_MAX as i64)),
        format!("n is 3 to {}", thousands(super::series::DOWNSAMPLED_MAX)),
        format!("n is 1 to {}", thousands(super::series::DOWNSAMPLED_MAX)),
    ] {
        assert!(readme.contains(&said), "README.md does not say: {said}");
    }
}
