//! The simple protocol: a text with any number of statements, answered one after the other.

use super::copy;
use super::door::{Done, Door};
use crate::query::{Command, Statement, Values};
use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::portal::Format;
use pgwire::api::query::{
    SimpleQueryHandler, send_execution_response, send_query_response, send_ready_for_query,
};
use pgwire::api::results::{Response, Tag};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, PgWireConnectionState};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::EmptyQueryResponse;
use pgwire::messages::simplequery::Query;
use std::fmt::Debug;
use std::sync::Arc;

#[async_trait]
impl SimpleQueryHandler for Door {
    /// Each statement is asked when the rows of the one before have been read; the first error ends
    /// the text.
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.set_state(PgWireConnectionState::QueryInProgress);
        let cancelled = Self::cancelled(client).await;
        tokio::select! {
            answered = self.answer(client, query.query.into()) => answered?,
            () = cancelled => return Err(PgWireError::QueryCanceled),
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _client: &mut C, _query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // `on_query` answers, because it sends rows before it asks on.
        Err(PgWireError::NotReadyForQuery)
    }
}

/// The values of a statement that has no parameters.
fn none() -> Values {
    Values::List(Vec::new())
}

impl Door {
    async fn answer<C>(&self, client: &mut C, text: Arc<str>) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = self.read(&text).await?;
        if statements.is_empty() {
            let nothing = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
            return Ok(client.feed(nothing).await?);
        }
        for statement in statements {
            match statement {
                Statement::Question(question) => {
                    Self::check_transaction(client)?;
                    let rows = self.ask(&question, none(), &Format::UnifiedText, &text).await?;
                    send_query_response(client, rows, true).await?;
                }
                Statement::Declare(name, question) => {
                    self.declare(client, &name, &question, (none(), &text)).await?;
                    send_execution_response(client, Tag::new("DECLARE CURSOR")).await?;
                }
                Statement::Copy(question, form) => {
                    Self::check_transaction(client)?;
                    let rows = self.ask(&question, none(), &Format::UnifiedText, &text).await?;
                    copy::send(client, rows, &form).await?;
                }
                Statement::Command(command) => {
                    if let Command::Deallocate(name) = &command {
                        self.deallocate(client, name.as_deref());
                    }
                    match self.command(client, &command, &Format::UnifiedText).await? {
                        Done::Tag(tag) => send_execution_response(client, tag).await?,
                        Done::Rows(rows) => send_query_response(client, rows, true).await?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Forgets a prepared statement, or all.
    pub fn deallocate<C>(&self, client: &mut C, name: Option<&str>)
    where
        C: ClientPortalStore,
        C::PortalStore: PortalStore,
    {
        use super::door::Held;
        let named = |held: &Held| match held {
            Held::Statement(held) => name.is_none_or(|name| name == held),
            Held::Portal(_) => false,
        };
        for held in self.let_go_all(named) {
            if let Held::Statement(name) = held {
                client.portal_store().rm_statement(&name);
            }
        }
    }
}
