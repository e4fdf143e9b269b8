//! Bodies in: forms, encodings, limits, and what else can go wrong.

use super::doors::{Server, problem};
use crate::serve::body::{Room, read_encoded};
use crate::serve::{BODY_BYTES_DECODED, BODY_BYTES_ENCODED, BodyRoom, DoorError, ErrorKind};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{StreamExt, stream};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const INGEST: &str = "/api/v1/telemetry/ingest";
const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn telemetry_is_told_apart_by_content_type() {
    let server = Server::start().await;
    for (content_type, form) in [
        ("application/json", "Json"),
        ("application/json; charset=utf-8", "Json"),
        ("application/x-ndjson", "Lines"),
        ("application/vnd.apache.arrow.stream", "Arrow"),
    ] {
        let answer = server.post(INGEST, &[("content-type", content_type)], "12345").await;
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["messageId"], form);
        assert_eq!(answer["accepted"], 5);
        assert!(answer["rejected"].is_array());
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let refused = problem(server.post(INGEST, &form, "x").await, 415).await;
    assert!(refused["hint"].as_str().unwrap().contains("application/x-ndjson"));
    // What curl sends when it is told no content type.
    for body in ["{\"a\": 1}", " \n[{}]"] {
        let answer = server.post(INGEST, &form, body).await;
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(
            (&answer["messageId"], &answer["accepted"]),
            (&"Json".into(), &body.len().into())
        );
    }
}

#[tokio::test]
async fn compressed_bodies_are_read() {
    let server = Server::start().await;
    let body = "x".repeat(100_000);
    let zstd = zstd::encode_all(body.as_bytes(), 1).unwrap();
    for (encoding, bytes) in [("gzip", gzip(body.as_bytes())), ("zstd", zstd)] {
        let answer = server.post(INGEST, &[JSON, ("content-encoding", encoding)], bytes).await;
        let answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(answer["accepted"], 100_000, "{encoding}");
    }
    let brotli = server.post(INGEST, &[JSON, ("content-encoding", "br")], "x").await;
    assert!(problem(brotli, 415).await["hint"].as_str().unwrap().contains("gzip"));
    let broken = server.post(INGEST, &[JSON, ("content-encoding", "gzip")], "no gzip").await;
    problem(broken, 400).await;
    let mut cut = gzip(body.as_bytes());
    cut.truncate(cut.len() / 2);
    problem(server.post(INGEST, &[JSON, ("content-encoding", "gzip")], cut).await, 400).await;
}

