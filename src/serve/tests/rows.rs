//! Rows out: views and SQL, in every form.

use super::doors::{Server, problem};
use arrow::ipc::reader::StreamReader;

const ARROW: &str = "application/vnd.apache.arrow.stream";

#[tokio::test]
async fn a_view_comes_in_the_form_that_is_accepted() {
    let server = Server::start().await;
    server.flow(2, 0, 1.5);
    let url = "/api/v1/views/asset_metrics";
    let expected = "{\"view\":\"asset_metrics\",\"epoch\":2,\"rows\":[{\"asset\":\"p-0\",\
        \"asset_type\":\"pump\",\"metric\":\"flow\",\"event_time\":\"1970-01-01T00:00:02Z\",\
        \"value\":1.5,\"text\":null,\"unit\":\"m3/h\",\"quality\":\"Good\"}]}\n";
    for accept in ["*/*", "application/json", "text/html, application/json;q=0.9, */*;q=0.1"] {
        assert_eq!(server.get(url, accept).await.text().await.unwrap(), expected, "{accept}");
    }
    assert_eq!(
        server.get(url, "text/csv").await.text().await.unwrap(),
        "asset,asset_type,metric,event_time,value,text,unit,quality\n\
         p-0,pump,flow,1970-01-01T00:00:02Z,1.5,,m3/h,Good\n"
    );
    let bytes = server.get(url, ARROW).await.bytes().await.unwrap();
    let reader = StreamReader::try_new(&bytes[..], None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 1);
    let refused = problem(server.get(url, "image/png").await, 406).await;
    assert!(refused["hint"].as_str().unwrap().contains("text/csv"));
}

#[tokio::test]
async fn empty_views_are_well_formed_in_every_form() {
    let server = Server::start().await;
    let url = "/api/v1/views/fleet_thresholds";
    let text = server.get(url, "*/*").await.text().await.unwrap();
    assert_eq!(text, "{\"view\":\"fleet_thresholds\",\"epoch\":1,\"rows\":[]}\n");
    assert_eq!(server.get(url, "text/csv").await.text().await.unwrap(), "rule,level,assets\n");
    let bytes = server.get(url, ARROW).await.bytes().await.unwrap();
    assert_eq!(StreamReader::try_new(&bytes[..], None).unwrap().count(), 0);
}

#[tokio::test]
async fn views_are_filtered_and_limited() {
    let server = Server::start().await;
    server.flow(2, 0, 1.0);
    server.flow(3, 1, 2.0);
    for (query, rows) in [
        ("", 2),
        ("?asset=p-1", 1),
        ("?asset=nobody", 0),
        ("?type=pump&metric=flow", 2),
        ("?metric=head", 0),
        ("?limit=1", 1),
        ("?limit=0", 0),
    ] {
        let url = format!("/api/v1/views/asset_metrics{query}");
        let answer: serde_json::Value = server.get(&url, "*/*").await.json().await.unwrap();
        assert_eq!(answer["rows"].as_array().unwrap().len(), rows, "{query}");
    }
    let unknown = problem(server.get("/api/v1/views/nonsense", "*/*").await, 404).await;
    assert!(unknown["detail"].as_str().unwrap().contains("asset_metrics, asset_health"));
    let bad = server.get("/api/v1/views/events?metric=a", "*/*").await;
    assert!(problem(bad, 400).await["detail"].as_str().unwrap().contains("by metric"));
    let typo = server.get("/api/v1/views/events?aset=a", "*/*").await;
    assert!(problem(typo, 400).await["detail"].as_str().unwrap().contains("aset"));
    problem(server.get("/api/v1/views/events?limit=-1", "*/*").await, 400).await;
}

#[tokio::test]
async fn many_rows_are_streamed_whole() {
    let server = Server::start().await;
    for epoch in 0..3 {
        let documents = (0..1500).map(|i| {
            let id = epoch as u32 * 1500 + i;
            let document = crate::model::Document {
                kind: crate::model::Kind::Devices,
                key: format!("d{id}").into(),
                id,
                version: 1,
                effective_from: crate::model::Timestamp::MIN,
                body: Some("{}".into()),
            };
            (document, 1)
        });
        let change = crate::model::Change::Documents(documents.collect());
        server.views.apply(crate::model::Epoch(2 + epoch), vec![change]);
    }
    let url = "/api/v1/catalog/devices";
    let answer: serde_json::Value = server.get(url, "*/*").await.json().await.unwrap();
    assert_eq!(answer["rows"].as_array().unwrap().len(), 4500);
    assert_eq!(server.get(url, "text/csv").await.text().await.unwrap().lines().count(), 4501);
    let list: serde_json::Value = server.get("/api/v1/views", "*/*").await.json().await.unwrap();
    let views = list["views"].as_array().unwrap();
    let devices = views.iter().find(|view| view["name"] == "devices").unwrap();
    assert_eq!(devices["rows"], 4500);
    assert_eq!(devices["key"], serde_json::json!(["key"]));
}

#[tokio::test]
async fn sql_takes_text_and_json() {
    let server = Server::start().await;
    let url = "/api/v1/sql";
    let expected = "{\"columns\":[{\"name\":\"n\",\"type\":\"Float64\"}],\
        \"rows\":[{\"n\":1.5},{\"n\":null},{\"n\":1.5},{\"n\":null}]}\n";
    let json = [("content-type", "application/json")];
    let answer = server.post(url, &json, r#"{"sql": "SELECT n"}"#).await;
    assert_eq!(answer.text().await.unwrap(), expected);
    let text = [("content-type", "text/plain"), ("accept", "text/csv")];
    let answer = server.post(url, &text, "SELECT n").await.text().await.unwrap();
    assert!(answer.starts_with("n\n1.5\n"), "{answer}");
    problem(server.post(url, &text[..1], "DROP TABLE t").await, 400).await;
    problem(server.post(url, &text[..1], " ").await, 400).await;
    problem(server.post(url, &json, "{\"query\": 1}").await, 400).await;
    problem(server.post(url, &json, "x".repeat(70_000)).await, 413).await;
    problem(server.post(url, &[("content-type", "image/png")], "SELECT 1").await, 415).await;
}

#[tokio::test]
async fn named_queries_are_listed_and_run() {
    let server = Server::start().await;
    let list: serde_json::Value = server.get("/api/v1/queries", "*/*").await.json().await.unwrap();
    assert_eq!(list["queries"][0]["name"], "double");
    let url = "/api/v1/queries/double?a=1&b=x%20%26%20y";
    let expected = "{\"query\":\"double\",\"columns\":[{\"name\":\"given\",\"type\":\"Utf8\"}],\
        \"rows\":[{\"given\":\"a=1\"},{\"given\":\"b=x & y\"}]}\n";
    assert_eq!(server.get(url, "*/*").await.text().await.unwrap(), expected);
    assert_eq!(server.get(url, "text/csv").await.text().await.unwrap(), "given\na=1\nb=x & y\n");
    let bytes = server.get(url, ARROW).await.bytes().await.unwrap();
    assert_eq!(StreamReader::try_new(&bytes[..], None).unwrap().count(), 1);
    problem(server.get("/api/v1/queries/none", "*/*").await, 404).await;
    problem(server.get(url, "image/png").await, 406).await;
}
