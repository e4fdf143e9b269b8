//! What one connection is answered by.

use super::cursor::Declared;
use super::error::{asked, error};
use super::rows::{columns, response};
use super::session::{Session, Told};
use super::startup::Startup;
use crate::query::{Command, Query, Question, Statement, Values};
use crate::serve::limits::{POSTGRES_HELD, POSTGRES_HELD_BYTES};
use futures::{Sink, SinkExt};
use pgwire::api::portal::Format;
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Tag};
use pgwire::api::{ClientInfo, ConnectionHandle, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{NoticeResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The door as one connection sees it. Clones are of the same connection.
#[derive(Clone)]
pub(super) struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    startup: Startup,
    query: Option<Query>,
    session: Mutex<Session>,
    held: Mutex<HashMap<Held, usize>>,
    declared: Mutex<HashMap<String, Declared>>,
}

/// What a client may have kept, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Held {
    /// A prepared statement.
    Statement(String),
    /// A statement with its values, and where it is in its rows.
    Portal(String),
}

/// What a command has to say.
pub(super) enum Done {
    /// That it is done.
    Tag(Tag),
    /// A row.
    Rows(QueryResponse),
}

impl Door {
    /// The door of a new connection; without a query nobody gets in.
    pub fn new(startup: Startup, query: Option<Query>) -> Self {
        let (session, held, declared) = Default::default();
        Self { inner: Arc::new(Inner { startup, query, session, held, declared }) }
    }

    pub fn startup(&self) -> &Startup {
        &self.inner.startup
    }

