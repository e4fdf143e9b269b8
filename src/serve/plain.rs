//! Plain requests: the one request that machines send, without anything that needs the router.
//!
//! Plain is `POST` of telemetry as JSON by HTTP/1.1, with a length, not compressed, small, from no
//! browser, under a name of this server, on a connection that stays open. Whatever is said in
//! another way, or twice, or wrong, is not plain: the router decides.

use super::doors::{IngestAnswer, JsonForm};
use super::hosts::Hosts;
use super::limits::{PLAIN_BYTES, PLAIN_HEAD_BYTES};
use crate::base::clock::{Clock, SystemClock};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use std::io::Write;

/// Where telemetry goes.
pub(super) const INGEST: &str = "/api/v1/telemetry/ingest";
/// The beginning of every plain request.
const BEGIN: &[u8] = b"POST /api/v1/telemetry/ingest HTTP/1.1\r\n";
/// A request with more headers is not plain.
const HEADERS: usize = 32;

/// A plain request.
pub(super) struct Plain {
    pub body: Bytes,
    pub form: JsonForm,
}

/// What the bytes of a connection begin with.
pub(super) enum Read {
    /// A plain request, which was taken out.
    Request(Plain),
    /// What may be one, if more comes.
    More,
    /// Anything else.
    Other,
}

/// Takes the next request out of the bytes of a connection when it is plain and all there.
pub(super) fn read(bytes: &mut BytesMut, hosts: &Hosts) -> Read {
    let common = bytes.len().min(BEGIN.len());
    if bytes[..common] != BEGIN[..common] {
        return Read::Other;
    }
    let Some(head) = head(bytes, hosts) else {
        return if bytes.len() < PLAIN_HEAD_BYTES { Read::More } else { Read::Other };
    };
    match head {
        Some(Head { form, length, body }) if bytes.len() >= length + body => {
            let mut request = bytes.split_to(length + body);
            let _head = request.split_to(length);
            Read::Request(Plain { body: request.freeze(), form })
        }
        Some(_) => Read::More,
        None => Read::Other,
    }
}

struct Head {
    form: JsonForm,
    /// Bytes of the head.
    length: usize,
    /// Bytes of the body.
    body: usize,
}

/// `None` as long as the head is not all there, `Some(None)` when it is not plain.
fn head(bytes: &[u8], hosts: &Hosts) -> Option<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Some(plain(request.headers, length, hosts)),
        Ok(httparse::Status::Partial) => None,
        Err(_) => Some(None),
    }
}

fn plain(headers: &[httparse::Header], length: usize, hosts: &Hosts) -> Option<Head> {
    let (mut form, mut body, mut host) = (None, None, None);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let is_for_router = if is("content-length") {
            body.replace(body_length(header.value)?).is_some()
        } else if is("content-type") {
            form.replace(json_form(header.value)?).is_some()
        } else if is("host") {
            host.replace(header.value).is_some()
        } else if is("connection") {
            !header.value.eq_ignore_ascii_case(b"keep-alive")
        } else {
            NOT_PLAIN.iter().any(|name| is(name))
        };
        // What is said twice may contradict itself.
        if is_for_router {
            return None;
        }
    }
    hosts.are_called(host?).then_some(Head { form: form?, length, body: body? })
}

/// Headers that change what a request means, or how it is read.
const NOT_PLAIN: [&str; 5] =
    ["transfer-encoding", "content-encoding", "expect", "upgrade", "origin"];

fn body_length(value: &[u8]) -> Option<usize> {
    // Digits alone: a number may also be written with a sign.
    let is_number = (1..=6).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(value).ok().filter(|_| is_number)?.parse::<usize>().ok()?;
    (length <= PLAIN_BYTES).then_some(length)
}

fn json_form(value: &[u8]) -> Option<JsonForm> {
    let is = |name: &str| value.eq_ignore_ascii_case(name.as_bytes());
    if is("application/json") {
        Some(JsonForm::Json)
    } else if is("application/x-ndjson") {
        Some(JsonForm::Lines)
    } else {
        None
    }
}

/// Writes the answer to a request that was taken; `last` when the connection ends with it.
pub(super) fn write_answer(answer: &IngestAnswer, last: bool, out: &mut Vec<u8>) {
    // Writing JSON of plain texts and numbers into memory cannot fail, nor can writing bytes.
    let body = serde_json::to_vec(answer).unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    write_rest(&body, last, out);
}

/// Writes any other answer.
pub(super) fn write_refusal(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    last: bool,
    out: &mut Vec<u8>,
) {
    let reason = status.canonical_reason().unwrap_or_default();
    let _ = write!(out, "HTTP/1.1 {} {reason}\r\n", status.as_str());
    for (name, value) in headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    write_rest(body, last, out);
}

