//! Forms that are written by the room of queries, on a thread that may wait: what is in memory is a
//! batch and what the client has not read yet.

use super::doors::{DoorError, ErrorKind};
use super::formats::{Batches, encode, slices};
use super::limits::{PARTS_WAITING, READ_WITHIN, WRITE_BYTES};
use crate::query::{Error, Form, Renderer};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// An answer with rows, written while it is sent.
///
/// An error before the first row is the answer; a later one cuts the answer off.
pub(super) async fn rendered(
    form: Form,
    schema: SchemaRef,
    batches: Batches,
) -> Result<Response, DoorError> {
    let mut batches = batches.fuse();
    let first = batches.next().await.transpose()?;
    probe(form, &schema, first.as_ref())?;
    let batches = stream::iter(first.map(Ok)).chain(batches).boxed();
    let (sender, parts) = mpsc::channel(PARTS_WAITING);
    let (handle, complete) = (Handle::current(), Arc::new(AtomicBool::new(false)));
    let completed = Arc::clone(&complete);
    tokio::task::spawn_blocking(move || match write(form, schema, batches, &handle, &sender) {
        Ok(()) => completed.store(true, Ordering::Release),
        Err(error) => tracing::warn!(%error, "answer cut off"),
    });
    // What ends before it is complete must not look like a whole answer.
    let body = stream::unfold((parts, complete), |(mut parts, complete)| async move {
        let part = match parts.recv().await {
            Some(part) => Ok(part),
            None if complete.swap(true, Ordering::Acquire) => return None,
            None => Err(DoorError::new(ErrorKind::Internal, "the answer was cut off")),
        };
        Some((part, (parts, complete)))
    });
    let name = format!("attachment; filename=\"answer.{}\"", form.name());
    let mut headers = vec![(header::CONTENT_TYPE, form.media_type().to_owned())];
    if form != Form::JsonLines {
        headers.push((header::CONTENT_DISPOSITION, name));
    }
    let mut response = Body::from_stream(body).into_response();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// A type that the form cannot say shows now, not after the head is sent.
fn probe(form: Form, schema: &SchemaRef, first: Option<&RecordBatch>) -> Result<(), DoorError> {
    if form == Form::Xlsx {
        // It takes every type, and files.
        return Ok(());
    }
    let try_one = || -> Result<(), Error> {
        let mut renderer = Renderer::new(form, SchemaRef::clone(schema), io::sink())?;
        first.map_or(Ok(()), |batch| renderer.write(&batch.slice(0, batch.num_rows().min(1))))
    };
    try_one().map_err(|error| encode(&error))
}

fn write(
    form: Form,
    schema: SchemaRef,
    mut batches: Batches,
    handle: &Handle,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), DoorError> {
    let waiting = Vec::with_capacity(WRITE_BYTES);
    let out = Parts { waiting, sender: sender.clone(), handle: handle.clone() };
    let mut renderer = Renderer::new(form, schema, out).map_err(told)?;
    while let Some(batch) = handle.block_on(batches.next()) {
        for rows in slices(&batch?) {
            renderer.write(&rows).map_err(told)?;
            if sender.is_closed() {
                return Err(DoorError::new(ErrorKind::Unavailable, "the client is gone"));
            }
        }
    }
    let mut out = renderer.finish().map_err(told)?;
    out.flush().map_err(|error| encode(&error))
}

fn told(error: Error) -> DoorError {
    let told = DoorError::new(ErrorKind::Invalid, error.to_string());
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// Bytes on their way to the client. Waits while too many of them are, for [`READ_WITHIN`].
struct Parts {
    waiting: Vec<u8>,
    sender: mpsc::Sender<Bytes>,
    handle: Handle,
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    /// Sends what waits.
    fn flush(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.waiting, Vec::with_capacity(WRITE_BYTES));
        let sent = timeout(READ_WITHIN, self.sender.send(part.into()));
        match self.handle.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")),
        }
    }
}
