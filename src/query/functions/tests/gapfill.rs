use super::*;
use crate::query::Kind;
use crate::query::functions::buckets::{Buckets, Width};
use crate::query::functions::zone::Zone;

/// What a bucket of an asset holds: mean and greatest value.
type Cell = (Option<f64>, Option<f64>);

/// Rows of buckets as a person would fill them: all that there are, then all that there must be.
fn naive(
    rows: &[Row],
    buckets: &mut Buckets,
    (start, finish): (i64, i64),
) -> BTreeMap<i64, Option<Cell>> {
    let mut found = BTreeMap::<i64, Vec<f64>>::new();
    for row in rows {
        if let Some(time) = row.time {
            found.entry(buckets.start(time).unwrap()).or_default().extend(row.value);
        }
    }
    let cell = |values: Vec<f64>| {
        let many = values.len() as f64;
        let most =
            values.iter().copied().fold(None, |a: Option<f64>, b| Some(a.map_or(b, |a| a.max(b))));
        Some((most.map(|_| values.iter().sum::<f64>() / many), most))
    };
    let mut cells: BTreeMap<i64, Option<Cell>> =
        found.into_iter().map(|(bucket, values)| (bucket, cell(values))).collect();
    let mut bucket = buckets.start(start).unwrap();
    while bucket < finish {
        cells.entry(bucket).or_default();
        bucket = buckets.next(bucket).unwrap();
    }
    cells
}

fn locf(cells: &BTreeMap<i64, Option<Cell>>, bucket: i64) -> Option<f64> {
    cells.range(..=bucket).rev().find_map(|(_, cell)| *cell)?.0
}

fn interpolated(cells: &BTreeMap<i64, Option<Cell>>, bucket: i64) -> Option<f64> {
    if let Some(cell) = cells[&bucket] {
        return cell.1;
    }
    let (t0, before) = cells.range(..bucket).rev().find_map(|(t, cell)| Some((*t, (*cell)?)))?;
    let (t1, after) = cells.range(bucket..).find_map(|(t, cell)| Some((*t, (*cell)?)))?;
    let share = (bucket - t0) as f64 / (t1 - t0) as f64;
    Some(before.1? * (1.0 - share) + after.1? * share)
}

#[tokio::test]
async fn gaps_are_filled_as_by_hand() {
    for seed in seeds(40) {
        let random = &mut Random(seed);
        let (count, assets) = (random.below(120), 1 + random.below(5));
        let mut rows = rows(random, count, assets, 20 * 86_400);
        rows.retain(|row| row.time.is_some() || row.asset != "a0");
        // Around the days on which clocks change.
        rows.iter_mut().for_each(|row| row.time = row.time.map(|t| t + 1_395_000_000 * SECOND));
        let context = table(random, &rows, &threads(1 + seed as usize % 3));
        let (width, zone) = [
            ("7 hours", None),
            ("1 day", None),
            ("1 day", Some("Europe/Berlin")),
            ("90 minutes", Some("Europe/Berlin")),
            ("1 month", Some("America/New_York")),
        ][random.below(5) as usize];
        let start = (1_395_000_000 + random.of(-3..6) * 86_400) * SECOND;
        let finish = start + random.of(0..20) * 86_400 * SECOND;
        let said = zone.map_or(String::new(), |zone| format!(", '{zone}'"));
        let call = format!(
            "time_bucket_gapfill('{width}', event_time, to_timestamp_micros({start}),
             to_timestamp_micros({finish}){said})"
        );
        let zone = zone.map(|zone| Zone::named(zone).unwrap());
        let mut buckets = Buckets::new(Width::parse(width).unwrap(), None, zone).unwrap();
        let place = format!("seed {seed}: {width}{said} {start} {finish}");
        let columns = "avg(value), locf(avg(value)), interpolate(max(value)) as line, max(value)";

        let mut check = |found: &[Vec<ScalarValue>], rows: &[Row]| {
            let cells = naive(rows, &mut buckets, (start, finish));
            let found: Vec<_> = found.iter().filter(|row| !row[0].is_null()).collect();
            assert_eq!(found.len(), cells.len(), "{place}: {found:?} {cells:?}");
            for (row, (bucket, cell)) in found.iter().zip(&cells) {
                assert_eq!(micros(&row[0]), Some(*bucket), "{place}");
                let expected = [
                    cell.and_then(|cell| cell.0),
                    locf(&cells, *bucket),
                    interpolated(&cells, *bucket),
                    cell.and_then(|cell| cell.1),
                ];
                let found: Vec<_> = row[1..5].iter().map(double).collect();
                let equal = found.iter().zip(&expected).all(|(a, b)| same(*a, *b));
                assert!(equal, "{place}: at {bucket} {found:?} {expected:?} {cells:?}");
            }
        };
        let sql = format!("select {call} as t, {columns} from t group by t order by t");
        check(&ask(&context, &sql).await, &rows);
        let sql = format!(
            "select {call} as b, {columns}, asset from t group by asset, b order by asset, b"
        );
        let found = ask(&context, &sql).await;
        for (asset, rows) in groups(&rows) {
            let own = ScalarValue::from(asset.as_str());
            let found: Vec<_> = found.iter().filter(|row| row[5] == own).cloned().collect();
            match rows.iter().any(|row| row.time.is_some()) {
                true => check(&found, &rows),
                false => assert_eq!(found.len(), 1, "{place}"),
            }
        }
    }
}