fn write_rest(body: &[u8], last: bool, out: &mut Vec<u8>) {
    if last {
        out.extend_from_slice(b"connection: close\r\n");
    }
    let _ = write!(out, "content-length: {}\r\ndate: ", body.len());
    out.extend_from_slice(&date());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// The current second as HTTP writes it.
fn date() -> [u8; DATE] {
    thread_local! {
        static LAST: std::cell::Cell<(i64, [u8; DATE])> =
            const { std::cell::Cell::new((i64::MIN, [0; DATE])) };
    }
    let second = SystemClock.now_micros().div_euclid(1_000_000);
    let (last, date) = LAST.get();
    if last == second {
        return date;
    }
    let time = jiff::Timestamp::from_second(second).unwrap_or_default();
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut date = [b' '; DATE];
    for (to, from) in date.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    LAST.set((second, date));
    date
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE: usize = 29;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const BODY: &str = r#"{"deviceId":"a"}"#;

    fn hosts() -> Hosts {
        Hosts::new(IpAddr::V4(Ipv4Addr::LOCALHOST), &[])
    }

    fn request(headers: &str) -> BytesMut {
        let begin = "POST /api/v1/telemetry/ingest HTTP/1.1\r\n";
        format!("{begin}{headers}\r\n{BODY}").as_bytes().into()
    }

    const PLAIN: &str =
        "host: localhost\r\ncontent-type: application/json\r\ncontent-length: 16\r\n";

    #[test]
    fn plain_requests_are_taken_one_after_the_other() {
        let one = request(&format!("{PLAIN}connection: Keep-Alive\r\nx-any: thing\r\n"));
        let lines = request(&PLAIN.replace("/json", "/x-ndjson"));
        let mut bytes: BytesMut =
            [&one[..], &lines[..], b"GET / HTTP/1.1\r\n\r\n"].concat()[..].into();
        for form in [JsonForm::Json, JsonForm::Lines] {
            let Read::Request(plain) = read(&mut bytes, &hosts()) else { panic!("{bytes:?}") };
            assert_eq!((&plain.body[..], plain.form), (BODY.as_bytes(), form));
        }
        assert!(matches!(read(&mut bytes, &hosts()), Read::Other));
        assert_eq!(bytes, "GET / HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn what_is_not_all_there_waits() {
        let whole = request(PLAIN);
        for length in 0..whole.len() {
            let mut part: BytesMut = whole[..length].into();
            assert!(matches!(read(&mut part, &hosts()), Read::More), "{length}");
            assert_eq!(part, whole[..length]);
        }
        let mut endless = request(&format!("{PLAIN}x: {}", "y".repeat(PLAIN_HEAD_BYTES)));
        endless.truncate(PLAIN_HEAD_BYTES);
        assert!(matches!(read(&mut endless, &hosts()), Read::Other));
    }

    #[test]
    fn whatever_needs_the_router_is_left_to_it() {
        let with = |header: &str| format!("{PLAIN}{header}\r\n");
        for headers in [
            with("transfer-encoding: chunked"),
            with("Content-Encoding: gzip"),
            with("expect: 100-continue"),
            with("connection: close"),
            with("connection: upgrade"),
            with("upgrade: websocket"),
            with("origin: http://evil.example"),
            with("content-length: 16"),
            with("Host: localhost"),
            with("content-type: application/json"),
            with(" folded: line"),
            with("no colon"),
            PLAIN.replace("localhost", "evil.example"),
            PLAIN.replace("host: localhost\r\n", ""),
            PLAIN.replace("application/json", "text/plain"),
            PLAIN.replace("application/json", "application/vnd.apache.arrow.stream"),
            PLAIN.replace("content-type: application/json\r\n", ""),
            PLAIN.replace("content-length: 16\r\n", ""),
            PLAIN.replace("16", "+16"),
            PLAIN.replace("16", "-1"),
            PLAIN.replace("16", "16, 16"),
            PLAIN.replace("16", "0x10"),
            PLAIN.replace("16", &(PLAIN_BYTES + 1).to_string()),
            PLAIN.replace("16", "99999999999999999999"),
            "a: b\r\n".repeat(HEADERS) + PLAIN,
        ] {
            let mut bytes = request(&headers);
            let before = bytes.clone();
            assert!(matches!(read(&mut bytes, &hosts()), Read::Other), "{headers}");
            assert_eq!(bytes, before);
        }
        for begin in ["GET ", "PRI * HTTP/2.0", "POST /api/v1/telemetry/ingest?a HTTP/1.1", "\r\n"]
        {
            assert!(matches!(read(&mut begin.as_bytes().into(), &hosts()), Read::Other), "{begin}");
        }
    }

    #[test]
    fn answers_say_how_long_they_are_and_when_it_is() {
        let mut out = Vec::new();
        write_answer(&IngestAnswer::default(), true, &mut out);
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(&out).unwrap() else { panic!() };
        let header = |name| response.headers.iter().find(|h| h.name == name).unwrap().value;
        assert_eq!(header("content-length"), (out.len() - length).to_string().as_bytes());
        assert_eq!((header("connection"), response.code), (&b"close"[..], Some(200)));
        let date = std::str::from_utf8(header("date")).unwrap();
        assert!(jiff::fmt::rfc2822::parse(date).is_ok(), "{date}");
    }
}
