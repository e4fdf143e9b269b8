use super::*;
use crate::query::functions::buckets::{Buckets, Width};
use crate::query::functions::zone::Zone;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "+05:45",
];

fn zone(name: &str) -> TimeZone {
    match name.strip_prefix('+') {
        Some(_) => jiff::tz::Offset::from_seconds(5 * 3600 + 45 * 60).unwrap().to_time_zone(),
        None => TimeZone::get(name).unwrap(),
    }
}

/// Date by date from the origin, as a calendar on the wall has it.
fn naive_dates(from: Date, step: Span, zone: &TimeZone, time: Timestamp) -> Timestamp {
    let today = zone.to_datetime(time).date();
    let mut begun = from;
    let mut count = 1;
    while let Ok(next) = from.checked_add(step * count)
        && next <= today
    {
        begun = next;
        count += 1;
    }
    begun.to_zoned(zone.clone()).unwrap().timestamp()
}

#[test]
fn dates_begin_at_local_midnight() {
    for seed in seeds(40) {
        let random = &mut Random(seed);
        let name = ZONES[random.below(6) as usize];
        let (width, from, step) = [
            ("1 day", Date::constant(2000, 1, 3), 1.day()),
            ("P1W", Date::constant(2000, 1, 3), 7.days()),
            ("3 days", Date::constant(2000, 1, 3), 3.days()),
            ("1 month", Date::constant(2000, 1, 1), 1.month()),
            ("P5M", Date::constant(2000, 1, 1), 5.months()),
            ("1 year", Date::constant(2000, 1, 1), 1.year()),
        ][random.below(6) as usize];
        let place = format!("seed {seed}: {width} in {name}");
        let mut buckets =
            Buckets::new(Width::parse(width).unwrap(), None, Some(Zone::named(name).unwrap()))
                .unwrap();
        let zone = zone(name);
        for _ in 0..30 {
            let time = Timestamp::from_second(random.of(970_000_000..1_900_000_000)).unwrap();
            let begun = naive_dates(from, step, &zone, time);
            assert_eq!(
                buckets.start(time.as_microsecond()).unwrap(),
                begun.as_microsecond(),
                "{place} at {time}"
            );
            let next = buckets.next(begun.as_microsecond()).unwrap();
            assert_eq!(buckets.start(next).unwrap(), next, "{place} after {begun}");
            assert_eq!(
                buckets.start(next - 1).unwrap(),
                begun.as_microsecond(),
                "{place} before {next}"
            );
        }
    }
}

/// Walks over changes of clocks minute by minute: buckets follow each other without a gap, none is
/// longer than its width but for a gap of the clock, and each begins where the local clock says.
#[test]
fn hours_are_aligned_to_the_local_clock() {
    for name in ZONES {
        for (width, minutes) in [
            ("15 minutes", 15),
            ("45 minutes", 45),
            ("1 hour", 60),
            ("PT2H", 120),
            ("8 hours", 480),
        ] {
            let mut buckets =
                Buckets::new(Width::parse(width).unwrap(), None, Some(Zone::named(name).unwrap()))
                    .unwrap();
            let tz = zone(name);
            let begin: Timestamp = "2014-01-01T00:00:00Z".parse().unwrap();
            for change in tz.following(begin).take(4).map(|t| t.timestamp()).chain([begin]) {
                let from = change.as_second() - 86_400;
                let mut last = None;
                for minute in 0..2 * 24 * 60 {
                    let time = (from + minute * 60) * SECOND;
                    let start = buckets.start(time).unwrap();
                    let place = format!("{width} in {name} at {time}: {start}");
                    assert!(start <= time && buckets.next(start).unwrap() > time, "{place}");
                    assert_eq!(buckets.start(start).unwrap(), start, "{place}");
                    let clock = tz.to_datetime(Timestamp::from_microsecond(start).unwrap());
                    let of_day = i64::from(clock.hour()) * 60 + i64::from(clock.minute());
                    let at_change = tz
                        .preceding(Timestamp::from_microsecond(start + 1).unwrap())
                        .next()
                        .is_some_and(|t| t.timestamp().as_microsecond() == start);
                    assert!(of_day % minutes == 0 || at_change, "{place}");
                    if let Some(last) = last
                        && last != start
                    {
                        assert!(start > last, "{place}");
                        assert_eq!(buckets.next(last).unwrap(), start, "{place} after {last}");
                    }
                    last = Some(start);
                }
            }
        }
    }
}

