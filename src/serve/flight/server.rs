//! The listening address, and how many may come in.

use super::door::Door;
use super::wire::Wire;
use crate::base::shutdown::Shutdown;
use crate::query::Query;
use crate::serve::access::Access;
use crate::serve::limits::{
    FLIGHT_CALLS, FLIGHT_CONNECTIONS, FLIGHT_MESSAGE_BYTES, FLIGHT_PING_EVERY, FLIGHT_SILENCE,
};
use arrow_flight::flight_service_server::FlightServiceServer;
use futures::stream;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// How HTTP/2 is called among protocols.
const ALPN: &[u8] = b"h2";
/// How long nobody is let in after the machine had no room for a connection.
const BREATHER: Duration = Duration::from_millis(100);
/// How long clients have to hear that the server ends: their streams do at once.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);
/// Connections that may wait to be served.
const WAITING: usize = 16;

/// Answers clients until the shutdown; none is left when this returns. Without a query they are
/// told to try again.
pub async fn serve(
    listener: TcpListener,
    access: Access,
    query: Option<Query>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let door = Door::new(query, access.users, shutdown.clone());
    let served = match access.tls.map(|tls| tls.acceptor(ALPN)) {
        None => {
            let (sender, receiver) = mpsc::channel(WAITING);
            let accepting = accept(listener, shutdown.clone(), move |wire| {
                let sender = sender.clone();
                async move { drop(sender.send(Ok(wire)).await) }
            });
            answer(door.clone(), receiver, accepting, shutdown).await
        }
        Some(tls) => {
            let (sender, receiver) = mpsc::channel(WAITING);
            let accepting = accept(listener, shutdown.clone(), move |wire| {
                encrypted(tls.clone(), wire, sender.clone())
            });
            answer(door.clone(), receiver, accepting, shutdown).await
        }
    };
    door.let_go();
    served
}

/// Hands over a connection when it is encrypted.
async fn encrypted(
    tls: TlsAcceptor,
    wire: Wire,
    sender: mpsc::Sender<io::Result<TlsStream<Wire>>>,
) {
    match tls.accept(wire).await {
        Ok(stream) => drop(sender.send(Ok(stream)).await),
        Err(error) => tracing::debug!(%error, "a Flight client did not encrypt"),
    }
}

/// Accepts connections until the shutdown, each handed over by a task of its own. Of more than may
/// be there, those are closed that come last.
async fn accept<F>(listener: TcpListener, shutdown: Shutdown, hand_over: impl Fn(Wire) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(FLIGHT_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.wait() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection of a Flight client");
                }
                let handing = hand_over(Wire::new(stream, place));
                let shutdown = shutdown.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = handing => {}
                        () = shutdown.wait() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection of a Flight client was not accepted");
                sleep(BREATHER).await;
            }
        }
    }
}

/// Answers on connections as they come.
async fn answer<T>(
    door: Door,
    receiver: mpsc::Receiver<io::Result<T>>,
    accepting: impl Future<Output = ()>,
    shutdown: Shutdown,
) -> io::Result<()>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Connected + Send + Unpin + 'static,
{
    let service = FlightServiceServer::new(door).max_decoding_message_size(FLIGHT_MESSAGE_BYTES);
    let wires = stream::unfold(receiver, |mut receiver| async move {
        let wire = receiver.recv().await?;
        Some((wire, receiver))
    });
    let ended = shutdown.clone();
    let serving = Server::builder()
        .max_concurrent_streams(FLIGHT_CALLS)
        .http2_keepalive_interval(Some(FLIGHT_PING_EVERY))
        .http2_keepalive_timeout(Some(FLIGHT_SILENCE))
        .add_service(service)
        .serve_with_incoming_shutdown(wires, async move { ended.wait().await });
    let serving = async {
        let (served, ()) = tokio::join!(serving, accepting);
        served
    };
    let cut = async {
        shutdown.wait().await;
        sleep(FAREWELL_WITHIN).await;
    };
    tokio::select! {
        served = serving => served.map_err(io::Error::other),
        () = cut => {
            tracing::debug!("connections of Flight clients were cut off at shutdown");
            Ok(())
        }
    }
}
