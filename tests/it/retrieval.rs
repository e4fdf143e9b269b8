//! History over REST: every mode says what a plain computation over all points says.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};

const SECOND: i64 = 1_000_000;
const UNCERTAIN: u32 = 0x4000_0000;
const BAD: u32 = 0x8000_0000;
const SUB_NORMAL: u32 = 0x40A4_0000;
const NO_DATA: u32 = 0x809B_0000;
const BOUND_NOT_FOUND: u32 = 0x80D7_0000;
/// Series that are tried, and questions to each.
const SERIES: u64 = 3;
const QUESTIONS: u64 = 50;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        ((self.0 >> 33) as i64) % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as i64) as usize]
    }
}

/// A point: microseconds, value, quality.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    time: i64,
    value: f64,
    quality: u32,
}

/// A row as it must be: time, value, quality, origin.
type Row = (i64, Option<f64>, u32, &'static str);

fn raw(point: &Point) -> Row {
    (point.time, Some(point.value), point.quality, "raw")
}

/// All points of a series, and which of them are usable.
struct Series<'a> {
    points: &'a [Point],
    uncertain_is_bad: bool,
}

impl Series<'_> {
    fn usable(&self, point: &Point) -> bool {
        match point.quality >> 30 {
            0 => true,
            1 => !self.uncertain_is_bad,
            _ => false,
        }
    }

    fn within(&self, from: i64, to: i64) -> impl Iterator<Item = &Point> {
        self.points.iter().filter(move |point| point.time >= from && point.time < to)
    }

    /// OPC 10000-13, 3.1.8, by looking at all points.
    fn value(&self, time: i64, sloped: bool) -> Row {
        let usable = || self.points.iter().filter(|point| self.usable(point));
        if let Some(point) = usable().find(|point| point.time == time) {
            return raw(point);
        }
        let Some(before) = usable().rfind(|point| point.time < time) else {
            return (time, None, NO_DATA, "missing");
        };
        let after = usable().find(|point| point.time > time);
        let bad_until = |end: i64| {
            let mut between = self.within(before.time, end + 1);
            between.any(|point| !self.usable(point))
        };
        let good = |points: &[&Point]| points.iter().all(|point| point.quality >> 30 == 0);
        match (sloped, after) {
            (true, None) => (time, Some(before.value), SUB_NORMAL, "extrapolated"),
            (true, Some(after)) => {
                let slope = (after.value - before.value) / (after.time - before.time) as f64;
                let value = before.value + slope * (time - before.time) as f64;
                let fine = good(&[before, after]) && !bad_until(after.time);
                (time, Some(value), if fine { 0 } else { SUB_NORMAL }, "interpolated")
            }
            (false, _) if self.points.iter().any(|point| point.time >= time) => {
                let fine = good(&[before]) && !bad_until(time);
                (time, Some(before.value), if fine { 0 } else { SUB_NORMAL }, "interpolated")
            }
            (false, _) => (time, Some(before.value), SUB_NORMAL, "extrapolated"),
        }
    }

    fn recorded(&self, from: i64, to: i64, boundary: &str, limit: usize) -> Vec<Row> {
        let inside: Vec<Row> = self.within(from, to).map(raw).collect();
        let bound = |point: Option<&Point>, time| {
            point.map_or((time, None, BOUND_NOT_FOUND, "missing"), raw)
        };
        let starts = inside.first().is_some_and(|row| row.0 == from);
        let cut = inside.len() > limit;
        let mut rows = Vec::new();
        match boundary {
            "outside" if !starts => {
                rows.push(bound(self.points.iter().rfind(|p| p.time < from), from));
            }
            "interpolated" if !starts => rows.push(self.value(from, true)),
            _ => {}
        }
        rows.extend(inside.into_iter().take(limit));
        match boundary {
            "outside" if !cut => rows.push(bound(self.points.iter().find(|p| p.time >= to), to)),
            "interpolated" if !cut => rows.push(self.value(to, true)),
            _ => {}
        }
        rows
    }

    fn sampled(&self, from: i64, to: i64, width: i64, sloped: bool) -> Vec<Row> {
        let times = (0..).map(|i| from + i * width).take_while(|time| *time < to);
        times.map(|time| self.value(time, sloped)).collect()
    }

    fn plot(&self, from: i64, to: i64, columns: i64) -> Vec<Row> {
        let width = (to - from + columns - 1) / columns;
        let mut rows = Vec::new();
        for column in 0..columns {
            let (begin, end) = (from + column * width, (from + (column + 1) * width).min(to));
            let usable: Vec<&Point> = self.within(begin, end).filter(|p| self.usable(p)).collect();
            let by_value = |a: &&&Point, b: &&&Point| a.value.total_cmp(&b.value);
            // The last of several maxima is found, so the order is turned for the first.
            let high = usable.iter().rev().max_by(by_value);
            let mut told =
                vec![usable.first(), usable.last(), usable.iter().min_by(by_value), high];
            let bad: Vec<&Point> = self.within(begin, end).filter(|p| !self.usable(p)).collect();
            told.push(bad.first());
            let mut told: Vec<Row> = told.into_iter().flatten().map(|point| raw(point)).collect();
            told.sort_by_key(|row| row.0);
            told.dedup_by_key(|row| row.0);
            rows.extend(told);
        }
        rows
    }

    /// The summary of one interval: start, count, mean, time_mean, min, max, first, last,
    /// percent_good, quality.
    fn summary(&self, start: i64, from: i64, to: i64) -> (i64, usize, [Option<f64>; 7], u32) {
        let points: Vec<&Point> =
            self.within(from, to).filter(|point| self.usable(point)).collect();
        let values = || points.iter().map(|point| point.value);
        let mean = (!points.is_empty()).then(|| values().sum::<f64>() / points.len() as f64);
        // Piece by piece between all points: what held in it is the newest point at its beginning.
        let mut edges: Vec<i64> = self.within(from, to).map(|point| point.time).collect();
        edges.extend([from, to]);
        edges.sort_unstable();
        let (mut area, mut good, mut bad, mut uncertain) = (0.0, 0, 0, false);
        for piece in edges.windows(2) {
            let span = piece[1] - piece[0];
            match self.points.iter().rfind(|point| point.time <= piece[0]) {
                Some(point) if self.usable(point) => {
                    area += point.value * span as f64;
                    good += span;
                    uncertain |= span > 0 && point.quality >> 30 != 0;
                }
                Some(_) => bad += span,
                None => {}
            }
        }
        let ended = self.points.iter().all(|point| point.time < to);
        let nothing = points.is_empty() && good == 0;
        let quality = match good == to - from && !uncertain && !ended {
            true => 0,
            false if nothing && bad > 0 => BAD,
            false if nothing => NO_DATA,
            false => SUB_NORMAL,
        };
        let told = [
            mean,
            (good > 0).then(|| area / good as f64),
            values().min_by(f64::total_cmp),
            values().max_by(f64::total_cmp),
            points.first().map(|point| point.value),
            points.last().map(|point| point.value),
            Some(100.0 * good as f64 / (to - from) as f64),
        ];
        (start, points.len(), told, quality)
    }

    fn summaries(
        &self,
        from: i64,
        to: i64,
        width: Option<i64>,
    ) -> Vec<(i64, usize, [Option<f64>; 7], u32)> {
        let Some(width) = width else { return vec![self.summary(from, from, to)] };
        // Intervals count from Monday 2000-01-03.
        let first = from - (from - 946_857_600 * SECOND).rem_euclid(width);
        let starts = (0..).map(|i| first + i * width).take_while(|start| *start < to);
        starts.map(|start| self.summary(start, start.max(from), (start + width).min(to))).collect()
    }
}

