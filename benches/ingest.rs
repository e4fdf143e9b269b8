//! Load on the door for telemetry: single JSON messages of eight metrics over HTTP, each answered
//! when it is durable and visible.
//!
//! Starts `millstream serve` on a temporary directory and the loopback address, keeps connections
//! busy, each with its next message as soon as the last is answered, and prints messages a second,
//! the time to the answer, and the CPU time of the server. `TMPDIR` chooses the disk.
//!
//! `MILLSTREAM_BENCH_CONNECTIONS` (256), `MILLSTREAM_BENCH_PIPELINE` (requests that a connection
//! sends before it waits: 1) and `MILLSTREAM_BENCH_SECONDS` (10) change the load.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says where")]

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METRICS: [&str; 8] = ["p_in", "p_out", "flow", "temp", "vib", "current", "level", "position"];
/// What an answer says when all metrics were taken.
const ACCEPTED: &[u8] = br#""accepted":8,"#;
/// Devices of each connection: its messages go round among them.
const DEVICES: usize = 8;
/// 2026-01-01T00:00:00Z in milliseconds.
const START: u64 = 1_767_225_600_000;
/// Answers before this time are not counted: devices are new, buffers are small.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long the server may take to open its doors.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clock ticks a second in `/proc`, the same on all Linux systems of today.
const TICKS: f64 = 100.0;

/// What a connection has seen after the warm-up.
#[derive(Default)]
struct Seen {
    answers: Vec<Duration>,
    refused: u64,
}

fn main() {
    let setting = |name: &str, usual: usize| {
        std::env::var(name).map_or(usual, |text| text.parse().expect("a whole number"))
    };
    let connections = setting("MILLSTREAM_BENCH_CONNECTIONS", 256);
    let pipeline = setting("MILLSTREAM_BENCH_PIPELINE", 1).max(1);
    let seconds = setting("MILLSTREAM_BENCH_SECONDS", 10);
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path());
    let address = server.address(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let values = Arc::new(Values::new());
    let begun = Instant::now();
    let (from, until) = (begun + WARM_UP, begun + WARM_UP + Duration::from_secs(seconds as u64));
    let (all, cpu) = runtime.block_on(async {
        let tasks: Vec<_> = (0..connections)
            .map(|i| {
                let (address, values) = (address.clone(), Arc::clone(&values));
                tokio::spawn(load(address, values, (i, pipeline), (from, until)))
            })
            .collect();
        tokio::time::sleep_until(from.into()).await;
        let cpu_before = server.cpu_seconds();
        tokio::time::sleep_until(until.into()).await;
        let cpu = server.cpu_seconds() - cpu_before;
        let mut all = Seen::default();
        for task in tasks {
            let seen = task.await.unwrap().expect("the connection stays open");
            all.answers.extend(seen.answers);
            all.refused += seen.refused;
        }
        (all, cpu)
    });
    let Seen { mut answers, refused } = all;
    assert!(!answers.is_empty(), "no message was answered");
    answers.sort();
    let at = |part: usize| answers[(answers.len() * part / 100).min(answers.len() - 1)];
    println!("{connections} connections, {pipeline} request(s) at a time each, {seconds} s");
    println!(
        "{:.0} messages/s, {:.0} points/s, {refused} refused",
        answers.len() as f64 / seconds as f64,
        (answers.len() * METRICS.len()) as f64 / seconds as f64
    );
    println!(
        "answered when durable: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
        at(50).as_secs_f64() * 1e3,
        at(99).as_secs_f64() * 1e3,
        at(100).as_secs_f64() * 1e3
    );
    println!(
        "server: {cpu:.1} CPU seconds, {:.2} cores, {:.1} us a message",
        cpu / seconds as f64,
        cpu / answers.len() as f64 * 1e6
    );
}

