use super::*;

/// The value at the earliest or latest time, the greatest of several.
fn naive<T: Clone + PartialOrd>(
    rows: &[Row],
    last: bool,
    value: impl Fn(&Row) -> Option<T>,
) -> Option<T> {
    let times = rows.iter().filter_map(|row| row.time);
    let best = if last { times.max() } else { times.min() }?;
    let at = rows.iter().filter(|row| row.time == Some(best)).filter_map(value);
    at.fold(None, |most, value| match most {
        Some(most) if most >= value => Some(most),
        _ => Some(value),
    })
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().unwrap().map(str::to_owned)
}

#[tokio::test]
async fn first_and_last_are_those_by_time() {
    for seed in seeds(40) {
        let random = &mut Random(seed);
        let (count, assets) = (random.below(400), 1 + random.below(60));
        let rows = rows(random, count, assets, 30);
        let context = table(random, &rows, &threads(1 + seed as usize % 3));
        let columns = "first(value, event_time), last(value, event_time),
            first(text, event_time), last(text, event_time),
            last(value, arrow_cast(event_time, 'Int64') / 1000000),
            first(value, event_time) filter (where value > 3)";
        let check = |row: &[ScalarValue], rows: &[Row]| {
            let value = |last| naive(rows, last, |row| row.value);
            let words = |last| naive(rows, last, |row| row.text.clone());
            let most: Vec<Row> = rows.iter().filter(|r| r.value > Some(3.0)).cloned().collect();
            assert_eq!(double(&row[0]), value(false), "seed {seed}");
            assert_eq!(double(&row[1]), value(true), "seed {seed}");
            assert_eq!(text(&row[2]), words(false), "seed {seed}");
            assert_eq!(text(&row[3]), words(true), "seed {seed}");
            assert_eq!(double(&row[4]), value(true), "seed {seed}");
            assert_eq!(double(&row[5]), naive(&most, false, |row| row.value), "seed {seed}");
        };
        check(&ask(&context, &format!("select {columns} from t")).await[0], &rows);
        let sql = format!("select {columns}, asset from t group by asset order by asset");
        let (found, groups) = (ask(&context, &sql).await, groups(&rows));
        assert_eq!(found.len(), groups.len(), "seed {seed}");
        for (row, rows) in found.iter().zip(groups.values()) {
            check(row, rows);
        }
    }
}

#[tokio::test]
async fn first_and_last_take_any_type_and_windows() {
    let rows = rows(&mut Random(7), 50, 2, 50);
    let context = table(&mut Random(7), &rows, &threads(2));
    let sql = "select first(event_time, event_time) = min(event_time), last(true, event_time),
        last([value, 1.0], event_time) is not null, last(date '2020-01-01', event_time) is not null
        from t";
    let found = ask(&context, sql).await;
    assert!(found[0].iter().all(|value| *value == ScalarValue::from(true)), "{found:?}");
    let sql = "select last(value, event_time) over (order by event_time nulls last
        rows between unbounded preceding and current row), value from t
        where event_time is not null order by event_time desc limit 1";
    assert_eq!(ask(&context, sql).await.len(), 1);
    let said = wrong(&context, "select first(value) from t").await;
    assert!(said.contains("write first(value, time)"), "{said}");
    let said = wrong(&context, "select last(event_time, value) from t").await;
    assert!(said.contains("argument 2 is Float64, not a time"), "{said}");
}

#[tokio::test]
async fn a_percentile_has_a_short_name() {
    let rows = rows(&mut Random(3), 300, 2, 50);
    let context = table(&mut Random(3), &rows, &threads(1));
    let sql = "select approx_percentile(value, 0.9) between 9 and 15,
        approx_percentile(value, 0.9) = approx_percentile_cont(0.9) within group (order by value) from t";
    let found = ask(&context, sql).await;
    assert!(found[0].iter().all(|value| *value == ScalarValue::from(true)), "{found:?}");
}
