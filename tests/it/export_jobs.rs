//! Exports: long answers as files.

use crate::formats::{read, some_points};
use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;

const EXPORTS: &str = "/api/v1/exports";
/// Tells rows for longer than any test waits: 216 millions.
const ENDLESS: &str = "select a.value as a, b.value as b, c.event_time, c.asset \
    from telemetry a, telemetry b, telemetry c";

async fn begin(server: &Server, wanted: Value) -> String {
    let answer = server.post(EXPORTS, JSON, wanted.to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn status(server: &Server, id: &str) -> Value {
    server.get(&format!("{EXPORTS}/{id}")).await.good()
}

/// Waits until an export is in a state.
async fn until(server: &Server, id: &str, state: &str) -> Value {
    eventually(&format!("{state} export"), async || {
        let status = status(server, id).await;
        let ended = ["done", "failed"].contains(&status["state"].as_str().unwrap());
        assert!(!ended || status["state"] == state, "not {state}: {status}");
        (status["state"] == state).then_some(status)
    })
    .await
}

fn files(plant: &Plant) -> Vec<String> {
    let folder = fs::read_dir(plant.data().join("exports")).into_iter().flatten();
    let mut files: Vec<String> =
        folder.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn an_export_is_written_downloaded_and_removed() {
    let plant = Plant::new();
    let server = plant.serve();
    some_points(&server).await;
    let sql = "select asset, metric, event_time, value, quality from telemetry \
        where metric <> 'state' order by asset, metric, event_time";
    let expected = server.sql(sql).await;
    let mut ids = Vec::new();
    for form in ["csv", "json", "ndjson", "arrow", "parquet", "xlsx"] {
        let id = begin(&server, json!({"sql": sql, "format": form})).await;
        let done = until(&server, &id, "done").await;
        assert_eq!((&done["rows"], &done["format"]), (&json!(400), &json!(form)), "{done}");
        assert_eq!(
            (&done["question"], &done["file"]),
            (&json!(sql), &json!(format!("{EXPORTS}/{id}/file")))
        );
        assert!(done["epoch"].as_u64().is_some_and(|epoch| epoch > 0), "{done}");
        let file = server.get(done["file"].as_str().unwrap()).await;
        assert_eq!(
            (file.status, file.bytes.len()),
            (200, done["bytes"].as_u64().unwrap() as usize)
        );
        assert_eq!(read(form, &file.bytes, &expected), expected, "{form}");
        ids.push(id);
    }
    let named = json!({"query": "telemetry_range", "format": "ndjson",
        "parameters": {"asset": "pump-1", "metric": "temperature", "from": "2023-11-14"}});
    let id = begin(&server, named).await;
    let done = until(&server, &id, "done").await;
    assert_eq!(done["question"], "telemetry_range asset=pump-1 from=2023-11-14 metric=temperature");
    let direct = server.get("/api/v1/queries/telemetry_range?asset=pump-1&metric=temperature&from=2023-11-14&format=ndjson").await;
    assert_eq!(server.get(&format!("{EXPORTS}/{id}/file")).await.bytes, direct.bytes);
    ids.push(id);

    let list = server.get(EXPORTS).await.good();
    let listed: Vec<&str> =
        list["exports"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    assert_eq!(files(&plant).len(), 2 * ids.len());
    for id in &ids {
        let path = format!("{EXPORTS}/{id}");
        assert_eq!(server.send(Method::DELETE, &path, &[], "").await.status, 204);
        server.get(&path).await.problem(404);
        server.get(&format!("{path}/file")).await.problem(404);
        server.send(Method::DELETE, &path, &[], "").await.problem(404);
    }
    assert_eq!(files(&plant), Vec::<String>::new());
}

#[tokio::test]
async fn an_export_that_runs_is_ended() {
    let plant = Plant::new();
    let server = plant.serve();
    some_points(&server).await;
    // Two run at a time, the third waits.
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(begin(&server, json!({"sql": ENDLESS, "format": "csv"})).await);
    }
    for id in &ids[..2] {
        until(&server, id, "running").await;
        let rows = async || {
            let rows = status(&server, id).await["rows"].as_u64().unwrap();
            (rows > 0).then_some(rows)
        };
        let before = eventually("rows", rows).await;
        eventually("more rows", async || rows().await.filter(|rows| *rows > before)).await;
        server.get(&format!("{EXPORTS}/{id}/file")).await.problem(409);
    }
    assert_eq!(status(&server, &ids[2]).await["state"], "queued");
    for id in &ids[..2] {
        let path = format!("{EXPORTS}/{id}");
        assert_eq!(server.send(Method::DELETE, &path, &[], "").await.status, 204);
        server.get(&path).await.problem(404);
    }
    until(&server, &ids[2], "running").await;
    eventually("one file", async || {
        (files(&plant) == [format!("{}.unfinished", ids[2])]).then_some(())
    })
    .await;
    // A server that is told to stop does not wait for it.
    assert_eq!(server.terminate(), 0);
}

#[tokio::test]
async fn a_restart_keeps_what_is_whole() {
    let plant = Plant::new();
    let mut server = plant.serve();
    some_points(&server).await;
    let whole =
        begin(&server, json!({"sql": "select * from telemetry", "format": "parquet"})).await;
    until(&server, &whole, "done").await;
    let path = format!("{EXPORTS}/{whole}");
    let (told, bytes) =
        (status(&server, &whole).await, server.get(&format!("{path}/file")).await.bytes);
    let half = begin(&server, json!({"sql": ENDLESS, "format": "csv"})).await;
    until(&server, &half, "running").await;
    eventually("a file", async || (files(&plant).len() == 3).then_some(())).await;
    // One whose file is not as long as it was.
    let short = begin(&server, json!({"sql": "select * from telemetry", "format": "csv"})).await;
    until(&server, &short, "done").await;
    server.kill();
    fs::write(plant.data().join(format!("exports/{short}.csv")), "asset").unwrap();
    let server = plant.serve();
    assert_eq!(status(&server, &whole).await, told);
    assert_eq!(server.get(&format!("{path}/file")).await.bytes, bytes);
    for gone in [half, short] {
        server.get(&format!("{EXPORTS}/{gone}")).await.problem(404);
    }
    assert_eq!(files(&plant), [format!("{whole}.note"), format!("{whole}.parquet")]);
}

#[tokio::test]
async fn what_is_too_large_too_many_or_too_old_is_told() {
    let plant = Plant::new();
    let server = plant.serve_with(&["--exports-space", "2MiB", "--exports-age", "2s"]);
    some_points(&server).await;
    for form in ["csv", "json"] {
        let id = begin(&server, json!({"sql": ENDLESS, "format": form})).await;
        let failed = until(&server, &id, "failed").await;
        let error = &failed["error"];
        assert_eq!((&error["status"], &failed["bytes"]), (&json!(429), &json!(0)), "{failed}");
        assert!(error["detail"].as_str().unwrap().contains("more than 2097152 bytes"), "{failed}");
        assert!(failed["file"].is_null());
        server.get(&format!("{EXPORTS}/{id}/file")).await.problem(409);
    }
    assert_eq!(files(&plant), Vec::<String>::new());
    let id = begin(&server, json!({"sql": "select 1 as one", "format": "csv"})).await;
    until(&server, &id, "done").await;
    eventually("the end of its time", async || {
        let status = server.get(&format!("{EXPORTS}/{id}")).await.status;
        (status == 404).then_some(())
    })
    .await;
    assert_eq!(files(&plant), Vec::<String>::new());

    let server = plant_with_points().await;
    let mut ids = Vec::new();
    let most = millstream::app::ExportLimits::default().jobs;
    for _ in 0..most {
        ids.push(begin(&server.1, json!({"sql": "select 1", "format": "csv"})).await);
    }
    let one_more = json!({"sql": "select 1", "format": "csv"}).to_string();
    let refused = server.1.post(EXPORTS, JSON, one_more.clone()).await.problem(429);
    assert!(refused["hint"].as_str().unwrap().contains("DELETE"), "{refused}");
    server.1.send(Method::DELETE, &format!("{EXPORTS}/{}", ids[50]), &[], "").await;
    assert_eq!(server.1.post(EXPORTS, JSON, one_more).await.status, 202);
}

async fn plant_with_points() -> (Plant, Server) {
    let plant = Plant::new();
    let server = plant.serve();
    some_points(&server).await;
    (plant, server)
}

#[tokio::test]
async fn what_cannot_be_exported_says_why() {
    let (_plant, server) = plant_with_points().await;
    for (wanted, code, detail) in [
        (json!({"sql": "delete from telemetry", "format": "csv"}), 400, "DELETE"),
        (json!({"sql": "select", "format": "table"}), 400, "'table' is no format"),
        (json!({"format": "csv"}), 400, "give either 'sql', or 'query'"),
        (json!({"sql": "select 1", "query": "trend", "format": "csv"}), 400, "give either"),
        (json!({"sql": "select 1"}), 400, "format"),
        (json!({"sql": "select 1", "format": "csv", "to": "x"}), 400, "to"),
        (json!({"query": "trends", "format": "csv"}), 404, "no query 'trends'"),
        (json!({"query": "trend", "format": "csv"}), 400, "'asset' is missing"),
        (
            json!({"query": "trend", "format": "csv", "parameters": {"asset": "a", "metric": "m", "points": "many"}}),
            400,
            "'points' is 'many'",
        ),
    ] {
        let problem = server.post(EXPORTS, JSON, wanted.to_string()).await.problem(code);
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{wanted}: {problem}");
    }
    assert_eq!(server.get(EXPORTS).await.good()["exports"], json!([]));
    for (sql, detail) in [
        ("select * from telemetri", "unknown table 'telemetri'"),
        ("select valu from telemetry", "unknown column"),
        ("select cast(text as double) from telemetry where metric = 'state'", "Cannot cast"),
    ] {
        let id = begin(&server, json!({"sql": sql, "format": "csv"})).await;
        let failed = until(&server, &id, "failed").await;
        assert!(failed["error"]["detail"].as_str().unwrap().contains(detail), "{failed}");
    }
}