#[tokio::test]
async fn oversized_bodies_and_bombs_are_refused() {
    let server = Server::start().await;
    let large = vec![b'x'; BODY_BYTES_ENCODED + 1];
    problem(server.post(INGEST, &[JSON], large.clone()).await, 413).await;
    // Without a content length the limit is found while reading.
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> =
        large.chunks(1 << 20).map(|chunk| Ok(chunk.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    problem(server.post(INGEST, &[JSON], stream).await, 413).await;
    let bomb = gzip(&vec![0; BODY_BYTES_DECODED + 1]);
    assert!(bomb.len() < BODY_BYTES_ENCODED);
    let refused = server.post(INGEST, &[JSON, ("content-encoding", "gzip")], bomb).await;
    assert!(problem(refused, 413).await["detail"].as_str().unwrap().contains("decompressed"));
    let fits = vec![b'x'; BODY_BYTES_ENCODED];
    assert_eq!(server.post(INGEST, &[JSON], fits).await.status(), 200);
}

#[tokio::test]
async fn errors_leave_the_server_working() {
    let server = Server::start().await;
    let full = server.post(INGEST, &[JSON], "full").await;
    assert_eq!(full.headers()["retry-after"], "1");
    assert_eq!(problem(full, 429).await["hint"], "wait");
    problem(server.post(INGEST, &[JSON], "panic").await, 500).await;
    let method = server.get(INGEST, "*/*").await;
    assert_eq!(method.headers()["allow"], "POST");
    problem(method, 405).await;
    let unknown = problem(server.get("/api/v1/nothing", "*/*").await, 404).await;
    assert!(unknown["detail"].as_str().unwrap().contains("/api/v1/nothing"));
    assert_eq!(server.get("/metrics", "*/*").await.text().await.unwrap(), "millstream_up 1\n");
    let health = server.get("/health", "*/*").await;
    assert_eq!(health.status(), 503);
    let health: serde_json::Value = health.json().await.unwrap();
    assert_eq!((health["status"].as_str(), health["epoch"].as_u64()), (Some("failing"), Some(5)));
    let report = server.post("/api/v1/verify", &[], r#"{"views": ["events"]}"#).await;
    let report: serde_json::Value = report.json().await.unwrap();
    assert_eq!(report["views"][0]["view"], "events");
    problem(server.post("/api/v1/verify", &[], "[").await, 400).await;
}

#[tokio::test]
async fn documents_are_put_got_and_deleted() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let url = server.url("/api/v1/catalog/asset_types/pump");
    let put = |content_type: &'static str, body: &'static str| {
        client.put(&url).header("content-type", content_type).body(body).send()
    };
    let stored: serde_json::Value =
        put("application/yaml", "a: 1").await.unwrap().json().await.unwrap();
    assert_eq!(
        stored,
        serde_json::json!({"kind": "asset_types", "key": "pump", "version": 2, "epoch": 9, "document": "Yaml"})
    );
    let wrong = problem(put("application/json", "cycle").await.unwrap(), 422).await;
    assert_eq!(
        wrong["problems"][0],
        serde_json::json!({"path": "derived.a", "line": 3, "message": "a cycle"})
    );
    problem(put("image/png", "x").await.unwrap(), 415).await;
    problem(client.delete(&url).send().await.unwrap(), 409).await;
    let got: serde_json::Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(got["document"], serde_json::json!({}));
    let nothing = problem(server.get("/api/v1/catalog/nonsense/x", "*/*").await, 404).await;
    assert!(nothing["hint"].as_str().unwrap().contains("device_types"));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let server = Server::start().await;
    let api: serde_json::Value =
        server.get("/api/v1/openapi.json", "*/*").await.json().await.unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut routes = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            routes.push(format!("{method} {path}"));
        }
    }
    routes.sort();
    assert_eq!(
        routes,
        [
            "delete /api/v1/catalog/{kind}/{key}",
            "delete /api/v1/exports/{id}",
            "delete /api/v1/sql/{id}",
            "delete /api/v1/telemetry",
            "get /",
            "get /api/v1/catalog/{kind}",
            "get /api/v1/catalog/{kind}/{key}",
            "get /api/v1/exports",
            "get /api/v1/exports/{id}",
            "get /api/v1/exports/{id}/file",
            "get /api/v1/metrics/range",
            "get /api/v1/queries",
            "get /api/v1/queries/{name}",
            "get /api/v1/retention",
            "get /api/v1/sql/{id}",
            "get /api/v1/subscribe",
            "get /api/v1/telemetry/asset/{id}",
            "get /api/v1/telemetry/device/{id}",
            "get /api/v1/views",
            "get /api/v1/views/{name}",
            "get /api/v1/views/{name}/changes",
            "get /health",
            "get /metrics",
            "patch /api/v1/telemetry",
            "post /api/v1/exports",
            "post /api/v1/retention",
            "post /api/v1/sql",
            "post /api/v1/telemetry/ingest",
            "post /api/v1/verify",
            "post /api/v1/verify/conservation",
            "put /api/v1/catalog/{kind}/{key}",
        ]
    );
    assert_eq!(crate::serve::openapi().paths.paths.len(), 24);
    assert_eq!(server.get("/docs/", "*/*").await.status(), 200);
    let page = server.get("/", "*/*").await.text().await.unwrap();
    assert!(page.contains("page.js") && !page.contains("https://"));
    for file in ["/page.js", "/page.css"] {
        assert_eq!(server.get(file, "*/*").await.status(), 200, "{file}");
    }
}

#[tokio::test]
async fn edits_are_read() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    let path = server.url("/api/v1/telemetry?asset=p&metrics=a,b&reason=off+for+now");
    let done: serde_json::Value = client.delete(path).send().await.unwrap().json().await.unwrap();
    assert_eq!(done["id"], r#"Some("p") Some("a,b") off for now"#);
    let path = server.url("/api/v1/telemetry");
    let body = r#"{"asset": "p", "reason": "x", "points":
        [{"metric": "m", "time": "t", "value": 0.30000000000000004}]}"#;
    let answer = client.patch(&path).body(body).send().await.unwrap();
    // Every digit of a value comes through.
    let done: serde_json::Value = answer.json().await.unwrap();
    assert_eq!((&done["id"], &done["points"]), (&"0.30000000000000004".into(), &1.into()));
    let told = problem(client.patch(&path).body("{}").send().await.unwrap(), 400).await;
    assert!(told["hint"].as_str().unwrap().contains("points"), "{told}");
    let long = format!("{{\"asset\": \"{}\"}}", "x".repeat(crate::serve::EDIT_BYTES));
    problem(client.patch(&path).body(long).send().await.unwrap(), 413).await;
}

