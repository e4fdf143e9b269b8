//! SQL over HTTP: answers in pages, queries that are ended, and clients that go away.

use crate::http::message;
use crate::postgres::ENDLESS;
use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};

const SQL: &str = "/api/v1/sql";
const ROWS: &str = "SELECT a.event_time, b.value FROM telemetry a, telemetry b \
                    ORDER BY a.event_time, b.event_time, b.value";

async fn plant() -> (Plant, Server) {
    let plant = Plant::new();
    let server = plant.serve();
    more(&server, 0).await;
    (plant, server)
}

async fn more(server: &Server, from: i64) {
    let messages: Vec<Value> =
        (from..from + 40).map(|i| message("PUMP-1", i * 10, 40.0 + i as f64)).collect();
    server.ingest(json!(messages)).await;
}

impl Server {
    async fn asked(&self, path: &str, headers: &[(&str, &str)], query: &str) -> Answer {
        let headers = [&[("content-type", "text/plain")], headers].concat();
        self.send(Method::POST, path, &headers, query.to_owned()).await
    }

    async fn end(&self, id: &str) -> Answer {
        self.send(Method::DELETE, &format!("{SQL}/{id}"), &[], "").await
    }
}

#[tokio::test]
async fn pages_are_the_whole_answer_of_one_epoch() {
    let (_plant, server) = plant().await;
    let whole = server.post(SQL, "text/plain", ROWS).await.good();
    let expected = whole["rows"].as_array().unwrap().clone();
    assert_eq!(expected.len(), 1_600);
    let size = 400;
    let mut page = server.asked(&format!("{SQL}?page_size={size}"), &[], ROWS).await.good();
    let (mut found, mut number, epoch) = (Vec::new(), 1, page["epoch"].clone());
    loop {
        assert_eq!((&page["page"], &page["epoch"]), (&json!(number), &epoch));
        assert_eq!(page["columns"], whole["columns"]);
        let rows = page["rows"].as_array().unwrap();
        found.extend(rows.iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        assert_eq!(rows.len(), size);
        // What comes in between is of a later epoch; whoever did not hear an answer asks again.
        more(&server, number * 40).await;
        let first = server.get(next).await.good();
        page = server.get(next).await.good();
        assert_eq!(page, first);
        number += 1;
    }
    assert_eq!(found, expected);
    assert!(number > 2);
    let behind = format!("{SQL}/{}?page={}", page["id"].as_str().unwrap(), number + 1);
    server.get(&behind).await.problem(409);
}

#[tokio::test]
async fn pages_of_every_size_have_no_gap() {
    let (_plant, server) = plant().await;
    let whole = server.post(SQL, "text/plain", ROWS).await.good();
    for size in [117, 1_600, 10_000] {
        let mut path = format!("{SQL}?page_size={size}");
        let (mut found, mut page) = (Vec::new(), server.asked(&path, &[], ROWS).await.good());
        loop {
            found.extend(page["rows"].as_array().unwrap().iter().cloned());
            let Some(next) = page["next"].as_str() else { break };
            path = next.to_owned();
            page = server.get(&path).await.good();
        }
        assert_eq!(json!(found), whole["rows"], "pages of {size}");
    }
    let none = server.asked(&format!("{SQL}?page_size=5"), &[], "SELECT 1 AS x WHERE false").await;
    let none = none.good();
    assert_eq!((&none["rows"], &none["next"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn pages_come_in_every_form() {
    let (_plant, server) = plant().await;
    let headers = [("accept", "text/csv"), ("millstream-query-id", "mine")];
    let path = format!("{SQL}?page_size=3");
    let response = server
        .client
        .post(format!("{}{path}", server.url))
        .header("accept", "text/csv")
        .header("millstream-query-id", "mine")
        .body("SELECT key FROM asset_types, telemetry LIMIT 4")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["millstream-query-id"], "mine");
    assert_eq!(response.headers()["link"], "</api/v1/sql/mine?page=2>; rel=\"next\"");
    assert_eq!(response.text().await.unwrap().lines().count(), 4);
    server.asked(&path, &headers, "SELECT 1").await.problem(409);
    let last = server.send(Method::GET, "/api/v1/sql/mine?page=2", &headers, "").await;
    assert_eq!(last.text().lines().count(), 2);
    server.get("/api/v1/sql/mine?page=9").await.problem(409);
    assert_eq!(server.end("mine").await.status, 204);
    server.get("/api/v1/sql/mine?page=2").await.problem(404);
    server.end("mine").await.problem(404);
    for wrong in ["0", "10001", "many"] {
        server.asked(&format!("{SQL}?page_size={wrong}"), &[], "SELECT 1").await.problem(400);
    }
    let named = [("millstream-query-id", "no name!")];
    server.asked(SQL, &named, "SELECT 1").await.problem(400);
}

#[tokio::test]
async fn a_query_is_ended_by_its_name() {
    let (_plant, server) = plant().await;
    let named = [("millstream-query-id", "endless")];
    for path in [SQL.to_owned(), format!("{SQL}?page_size=10")] {
        let ending = async {
            eventually("a query that runs", async || {
                (server.end("endless").await.status == 204).then_some(())
            })
            .await;
        };
        let (ended, ()) = tokio::join!(server.asked(&path, &named, ENDLESS), ending);
        let problem = ended.problem(409);
        assert!(problem["detail"].as_str().unwrap().contains("ended"), "{problem}");
    }
    // The name is free again.
    assert_eq!(server.asked(SQL, &named, "SELECT 1 AS x").await.good()["rows"], json!([{"x": 1}]));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_query() {
    let (_plant, server) = plant().await;
    let turns = millstream::query::Limits::default().concurrent;
    for i in 0..turns + 2 {
        let id = format!("gone-{i}");
        let named = [("millstream-query-id", id.as_str())];
        let path = if i % 2 == 0 { SQL.to_owned() } else { format!("{SQL}?page_size=1") };
        tokio::select! {
            _ = server.asked(&path, &named, ENDLESS) => unreachable!("it has no end"),
            () = tokio::time::sleep(std::time::Duration::from_millis(300)) => {}
        }
        let free = async || (server.end(&id).await.status == 404).then_some(());
        eventually("the end of the query", free).await;
    }
    assert_eq!(server.sql("SELECT 1 AS x").await, [json!({"x": 1})]);
}

#[tokio::test]
async fn answers_that_nobody_reads_on_give_way() {
    let (_plant, server) = plant().await;
    let most = millstream::serve::PAGES;
    let mut pages = Vec::new();
    for _ in 0..most + 3 {
        let page = server.asked(&format!("{SQL}?page_size=1"), &[], ROWS).await.good();
        pages.push(page["next"].as_str().unwrap().to_owned());
    }
    for (at, next) in pages.iter().enumerate() {
        let read = server.get(next).await;
        assert_eq!(read.status, if at < 3 { 404 } else { 200 }, "{at}: {}", read.text());
    }
}