fn near(told: &Value, expected: Option<f64>) -> bool {
    match (told.as_f64(), expected) {
        (Some(told), Some(expected)) => (told - expected).abs() <= 1e-9 * (1.0 + expected.abs()),
        (None, None) => told.is_null(),
        _ => false,
    }
}

fn time_of(row: &Value) -> i64 {
    let time: jiff::Timestamp = row["event_time"].as_str().unwrap().parse().unwrap();
    time.as_microsecond()
}

#[track_caller]
fn assert_rows(told: &[Value], expected: &[Row], what: &str) {
    for (told, expected) in told.iter().zip(expected) {
        let (time, value, quality, origin) = expected;
        let same = time_of(told) == *time
            && near(&told["value"], *value)
            && told["quality"] == *quality
            && told["origin"] == *origin;
        assert!(same, "{what}: {told} is not {expected:?}");
    }
    assert_eq!(told.len(), expected.len(), "{what}");
}

/// Random points, some bad, some at equal distances, some with gaps.
fn random_points(random: &mut Random) -> Vec<Point> {
    let mut time = BASE * SECOND;
    let points = (0..40 + random.below(80)).map(|_| {
        time += match random.below(10) {
            0 => 600 * SECOND + random.below(1000) * 1_000,
            1..4 => 5 * SECOND,
            _ => (1 + random.below(40_000)) * 1_000,
        };
        let quality = match random.below(8) {
            0 => BAD,
            1 => UNCERTAIN,
            _ => 0,
        };
        Point { time, value: random.below(600) as f64 / 4.0 - 10.0, quality }
    });
    points.collect()
}