/// Keeps one connection busy.
async fn load(
    address: String,
    values: Arc<Values>,
    (connection, pipeline): (usize, usize),
    (from, until): (Instant, Instant),
) -> io::Result<Seen> {
    let mut stream = TcpStream::connect(&address).await?;
    stream.set_nodelay(true)?;
    let (mut seen, mut requests, mut answers) = (Seen::default(), Vec::new(), Answers::default());
    let mut message = 0;
    while Instant::now() < until {
        requests.clear();
        for _ in 0..pipeline {
            values.request(&mut requests, connection, message);
            message += 1;
        }
        let sent = Instant::now();
        stream.write_all(&requests).await?;
        for _ in 0..pipeline {
            let accepted = answers.next(&mut stream).await?;
            let now = Instant::now();
            if now >= from && now < until {
                seen.answers.push(now - sent);
                seen.refused += u64::from(!accepted);
            }
        }
    }
    Ok(seen)
}

/// The values of messages as text, made once: else making them up would be a good part of what is
/// measured.
struct Values(Vec<Vec<u8>>);

impl Values {
    /// Different values before they repeat.
    const COUNT: usize = 1_000;

    fn new() -> Self {
        Self((0..Self::COUNT).map(Self::of).collect())
    }

    /// The metrics of a message, to its end.
    fn of(message: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for (i, name) in METRICS.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let value = ((message * 31 + i * 7) % 1_000) as f64 * 0.1;
            write!(text, r#"{comma}"{name}":{value:.1}"#).unwrap();
        }
        text.extend_from_slice(b"}}");
        text
    }

    /// One message as a request. Each device has its own event times, one every 100 ms.
    fn request(&self, out: &mut Vec<u8>, connection: usize, message: usize) {
        let device = connection * DEVICES + message % DEVICES;
        let time = START + (message / DEVICES) as u64 * 100;
        let values = &self.0[message % Self::COUNT];
        // All but the values has one length.
        let length = br#"{"deviceId":"dev-00000","timestamp":1767225600000,"metrics":{"#.len();
        write!(
            out,
            "POST /api/v1/telemetry/ingest HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n\
             {{\"deviceId\":\"dev-{device:05}\",\"timestamp\":{time},\"metrics\":{{",
            length + values.len()
        )
        .unwrap();
        out.extend_from_slice(values);
    }
}

/// Reads answers one after the other.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    /// The answers before this place were taken.
    at: usize,
}

impl Answers {
    /// Whether the next answer says that all points were taken.
    async fn next(&mut self, stream: &mut TcpStream) -> io::Result<bool> {
        loop {
            if let Some((accepted, length)) = parse(&self.bytes[self.at..]) {
                self.at += length;
                return Ok(accepted);
            }
            self.bytes.drain(..self.at);
            self.at = 0;
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Whether the first answer says so, and its length, when all of it is there.
fn parse(bytes: &[u8]) -> Option<(bool, usize)> {
    let (mut at, mut length) = (0, None);
    let head = loop {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let line = bytes[at..end].trim_ascii_end();
        at = end + 1;
        if line.is_empty() {
            break at;
        }
        let name = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        if line[..name].eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(&line[name + 1..]).ok()?.trim().parse::<usize>().ok();
        }
    };
    let end = head + length.expect("an answer has a length");
    let body = bytes.get(head..end)?;
    let all = body.windows(ACCEPTED.len()).any(|window| window == ACCEPTED);
    Some((bytes.starts_with(b"HTTP/1.1 200") && all, end))
}

/// The server, which ends with the bench.
struct Server(Child);

impl Server {
    fn start(directory: &Path) -> Self {
        let catalog = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/asset_telemetry");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(directory);
        command.arg("--catalog").arg(catalog).env("RUST_LOG", "warn").stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// Waits until the doors are open.
    fn address(&self, directory: &Path) -> String {
        let begun = Instant::now();
        loop {
            let address = std::fs::read_to_string(directory.join("address")).unwrap_or_default();
            if std::net::TcpStream::connect(&address).is_ok() {
                return address;
            }
            assert!(begun.elapsed() < PATIENCE, "the server opens no doors");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// CPU time so far, of all threads.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // Behind the name, which is in parentheses: utime and stime are the 12th and 13th.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        let ticks = |i: usize| fields[i].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / TICKS
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
