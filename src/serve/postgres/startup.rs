//! Who gets in, and what clients are told first.

use super::door::Door;
use super::error::fatal;
use super::session::VERSION;
use crate::serve::access::Users;
use async_trait::async_trait;
use futures::Sink;
use pgwire::api::auth::sasl::SASLAuthStartupHandler;
use pgwire::api::auth::sasl::scram::ScramAuth;
use pgwire::api::auth::{
    ServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, ConnectionManager, METADATA_USER, PgWireConnectionState, PidSecretKeyGenerator,
    RandomPidSecretKeyGenerator,
};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::startup::Startup as Hello;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Why nobody gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// As many are connected as may be.
    TooMany,
    /// There is no engine to ask.
    NotReady,
}

/// What connections have in common.
#[derive(Clone)]
pub(super) struct Entrance {
    pub users: Option<Arc<Users>>,
    pub encrypted: bool,
    pub keys: Arc<RandomPidSecretKeyGenerator>,
    pub connections: Arc<ConnectionManager>,
}

/// The entrance as one connection sees it.
pub(super) struct Startup {
    entrance: Entrance,
    refusal: Option<Refusal>,
    password: Option<SASLAuthStartupHandler<Parameters>>,
}

impl Startup {
    pub fn new(entrance: Entrance, refusal: Option<Refusal>) -> Self {
        let password = entrance.users.clone().map(|users| {
            let mut scram = ScramAuth::new(users as Arc<_>);
            scram.set_iterations(Users::ITERATIONS);
            SASLAuthStartupHandler::new(Arc::new(Parameters))
                .with_scram(scram)
                .with_connection_manager(Arc::clone(&entrance.connections))
                .with_pid_secret_key_generator(Arc::clone(&entrance.keys) as Arc<_>)
        });
        Self { entrance, refusal, password }
    }

    fn check(&self, hello: &Hello, secure: bool) -> PgWireResult<()> {
        match self.refusal {
            Some(Refusal::TooMany) => return Err(fatal("53300", "too many connections")),
            Some(Refusal::NotReady) => {
                return Err(fatal("57P03", "the engine is not ready: try again"));
            }
            None => {}
        }
        if self.entrance.encrypted && !secure {
            return Err(fatal("28000", "connect with TLS: sslmode=require"));
        }
        if hello.parameters.get("user").is_none_or(String::is_empty) {
            return Err(fatal("28000", "no user name in the startup message"));
        }
        let replication = hello.parameters.get("replication").map(String::as_str);
        if !matches!(replication, None | Some("false" | "off" | "no" | "0")) {
            return Err(fatal("0A000", "there is nothing to replicate here"));
        }
        Ok(())
    }
}

#[async_trait]
impl StartupHandler for Door {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let startup = self.startup();
        if let PgWireFrontendMessage::Startup(hello) = &message {
            startup.check(hello, client.is_secure())?;
            self.settings(hello)?;
        }
        let Some(password) = &startup.password else {
            return self.trust(client, message).await;
        };
        password.on_startup(client, message).await
    }
}

impl Door {
    /// Takes the settings of a first message; what cannot be set ends the connection.
    fn settings(&self, hello: &Hello) -> PgWireResult<()> {
        let mut session = self.session();
        session.is_of(hello.parameters.get("user").map_or("", String::as_str));
        let mut set = |name: &str, value: &str| match session.set(name, Some(value)) {
            Ok(_) => Ok(()),
            Err(PgWireError::UserError(mut info)) => {
                info.severity = "FATAL".into();
                Err(PgWireError::UserError(info))
            }
            Err(other) => Err(other),
        };
        for (name, value) in &hello.parameters {
            match name.as_str() {
                "user" | "database" | "replication" => {}
                "options" => {
                    for (name, value) in options(value) {
                        set(&name, value)?;
                    }
                }
                other if other.starts_with("_pq_.") => {}
                other => set(other, value)?,
            }
        }
        Ok(())
    }

    /// Lets everybody in: whoever can reach the loopback address is on this machine.
    async fn trust<C>(&self, client: &mut C, message: PgWireFrontendMessage) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let PgWireFrontendMessage::Startup(hello) = &message else { return Ok(()) };
        protocol_negotiation(client, hello).await?;
        save_startup_parameters_to_metadata(client, hello);
        let entrance = &self.startup().entrance;
        let (pid, key) = entrance.keys.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        // They stay as long as the connection does.
        let (handle, guard) = entrance.connections.register(pid, key);
        client.session_extensions().insert(handle);
        client.session_extensions().insert(guard);
        finish_authentication(client, &Parameters).await?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }
}

/// `-c name=value` and `--name=value` in the options of a connection.
fn options(text: &str) -> impl Iterator<Item = (String, &str)> {
    let words = text.split_whitespace().filter(|word| *word != "-c");
    words.filter_map(|word| {
        let word = word.strip_prefix("-c").or(word.strip_prefix("--")).unwrap_or(word);
        let (name, value) = word.split_once('=')?;
        Some((name.replace('-', "_"), value))
    })
}

/// What a client is told when it is in.
#[derive(Debug)]
struct Parameters;

impl ServerParameterProvider for Parameters {
    fn server_parameters<C: ClientInfo>(&self, client: &C) -> Option<HashMap<String, String>> {
        let version = format!("{VERSION} (Millstream {})", env!("CARGO_PKG_VERSION"));
        let own = |name: &str| client.metadata().get(name).cloned().unwrap_or_default();
        let told = [
            ("server_version", version),
            ("server_encoding", "UTF8".into()),
            ("client_encoding", "UTF8".into()),
            ("DateStyle", "ISO, MDY".into()),
            ("IntervalStyle", "postgres".into()),
            ("TimeZone", "UTC".into()),
            ("integer_datetimes", "on".into()),
            ("standard_conforming_strings", "on".into()),
            ("is_superuser", "off".into()),
            ("in_hot_standby", "off".into()),
            ("default_transaction_read_only", "on".into()),
            ("application_name", own("application_name")),
            ("session_authorization", own(METADATA_USER)),
        ];
        Some(told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_those_of_libpq() {
        let read: Vec<_> =
            options("-c statement_timeout=5s --search-path=public -cjit=off").collect();
        let pair = |name: &str, value| (name.to_owned(), value);
        let expected =
            [pair("statement_timeout", "5s"), pair("search_path", "public"), pair("jit", "off")];
        assert_eq!(read, expected);
    }
}