async fn send(server: &Server, device: &str, points: &[Point]) {
    let message = |point: &Point| {
        json!({
            "deviceId": device,
            "timestamp": point.time,
            "quality": point.quality,
            "metrics": {"TEMP": point.value},
        })
    };
    let answer = server.ingest(points.iter().map(message).collect()).await;
    assert_eq!(answer["rejected"], json!([]), "{answer}");
}

/// A time as an address may have it.
fn written(time: i64, random: &mut Random) -> String {
    match random.below(3) {
        0 => jiff::Timestamp::from_microsecond(time).unwrap().to_string(),
        1 if time % 1_000 == 0 => (time / 1_000).to_string(),
        _ => time.to_string(),
    }
}

async fn ask(server: &Server, path: &str) -> Vec<Value> {
    let answer = server.get(path).await.good();
    answer["rows"].as_array().unwrap_or_else(|| panic!("{path}: {answer}")).clone()
}

async fn one_question(server: &Server, number: u64, points: &[Point], random: &mut Random) {
    let (first, last) = (points[0].time, points[points.len() - 1].time);
    let whole = (last - first) / 1_000 + 120_000;
    // Some bounds are at points, and some beyond all of them.
    let bound = |random: &mut Random| match random.below(3) {
        0 => points[random.below(points.len() as i64) as usize].time,
        _ => first - 60 * SECOND + random.below(whole) * 1_000,
    };
    let (a, b) = (bound(random), bound(random));
    let (from, to) = (a.min(b), a.max(b) + 1_000);
    let uncertain_is_bad = random.below(2) == 0;
    let series = Series { points, uncertain_is_bad };
    let mut path = format!("/api/v1/telemetry/asset/pump-{number}?metricKey=temperature");
    if random.below(3) == 0 {
        path = format!("/api/v1/telemetry/device/PUMP-{number}?metricKey=temperature");
    }
    path += &format!("&startTime={}&endTime={}", written(from, random), written(to, random));
    if !uncertain_is_bad || random.below(2) == 0 {
        path += &format!("&treatUncertainAsBad={uncertain_is_bad}");
    }
    let (width, name) = random.pick(&[
        (5, "5s"),
        (7, "PT7S"),
        (60, "1min"),
        (300, "5min"),
        (900, "PT15M"),
        (3600, "1hour"),
        (86_400, "1day"),
    ]);
    let width = width * SECOND;
    match random.below(5) {
        0 => {
            let boundary = random.pick(&["inside", "outside", "interpolated"]);
            let limit = random.pick(&[3, 20, 10_000]);
            path += &format!("&boundary={boundary}&limit={limit}");
            let told = ask(server, &path).await;
            assert_rows(&told, &series.recorded(from, to, boundary, limit), &path);
        }
        mode @ 1..3 => {
            let mode = ["", "interpolated", "step"][mode as usize];
            path += &format!("&mode={mode}&aggregation={name}");
            let told = ask(server, &path).await;
            assert_rows(&told, &series.sampled(from, to, width, mode == "interpolated"), &path);
        }
        3 => {
            let columns = 1 + random.below(30);
            path += &format!("&mode=plot&points={columns}");
            assert_rows(&ask(server, &path).await, &series.plot(from, to, columns), &path);
        }
        _ => {
            let width = (random.below(6) > 0).then_some(width);
            path += &width.map_or("&mode=summary".into(), |_| format!("&aggregation={name}"));
            let (told, expected) = (ask(server, &path).await, series.summaries(from, to, width));
            for (told, expected) in told.iter().zip(&expected) {
                let (start, count, values, quality) = expected;
                let names = ["mean", "time_mean", "min", "max", "first", "last", "percent_good"];
                let same = names.iter().zip(values).all(|(name, value)| near(&told[name], *value));
                let same = same && time_of(told) == *start && told["count"] == *count;
                assert!(same && told["quality"] == *quality, "{path}: {told} is not {expected:?}");
            }
            assert_eq!(told.len(), expected.len(), "{path}");
        }
    }
}

