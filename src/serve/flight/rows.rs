//! Rows of an answer as messages of Flight.

use super::status::asked;
use crate::query::Answer;
use crate::serve::running::Run;
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use std::pin::Pin;
use std::sync::Arc;
use tonic::Status;

/// Messages of one answer.
pub(super) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// The columns as clients are told of them, which is the same before and when rows come: values of
/// dictionaries and views are plain, because not every client knows those.
pub(super) fn told(columns: &Schema) -> SchemaRef {
    let told = |field: &Arc<Field>| {
        let plain = match field.data_type() {
            DataType::Dictionary(_, values) => values.as_ref().clone(),
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            other => other.clone(),
        };
        Field::new(field.name(), plain, true)
    };
    Arc::new(Schema::new(columns.fields().iter().map(told).collect::<Vec<_>>()))
}

/// An answer, batch by batch as it is read, until it is cancelled or the server ends.
pub(super) fn answer(answer: Answer, run: Run, ended: BoxEnd) -> Messages {
    let columns = told(&answer.schema());
    let of = Arc::clone(&columns);
    let batches = answer.into_stream().map(move |batch| {
        let batch = batch.map_err(|error| FlightError::Tonic(Box::new(asked(error))))?;
        Ok(fit(&batch, &of)?)
    });
    let messages = FlightDataEncoderBuilder::new().with_schema(columns).build(batches);
    let cancelled = run.cancelled();
    let stop = async move {
        tokio::select! {
            () = cancelled => Status::cancelled("the query was cancelled"),
            () = ended => Status::unavailable("the server is shutting down"),
        }
    };
    until(messages.map_err(Status::from), stop, run)
}

/// Ends when the server does.
pub(super) type BoxEnd = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The messages up to a stop, which is told. `run` is held as long.
fn until(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    stop: impl Future<Output = Status> + Send + 'static,
    run: Run,
) -> Messages {
    let state = Some((Box::pin(messages), Box::pin(stop), run));
    let messages = stream::unfold(state, |state| async move {
        let (mut messages, mut stop, run) = state?;
        tokio::select! {
            biased;
            status = &mut stop => Some((Err(status), None)),
            next = messages.next() => Some((next?, Some((messages, stop, run)))),
        }
    });
    messages.boxed()
}

/// One batch that is there.
pub(super) fn batch(batch: RecordBatch) -> Messages {
    let encoder = FlightDataEncoderBuilder::new().with_schema(batch.schema());
    encoder.build(stream::iter([Ok(batch)])).map_err(Status::from).boxed()
}

/// The batch with the columns that were told.
fn fit(batch: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let told = columns.fields().iter().zip(batch.columns());
    let plain = told.map(|(field, values)| match values.data_type() == field.data_type() {
        true => Ok(Arc::clone(values)),
        false => cast(values, field.data_type()),
    });
    let plain = plain.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
    // Without columns there is still a number of rows.
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(columns), plain, &rows)
}
