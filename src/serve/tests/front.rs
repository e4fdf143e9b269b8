//! What the front answers itself, and what it hands on.

use super::doors::Server;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn plain(body: &str) -> String {
    let length = body.len();
    format!(
        "POST /api/v1/telemetry/ingest HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Status and body of the next answer, and whether the connection ends with it.
async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> (u16, String, bool) {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(head) = response.parse(bytes).unwrap() {
            let header = |name: &str| {
                let of = |h: &&httparse::Header| h.name.eq_ignore_ascii_case(name);
                response
                    .headers
                    .iter()
                    .find(of)
                    .map(|h| String::from_utf8_lossy(h.value).into_owned())
            };
            let length: usize = header("content-length").unwrap().parse().unwrap();
            assert!(header("date").is_some());
            let (status, last) = (response.code.unwrap(), header("connection").is_some());
            if bytes.len() >= head + length {
                let body = String::from_utf8(bytes[head..head + length].to_vec()).unwrap();
                bytes.drain(..head + length);
                return (status, body, last);
            }
        }
        assert_ne!(stream.read_buf(bytes).await.unwrap(), 0, "the connection ended");
    }
}

#[tokio::test]
async fn requests_are_answered_in_order_whoever_answers_them() {
    let server = Server::start().await;
    let bodies = ["12345", "panic", "full", "1234567"];
    let mut all: String = bodies.map(plain).concat();
    // From here on the router answers.
    all.push_str(&plain("123").replace("application/json", "application/vnd.apache.arrow.stream"));
    all.push_str(&plain("12"));
    all.push_str("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let expected = [
        (200, r#""messageId":"Json","accepted":5"#),
        (500, "internal error"),
        (429, r#""hint":"wait""#),
        (200, r#""accepted":7"#),
        (200, r#""messageId":"Arrow","accepted":3"#),
        (200, r#""messageId":"Json","accepted":2"#),
        (200, "millstream_up 1"),
    ];
    // At once, and byte by byte.
    for part in [all.len(), 1] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for bytes in all.as_bytes().chunks(part) {
            stream.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answers = Vec::new();
        for (status, body) in expected {
            let answer = next(&mut stream, &mut answers).await;
            assert_eq!((answer.0, answer.2), (status, false), "{}", answer.1);
            assert!(answer.1.contains(body), "{}", answer.1);
        }
    }
}

#[tokio::test]
async fn shutdown_ends_quiet_connections_and_waits_for_nobody() {
    let server = Server::start().await;
    let mut quiet = TcpStream::connect(&server.address).await.unwrap();
    let mut half = TcpStream::connect(&server.address).await.unwrap();
    half.write_all(&plain("12345").as_bytes()[..50]).await.unwrap();
    let mut used = TcpStream::connect(&server.address).await.unwrap();
    used.write_all(plain("12345").as_bytes()).await.unwrap();
    assert_eq!(next(&mut used, &mut Vec::new()).await.0, 200);
    server.shutdown.trigger();
    let within = Duration::from_secs(9);
    tokio::time::timeout(within, server.task).await.unwrap().unwrap().unwrap();
    for stream in [&mut quiet, &mut half, &mut used] {
        // Cut off, or told of the end.
        assert_eq!(stream.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }
}
