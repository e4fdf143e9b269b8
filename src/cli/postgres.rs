//! The PostgreSQL door of `serve`, and lines for its users file.

use super::args::{PostgresArgs, PostgresUserArgs};
use super::run::Outcome;
use crate::app::Runtime;
use crate::base::shutdown::Shutdown;
use crate::query::Query;
use crate::serve::postgres::{self, Settings, Tls, Users};
use anyhow::{Context, anyhow, bail};
use std::fmt;
use std::io::{BufRead, stdin};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A listening address, and what it needs to serve one runtime after the other.
pub struct PostgresDoor {
    address: SocketAddr,
    listener: std::net::TcpListener,
    settings: Settings,
}

/// The door while it serves.
pub struct OpenPostgres(JoinHandle<std::io::Result<()>>);

impl PostgresArgs {
    /// The address and who may come in there, when there is such a door.
    pub fn settings(&self) -> anyhow::Result<Option<(SocketAddr, Settings)>> {
        let Some(address) = self.postgres else { return Ok(None) };
        let users = self.postgres_users.as_deref().map(Users::read).transpose()?.map(Arc::new);
        let tls = match (&self.postgres_tls_cert, &self.postgres_tls_key) {
            (Some(certificate), Some(key)) => Some(Tls::read(certificate, key)?),
            (None, None) => None,
            _ => bail!("--postgres-tls-cert and --postgres-tls-key belong together: give both"),
        };
        if users.is_none() && !address.ip().is_loopback() {
            bail!(
                "--postgres {address} would let everybody in: say who may with --postgres-users \
                 FILE, or listen on 127.0.0.1"
            );
        }
        Ok(Some((address, Settings { users, tls })))
    }

    /// Listens, when there is such a door.
    pub async fn open(&self) -> anyhow::Result<Option<PostgresDoor>> {
        let Some((address, settings)) = self.settings()? else { return Ok(None) };
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "listen on {address}: choose another address with --postgres, port 0 takes a \
                 free one"
            )
        })?;
        if settings.tls.is_none() && !address.ip().is_loopback() {
            tracing::warn!(
                %address,
                "what PostgreSQL clients read is not encrypted: give --postgres-tls-cert"
            );
        }
        let address = listener.local_addr()?;
        Ok(Some(PostgresDoor { address, listener: listener.into_std()?, settings }))
    }
}

impl PostgresDoor {
    /// Answers from a runtime until its shutdown.
    pub fn serve(&self, runtime: &Runtime) -> std::io::Result<OpenPostgres> {
        self.open(Some(runtime.query.clone()), runtime.shutdown.clone())
    }

    /// Tells everybody to try again, until the shutdown.
    pub fn refuse(&self, shutdown: Shutdown) -> std::io::Result<OpenPostgres> {
        self.open(None, shutdown)
    }

    fn open(&self, query: Option<Query>, shutdown: Shutdown) -> std::io::Result<OpenPostgres> {
        let listener = TcpListener::from_std(self.listener.try_clone()?)?;
        let serving = postgres::serve(listener, self.settings.clone(), query, shutdown);
        Ok(OpenPostgres(tokio::spawn(serving)))
    }
}

impl OpenPostgres {
    /// Waits until the door is closed, after shutdown.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.0.await.map_err(|error| anyhow!("PostgreSQL door: {error}"))??)
    }
}

/// Where the door is, as a part of a sentence: nothing where there is none.
pub struct Told<'a>(pub &'a Option<PostgresDoor>);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(door) => write!(f, " and postgres://{}", door.address),
            None => Ok(()),
        }
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
    say!("{}", postgres::verifier(&args.name, password)?);
    Ok(Outcome::Done)
}
