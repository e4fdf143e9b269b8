//! Statements: told about, prepared, given values, fetched and cancelled.

use super::door::Door;
use super::rows::{self, Messages};
use super::status::{new_name, unreadable};
use super::ticket::Ticket;
use crate::serve::limits::FLIGHT_MESSAGE_BYTES;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::{
    ActionCreatePreparedStatementResult, Any, Command, DoPutPreparedStatementResult,
    TicketStatementQuery,
};
use arrow_flight::{FlightData, FlightInfo, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::Status;

/// A statement that a client keeps here.
#[derive(Debug)]
pub(super) struct Prepared {
    text: String,
    columns: SchemaRef,
    /// Whether the columns are of other types, depending on the values.
    depends: bool,
    values: Option<RecordBatch>,
}

impl Door {
    /// What an answer will be, and the ticket to fetch it with. Nothing runs until it is fetched.
    pub async fn describe(&self, text: &str) -> Result<(SchemaRef, arrow_flight::Ticket), Status> {
        let query = self.query()?;
        let described = self.unless_ended(query.describe_sql(text, None)).await?;
        let ticket = Ticket::new(new_name()?, text, None)?;
        Ok((rows::told(&described.columns), ticket.encoded()?))
    }

    /// The rows of an answer as the client reads them. Whoever drops the stream ends the query.
    pub async fn fetch(&self, ticket: &TicketStatementQuery) -> Result<Messages, Status> {
        self.run(&Ticket::read(ticket)?).await
    }

    async fn run(&self, ticket: &Ticket) -> Result<Messages, Status> {
        let run = self.running().join(&ticket.name);
        let cancelled = run.cancelled();
        let (query, values) = (self.query()?, ticket.values()?);
        let answer = tokio::select! {
            answer = self.unless_ended(query.sql_with(&ticket.text, values)) => answer?,
            () = cancelled => return Err(Status::cancelled("the query was cancelled")),
        };
        Ok(rows::answer(answer, run, self.ended()))
    }

    /// Ends what is fetched with the tickets of an answer. False when nothing is.
    pub fn cancel(&self, info: Option<&FlightInfo>) -> Result<bool, Status> {
        let endpoints = info.map_or(&[][..], |info| &info.endpoint);
        let mut any = false;
        for ticket in endpoints.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            let message = Any::decode(&*ticket.ticket).map_err(unreadable)?;
            if let Ok(Command::TicketStatementQuery(ticket)) = Command::try_from(message) {
                any |= self.running().cancel(&Ticket::read(&ticket)?.name);
            }
        }
        Ok(any)
    }

    /// Keeps a statement, and says what it wants and what it answers.
    pub async fn prepare(
        &self,
        text: String,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let query = self.query()?;
        let described = self.unless_ended(query.describe_sql(&text, None)).await?;
        let columns = rows::told(&described.columns);
        let depends = described.parameters.iter().any(Option::is_none);
        let parameter = |(at, kind): (usize, Option<DataType>)| {
            Field::new(format!("${}", at + 1), kind.unwrap_or(DataType::Utf8), true)
        };
        let parameters = described.parameters.into_iter().enumerate().map(parameter);
        let parameters = Schema::new(parameters.collect::<Vec<_>>());
        let (dataset_schema, parameter_schema) = (message(&columns)?, message(&parameters)?);
        let bytes = text.len() + dataset_schema.len();
        let handle = new_name()?;
        self.prepared().keep(
            &handle,
            Prepared { text, columns, depends, values: None },
            bytes,
            Instant::now(),
        );
        let prepared_statement_handle = handle.into();
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle,
            dataset_schema,
            parameter_schema,
        })
    }

    /// Gives a statement values, until it gets others.
    pub async fn bind(
        &self,
        handle: Bytes,
        messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let messages = messages.map_err(|error| FlightError::Tonic(Box::new(error)));
        let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let (mut values, mut taken) = (None, 0);
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(Status::from)?;
            taken += batch.get_array_memory_size();
            let rows = batch.num_rows();
            if rows > 1 || rows == 1 && values.is_some() {
                return Err(Status::invalid_argument(
                    "more than one row of values: bind one, ask, and bind the next",
                ));
            }
            if taken > FLIGHT_MESSAGE_BYTES {
                let message = format!("values of more than {FLIGHT_MESSAGE_BYTES} bytes");
                return Err(Status::resource_exhausted(message));
            }
            values = (rows == 1 && batch.num_columns() > 0).then_some(batch).or(values);
        }
        let name = String::from_utf8_lossy(&handle).into_owned();
        let mut held = self.prepared();
        let prepared = held.get(&name, Instant::now()).ok_or_else(forgotten)?;
        prepared.values = values;
        let bytes = prepared.text.len() + taken;
        held.resize(&name, bytes, Instant::now());
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    /// What the answer of a statement will be with the values that it has now, and the ticket to
    /// fetch it with.
    pub async fn describe_prepared(
        &self,
        handle: &[u8],
    ) -> Result<(SchemaRef, arrow_flight::Ticket), Status> {
        let (columns, depends, ticket) = self.prepared_ticket(handle)?;
        let encoded = ticket.encoded()?;
        let values = ticket.values()?.filter(|_| depends);
        if values.is_none() {
            return Ok((columns, encoded));
        }
        let query = self.query()?;
        let described = self.unless_ended(query.describe_sql(&ticket.text, values)).await?;
        Ok((rows::told(&described.columns), encoded))
    }

    /// The same at once.
    pub async fn fetch_prepared(&self, handle: &[u8]) -> Result<Messages, Status> {
        let (_, _, ticket) = self.prepared_ticket(handle)?;
        self.run(&ticket).await
    }

    fn prepared_ticket(&self, handle: &[u8]) -> Result<(SchemaRef, bool, Ticket), Status> {
        let mut held = self.prepared();
        let prepared =
            held.get(&String::from_utf8_lossy(handle), Instant::now()).ok_or_else(forgotten)?;
        let ticket = Ticket::new(new_name()?, &prepared.text, prepared.values.as_ref())?;
        Ok((Arc::clone(&prepared.columns), prepared.depends, ticket))
    }

    /// Forgets a statement.
    pub fn close(&self, handle: &[u8]) {
        self.prepared().forget(&String::from_utf8_lossy(handle));
    }
}

fn message(schema: &Schema) -> Result<Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    message.map(|message| message.0).map_err(|error| Status::internal(error.to_string()))
}

fn forgotten() -> Status {
    Status::not_found("no such prepared statement, or one that was not used for too long")
}
