//! A stream as a row of record batches.

use super::sizes::{DECODED_BYTES_MAX, Fault, ROWS_MAX, check};
use crate::ingest::format::columns::{self, Columns};
use crate::ingest::route::{Refusal, Router};
use crate::model::Reason;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why a body is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes do not begin as a stream does.
    #[error("not an Arrow IPC stream: {0}")]
    Stream(ArrowError),
    /// The columns are not telemetry.
    #[error(transparent)]
    Columns(#[from] columns::Error),
}

/// Routes all rows of a stream. Each record batch is one message ordinal; indices of refusals are
/// row numbers.
///
/// An error means that nothing was routed: the caller refuses the body. When the stream breaks
/// later, the batches before stay and the rest is one refusal.
pub fn decode(body: &[u8], router: &mut Router) -> Result<(), Error> {
    let checked = check(body);
    let bytes = &body[..checked.length];
    let mut reader =
        guarded(|| StreamReader::try_new(Cursor::new(bytes), None)).map_err(Error::Stream)?;
    let columns = Columns::detect(&reader.schema())?;
    for number in 0.. {
        let at = usize::try_from(reader.get_ref().position()).unwrap_or(body.len());
        let rest = body.get(at..).unwrap_or_default();
        let refuse = |reason, detail, router: &mut Router| {
            router.refuse(Refusal { reason, detail, device: None }, rest);
        };
        match guarded(|| reader.next().transpose()) {
            Ok(None) => {
                if let Some(fault) = checked.fault {
                    let (reason, detail) = explain(fault);
                    let detail = format!("the stream ends in record batch {number}: {detail}");
                    refuse(reason, detail, router);
                }
                return Ok(());
            }
            Ok(Some(batch)) => {
                if let Err(e) = columns.route(&batch, router) {
                    refuse(Reason::Schema, e.to_string(), router);
                }
            }
            Err(e) => {
                let detail = format!("the stream breaks in record batch {number}: {e}");
                refuse(Reason::Syntax, detail, router);
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The reader checks what it reads, but not all of it before it indexes.
fn guarded<T>(read: impl FnOnce() -> Result<T, ArrowError>) -> Result<T, ArrowError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(ArrowError::IpcError("its sizes or types are damaged".into())))
}

fn explain(fault: Fault) -> (Reason, String) {
    match fault {
        Fault::Truncated => (Reason::Syntax, "it is truncated".into()),
        Fault::Malformed => (Reason::Syntax, "its header is malformed".into()),
        Fault::TooManyRows => {
            (Reason::Limit, format!("more than {ROWS_MAX} rows in one body: split it"))
        }
        Fault::TooManyBytes => (
            Reason::Limit,
            format!("more than {DECODED_BYTES_MAX} bytes after decompression: split the body"),
        ),
    }
}
