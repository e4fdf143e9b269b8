//! What the door holds for all its clients.

use super::login::Login;
use super::rows::BoxEnd;
use super::statements::Prepared;
use super::status::asked;
use crate::base::shutdown::Shutdown;
use crate::query::{Error, Query};
use crate::serve::access::Users;
use crate::serve::held::{Held, Room};
use crate::serve::limits::{FLIGHT_HELD, FLIGHT_HELD_BYTES, FLIGHT_HELD_IDLE};
use crate::serve::running::Running;
use arrow::datatypes::Schema;
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tonic::{Request, Response, Status};

/// The door of all clients. Clones are of the same door.
#[derive(Clone)]
pub(super) struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    /// Taken away when the door closes: whoever is still connected then holds nothing up.
    query: Mutex<Option<Query>>,
    login: Login,
    prepared: Mutex<Held<Prepared>>,
    running: Running,
    shutdown: Shutdown,
}

impl Door {
    /// A door that lets in these users, or everybody; without a query nobody gets in.
    pub fn new(query: Option<Query>, users: Option<Arc<Users>>, shutdown: Shutdown) -> Self {
        let room = Room { count: FLIGHT_HELD, bytes: FLIGHT_HELD_BYTES, age: FLIGHT_HELD_IDLE };
        let (login, prepared) = (Login::new(users), Mutex::new(Held::new(room)));
        let (query, running) = (Mutex::new(query), Running::default());
        Self { inner: Arc::new(Inner { query, login, prepared, running, shutdown }) }
    }

    /// The SQL front end.
    pub fn query(&self) -> Result<Query, Status> {
        let query = self.inner.query.lock().unwrap_or_else(PoisonError::into_inner).clone();
        query.ok_or_else(|| Status::unavailable("the engine is not ready: try again"))
    }

    /// Lets go of the SQL front end.
    pub fn let_go(&self) {
        self.inner.query.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The work's result, unless the server ends before.
    pub async fn unless_ended<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Status> {
        tokio::select! {
            done = work => done.map_err(asked),
            () = self.ended() => Err(Status::unavailable("the server is shutting down")),
        }
    }

    /// Refuses who has not come in, and everybody while there is no engine.
    pub fn check<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.query()?;
        self.inner.login.check(request.metadata())
    }

    pub fn login(&self) -> &Login {
        &self.inner.login
    }

    pub fn prepared(&self) -> MutexGuard<'_, Held<Prepared>> {
        self.inner.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn running(&self) -> &Running {
        &self.inner.running
    }

    /// Ends when the server does.
    pub fn ended(&self) -> BoxEnd {
        let shutdown = self.inner.shutdown.clone();
        Box::pin(async move { shutdown.wait().await })
    }
}

/// What is told of an answer, and how to fetch it.
pub(super) fn told(
    columns: &Schema,
    ticket: Ticket,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let info = FlightInfo::new().try_with_schema(columns);
    let info = info.map_err(|error| Status::internal(error.to_string()))?;
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    Ok(Response::new(info.with_descriptor(descriptor).with_endpoint(endpoint)))
}
