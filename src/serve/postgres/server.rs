//! The listening address, and how many may come in.

use super::connection::{self, Service};
use super::door::Door;
use super::startup::{Entrance, Refusal, Startup};
use crate::base::shutdown::Shutdown;
use crate::query::Query;
use crate::serve::access::Access;
use crate::serve::limits::{
    POSTGRES_CONNECTIONS, POSTGRES_KEEPALIVE, POSTGRES_REFUSED, SHUTDOWN_WITHIN,
};
use pgwire::api::ConnectionManager;
use pgwire::api::cancel::DefaultCancelHandler;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long nobody is let in after the machine had no room for a connection.
const BREATHER: Duration = Duration::from_millis(100);

/// How PostgreSQL is called among protocols.
const ALPN: &[u8] = b"postgresql";

/// Answers clients until the shutdown; none is left when this returns. Without a query they are
/// told to try again.
pub async fn serve(
    listener: TcpListener,
    access: Access,
    query: Option<Query>,
    shutdown: Shutdown,
) -> io::Result<()> {
    let connections = Arc::new(ConnectionManager::new());
    let entrance = Entrance {
        users: access.users,
        encrypted: access.tls.is_some(),
        keys: Arc::default(),
        connections: Arc::clone(&connections),
    };
    let service = Service {
        tls: access.tls.map(|tls| tls.acceptor(ALPN)),
        cancels: Arc::new(DefaultCancelHandler::new(connections)),
        shutdown: shutdown.clone(),
    };
    let room = Arc::new(Semaphore::new(POSTGRES_CONNECTIONS));
    let porch = Arc::new(Semaphore::new(POSTGRES_REFUSED));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next() => continue,
            () = shutdown.wait() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection of a PostgreSQL client was not accepted");
                tokio::time::sleep(BREATHER).await;
                continue;
            }
        };
        let permit = Arc::clone(&room).try_acquire_owned();
        let refusal = match (&permit, &query) {
            (Err(_), _) => Some(Refusal::TooMany),
            (Ok(_), None) => Some(Refusal::NotReady),
            (Ok(_), Some(_)) => None,
        };
        // Whoever is refused hears why, and may ask for a cancellation; but not everybody at once.
        let Ok(permit) = permit.or_else(|_| Arc::clone(&porch).try_acquire_owned()) else {
            continue;
        };
        keep_alive(&stream);
        let query = query.clone().filter(|_| refusal.is_none());
        let door = Door::new(Startup::new(entrance.clone(), refusal), query);
        let service = service.clone();
        clients.spawn(async move {
            if let Err(error) = connection::serve(stream, door, service).await {
                tracing::debug!(%error, "a connection of a PostgreSQL client broke");
            }
            drop(permit);
        });
    }
    drop(listener);
    let gone = async { while clients.join_next().await.is_some() {} };
    if timeout(SHUTDOWN_WITHIN, gone).await.is_err() {
        tracing::warn!("connections of PostgreSQL clients were cut off at shutdown");
        clients.shutdown().await;
    }
    Ok(())
}

/// Notices when a client's machine is gone.
fn keep_alive(stream: &TcpStream) {
    let beat = TcpKeepalive::new().with_time(POSTGRES_KEEPALIVE).with_interval(POSTGRES_KEEPALIVE);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&beat) {
        tracing::debug!(%error, "no keep-alive for a connection");
    }
}
