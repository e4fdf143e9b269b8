use super::*;

type Points = Vec<(i64, f64)>;

/// The points of rows in order, the greatest of those at one time.
fn points(rows: &[Row]) -> Points {
    let mut points = BTreeMap::<i64, f64>::new();
    for row in rows {
        if let (Some(time), Some(value)) = (row.time, row.value) {
            let most = points.entry(time).or_insert(value);
            *most = most.max(value);
        }
    }
    points.into_iter().collect()
}

/// Times are whole seconds here: the value of each half second, one after the other.
fn naive_average(
    points: &Points,
    linear: bool,
    start: Option<i64>,
    end: Option<i64>,
) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    let (from, until) = (start.map_or(first.0, |s| s.max(first.0)), end.unwrap_or(last.0));
    if from == until && end.is_none() {
        return Some(last.1);
    }
    let (mut sum, mut count, mut at) = (0.0, 0, from);
    while at < until {
        let middle = at + SECOND / 4;
        let before = points.iter().rev().find(|p| p.0 <= middle).unwrap();
        let after = points.iter().find(|p| p.0 > middle);
        sum += match after {
            Some(after) if linear => {
                let share = (middle - before.0) as f64 / (after.0 - before.0) as f64;
                before.1 * (1.0 - share) + after.1 * share
            }
            _ => before.1,
        };
        count += 1;
        at += SECOND / 2;
    }
    (count > 0).then(|| sum / f64::from(count))
}

fn naive_counter(points: &Points) -> Option<f64> {
    let mut sum = 0.0;
    let mut before = points.first()?.1;
    for (_, value) in points {
        sum += if *value >= before { value - before } else { *value };
        before = *value;
    }
    Some(sum)
}

/// Second by second.
fn naive_state(rows: &[Row], wanted: &str, end: Option<i64>) -> Option<f64> {
    let mut states = BTreeMap::<i64, bool>::new();
    for row in rows {
        if let (Some(time), Some(text)) = (row.time, &row.text) {
            *states.entry(time).or_default() |= text == wanted;
        }
    }
    let (first, last) = (*states.first_key_value()?.0, *states.last_key_value()?.0);
    let seconds = (first..end.unwrap_or(last)).step_by(SECOND as usize);
    let held = seconds.filter(|second| *states.range(..=second).next_back().unwrap().1);
    Some(held.count() as f64)
}

const COLUMNS: &str = "
    time_weighted_avg(event_time, value), time_weighted_avg(event_time, value, 'linear'),
    time_weighted_avg(event_time, value, '1970-01-01T00:00:07Z', '1970-01-01T00:00:40Z'),
    time_weighted_avg(event_time, value, 'LINEAR', '1970-01-01T00:00:07Z', '1970-01-01T00:00:40Z'),
    delta(value, event_time), rate(value, event_time),
    counter_delta(value, event_time), counter_rate(value, event_time),
    state_time(text, event_time, 'on'),
    state_time(text, event_time, 'off', '1970-01-01T00:00:40Z'),
    state_time(text = 'on', event_time, true),
    counter_delta(value, event_time) filter (where value > 2)";

fn expected(rows: &[Row]) -> Vec<Option<f64>> {
    let points = points(rows);
    let (start, end) = (Some(7 * SECOND), Some(40 * SECOND));
    let seconds = points.last().map(|last| (last.0 - points[0].0) as f64 / 1e6);
    let per_second = |sum: f64| seconds.filter(|s| *s > 0.0).map(|seconds| sum / seconds);
    let delta = points.last().map(|last| last.1 - points[0].1);
    let counter = naive_counter(&points);
    let most: Vec<Row> = rows.iter().filter(|row| row.value > Some(2.0)).cloned().collect();
    vec![
        naive_average(&points, false, None, None),
        naive_average(&points, true, None, None),
        naive_average(&points, false, start, end),
        naive_average(&points, true, start, end),
        delta,
        delta.and_then(per_second),
        counter,
        counter.and_then(per_second),
        naive_state(rows, "on", None),
        naive_state(rows, "off", end),
        naive_state(rows, "on", None),
        naive_counter(&self::points(&most)),
    ]
}

