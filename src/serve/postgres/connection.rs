//! The life of one connection: messages come one after the other and are answered in order.

use super::bounded::Bounded;
use super::door::Door;
use super::error::fatal;
use crate::base::shutdown::Shutdown;
use crate::serve::limits::{POSTGRES_MESSAGE_BYTES, POSTGRES_STARTUP_WITHIN};
use futures::StreamExt;
use pgwire::api::cancel::DefaultCancelHandler;
use pgwire::api::{ClientInfo, NoopHandler, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::PgWireFrontendMessage;
use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec, negotiate_tls};
use pgwire::tokio::server::{process_error, process_message};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::{Framed, FramedParts};

/// How long a client that is sent away has to hear why.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);

type Socket = Framed<Bounded<MaybeTls>, PgWireMessageServerCodec<super::extended::Prepared>>;

/// What a connection is served with.
#[derive(Clone)]
pub(super) struct Service {
    pub tls: Option<TlsAcceptor>,
    pub cancels: Arc<DefaultCancelHandler>,
    pub shutdown: Shutdown,
}

/// Answers a client until it goes, is sent away, or the shutdown comes. Errors are those of the
/// stream.
pub(super) async fn serve(stream: TcpStream, door: Door, service: Service) -> io::Result<()> {
    let begun = Instant::now() + POSTGRES_STARTUP_WITHIN;
    let negotiated = tokio::select! {
        negotiated = timeout_at(begun, negotiate_tls(stream, service.tls)) => negotiated,
        () = service.shutdown.wait() => return Ok(()),
    };
    let Ok(Some(negotiated)) = negotiated.unwrap_or(Ok(None)) else { return Ok(()) };
    let negotiated = negotiated.into_parts();
    let stream = Bounded::new(negotiated.io, POSTGRES_MESSAGE_BYTES);
    let mut parts = FramedParts::new(stream, negotiated.codec);
    parts.read_buf = negotiated.read_buf;
    parts.write_buf = negotiated.write_buf;
    let mut socket: Socket = Framed::from_parts(parts);
    let (door, nothing) = (Arc::new(door), Arc::new(NoopHandler));
    loop {
        use PgWireConnectionState::{AuthenticationInProgress, AwaitingStartup};
        let coming = matches!(socket.state(), AwaitingStartup | AuthenticationInProgress);
        let next = async {
            match coming {
                true => timeout_at(begun, socket.next()).await.unwrap_or(None),
                false => socket.next().await,
            }
        };
        let next = tokio::select! {
            next = next => next,
            () = service.shutdown.wait() => return farewell(&mut socket, ending()).await,
        };
        let message = match next {
            None => return Ok(()),
            Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                return farewell(&mut socket, fatal("08P01", error.to_string())).await;
            }
        };
        socket.get_mut().next_message();
        let extended = message.is_extended_query();
        let [startup, simple, questions] = [&door; 3].map(Arc::clone);
        let (copies, cancels) = (Arc::clone(&nothing), Arc::clone(&service.cancels));
        let answered = tokio::select! {
            answered = process_message(
                message, &mut socket, startup, simple, questions, copies, cancels,
            ) => answered,
            () = service.shutdown.wait() => Err(ending()),
        };
        match answered {
            Ok(()) => {}
            Err(PgWireError::IoError(error)) => return Err(error),
            Err(error) => {
                let info = ErrorInfo::from(error);
                let last = info.is_fatal();
                let error = PgWireError::UserError(Box::new(info));
                match last {
                    true => return farewell(&mut socket, error).await,
                    false => process_error(&mut socket, error, extended).await?,
                }
            }
        }
    }
}

fn ending() -> PgWireError {
    fatal("57P01", "the server is shutting down")
}

/// Says why the connection ends, and ends it.
async fn farewell(socket: &mut Socket, error: PgWireError) -> io::Result<()> {
    timeout(FAREWELL_WITHIN, process_error(socket, error, true)).await.unwrap_or(Ok(()))
}