#[tokio::test]
async fn wrong_methods_are_told_the_right_ones() {
    let server = Server::start().await;
    let client = reqwest::Client::new();
    for (path, item) in crate::serve::openapi().paths.paths {
        for method in [reqwest::Method::TRACE, reqwest::Method::OPTIONS] {
            let answer = client.request(method, server.url(&path)).send().await.unwrap();
            let allow =
                answer.headers().get("allow").map(|allow| allow.to_str().unwrap().to_owned());
            let allow = allow.unwrap_or_else(|| panic!("{path} allows nothing"));
            let expected = [("GET", item.get.is_some()), ("PUT", item.put.is_some())];
            for (method, there) in expected {
                assert_eq!(allow.split(',').any(|one| one == method), there, "{path}: {allow}");
            }
            let hint = problem(answer, 405).await["hint"].clone();
            assert!(hint.as_str().unwrap().contains(&allow), "{path}: {hint}");
        }
    }
}

#[tokio::test]
async fn foreign_names_of_the_server_are_refused() {
    let server = Server::start().await;
    let ask = |host: &'static str| {
        reqwest::Client::new().get(server.url("/health")).header("host", host).send()
    };
    for host in ["evil.example", "evil.example:80", "localhost.evil.example", "a b"] {
        let refused = problem(ask(host).await.unwrap(), 403).await;
        assert!(refused["hint"].as_str().unwrap().contains("--allowed-host"), "{host}");
    }
    for host in ["localhost", "localhost:7878", "127.0.0.1:1", "[::1]:7878"] {
        assert_eq!(ask(host).await.unwrap().status(), 503, "{host}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = Server::start().await;
    let url = server.url("/api/v1/telemetry/ingest");
    let post = |origin: String| {
        let request = reqwest::Client::new().post(&url).header("origin", origin);
        request.header("content-type", "application/json").body("[]").send()
    };
    problem(post("http://elsewhere.example".into()).await.unwrap(), 403).await;
    let own = server.url("");
    assert_eq!(post(own.trim_end_matches('/').into()).await.unwrap().status(), 200);
}

/// Room for so many bytes.
struct Small(usize);

impl BodyRoom for Small {
    fn grow(&mut self, bytes: usize) -> Result<(), DoorError> {
        let left = self.0.checked_sub(bytes);
        self.0 = left.ok_or_else(|| DoorError::new(ErrorKind::Unavailable, "no room"))?;
        Ok(())
    }
}

#[tokio::test]
async fn a_body_is_read_as_far_as_there_is_room() {
    // What was read, and how many parts were taken from the client.
    async fn read(
        room: Room,
        encoding: &'static str,
        parts: Vec<Vec<u8>>,
    ) -> (Result<usize, DoorError>, usize) {
        let taken = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&taken);
        let parts =
            stream::iter(parts).inspect(move |_| _ = counted.fetch_add(1, Ordering::SeqCst));
        let body = Body::from_stream(parts.map(|part| Ok::<_, std::io::Error>(Bytes::from(part))));
        let headers = [(header::CONTENT_ENCODING, HeaderValue::from_static(encoding))];
        let read = read_encoded(&HeaderMap::from_iter(headers), body, room).await;
        (read.map(|(body, _)| body.len()), taken.load(Ordering::SeqCst))
    }
    let small = |bytes| -> Room { Ok(Box::new(Small(bytes))) };
    let refused = || DoorError::new(ErrorKind::Unavailable, "no room");
    let parts = || vec![vec![b'x'; 1_000]; 10];
    assert_eq!(read(small(10_000), "", parts()).await, (Ok(10_000), 10));
    // The client is heard to its end, and then told.
    assert_eq!(read(small(2_500), "", parts()).await, (Err(refused()), 10));
    assert_eq!(read(Err(refused()), "", parts()).await, (Err(refused()), 10));
    // What little becomes when it is decompressed counts too.
    let packed = gzip(&vec![0; 4 << 20]);
    assert!(packed.len() < 100_000);
    assert_eq!(read(small(5 << 20), "gzip", vec![packed.clone()]).await, (Ok(4 << 20), 1));
    assert_eq!(read(small(1 << 20), "gzip", vec![packed]).await, (Err(refused()), 1));
}
