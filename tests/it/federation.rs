//! Tables of the database in SQL: what it answers itself is what would be answered here.

use crate::support::*;
use crate::timescale::{Database, serve, until_equal};
use serde_json::{Value, json};

/// The columns of `telemetry_history`, from points as they are here.
const POINTS: &str = "(SELECT asset AS entity_id, metric AS metric_key, event_time AS time, value, \
    text AS value_text, quality, device AS device_id, epoch FROM telemetry)";
const HISTORY: &str = "timescale.telemetry_history";

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % limit
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A comparison of a column, or several.
    fn filter(&mut self, depth: usize) -> String {
        let second = BASE + 10 * self.below(60) as i64;
        let time = jiff::Timestamp::from_second(second).unwrap();
        let op = self.one(&["=", "<>", "<", "<=", ">", ">="]);
        match self.below(if depth == 0 { 8 } else { 11 }) {
            0 => format!("entity_id {op} 'pump-{}'", self.below(3)),
            1 => format!("value {op} {}", 40 + self.below(10)),
            2 => format!("time {op} '{time}'"),
            3 => format!(
                "value_text {op} '{}'",
                self.one(&["run", "Run", "it''s \\ off", "tripped"])
            ),
            4 => format!("metric_key IN ('flow', '{}')", self.one(&["state", "starts", "\"x\""])),
            5 => format!("value IS {}NULL", self.one(&["", "NOT "])),
            6 => format!("value BETWEEN {} AND 45.5", 40 + self.below(6)),
            // What the database is not asked.
            7 => format!("length(metric_key) > {}", 4 + self.below(5)),
            8 => format!("NOT ({})", self.filter(depth - 1)),
            9 => format!("({} OR {})", self.filter(depth - 1), self.filter(depth - 1)),
            _ => format!("({} AND {})", self.filter(depth - 1), self.filter(depth - 1)),
        }
    }

    /// A query of the points, with `FROM` to be filled in.
    fn query(&mut self) -> String {
        let filter = self.filter(2);
        match self.below(5) {
            0 => format!(
                "SELECT entity_id, metric_key, time, value, value_text, device_id FROM {{}} WHERE {filter}"
            ),
            1 => format!(
                "SELECT time, quality, epoch FROM {{}} WHERE {filter} ORDER BY time, entity_id, metric_key LIMIT {}",
                1 + self.below(20)
            ),
            2 => format!(
                "SELECT count(*) AS n, count(value) AS m, min(value) AS a, max(time) AS b FROM {{}} WHERE {filter}"
            ),
            3 => {
                let part = self.one(&["second", "minute", "hour", "day", "week", "month"]);
                format!(
                    "SELECT entity_id, date_trunc('{part}', time) AS t, count(*) AS n, sum(value) AS s, avg(value) AS mean, max(value) AS top FROM {{}} WHERE {filter} GROUP BY 1, 2"
                )
            }
            _ => format!(
                "SELECT metric_key, count(*) AS n, min(time) AS first FROM {{}} WHERE {filter} GROUP BY metric_key HAVING count(*) > {}",
                self.below(4)
            ),
        }
    }
}

