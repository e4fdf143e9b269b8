//! Named queries: those that ship, on the recording that ships, over HTTP and on the command line.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// A plant that has seen the recording that ships.
fn recorded() -> Plant {
    let plant = Plant::empty();
    let names = ["3w_class2_spurious_closure_of_dhsv", "3w_class6_quick_restriction_in_pck"];
    let files = names.map(|name| repository(&format!("recordings/3w/{name}.parquet")));
    let catalog = repository("dataflows");
    plant.run(&["replay", text(&files[0]), text(&files[1]), "--catalog", text(&catalog)]).expect(0);
    plant
}

/// What the example of a query asks over HTTP.
fn address(query: &Value) -> String {
    let mut path = format!("/api/v1/queries/{}", query["name"].as_str().unwrap());
    for (i, (name, value)) in query["example"].as_object().unwrap().iter().enumerate() {
        path.push_str(&format!(
            "{}{name}={}",
            ["&", "?"][usize::from(i == 0)],
            value.as_str().unwrap()
        ));
    }
    path
}

#[tokio::test]
async fn shipped_queries_answer_on_the_recording() {
    let plant = recorded();
    let (catalog, folder) = (repository("dataflows"), repository("queries"));
    let server = plant.serve_from(&["--catalog", text(&catalog)]);
    let list = server.get("/api/v1/queries").await.good()["queries"].take();
    let queries = list.as_array().unwrap();
    let mut files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let names: Vec<&str> = queries.iter().map(|query| query["name"].as_str().unwrap()).collect();
    assert_eq!(names, files, "the program has other queries inside than the folder");

    let mut answers: BTreeMap<&str, Value> = BTreeMap::new();
    for query in queries {
        let (name, path) = (query["name"].as_str().unwrap(), address(query));
        let answer = server.get(&path).await.good();
        assert_eq!(answer["query"], name);
        let rows = answer["rows"].as_array().unwrap();
        assert_eq!(rows.is_empty(), name == "refused_messages", "{path}: {answer}");
        let columns = answer["columns"].as_array().unwrap();
        assert!(rows.iter().all(|row| row.as_object().unwrap().len() == columns.len()), "{answer}");
        let csv = server.send(Method::GET, &path, &[("accept", "text/csv")], "").await;
        assert_eq!(csv.content_type, "text/csv; charset=utf-8");
        assert!(csv.text().lines().count() > rows.len(), "{path}: {}", csv.text());
        let arrow = server.send(Method::GET, &path, &[("accept", ARROW)], "").await;
        assert_eq!((arrow.status, arrow.content_type.as_str()), (200, ARROW), "{path}");
        answers.insert(name, answer["rows"].clone());
    }
    check_contents(&server, &answers).await;

    let bad = json!([{"deviceId": "toaster", "metrics": {"x": 1}}, {"deviceId": "toaster", "metrics": {"x": 2}}]);
    server.ingest(bad).await;
    let refused = server.get("/api/v1/queries/refused_messages?from=-1h").await.good();
    let row = &refused["rows"][0];
    assert_eq!((&row["device"], &row["messages"]), (&json!("toaster"), &json!(2)), "{refused}");
    let future = server.get("/api/v1/queries/refused_messages?from=now%2B1h").await.good();
    assert_eq!(future["rows"], json!([]));

    // The command line says the same, with a server and without one.
    let list_of = |args: &[&str]| plant.run(&[&["query"], args].concat()).expect(0).out;
    let (listed, mut online) = (list_of(&[]), Vec::new());
    let ask = |query: &Value| {
        let mut args = vec![query["name"].as_str().unwrap().to_owned()];
        for (name, value) in query["example"].as_object().unwrap() {
            args.extend(["--param".to_owned(), format!("{name}={}", value.as_str().unwrap())]);
        }
        args.extend(["--format".to_owned(), "json".to_owned()]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        serde_json::from_str::<Value>(&list_of(&args)).unwrap()
    };
    for query in queries {
        let name = query["name"].as_str().unwrap();
        assert!(listed.contains(&format!("{name}: {}", query["title"].as_str().unwrap())));
        let rows = ask(query);
        if name != "refused_messages" {
            assert_eq!(rows, answers[name], "{name}");
        }
        online.push(rows);
    }
    assert_eq!(server.terminate(), 0);
    assert_eq!(list_of(&["--queries", text(&folder)]), listed);
    let offline: Vec<Value> = queries.iter().map(ask).collect();
    assert_eq!(offline, online);
}

/// The answers say what SQL without parameters says.
async fn check_contents(server: &Server, answers: &BTreeMap<&str, Value>) {
    let sum = |name: &str, column: &str| -> i64 {
        let rows = answers[name].as_array().unwrap();
        rows.iter().map(|row| row[column].as_i64().unwrap()).sum()
    };
    let count = async |filter: &str| {
        let rows = server.sql(&format!("select count(*) as n from telemetry where {filter}")).await;
        rows[0]["n"].as_i64().unwrap()
    };
    let well = "asset = 'WELL-00011' and metric = ";
    let hours = count(&format!(
        "{well} 'tree_temperature' and event_time >= '2014-05-15T10:00:00Z' and event_time < '2014-05-16'"
    ))
    .await;
    assert_eq!(sum("hourly_rollup", "count"), hours);
    let range = count(&format!(
        "{well} 'tree_pressure' and event_time >= '2014-05-15T11:00:00Z' and event_time < '2014-05-15T13:00:00Z'"
    ))
    .await;
    assert_eq!(sum("telemetry_range", "points"), range);
    assert_eq!(answers["telemetry_range"][0]["step_start"], "2014-05-15T11:10:00Z");
    assert_eq!(sum("data_quality", "points"), count("asset = 'WELL-00003'").await);
    let health = server.sql("select asset from asset_health order by score, asset limit 3").await;
    let worst: Vec<&Value> =
        answers["worst_assets"].as_array().unwrap().iter().map(|row| &row["asset"]).collect();
    assert_eq!(worst, health.iter().map(|row| &row["asset"]).collect::<Vec<_>>());
    let events = answers["asset_events"].as_array().unwrap();
    let closed = events.iter().find(|row| row["event_type"] == "well.safety_valve_closed").unwrap();
    assert_eq!(closed["event_time"], "2014-05-15T11:40:43Z");
    let raised = server.sql("select asset from threshold_states where level = 'critical'").await;
    assert_eq!(answers["raised_thresholds"].as_array().unwrap().len(), raised.len());
    let longest = &answers["time_at_level"][0];
    assert_eq!((&longest["asset"], &longest["stays"]), (&json!("WELL-00011"), &json!(1)));
    assert!(longest["seconds"].as_f64().unwrap() > 600.0, "{longest}");
    check_series(server, answers).await;
    let latest = server.view("asset_metrics?asset=WELL-00011").await;
    assert_eq!(answers["asset_latest"].as_array().unwrap().len(), latest.len());
}

/// What the queries with functions of series say is what plain SQL says of the same points.
async fn check_series(server: &Server, answers: &BTreeMap<&str, Value>) {
    let rows = |name: &str| answers[name].as_array().unwrap();
    let sum = |name: &str, column: &str| -> f64 {
        rows(name).iter().filter_map(|row| row[column].as_f64()).sum()
    };
    let ask = async |sql: &str| server.sql(sql).await;
    let near = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "{a} is not {b}");

    assert_eq!(rows("completeness").len(), 16);
    let seen = ask(
        "select count(*) as n from telemetry where asset = 'WELL-00011' and metric = 'tree_pressure'
         and event_time >= '2014-05-15T08:00:00Z' and event_time < '2014-05-15T16:00:00Z'",
    )
    .await;
    near(sum("completeness", "seen"), seen[0]["n"].as_f64().unwrap());
    assert_eq!(rows("trend").len(), 50);
    let ends = ask(
        "select first_value(value order by event_time) as a, last_value(value order by event_time) as b
         from telemetry where asset = 'WELL-00011' and metric = 'tree_temperature'
         and event_time >= '2014-05-15' and event_time < '2014-05-16'",
    )
    .await;
    assert_eq!(
        (&rows("trend")[0]["value"], &rows("trend")[49]["value"]),
        (&ends[0]["a"], &ends[0]["b"])
    );

    let means = ask("select t, sum(value * held) / 3600 as area, sum(held) as held, count(*) as n
         from (select t, value, date_part('epoch', coalesce(lead(event_time) over (
                   partition by t order by event_time), t + interval '1 hour')) -
                   date_part('epoch', event_time) as held
               from (select date_bin(interval '1 hour', event_time) as t, event_time, value
                     from telemetry
                     where asset = 'WELL-00003' and metric = 'choke_upstream_pressure'))
         group by t order by t")
    .await;
    assert_eq!(rows("flow_total").len(), means.len());
    for (row, plain) in rows("flow_total").iter().zip(&means) {
        assert_eq!((&row["step_start"], &row["points"]), (&plain["t"], &plain["n"]));
        let value = |row: &Value, column: &str| row[column].as_f64().unwrap();
        let (mean, plain) =
            (value(row, "mean"), value(plain, "area") * 3600.0 / value(plain, "held"));
        near(mean, plain);
        near(value(row, "total"), mean);
    }
    for row in rows("flow_balance") {
        let value = |column: &str| row[column].as_f64().unwrap();
        near(value("balance"), value("inflow") - value("outflow"));
    }
    let steps = ask(
        "select coalesce(sum(case when value < before then value else value - before end), 0) as s
         from (select value, lag(value) over (order by event_time) as before from telemetry
               where asset = 'WELL-00011' and metric = 'tree_temperature'
               and event_time >= '2014-05-15' and event_time < '2014-05-17')",
    )
    .await;
    near(sum("consumption", "consumed"), steps[0]["s"].as_f64().unwrap());
    let raised = ask("select count(*) as n from threshold_occurrences
         where raised >= '2014-05-15' and raised < '2014-05-16'")
    .await;
    near(sum("alarm_floods", "raised"), raised[0]["n"].as_f64().unwrap());
    near(sum("time_between_alarms", "raised"), raised[0]["n"].as_f64().unwrap());
    let silent = &rows("downtime")[0];
    assert_eq!(silent["asset"], "WELL-00011");
    assert!(silent["silent_s"].as_f64().unwrap() > 14.0 * 86_400.0, "{silent}");
    assert_eq!(rows("worst_assets_of_week")[0]["asset"], "WELL-00011");
    near(rows("time_in_state")[0]["share"].as_f64().unwrap(), 1.0);
}

#[tokio::test]
async fn parameters_are_checked_and_bound() {
    let plant = Plant::new();
    fs::create_dir(plant.path("queries")).unwrap();
    let write = |name: &str, text: &str| {
        fs::write(plant.path("queries").join(format!("{name}.sql")), text).unwrap();
    };
    write(
        "of_asset",
        "-- t\n-- param asset string\n-- example: asset=a\nselect metric, value from asset_metrics where asset = $asset\n",
    );
    write(
        "all_types",
        "-- t\n-- param s string = a\n-- param d double = 1.5\n-- param i integer = 2\n\
         -- param b bool = true\n-- param t timestamp = 2025-03-01\n-- param p duration = 90s\n\
         -- param n double = null\n\
         select $s as s, $d as d, $i as i, $b as b, $t as t, $t - $p as before, $n as n, $n is null as none\n",
    );
    let server = plant.serve();
    server.ingest(json!({"deviceId": "PUMP-1", "timestamp": BASE, "metrics": {"TEMP": 7}})).await;
    let ask = async |path: &str| server.get(&format!("/api/v1/queries/{path}")).await;
    let rows = ask("of_asset?asset=pump-1").await.good()["rows"].take();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    for hostile in ["'%20or%20'1'='1", "x'%3B%20drop%20table%20telemetry--", "%24asset", "null", ""]
    {
        let rows = ask(&format!("of_asset?asset={hostile}")).await.good()["rows"].take();
        assert_eq!(rows, json!([]), "{hostile}");
    }
    let typed = ask("all_types").await.good();
    let row = json!({"s": "a", "d": 1.5, "i": 2, "b": true, "t": "2025-03-01T00:00:00Z",
        "before": "2025-02-28T23:58:30Z", "n": null, "none": true});
    assert_eq!(typed["rows"], json!([row]));
    let given = ask("all_types?n=-2e1&p=PT1H&t=1740787200000&b=false&s=%C3%A4%20%26").await.good();
    let row = json!({"s": "ä &", "d": 1.5, "i": 2, "b": false, "t": "2025-03-01T00:00:00Z",
        "before": "2025-02-28T23:00:00Z", "n": -20.0, "none": false});
    assert_eq!(given["rows"], json!([row]));
    for (path, detail, hint) in [
        ("of_asset", "parameter 'asset' is missing", "parameters: asset string"),
        ("of_asset?asset=a&aset=b", "has no parameter 'aset'", "parameters: asset string"),
        ("of_asset?asset=a&asset=b", "'asset' is given twice", "parameters: asset string"),
        ("all_types?d=much", "'d' is 'much', not a number", "d double (1.5 when left out)"),
        ("all_types?t=noon", "'t' is 'noon', not a time", "n double (may be left out)"),
    ] {
        let problem = ask(path).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert!(problem["hint"].as_str().unwrap().contains(hint), "{problem}");
        let (name, pairs) = path.split_once('?').unwrap_or((path, ""));
        let mut args = vec!["query", name];
        pairs.split('&').filter(|pair| !pair.is_empty()).for_each(|pair| args.extend(["-p", pair]));
        let said = plant.run(&args).expect(1);
        assert!(said.err.contains(detail) && said.err.contains(hint), "{}", said.err);
    }
    let unknown = ask("of_assets?asset=a").await.problem(404);
    assert_eq!(unknown["hint"], "queries: all_types, of_asset");
    let in_sql = server.post("/api/v1/sql", "text/plain", "select $1").await.problem(400);
    assert!(in_sql["detail"].as_str().unwrap().contains("'$1' is no parameter"), "{in_sql}");

    // A changed folder takes effect; what cannot be planned is left out and told.
    write("of_asset", "-- t\nselect 1 as one\n");
    write("wrong", "-- t\nselect valu from asset_metrics\n");
    eventually("the change", async || (ask("of_asset").await.status == 200).then_some(())).await;
    ask("wrong").await.problem(404);
    let log = fs::read_to_string(&server.log).unwrap();
    assert!(log.contains("wrong.sql:2:8: unknown column: 'valu'"), "{log}");
    let checked = run(&["check", text(&plant.catalog())]).expect(4);
    assert!(checked.out.contains("wrong.sql:2:8: unknown column"), "{}", checked.out);
    assert!(checked.out.contains("5 documents, 3 queries, 1 problems"), "{}", checked.out);
    let nowhere = plant.run(&["query", "--queries", "/nowhere"]).expect(0);
    assert!(nowhere.out.contains("of_asset"), "the server's: {}", nowhere.out);
    drop(server);
    let nowhere = plant.run(&["query", "--queries", "/nowhere"]).expect(1);
    assert!(nowhere.err.contains("--queries"), "{}", nowhere.err);
}
