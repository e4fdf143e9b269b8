//! The first to hear of a connection: answers plain messages of telemetry itself, and hands all
//! else to the router.
//!
//! Messages of machines are small, many, and always the same request. Whoever sends nothing else is
//! served here, without all that the router does for a request. Requests that wait on one
//! connection are taken together, in their order (but one that waits for memory may be overtaken),
//! and answered with one write. The first request that is anything else goes to the router, unread,
//! with all that follows on its connection. What is plain is said in [`super::plain`].

use super::doors::{DoorError, Doors, ErrorKind, IngestAnswer};
use super::hosts::Hosts;
use super::limits::{ANSWER_WITHIN, PLAIN_BYTES};
use super::middleware::panicked;
use super::plain::{self, INGEST, Plain, Read};
use super::series::{REQUEST_SECONDS, REQUESTS};
use super::taken::Taken;
use crate::base::shutdown::Shutdown;
use axum::body::to_bytes;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use bytes::BytesMut;
use futures::FutureExt;
use futures::future::join_all;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

/// Connections that may wait for the router.
const TAKEN_WAITING: usize = 64;
/// The longest problem document.
const PROBLEM_BYTES: usize = 1 << 20;

/// A listener whose connections begin with a request that is not plain.
pub(super) struct Front {
    listener: TcpListener,
    connection: Connection,
    taken: Receiver<(Taken, SocketAddr)>,
}

/// What each connection needs.
#[derive(Clone)]
struct Connection {
    doors: Arc<dyn Doors>,
    hosts: Hosts,
    shutdown: Shutdown,
    router: Sender<(Taken, SocketAddr)>,
    series: Series,
    /// Open as long as the connection is.
    _open: Sender<()>,
}

/// The metrics of requests that were answered with 200.
#[derive(Clone)]
struct Series {
    requests: metrics::Counter,
    seconds: metrics::Histogram,
}

impl Front {
    /// A listener in front of the router; the receiver ends when all connections have ended that
    /// were not handed on.
    pub fn new(
        listener: TcpListener,
        hosts: Hosts,
        doors: Arc<dyn Doors>,
        shutdown: Shutdown,
    ) -> (Self, Receiver<()>) {
        let (router, taken) = channel(TAKEN_WAITING);
        let (_open, ended) = channel(1);
        let series = Series {
            requests: metrics::counter!(
                REQUESTS, "method" => "POST", "route" => INGEST, "status" => "200"
            ),
            seconds: metrics::histogram!(REQUEST_SECONDS, "method" => "POST", "route" => INGEST),
        };
        let connection = Connection { doors, hosts, shutdown, router, series, _open };
        (Self { listener, connection, taken }, ended)
    }
}

impl Listener for Front {
    type Io = Taken;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                (stream, address) = Listener::accept(&mut self.listener) => {
                    tokio::spawn(self.connection.clone().run(stream, address));
                }
                Some(taken) = self.taken.recv() => return taken,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connection {
    /// Serves a connection until it ends or is handed on.
    async fn run(self, mut stream: TcpStream, address: SocketAddr) {
        // Answers are written whole.
        let _ = stream.set_nodelay(true);
        let mut bytes = BytesMut::new();
        // A client that is gone is told nothing.
        if let Ok(true) = self.answer_plain(&mut stream, &mut bytes).await {
            let taken = Taken::new(bytes.freeze(), stream);
            // At shutdown nobody takes it.
            let _ = self.router.send((taken, address)).await;
        }
    }

    /// Answers requests as long as they are plain. True when the bytes that were not taken are for
    /// the router, false when the connection is over.
    async fn answer_plain(&self, stream: &mut TcpStream, bytes: &mut BytesMut) -> io::Result<bool> {
        let stopping = self.shutdown.wait();
        tokio::pin!(stopping);
        let mut requests = Vec::new();
        let mut out = Vec::new();
        loop {
            let rest = loop {
                match plain::read(bytes, &self.hosts) {
                    Read::Request(request) => requests.push(request),
                    rest => break rest,
                }
            };
            if !requests.is_empty() {
                out.clear();
                let last = self.shutdown.is_triggered();
                self.answer(std::mem::take(&mut requests), last, &mut out).await;
                stream.write_all(&out).await?;
                if last {
                    return Ok(false);
                }
                continue;
            }
            if matches!(rest, Read::Other) {
                return Ok(true);
            }
            bytes.reserve(PLAIN_BYTES / 16);
            tokio::select! {
                read = stream.read_buf(bytes) => if read? == 0 { return Ok(false) },
                () = &mut stopping => return Ok(false),
            }
        }
    }

    /// Takes requests in their order and writes their answers.
    async fn answer(&self, requests: Vec<Plain>, last: bool, out: &mut Vec<u8>) {
        let begun = Instant::now();
        let count = requests.len();
        let answers = join_all(requests.into_iter().map(|request| self.take(request)));
        let answers = tokio::time::timeout(ANSWER_WITHIN, answers).await;
        let answers = answers.unwrap_or_else(|_| {
            let late = || DoorError::new(ErrorKind::Unavailable, "no answer in time");
            (0..count).map(|_| Err(late().hint("try again later").into_response())).collect()
        });
        let seconds = begun.elapsed().as_secs_f64();
        for answer in answers {
            self.series.seconds.record(seconds);
            match answer {
                Ok(answer) => {
                    self.series.requests.increment(1);
                    plain::write_answer(&answer, last, out);
                }
                Err(refusal) => write_refusal(refusal, last, out).await,
            }
        }
    }

    async fn take(&self, request: Plain) -> Result<IngestAnswer, Response> {
        let taken = async {
            let mut room = self.doors.begin_ingest()?;
            room.grow(request.body.len())?;
            self.doors.ingest_json(request.body, request.form).await
        };
        match AssertUnwindSafe(taken).catch_unwind().await {
            Ok(answer) => answer.map_err(IntoResponse::into_response),
            Err(panic) => Err(panicked(panic)),
        }
    }
}

/// Writes the answer to a request that was refused.
async fn write_refusal(refusal: Response, last: bool, out: &mut Vec<u8>) {
    let status = refusal.status().as_str().to_owned();
    metrics::counter!(REQUESTS, "method" => "POST", "route" => INGEST, "status" => status)
        .increment(1);
    let (parts, body) = refusal.into_parts();
    let body = to_bytes(body, PROBLEM_BYTES).await.unwrap_or_default();
    plain::write_refusal(parts.status, &parts.headers, &body, last, out);
}