#[tokio::test]
async fn without_a_zone_buckets_are_those_of_date_bin() {
    for seed in seeds(20) {
        let random = &mut Random(seed);
        let rows = rows(random, 200, 3, 400 * 86_400);
        let context = table(random, &rows, &threads(2));
        let width =
            ["7 minutes", "1 hour", "2 days", "1 week", "1 day 6 hours"][random.below(5) as usize];
        let sql = format!(
            "select event_time, time_bucket('{width}', event_time),
                    date_bin(interval '{width}', event_time, timestamp '2000-01-03'),
                    time_bucket(interval '{width}', event_time, '1969-12-31T23:00:00Z'),
                    date_bin(interval '{width}', event_time, timestamp '1969-12-31T23:00:00'),
                    time_bucket('{width}', event_time, 'UTC'),
                    time_bucket('1 month', event_time), date_trunc('month', event_time),
                    time_bucket('3 months', event_time), date_trunc('quarter', event_time),
                    time_bucket('P1Y', event_time), date_trunc('year', event_time)
             from t"
        );
        for row in ask(&context, &sql).await {
            let times: Vec<Option<i64>> = row.iter().map(micros).collect();
            for pair in [[1, 2], [3, 4], [1, 5], [6, 7], [8, 9], [10, 11]] {
                assert_eq!(times[pair[0]], times[pair[1]], "seed {seed}: {width} {row:?}");
            }
        }
    }
}

#[tokio::test]
async fn comparisons_of_buckets_are_those_of_times() {
    for seed in seeds(10) {
        let random = &mut Random(seed);
        let rows = rows(random, 300, 2, 60 * 86_400);
        let context = table(random, &rows, &threads(2));
        let day = random.of(0..60);
        let shift = random.of(0..2) * 3600;
        let literal = Timestamp::from_second(day * 86_400 + shift).unwrap();
        for operator in ["=", "<>", "<", "<=", ">", ">="] {
            let found = ask(&context, &format!(
                "select count(*) from t where time_bucket('1 day', event_time) {operator} '{literal}'"
            )).await;
            let hidden = ask(&context, &format!(
                "select count(*) from (select time_bucket('1 day', event_time) + interval '0 s' as b from t)
                 where b {operator} '{literal}'"
            )).await;
            assert_eq!(found, hidden, "seed {seed}: {operator} {literal}");
        }
    }
    let context = table(&mut Random(0), &[], &threads(1));
    let plan = context
        .sql("select * from t where time_bucket('1 day', event_time) = '1970-01-05T00:00:00Z'")
        .await
        .unwrap()
        .into_optimized_plan()
        .unwrap()
        .to_string();
    assert!(plan.contains("event_time >=") && !plan.contains("time_bucket"), "{plan}");
}

#[tokio::test]
async fn what_is_no_bucket_is_told() {
    let context = table(&mut Random(0), &rows(&mut Random(0), 5, 1, 10), &threads(1));
    for (arguments, said) in [
        ("'1 hour'", "write time_bucket(width, time"),
        ("5, event_time", "argument 1 is Int64, not an interval"),
        ("'1 hour', value", "argument 2 is Float64, not a time"),
        ("'5 minuets', event_time", "'5 minuets' is no width"),
        ("'0 s', event_time", "must be more than nothing"),
        ("'-1 h', event_time", "must be more than nothing"),
        ("'1 month 1 day', event_time", "cannot have days"),
        ("interval '2000000000 days', event_time", "the width is too large"),
        ("interval '2000000000 months', event_time", "the width is too large"),
        ("'1 day', event_time, 'Europe/Berlim'", "did you mean 'Europe/Berlin'?"),
        ("'1 day', event_time, '2000-01-01', '2000-01-01'", "the fourth argument"),
        ("text, event_time", "are constants"),
    ] {
        let wrong = wrong(&context, &format!("select time_bucket({arguments}) from t")).await;
        assert!(wrong.contains(said), "{arguments}: {wrong}");
    }
    let null = ask(&context, "select time_bucket(null, event_time) from t limit 1").await;
    assert!(null[0][0].is_null());
    let misspelt = wrong(&context, "select time_buckt('1 day', event_time) from t").await;
    assert!(misspelt.contains("Did you mean 'time_bucket'?"), "{misspelt}");
}