    /// The SQL front end.
    pub fn query(&self) -> PgWireResult<&Query> {
        self.inner.query.as_ref().ok_or_else(|| error("57P03", "not ready"))
    }

    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.inner.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Held, usize>> {
        self.inner.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cursors of the transaction.
    pub fn declared(&self) -> MutexGuard<'_, HashMap<String, Declared>> {
        self.inner.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the statements of a text.
    pub async fn read(&self, text: &str) -> PgWireResult<Vec<Statement>> {
        let user = self.session().user().to_owned();
        let read = self.query()?.read_postgres(text, &user).await;
        read.map_err(|error| asked(error, text))
    }

    /// Keeps so many bytes under a name, or refuses when the client has kept enough.
    pub fn hold(&self, what: Held, bytes: usize) -> PgWireResult<()> {
        let mut held = self.held();
        held.remove(&what);
        let all: usize = held.values().sum();
        if held.len() >= POSTGRES_HELD || all + bytes > POSTGRES_HELD_BYTES {
            let message = format!(
                "a connection may keep {POSTGRES_HELD} statements and portals, \
                 {POSTGRES_HELD_BYTES} bytes in all"
            );
            return Err(error("53400", message));
        }
        held.insert(what, bytes);
        Ok(())
    }

    /// What is kept under a name is no longer.
    pub fn let_go(&self, what: &Held) {
        self.held().remove(what);
    }

    /// Names of everything that is kept and for which this holds; it is no longer.
    pub fn let_go_all(&self, which: impl Fn(&Held) -> bool) -> Vec<Held> {
        let mut held = self.held();
        let names: Vec<Held> = held.keys().filter(|what| which(what)).cloned().collect();
        for what in &names {
            held.remove(what);
        }
        names
    }

    /// Asks a question. The rows come as they are read.
    pub async fn ask(
        &self,
        question: &Arc<Question>,
        values: Values,
        format: &Format,
        text: &Arc<str>,
    ) -> PgWireResult<QueryResponse> {
        let time = self.session().statement_timeout().unwrap_or(Duration::MAX);
        let answer = self.query()?.ask_postgres(question, values, time).await;
        let answer = answer.map_err(|error| asked(error, text))?;
        let told = columns(&question.named(&answer.schema()), format)?;
        Ok(response(answer, told, Arc::clone(text)))
    }

    /// Ends when the client asks for the end of what it has running from now on.
    pub async fn cancelled<C: ClientInfo>(client: &C) -> impl Future<Output = ()> + use<C> {
        let handle = client.session_extensions().get::<Arc<ConnectionHandle>>();
        let receiver = match handle {
            Some(handle) => Some(handle.start_query().await),
            None => None,
        };
        async move {
            let asked = match receiver {
                Some(receiver) => receiver.await.is_ok(),
                None => false,
            };
            if !asked {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Refuses to ask anything in a transaction that has failed.
    pub fn check_transaction<C: ClientInfo>(client: &C) -> PgWireResult<()> {
        match client.transaction_status() {
            TransactionStatus::Error => {
                let message = "current transaction is aborted, commands ignored until end of \
                               transaction block";
                Err(error("25P02", message))
            }
            _ => Ok(()),
        }
    }

    /// Does what a command says, up to what it says of prepared statements.
    pub async fn command<C>(
        &self,
        client: &mut C,
        command: &Command,
        format: &Format,
    ) -> PgWireResult<Done>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        use TransactionStatus::{Error, Idle, Transaction};
        let status = client.transaction_status();
        let tag = match command {
            Command::Begin => {
                Self::check_transaction(client)?;
                client.set_transaction_status(Transaction);
                "BEGIN"
            }
            Command::Commit => {
                self.close_all();
                client.set_transaction_status(Idle);
                if matches!(status, Error) { "ROLLBACK" } else { "COMMIT" }
            }
            Command::Rollback => {
                self.close_all();
                client.set_transaction_status(Idle);
                "ROLLBACK"
            }
            Command::Savepoint("ROLLBACK") => {
                if matches!(status, Error) {
                    client.set_transaction_status(Transaction);
                }
                "ROLLBACK"
            }
            Command::Savepoint(tag) => {
                Self::check_transaction(client)?;
                tag
            }
            Command::Set(name, value) => {
                Self::check_transaction(client)?;
                let told = self.session().set(name, value.as_deref())?;
                if let Told::Notice(message) = told {
                    let info = ErrorInfo::new("NOTICE".into(), "00000".into(), message.into());
                    let notice = NoticeResponse::from(info);
                    client.feed(PgWireBackendMessage::NoticeResponse(notice)).await?;
                }
                if name == "application_name" {
                    let now = self.session().show(name)?.to_owned();
                    let status = ParameterStatus::new(name.clone(), now);
                    client.feed(PgWireBackendMessage::ParameterStatus(status)).await?;
                }
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::Show(name) => {
                Self::check_transaction(client)?;
                return self.show(name).map(Done::Rows);
            }
            Command::Discard => {
                self.close_all();
                self.session().discard();
                "DISCARD ALL"
            }
            Command::Deallocate(_) => "DEALLOCATE",
            Command::Fetch(name, rows) => {
                Self::check_transaction(client)?;
                return self.fetch(name, *rows, format).map(Done::Rows);
            }
            Command::Close(name) => {
                Self::check_transaction(client)?;
                self.close(name.as_deref())?;
                if name.is_some() { "CLOSE CURSOR" } else { "CLOSE CURSOR ALL" }
            }
        };
        Ok(Done::Tag(Tag::new(tag)))
    }

    fn show(&self, name: &str) -> PgWireResult<QueryResponse> {
        let columns = Arc::new(shown(name));
        let mut encoder = DataRowEncoder::new(Arc::clone(&columns));
        encoder.encode_field(&self.session().show(name)?)?;
        let row = encoder.take_row();
        let mut rows = QueryResponse::new(columns, futures::stream::iter([Ok(row)]));
        rows.set_command_tag("SHOW");
        Ok(rows)
    }
}

/// The column that `SHOW` answers with.
pub(super) fn shown(name: &str) -> Vec<FieldInfo> {
    vec![FieldInfo::new(name.into(), None, None, Type::TEXT, FieldFormat::Text)]
}