#[tokio::test]
async fn aggregates_of_series_are_the_naive_ones() {
    for seed in seeds(40) {
        let random = &mut Random(seed);
        let (count, assets) = (random.below(500), 1 + random.below(60));
        let rows = rows(random, count, assets, 60);
        let context = table(random, &rows, &threads(1 + seed as usize % 3));
        let check = |row: &[ScalarValue], rows: &[Row]| {
            let found: Vec<Option<f64>> = row.iter().map(double).collect();
            let expected = expected(rows);
            let equal = found.iter().zip(&expected).all(|(a, b)| same(*a, *b));
            assert!(equal && found.len() == expected.len(), "seed {seed}: {found:?} {expected:?}");
        };
        check(&ask(&context, &format!("select {COLUMNS} from t")).await[0], &rows);
        let sql = format!("select {COLUMNS} from t group by asset order by asset");
        let (found, groups) = (ask(&context, &sql).await, groups(&rows));
        assert_eq!(found.len(), groups.len(), "seed {seed}");
        for (row, rows) in found.iter().zip(groups.values()) {
            check(row, rows);
        }
    }
}

/// Running frames ask one accumulator again and again.
#[tokio::test]
async fn aggregates_of_series_stand_in_windows() {
    let rows: Vec<Row> = (0..50)
        .map(|i| Row {
            asset: "a0".into(),
            time: Some(i * SECOND),
            value: Some((i * 7 % 13) as f64),
            text: None,
        })
        .collect();
    let context = table(&mut Random(1), &rows, &threads(2));
    let sql = "select time_weighted_avg(event_time, value) over w, counter_delta(value, event_time) over w,
        delta(value, event_time) over w from t window w as (order by event_time) order by event_time";
    for (at, row) in ask(&context, sql).await.iter().enumerate() {
        let points = points(&rows[..=at]);
        assert!(same(double(&row[0]), naive_average(&points, false, None, None)), "{at}: {row:?}");
        assert!(same(double(&row[1]), naive_counter(&points)), "{at}: {row:?}");
        assert_eq!(double(&row[2]), Some(points[at].1 - points[0].1), "{at}");
    }
}

fn line(value: &ScalarValue) -> Points {
    let ScalarValue::List(list) = value else { panic!("{value:?} is no list") };
    if list.is_null(0) {
        return Vec::new();
    }
    let points = list.value(0);
    let points = points.as_struct();
    let times = points.column(0).as_primitive::<TimestampMicrosecondType>();
    let values = points.column(1).as_primitive::<Float64Type>();
    times.values().iter().copied().zip(values.values().iter().copied()).collect()
}

/// As the paper says it, over whole arrays and absolute times.
fn naive_lttb(points: &Points, count: usize) -> Points {
    if points.len() <= count {
        return points.clone();
    }
    let middle = &points[1..points.len() - 1];
    let cut = |bucket: usize| bucket * middle.len() / (count - 2);
    let mut buckets: Vec<&[(i64, f64)]> =
        (0..count - 2).map(|bucket| &middle[cut(bucket)..cut(bucket + 1)]).collect();
    buckets.push(&points[points.len() - 1..]);
    let mut chosen = vec![points[0]];
    for pair in buckets.windows(2) {
        let many = pair[1].len() as f64;
        let mean = pair[1].iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 as f64, y + p.1));
        let (cx, cy) = (mean.0 / many, mean.1 / many);
        let (ax, ay) = *chosen.last().unwrap();
        let area = |p: &(i64, f64)| {
            ((ax as f64 - cx) * (p.1 - ay) - (ax as f64 - p.0 as f64) * (cy - ay)).abs() / 2.0
        };
        let most = pair[0].iter().map(&area).fold(0.0, f64::max);
        chosen.push(*pair[0].iter().find(|p| area(p) >= most * (1.0 - 1e-12)).unwrap());
    }
    chosen.push(*points.last().unwrap());
    chosen
}