#[tokio::test]
async fn every_mode_says_what_a_plain_computation_says() {
    let begin = std::env::var("MILLSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let begin = begin.unwrap_or(1);
    let plant = Plant::new();
    let mut server = plant.serve();
    for seed in begin..begin + SERIES {
        println!("seed {seed}");
        let mut random = Random(seed);
        let points = random_points(&mut random);
        let half = points.len() / 2;
        // Half of the points are in files, half of them in memory.
        let device = format!("PUMP-{seed}");
        send(&server, &device, &points[half..]).await;
        assert_eq!(server.terminate(), 0);
        server = plant.serve();
        send(&server, &device, &points[..half]).await;
        for _ in 0..QUESTIONS {
            one_question(&server, seed, &points, &mut random).await;
        }
    }
}

/// A pump with metrics of each type: temperatures each minute, and a state that changes twice.
async fn pumps(server: &Server) {
    let mut messages = Vec::new();
    for pump in 1..3 {
        for minute in 0..10 {
            let mut metrics = json!({"TEMP": 40 + minute + pump, "STARTS": minute / 4});
            if minute % 5 == 0 {
                metrics["STATE"] = ["running", "tripped"][minute / 5].into();
            }
            let time = BASE + 60 * minute as i64;
            messages.push(
                json!({"deviceId": format!("PUMP-{pump}"), "timestamp": time, "metrics": metrics}),
            );
        }
    }
    server.ingest(messages.into()).await;
}

fn at(minute: i64) -> String {
    jiff::Timestamp::from_second(BASE + 60 * minute).unwrap().to_string()
}

#[tokio::test]
async fn several_metrics_come_one_after_the_other() {
    let plant = Plant::new();
    let server = plant.serve();
    pumps(&server).await;
    let of = |rows: &[Value], name: &str| -> Vec<Value> {
        rows.iter().filter(|row| row["metric"] == name).cloned().collect()
    };
    let path = "/api/v1/telemetry/asset/pump-1";
    let range = format!("startTime={BASE}&endTime={}", at(10));

    // Without names all metrics that are measured; with names those, in that order.
    let all = ask(&server, &format!("{path}?{range}")).await;
    assert_eq!(all.len(), 10 + 10 + 2, "{all:?}");
    let named =
        ask(&server, &format!("{path}?metricKey=state,starts&metricKey=temperature&{range}")).await;
    assert_eq!(named, [of(&all, "state"), of(&all, "starts"), of(&all, "temperature")].concat());
    let device = ask(&server, &format!("/api/v1/telemetry/device/PUMP-1?{range}")).await;
    let mut sorted = all.clone();
    sorted.sort_by_key(|row| row["metric"].as_str().unwrap().to_owned());
    assert_eq!(device, sorted);

    // The limit is of each metric: its first points from a start on, else its newest ones.
    let first = ask(&server, &format!("{path}?metricKey=temperature,starts&{range}&limit=2")).await;
    let expected: Vec<Value> =
        ["temperature", "starts"].iter().flat_map(|name| of(&all, name)[..2].to_vec()).collect();
    assert_eq!(first, expected);
    let newest = ask(&server, &format!("{path}?metricKey=temperature&limit=3")).await;
    assert_eq!(newest, of(&all, "temperature")[7..]);
    let newest =
        ask(&server, &format!("{path}?metricKey=temperature&limit=1&endTime={}", at(4))).await;
    assert_eq!(newest, of(&all, "temperature")[3..4]);

    // Texts have no values in between: they hold.
    let state =
        ask(&server, &format!("{path}?metricKey=state&mode=interpolated&aggregation=2m&{range}"))
            .await;
    let texts: Vec<&str> = state.iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["running", "running", "running", "tripped", "tripped"]);
    let summary =
        ask(&server, &format!("{path}?metricKey=state,starts&aggregation=1day&{range}")).await;
    assert_eq!((&summary[0]["count"], &summary[0]["text"]), (&json!(2), &json!("tripped")));
    assert_eq!((&summary[1]["count"], &summary[1]["max"]), (&json!(10), &json!(2.0)));

    // A metric without points has rows that say so.
    let flow =
        ask(&server, &format!("{path}?metricKey=flow&mode=step&aggregation=5min&{range}")).await;
    assert_eq!(flow.iter().map(|row| &row["quality"]).collect::<Vec<_>>(), [NO_DATA, NO_DATA]);

    // Days are those of the zone.
    let zone = "aggregation=1day&timezone=Asia/Tokyo";
    let days = ask(&server, &format!("{path}?metricKey=temperature&{range}&{zone}")).await;
    assert_eq!(days[0]["event_time"], "2023-11-14T15:00:00Z");

    // What was known before the points came.
    let before = ask(&server, &format!("{path}?metricKey=temperature&asOf=now-1d")).await;
    assert_eq!(before, Vec::<Value>::new());

    // Relative times are relative to the wall clock.
    let now = json!({"deviceId": "PUMP-1", "metrics": {"TEMP": 99}});
    server.ingest(now).await;
    for start in ["PT6H", "now-6h", "-PT6H", "now-1d"] {
        let rows = ask(
            &server,
            &format!("{path}?metricKey=temperature&startTime={start}&endTime=now%2B1h"),
        )
        .await;
        assert_eq!(rows.len(), 1, "{start}: {rows:?}");
        assert_eq!(rows[0]["value"], 99.0);
    }

    // Other forms, and what stands before the rows.
    let answer = server.get(&format!("{path}?metricKey=temperature&{range}&limit=1")).await.good();
    assert_eq!((&answer["asset"], &answer["mode"]), (&json!("pump-1"), &json!("recorded")));
    assert_eq!((&answer["startTime"], &answer["endTime"]), (&json!(at(0)), &json!(at(10))));
    assert_eq!(answer["columns"][2]["name"], "event_time");
    let csv = format!("{path}?metricKey=temperature&{range}&limit=1");
    let csv = server.send(Method::GET, &csv, &[("accept", "text/csv")], "").await;
    let expected = "asset,metric,event_time,value,text,quality,origin\n\
        pump-1,temperature,2023-11-14T22:13:20Z,41.0,,0,raw\n";
    assert_eq!(csv.text(), expected);

    side_by_side(&server, &all).await;
}

