//! The doors of `serve` for SQL clients, PostgreSQL's and Flight's, and lines for their users file.

use super::args::{FlightArgs, PostgresArgs, PostgresUserArgs, ServeArgs};
use super::run::Outcome;
use crate::app::Runtime;
use crate::base::shutdown::Shutdown;
use crate::query::Query;
use crate::serve::access::{Access, Tls, Users, verifier};
use crate::serve::{flight, postgres};
use anyhow::{Context, anyhow, bail};
use std::fmt;
use std::io::{BufRead, stdin};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The protocols that there are doors for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Postgres,
    Flight,
}

/// A door as it was asked for.
pub struct Wanted {
    protocol: Protocol,
    address: SocketAddr,
    access: Access,
}

/// Listening addresses, and what they need to serve one runtime after the other.
pub struct ClientDoors(Vec<(std::net::TcpListener, Wanted)>);

/// The doors while they serve.
pub struct OpenClients(Vec<(Protocol, JoinHandle<std::io::Result<()>>)>);

impl ServeArgs {
    /// The doors that there are to be, and who may come in there.
    pub fn clients(&self) -> anyhow::Result<Vec<Wanted>> {
        let doors = [self.postgres.wanted()?, self.flight.wanted(&self.postgres)?];
        Ok(doors.into_iter().flatten().collect())
    }
}

impl PostgresArgs {
    fn wanted(&self) -> anyhow::Result<Option<Wanted>> {
        let Some(address) = self.postgres else { return Ok(None) };
        let tls = (self.postgres_tls_cert.as_deref(), self.postgres_tls_key.as_deref());
        Wanted::read(Protocol::Postgres, address, self.postgres_users.as_deref(), tls).map(Some)
    }
}

impl FlightArgs {
    fn wanted(&self, other: &PostgresArgs) -> anyhow::Result<Option<Wanted>> {
        let Some(address) = self.flight else { return Ok(None) };
        let users = self.flight_users.as_deref().or(other.postgres_users.as_deref());
        let tls = match self.flight_tls_cert.is_some() || self.flight_tls_key.is_some() {
            true => (self.flight_tls_cert.as_deref(), self.flight_tls_key.as_deref()),
            false => (other.postgres_tls_cert.as_deref(), other.postgres_tls_key.as_deref()),
        };
        Wanted::read(Protocol::Flight, address, users, tls).map(Some)
    }
}

impl Protocol {
    /// As in `--postgres` and in addresses.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Postgres => ("postgres", "PostgreSQL"),
            Self::Flight => ("flight", "Flight"),
        }
    }
}

impl Wanted {
    fn read(
        protocol: Protocol,
        address: SocketAddr,
        users: Option<&Path>,
        tls: (Option<&Path>, Option<&Path>),
    ) -> anyhow::Result<Self> {
        let (option, _) = protocol.names();
        let users = users.map(Users::read).transpose()?.map(Arc::new);
        let tls = match tls {
            (Some(certificate), Some(key)) => Some(Tls::read(certificate, key)?),
            (None, None) => None,
            _ => bail!("--{option}-tls-cert and --{option}-tls-key belong together: give both"),
        };
        if users.is_none() && !address.ip().is_loopback() {
            bail!(
                "--{option} {address} would let everybody in: say who may with --{option}-users \
                 FILE, or listen on 127.0.0.1"
            );
        }
        Ok(Self { protocol, address, access: Access { users, tls } })
    }
}

impl ClientDoors {
    /// Listens.
    pub async fn open(wanted: Vec<Wanted>) -> anyhow::Result<Self> {
        let mut doors = Vec::new();
        for door in wanted {
            let (option, name) = door.protocol.names();
            let asked = door.address;
            let listener = TcpListener::bind(asked).await.with_context(|| {
                format!(
                    "listen on {asked}: choose another address with --{option}, port 0 takes a \
                     free one"
                )
            })?;
            if door.access.tls.is_none() && !asked.ip().is_loopback() {
                tracing::warn!(
                    address = %asked,
                    "what {name} clients read is not encrypted: give --{option}-tls-cert"
                );
            }
            let address = listener.local_addr()?;
            doors.push((listener.into_std()?, Wanted { address, ..door }));
        }
        Ok(Self(doors))
    }

    /// Answers from a runtime until its shutdown.
    pub fn serve(&self, runtime: &Runtime) -> std::io::Result<OpenClients> {
        self.answer(Some(&runtime.query), &runtime.shutdown)
    }

    /// Tells everybody to try again, until the shutdown.
    pub fn refuse(&self, shutdown: &Shutdown) -> std::io::Result<OpenClients> {
        self.answer(None, shutdown)
    }

    fn answer(&self, query: Option<&Query>, shutdown: &Shutdown) -> std::io::Result<OpenClients> {
        let serve = |(listener, door): &(std::net::TcpListener, Wanted)| {
            let listener = TcpListener::from_std(listener.try_clone()?)?;
            let (access, query, ended) = (door.access.clone(), query.cloned(), shutdown.clone());
            let task = match door.protocol {
                Protocol::Postgres => tokio::spawn(postgres::serve(listener, access, query, ended)),
                Protocol::Flight => tokio::spawn(flight::serve(listener, access, query, ended)),
            };
            Ok((door.protocol, task))
        };
        self.0.iter().map(serve).collect::<std::io::Result<_>>().map(OpenClients)
    }
}

impl OpenClients {
    /// Waits until the doors are closed, after shutdown.
    pub async fn close(self) -> anyhow::Result<()> {
        for (protocol, task) in self.0 {
            let (_, name) = protocol.names();
            task.await.map_err(|error| anyhow!("{name} door: {error}"))??;
        }
        Ok(())
    }
}

/// Where the doors are, as a part of a sentence.
impl fmt::Display for ClientDoors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, Wanted { protocol, address, access }) in &self.0 {
            let scheme = match (protocol, &access.tls) {
                (Protocol::Postgres, _) => "postgres",
                (Protocol::Flight, None) => "grpc",
                (Protocol::Flight, Some(_)) => "grpc+tls",
            };
            write!(f, " and {scheme}://{address}")?;
        }
        Ok(())
    }
}

/// `postgres-user`: a line for the users file, from a password on standard input.
pub fn user(args: &PostgresUserArgs) -> anyhow::Result<Outcome> {
    let mut password = String::new();
    stdin().lock().read_line(&mut password).context("read the password")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("no password: write it on standard input, on one line");
    }
    say!("{}", verifier(&args.name, password)?);
    Ok(Outcome::Done)
}