fn naive_m4(points: &Points, columns: i64) -> Points {
    let mut groups = BTreeMap::<i64, Points>::new();
    for point in points {
        let span = points.last().unwrap().0 - points[0].0 + 1;
        let column =
            (i128::from(point.0 - points[0].0) * i128::from(columns) / i128::from(span)) as i64;
        groups.entry(column).or_default().push(*point);
    }
    let mut chosen = BTreeMap::new();
    for group in groups.values() {
        let low = group.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
        let high = group.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        let low = group.iter().find(|p| p.1 == low).unwrap();
        let high = group.iter().find(|p| p.1 == high).unwrap();
        chosen.extend([group[0], *low, *high, *group.last().unwrap()]);
    }
    chosen.into_iter().collect()
}

#[tokio::test]
async fn downsampled_lines_are_the_naive_ones() {
    for seed in seeds(40) {
        let random = &mut Random(seed);
        let rows = rows(random, seed * 20, 2, 3_000);
        let context = table(random, &rows, &threads(1 + seed as usize % 3));
        let (n, columns) = (3 + random.of(0..60), 1 + random.of(0..30));
        let sql = format!(
            "select lttb(event_time, value, {n}), m4(event_time, value, {columns})
             from t group by asset order by asset"
        );
        for (row, rows) in ask(&context, &sql).await.iter().zip(groups(&rows).values()) {
            let points = points(rows);
            assert_eq!(line(&row[0]), naive_lttb(&points, n as usize), "seed {seed}: {n}");
            assert_eq!(line(&row[1]), naive_m4(&points, columns), "seed {seed}: {columns}");
        }
    }
    let context = table(&mut Random(1), &rows(&mut Random(1), 500, 1, 900), &threads(2));
    let sql =
        "select p.time, p.value from (select unnest(lttb(event_time, value, 20)) as p from t)";
    assert_eq!(ask(&context, sql).await.len(), 20);
}

#[tokio::test]
async fn what_cannot_be_computed_is_told() {
    let context = table(&mut Random(0), &rows(&mut Random(0), 5, 1, 10), &threads(1));
    for (call, said) in [
        ("lttb(event_time, value)", "syntax: 2 arguments, write lttb(time, value, n)"),
        ("lttb(event_time, value, 2)", "n is a constant from 3 to 10000"),
        ("m4(event_time, value, 10001)", "n is a constant from 1 to 10000"),
        ("m4(event_time, value, arrow_cast(value, 'Int64'))", "argument 3 is a constant"),
        ("time_weighted_avg(event_time, value, 'linaer')", "did you mean 'linear'?"),
        ("time_weighted_avg(value, event_time)", "argument 1 is Float64, not a time"),
        ("counter_delta(text, event_time)", "argument 1 is Utf8, not a number"),
        ("state_time(text, event_time)", "write state_time(state, time, wanted"),
        ("time_wieghted_avg(event_time, value)", "Did you mean 'time_weighted_avg'?"),
        ("counter_dleta(value, event_time)", "Did you mean 'counter_delta'?"),
    ] {
        let wrong = wrong(&context, &format!("select {call} from t")).await;
        assert!(wrong.contains(said), "{call}: {wrong}");
    }
}

/// What accumulators keep counts: too many points end the query with a limit.
#[tokio::test]
async fn points_count_towards_the_memory_of_the_query() {
    let rows: Vec<Row> = (0..200_000)
        .map(|i| Row { asset: "a".into(), time: Some(i * SECOND), value: Some(1.0), text: None })
        .collect();
    let sql = "select time_weighted_avg(event_time, value), max(value) from t";
    for (memory_bytes, fits) in [(64 << 20, true), (2 << 20, false)] {
        for group in ["", "group by asset"] {
            let limits = Limits { memory_bytes, ..threads(2) };
            let context = table(&mut Random(1), &rows, &limits);
            let frame = context.sql(&format!("{sql} {group}")).await.unwrap();
            match frame.collect().await {
                Ok(_) => assert!(fits, "{memory_bytes} bytes {group}"),
                Err(error) => {
                    let error = crate::query::Error::from_datafusion(&error);
                    assert!(!fits && error.kind() == crate::query::Kind::Limit, "{error}");
                }
            }
        }
    }
}