/// Metrics of all assets side by side, of the same points.
async fn side_by_side(server: &Server, all: &[Value]) {
    let path = format!("/api/v1/metrics/range?start={BASE}&end={}", at(10));
    let rows = ask(server, &path).await;
    assert_eq!(rows.len(), 20);
    let ours: Vec<&Value> = rows.iter().filter(|row| row["asset"] == "pump-1").collect();
    for point in all {
        let row = ours.iter().find(|row| row["time"] == point["event_time"]).unwrap();
        let column = if point["metric"] == "state" { "text" } else { "value" };
        assert_eq!(row[point["metric"].as_str().unwrap()], point[column], "{row}");
    }
    assert!(ours[1]["state"].is_null() && ours[1]["flow"].is_null());
    let one = ask(server, &format!("{path}&asset=pump-2&metricKey=temperature&limit=3")).await;
    assert_eq!(one[2], json!({"time": at(2), "asset": "pump-2", "temperature": 44.0}));
}

#[tokio::test]
async fn what_cannot_be_answered_says_what_can() {
    let plant = Plant::new();
    let server = plant.serve();
    pumps(&server).await;
    let pump = "/api/v1/telemetry/asset/pump-1";
    for (path, status, detail, hint) in [
        ("/api/v1/telemetry/asset/pump-7", 404, "no asset 'pump-7'", "did you mean 'pump-"),
        ("/api/v1/telemetry/device/PUMP-12", 404, "no device 'PUMP-12'", "did you mean 'PUMP-1'"),
        (
            "?metricKey=temperatur",
            422,
            "'temperatur' is not there",
            "did you mean 'temperature'? measured: temperature, flow, starts, state",
        ),
        ("?metricKey=load", 422, "'load' is computed", "measured: "),
        ("?metrickey=flow", 400, "no parameter 'metrickey'", "did you mean 'metricKey'?"),
        ("?limit=0", 400, "'limit' is '0'", "give 1 to 1000000"),
        ("?limit=1000001", 422, "'limit' is 1000001, at most 1000000", "several requests"),
        ("?limit=1&limit=2", 400, "'limit' is given twice", "once"),
        ("?mode=raw", 400, "'mode' is 'raw'", "recorded, interpolated, step, plot, summary"),
        ("?mode=step&startTime=PT1H", 400, "'aggregation' is missing", "aggregation=5min"),
        ("?mode=plot", 400, "'startTime' is missing", "startTime=PT6H"),
        ("?boundary=outside", 400, "'startTime' is missing", "startTime=PT6H"),
        ("?aggregation=soon&startTime=PT1H", 400, "'aggregation' is 'soon'", "5min, 1hour, 1day"),
        ("?aggregation=-5m&startTime=PT1H", 400, "more than nothing", ""),
        (
            "?mode=recorded&aggregation=1h",
            400,
            "'aggregation' says nothing in mode 'recorded'",
            "mode=interpolated or step or summary",
        ),
        ("?mode=plot&points=10001&startTime=PT1H", 422, "at most 10000", ""),
        ("?aggregation=1s&startTime=now-30d", 422, "more than 100000 intervals", "wider interval"),
        ("?startTime=now&endTime=now-1h", 400, "is not before endTime", "from startTime to before"),
        ("?startTime=yesterday", 400, "'startTime' is 'yesterday', no time", "RFC 3339"),
        ("?aggregation=1day&startTime=PT1H&timezone=Europe/Berlln", 400, "Berlln", ""),
        ("?treatUncertainAsBad=maybe", 400, "'treatUncertainAsBad' is 'maybe'", "true, false"),
        ("/api/v1/metrics/range", 400, "'start' is missing", "start=PT6H"),
        ("/api/v1/metrics/range?start=PT1H&asset=pump-7", 404, "no asset 'pump-7'", "did you mean"),
        (
            "/api/v1/metrics/range?start=PT1H&metricKey=flo",
            422,
            "'flo' is not there",
            "did you mean 'flow'",
        ),
        (
            "/api/v1/metrics/range?start=PT1H&stop=now",
            400,
            "no parameter 'stop'",
            "start, end, asset",
        ),
    ] {
        let path = if path.starts_with('?') { format!("{pump}{path}") } else { path.to_owned() };
        let problem = server.get(&path).await.problem(status);
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        assert!(text("detail").contains(detail), "{path}: {problem}");
        assert!(text("hint").contains(hint), "{path}: {problem}");
    }
    // The catalog has forgotten the asset, telemetry has not.
    for gone in ["links/PUMP-2->pump-2", "assets/pump-2"] {
        let path = format!("/api/v1/catalog/{}", gone.replace('>', "%3E"));
        assert_eq!(server.send(Method::DELETE, &path, &[], "").await.status, 204);
    }
    let rows = ask(&server, "/api/v1/telemetry/asset/pump-2?metricKey=temperature").await;
    assert_eq!(rows.len(), 10);
    let rows = ask(&server, "/api/v1/telemetry/asset/pump-2").await;
    assert_eq!(rows.len(), 22);
    server.get("/api/v1/telemetry/asset/pump-2?metricKey=load").await.problem(422);
}