fn some_rows() -> Vec<Row> {
    [(0, 1.0), (1, 3.0), (5, 7.0)]
        .map(|(hour, value)| Row {
            asset: "a".into(),
            time: Some(hour * 3_600 * SECOND),
            value: Some(value),
            text: None,
        })
        .to_vec()
}

#[tokio::test]
async fn the_range_comes_from_where() {
    let context = table(&mut Random(1), &some_rows(), &threads(2));
    for (filter, count) in [
        ("event_time >= '1970-01-01T00:00:00Z' and event_time < '1970-01-01T08:00:00Z'", 8),
        ("event_time between '1970-01-01T00:00:00Z' and '1970-01-01T08:00:00Z'", 9),
        (
            "'1970-01-01T01:30:00Z' < event_time and '1970-01-01T05:00:00Z' >= event_time and value > 0",
            5,
        ),
    ] {
        let sql = format!(
            "select time_bucket_gapfill('1 hour', event_time) as t, count(*) from t where {filter} group by 1"
        );
        assert_eq!(ask(&context, &sql).await.len(), count, "{filter}");
    }
    let sql = "select time_bucket_gapfill('1 hour', event_time,
            (select min(event_time) from t), (select max(event_time) from t)) as t,
            coalesce(locf(sum(value)), -1) + 1 as s, count(*) as n
        from t group by t having count(*) is null or locf(sum(value)) > 2 order by s desc, t";
    let found = ask(&context, sql).await;
    let found: Vec<_> = found
        .iter()
        .map(|row| (micros(&row[0]).unwrap() / SECOND / 3_600, double(&row[1])))
        .collect();
    let four = Some(4.0);
    assert_eq!(found, [(5, Some(8.0)), (1, four), (2, four), (3, four), (4, four)]);
}

#[tokio::test]
async fn what_cannot_be_filled_is_told() {
    let context = table(&mut Random(1), &some_rows(), &threads(2));
    let range = "'1970-01-01', '1970-01-02'";
    let gaps = |width: &str, range: &str| {
        format!(
            "select time_bucket_gapfill('{width}', event_time, {range}) as t, count(*) from t group by t"
        )
    };
    for (sql, said) in [
        ("select time_bucket_gapfill('1 hour', event_time) as t from t group by t".into(),
         "the range to fill is not known: write time_bucket_gapfill(width, time, start, finish"),
        ("select time_bucket_gapfill('1 h', event_time) as t from t where event_time > '1970-01-01' group by t".into(),
         "the range to fill is not known"),
        (format!("select time_bucket_gapfill('1 hour', event_time, {range}) from t"),
         "stands only in GROUP BY"),
        ("select locf(value) from t".into(), "stands only in a SELECT that groups by"),
        (gaps("1 hour", "event_time, event_time"), "are constants"),
        (gaps("1 hour", "null, '1970-01-01'"), "are null"),
        (gaps("1 hour", "'1970-01-01'"), "write time_bucket_gapfill"),
        ("select interpolate(max(text)) from t".into(), "argument 1 is Utf8, not a number"),
        ("select time_bucket_gapfil('1 h', event_time) from t group by 1".into(),
         "Did you mean 'time_bucket_gapfill'?"),
    ] {
        let wrong = wrong(&context, &sql).await;
        assert!(wrong.contains(said), "{sql}: {wrong}");
    }
    let frame = context.sql(&gaps("1 millisecond", range)).await.unwrap();
    let error = crate::query::Error::from_datafusion(&frame.collect().await.unwrap_err());
    assert_eq!(error.kind(), Kind::Limit, "{error}");
    assert!(error.to_string().contains("more than 1000000 rows"), "{error}");
    assert!(error.hint().unwrap().contains("wider buckets"), "{error}");
}