async fn rows(server: &Server, sql: &str, from: &str) -> Vec<String> {
    let rows = server.sql(&sql.replace("{}", from)).await;
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// A plant with points of all types, all of them in the database.
async fn plant(database: &Database, random: &mut Random) -> (Plant, Server) {
    let plant = Plant::new();
    let server = serve(&plant, &database.url());
    for _ in 0..80 {
        let device = format!("PUMP-{}", 1 + random.below(2));
        let state = random.one(&["run", "Run", "it's \\ off", "tripped"]);
        // Sums of halves are exact in any order.
        let metrics = match random.below(3) {
            0 => json!({"TEMP": 40.0 + random.below(20) as f64 / 2.0}),
            1 => json!({"STATE": state, "STARTS": random.below(9)}),
            _ => json!({"TEMP": 40.0 + random.below(8) as f64, "STATE": state}),
        };
        let second = BASE + 10 * random.below(60) as i64;
        server.ingest(json!({"deviceId": device, "timestamp": second, "metrics": metrics})).await;
    }
    until_equal(&server, database).await;
    (plant, server)
}

#[tokio::test]
async fn the_database_answers_what_would_be_answered_here() {
    let seed = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = std::env::var("MILLSTREAM_SEED").map_or(seed, |text| text.parse().unwrap());
    println!("seed {seed}");
    let mut random = Random(seed);
    let database = Database::new().await.abroad().await;
    let (_plant, server) = plant(&database, &mut random).await;
    let (mut some, mut told) = (0, 0);
    for _ in 0..150 {
        let sql = random.query();
        let here = rows(&server, &sql, POINTS).await;
        assert_eq!(rows(&server, &sql, HISTORY).await, here, "{sql}");
        some += usize::from(!here.is_empty());
        let plan = server.sql(&format!("EXPLAIN {}", sql.replace("{}", HISTORY))).await;
        told += usize::from(plan.iter().any(|row| {
            row.to_string().contains("TimescaleExec: SELECT") && row.to_string().contains(" WHERE ")
        }));
    }
    assert!(some > 40, "{some} queries with rows");
    assert!(told > 60, "{told} queries with filters that the database answers");

    let sql = format!(
        "EXPLAIN SELECT date_trunc('hour', time) AS hour, avg(value) AS mean FROM {HISTORY} \
         WHERE metric_key = 'temperature' GROUP BY 1"
    );
    let plan = server.sql(&sql).await.iter().map(Value::to_string).collect::<String>();
    assert!(plan.contains("GROUP BY 1"), "{plan}");
    assert!(!plan.contains("AggregateExec"), "{plan}");

    // Together with what is live.
    let sql = "SELECT a.asset, count(*) AS points FROM asset_health a \
        JOIN timescale.telemetry_history h ON h.entity_id = a.asset GROUP BY 1 ORDER BY 1";
    let expected =
        server.sql("SELECT asset, count(*) AS points FROM telemetry GROUP BY 1 ORDER BY 1").await;
    assert_eq!(server.sql(sql).await, expected);
}

#[tokio::test]
async fn what_cannot_be_asked_of_the_database_is_told() {
    let database = Database::new().await;
    let (plant, server) = plant(&database, &mut Random(7)).await;
    for (sql, status, said) in [
        ("SELECT * FROM timescale.telemetry_histroy", 422, "mean 'timescale.telemetry_history'"),
        ("SELECT nothing FROM timescale.telemetry_history", 422, "nothing"),
        ("SELECT * FROM timescale.assets AS OF SYSTEM TIME '-1h'", 400, "only known as it is now"),
        ("DELETE FROM timescale.telemetry_history", 400, "is not a query"),
        ("SELECT * FROM elsewhere.telemetry_history", 422, "elsewhere"),
    ] {
        let problem = server.post("/api/v1/sql", "text/plain", sql).await.problem(status);
        assert!(problem.to_string().contains(said), "{sql}: {problem}");
    }
    // What is no text there is compared as the text that is shown.
    for (filter, count) in
        [("<> 'no JSON'", 1), ("= 'no JSON'", 0), ("> 'no JSON'", 1), ("IN ('{}', 'x')", 0)]
    {
        let sql = format!(
            "SELECT count(*) AS n FROM timescale.asset_types WHERE key = 'pump' AND document {filter}"
        );
        assert_eq!(server.sql(&sql).await[0]["n"], count, "{sql}");
    }
    // The SQL of a filter is data there.
    let sql =
        "SELECT count(*) AS n FROM timescale.telemetry_history WHERE value_text = 'x'' OR true --'";
    assert_eq!(server.sql(sql).await[0]["n"], 0);
    assert_eq!(server.terminate(), 0);
    let server = plant.serve();
    let sql = "SELECT * FROM timescale.telemetry_history";
    let problem = server.post("/api/v1/sql", "text/plain", sql).await.problem(400);
    assert!(problem.to_string().contains("--database-url"), "{problem}");
}
