//! Portals: statements with their values, and where they are in their rows.

use super::door::{Done, Door};
use super::error::error;
use super::extended::Prepared;
use crate::query::{Command, Statement, Values};
use arrow::datatypes::DataType;
use arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use futures::Sink;
use pgwire::api::portal::{Portal, PortalExecutionState};
use pgwire::api::query::{send_execution_response, send_partial_query_response};
use pgwire::api::results::Tag;
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use std::fmt::Debug;

impl Door {
    /// Sends rows of a portal, at most so many, or all for 0.
    pub async fn execute<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        rows: usize,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        use PortalExecutionState::{Finished, Initial, Suspended};
        let state = portal.state();
        let mut state = state.lock().await;
        // Whatever goes wrong: what has begun does not begin again.
        let mut response = match std::mem::replace(&mut *state, Finished) {
            Finished => {
                return send_execution_response(client, Tag::new("SELECT").with_rows(0)).await;
            }
            Suspended(response) => response,
            Initial => match self.begin(client, portal).await? {
                Done::Tag(tag) => return send_execution_response(client, tag).await,
                Done::Rows(response) => response,
            },
        };
        if send_partial_query_response(client, &mut response, rows).await? {
            *state = Suspended(response);
        }
        Ok(())
    }

    async fn begin<C>(&self, client: &mut C, portal: &Portal<Prepared>) -> PgWireResult<Done>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        if let Some(command) = &prepared.command {
            if let Command::Deallocate(name) = command {
                self.deallocate(client, name.as_deref());
            }
            let format = &portal.result_column_format;
            return self.command(client, command, format).await;
        }
        Self::check_transaction(client)?;
        let values = values(portal)?;
        let question = match self.read(&prepared.text).await?.pop() {
            Some(Statement::Question(question)) => question,
            Some(Statement::Declare(name, question)) => {
                self.declare(client, &name, &question, (values, &prepared.text)).await?;
                return Ok(Done::Tag(Tag::new("DECLARE CURSOR")));
            }
            _ => return Err(error("XX000", "a statement reads otherwise than before")),
        };
        let format = &portal.result_column_format;
        let rows = self.ask(&question, values, format, &prepared.text).await?;
        // The client reads bytes by the types that it was told.
        let told = self.get_result_schema(prepared, Some(format))?;
        let now = rows.row_schema();
        let same = told.len() == now.len()
            && told.iter().zip(now.iter()).all(|(told, now)| told.datatype() == now.datatype());
        match same {
            true => Ok(Done::Rows(rows)),
            false => Err(error("0A000", "cached plan must not change result type")),
        }
    }
}

/// The values of a portal in the types of the plan.
fn values(portal: &Portal<Prepared>) -> PgWireResult<Values> {
    let parameters = &portal.statement.statement.parameters;
    let inferred: Vec<Option<&DataType>> =
        parameters.iter().map(|(kind, _)| kind.as_ref()).collect();
    let told: Vec<Option<&Type>> = parameters.iter().map(|(_, told)| Some(told)).collect();
    deserialize_parameters_with_server_types(portal, &inferred, &told)
}
