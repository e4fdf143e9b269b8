//! Tickets: what a client fetches an answer with. They hold the statement and its values, so that the
//! server need not remember what nobody may ever fetch.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::sql::{ProstMessageExt, TicketStatementQuery};
use prost::Message;
use serde::{Deserialize, Serialize};
use tonic::Status;

/// A statement that can be fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// The name by which it can be cancelled.
    pub name: String,
    /// The statement.
    pub text: String,
    /// A row of values, as an Arrow IPC stream.
    values: Option<Vec<u8>>,
}

impl Ticket {
    pub fn new(name: String, text: &str, values: Option<&RecordBatch>) -> Result<Self, Status> {
        let bytes = |values: &RecordBatch| {
            let mut writer = StreamWriter::try_new(Vec::new(), &values.schema())?;
            writer.write(values)?;
            writer.into_inner()
        };
        let values = values.map(bytes).transpose();
        let values = values.map_err(|error| Status::invalid_argument(error.to_string()))?;
        Ok(Self { name, text: text.to_owned(), values })
    }

    /// The values of the parameters.
    pub fn values(&self) -> Result<Option<RecordBatch>, Status> {
        let Some(bytes) = &self.values else { return Ok(None) };
        let batch = StreamReader::try_new(bytes.as_slice(), None).map(|mut reader| reader.next());
        match batch {
            Ok(Some(Ok(batch))) => Ok(Some(batch)),
            _ => Err(foreign()),
        }
    }

    /// The ticket as it goes to the client.
    pub fn encoded(&self) -> Result<arrow_flight::Ticket, Status> {
        let bytes = bincode::serialize(self);
        let bytes = bytes.map_err(|error| Status::internal(error.to_string()))?;
        let ticket = TicketStatementQuery { statement_handle: bytes.into() };
        Ok(arrow_flight::Ticket::new(ticket.as_any().encode_to_vec()))
    }

    /// The ticket that a client has.
    pub fn read(ticket: &TicketStatementQuery) -> Result<Self, Status> {
        bincode::deserialize(&ticket.statement_handle).map_err(|_| foreign())
    }
}

fn foreign() -> Status {
    Status::invalid_argument("a ticket that is not of this server")
}
