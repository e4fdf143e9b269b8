//! The calls of Flight, and what Flight SQL makes of them: each is answered where its subject is,
//! when the one who calls has come in.

use super::about::{About, about};
use super::door::{Door, told};
use super::rows::{Messages, batch};
use super::status::{new_name, read_only, unknown, unreadable};
use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionBeginTransactionResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, Any, Command, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, Criteria,
    Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse, PollInfo,
    PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use std::pin::Pin;
use tonic::{Request, Response, Status, Streaming};

/// What can be done besides asking, and what for.
const ACTIONS: [(&str, &str); 5] = [
    ("CreatePreparedStatement", "Keeps a statement with parameters"),
    ("ClosePreparedStatement", "Forgets it"),
    ("CancelFlightInfo", "Ends a query that is being fetched"),
    ("BeginTransaction", "Does nothing: each statement is of one epoch of its own"),
    ("EndTransaction", "Does nothing"),
];

type Answers<T> = BoxStream<'static, Result<T, Status>>;

fn one<T: Send + 'static>(answer: T) -> Response<Answers<T>> {
    Response::new(stream::iter([Ok(answer)]).boxed())
}

/// What a descriptor, a ticket or the body of an action says.
fn any(message: &[u8]) -> Result<Any, Status> {
    Any::decode(message).map_err(unreadable)
}

fn command(message: &[u8]) -> Result<Command, Status> {
    Command::try_from(any(message)?).map_err(unreadable)
}

fn unpacked<T: ProstMessageExt>(body: &Bytes) -> Result<T, Status> {
    let message = any(body)?.unpack().map_err(unreadable)?;
    message.ok_or_else(|| unreadable("another message than that of the action"))
}

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Messages;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.query()?;
        let token = self.login().token(request.metadata()).await?;
        let bearer = format!("Bearer {token}").parse().map_err(unreadable)?;
        let said = HandshakeResponse { protocol_version: 0, payload: token.into() };
        // Clients look for it in the header.
        let mut response = one(said);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn list_flights(
        &self,
        request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        self.check(&request)?;
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        self.check(&request)?;
        let descriptor = request.into_inner();
        let (columns, ticket) = match command(&descriptor.cmd)? {
            Command::CommandStatementQuery(statement) => self.describe(&statement.query).await?,
            Command::CommandPreparedStatementQuery(prepared) => {
                self.describe_prepared(&prepared.prepared_statement_handle).await?
            }
            other => match about(&self.query()?, other)? {
                About::Rows(rows) => (rows.schema(), Ticket::new(descriptor.cmd.clone())),
                About::Unknown(what) => return Err(unknown(what)),
            },
        };
        told(&columns, ticket, descriptor)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let info = self.get_flight_info(request).await?.into_inner();
        Ok(Response::new(SchemaResult { schema: info.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Messages>, Status> {
        self.check(&request)?;
        let messages = match command(&request.into_inner().ticket)? {
            Command::TicketStatementQuery(ticket) => self.fetch(&ticket).await?,
            Command::CommandPreparedStatementQuery(prepared) => {
                self.fetch_prepared(&prepared.prepared_statement_handle).await?
            }
            other => match about(&self.query()?, other)? {
                About::Rows(rows) => batch(rows),
                About::Unknown(what) => return Err(unknown(what)),
            },
        };
        Ok(Response::new(messages))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        self.check(&request)?;
        // The first message says what is put, and has its columns too.
        let mut messages = request.into_inner().boxed().peekable();
        let first = Pin::new(&mut messages).peek().await.cloned().transpose()?;
        let descriptor = first.and_then(|first| first.flight_descriptor);
        let descriptor = descriptor.ok_or_else(|| unreadable("no word of what is put"))?;
        match command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(prepared) => {
                let bound = self.bind(prepared.prepared_statement_handle, messages).await?;
                Ok(one(PutResult { app_metadata: bound.encode_to_vec().into() }))
            }
            _ => Err(read_only()),
        }
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        self.check(&request)?;
        let Action { r#type: wanted, body } = request.into_inner();
        let done = match wanted.as_str() {
            "CreatePreparedStatement" => {
                let wanted: ActionCreatePreparedStatementRequest = unpacked(&body)?;
                self.prepare(wanted.query).await?.as_any().encode_to_vec()
            }
            "ClosePreparedStatement" => {
                let wanted: ActionClosePreparedStatementRequest = unpacked(&body)?;
                self.close(&wanted.prepared_statement_handle);
                return Ok(Response::new(stream::empty().boxed()));
            }
            "CancelFlightInfo" => {
                let wanted = CancelFlightInfoRequest::decode(body).map_err(unreadable)?;
                let status = match self.cancel(wanted.info.as_ref())? {
                    true => CancelStatus::Cancelled,
                    false => CancelStatus::NotCancellable,
                };
                CancelFlightInfoResult::new(status).encode_to_vec()
            }
            "BeginTransaction" => {
                let transaction_id = new_name()?.into();
                ActionBeginTransactionResult { transaction_id }.as_any().encode_to_vec()
            }
            "EndTransaction" => return Ok(Response::new(stream::empty().boxed())),
            other => return Err(unknown(other)),
        };
        Ok(one(arrow_flight::Result { body: done.into() }))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        self.check(&request)?;
        let action = |(name, description): (&str, &str)| {
            Ok(ActionType { r#type: name.into(), description: description.into() })
        };
        Ok(Response::new(stream::iter(ACTIONS.map(action)).boxed()))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        self.check(&request)?;
        Err(unknown("PollFlightInfo"))
    }

    async fn do_exchange(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        self.check(&request)?;
        Err(unknown("DoExchange"))
    }
}
