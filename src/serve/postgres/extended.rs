//! The extended protocol: statements are prepared, get values, and are read as far as wanted.

use super::door::{Door, Held, shown};
use super::error::{asked, error};
use super::rows::columns;
use crate::query::{Command, Statement};
use arrow::datatypes::{DataType, SchemaRef};
use arrow_pg::datatypes::into_pg_type;
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, send_describe_response};
use pgwire::api::results::{DescribePortalResponse, FieldInfo, Response};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
    Sync as PgSync, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, ReadyForQuery, TransactionStatus};
use std::fmt::Debug;
use std::sync::Arc;

/// A prepared statement. It is kept as its text, which is short, and read again when it is asked.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub text: Arc<str>,
    pub command: Option<Command>,
    /// What the plan takes, where it says so, and what the client is told to send.
    pub parameters: Arc<[(Option<DataType>, Type)]>,
    /// The columns of the answer; a command has none.
    pub columns: Option<SchemaRef>,
}

#[async_trait]
impl QueryParser for Door {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        _client: &C,
        sql: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let (query, told) = (self.query()?, |error| asked(error, sql));
        let mut statements = self.read(sql).await?;
        let statement = match (statements.pop(), statements.is_empty()) {
            (None, _) => return Ok(None),
            (Some(statement), true) => statement,
            (Some(_), false) => {
                let message = "cannot insert multiple commands into a prepared statement";
                return Err(error("42601", message));
            }
        };
        let mut prepared =
            Prepared { text: sql.into(), command: None, parameters: [].into(), columns: None };
        match statement {
            Statement::Command(command) => prepared.command = Some(command),
            Statement::Copy(..) => {
                return Err(error("0A000", "COPY belongs to the simple query protocol"));
            }
            Statement::Question(ref question) | Statement::Declare(_, ref question) => {
                let described = query.describe(question).await.map_err(told)?;
                let mut parameters = described.parameters;
                parameters.resize(parameters.len().max(types.len()), None);
                let typed = parameters.into_iter().enumerate().map(|(at, inferred)| {
                    let given = types.get(at).cloned().flatten();
                    let kind = match (given, &inferred) {
                        (Some(given), _) if given != Type::UNKNOWN => given,
                        (_, Some(inferred)) => into_pg_type(inferred)?,
                        (_, None) => Type::TEXT,
                    };
                    Ok((inferred, kind))
                });
                prepared.parameters = typed.collect::<PgWireResult<_>>()?;
                // Rows of a cursor come when they are fetched.
                let has_rows = matches!(statement, Statement::Question(_));
                prepared.columns = has_rows.then_some(described.columns);
            }
        }
        Ok(Some(prepared))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        Ok(prepared.parameters.iter().map(|(_, kind)| kind.clone()).collect())
    }

    fn get_result_schema(
        &self,
        prepared: &Prepared,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match (&prepared.columns, &prepared.command) {
            (Some(schema), _) => columns(schema, format.unwrap_or(&Format::UnifiedText)),
            (None, Some(Command::Show(name))) => Ok(shown(name)),
            (None, Some(Command::Fetch(name, _))) => {
                let format = format.unwrap_or(&Format::UnifiedText);
                self.cursor_columns(name, format).unwrap_or(Ok(Vec::new()))
            }
            (None, _) => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for Door {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.clone().unwrap_or_else(|| DEFAULT_NAME.to_owned());
        if name != DEFAULT_NAME && client.portal_store().get_statement(&name).is_some() {
            return Err(error("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let cancelled = Self::cancelled(client).await;
        let parsed = tokio::select! {
            parsed = StoredStatement::parse(client, &message, self.query_parser()) => parsed?,
            () = cancelled => return Err(PgWireError::QueryCanceled),
        };
        self.hold(Held::Statement(name.clone()), name.len() + message.query.len())?;
        match parsed {
            Some(statement) => client.portal_store().put_statement(Arc::new(statement)),
            None => client.portal_store().put_empty_statement(&name),
        }
        client.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let name = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME).to_owned();
        let given = message.parameters.len();
        let (wanted, columns) = match client.portal_store().get_statement(statement) {
            None => return Err(PgWireError::StatementNotFound(statement.to_owned())),
            Some(Entry::Empty) => (0, 0),
            Some(Entry::Value(stored)) => {
                let prepared = &stored.statement;
                let shown = self.get_result_schema(prepared, None)?.len();
                (prepared.parameters.len(), shown)
            }
        };
        let formats = [
            ("parameter", message.parameter_format_codes.len(), given),
            ("result", message.result_column_format_codes.len(), columns),
        ];
        for (what, told, count) in formats {
            if told > 1 && told != count {
                let message = format!("bind message has {told} {what} formats for {count}");
                return Err(error("08P01", message));
            }
        }
        if given != wanted {
            let message = format!(
                "bind message supplies {given} parameters, but the statement requires {wanted}"
            );
            return Err(error("08P01", message));
        }
        let bytes: usize = message.parameters.iter().flatten().map(bytes::Bytes::len).sum();
        self.hold(Held::Portal(name.clone()), name.len() + bytes)?;
        match client.portal_store().get_statement(statement) {
            Some(Entry::Value(stored)) => {
                let portal = Portal::try_new(&message, stored)?;
                client.portal_store().put_portal(Arc::new(portal));
            }
            _ => client.portal_store().put_empty_portal(&name),
        }
        client.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    /// The name of a portal may be that of a cursor.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && client.portal_store().get_portal(name).is_none()
            && let Some(columns) = self.cursor_columns(name, &Format::UnifiedText)
        {
            return send_describe_response(client, &DescribePortalResponse::new(columns?)).await;
        }
        self._on_describe(client, message).await
    }

    /// Rows are sent as they come: the default would gather them all.
    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match client.portal_store().get_portal(name) {
            None => {
                let message = format!("portal \"{name}\" does not exist");
                return Err(error("34000", message));
            }
            Some(Entry::Empty) => {
                let nothing = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
                client.feed(nothing).await?;
            }
            Some(Entry::Value(portal)) => {
                let rows = usize::try_from(message.max_rows).unwrap_or(0);
                let cancelled = Self::cancelled(client).await;
                tokio::select! {
                    done = self.execute(client, &portal, rows) => done?,
                    () = cancelled => return Err(PgWireError::QueryCanceled),
                }
            }
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_sync<C>(&self, client: &mut C, _message: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Portals live as long as their transaction does.
        let status = client.transaction_status();
        if matches!(status, TransactionStatus::Idle) {
            client.portal_store().clear_portals();
            self.let_go_all(|held| matches!(held, Held::Portal(_)));
        }
        client.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status))).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME).to_owned();
        if message.target_type == TARGET_TYPE_BYTE_STATEMENT {
            client.portal_store().rm_statement(&name);
            self.let_go(&Held::Statement(name));
        } else {
            client.portal_store().rm_portal(&name);
            self.let_go(&Held::Portal(name));
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(
        &self,
        _client: &mut C,
        _portal: &Portal<Prepared>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_execute` answers.
        Err(PgWireError::NotReadyForQuery)
    }
}
