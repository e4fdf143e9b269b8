//! A look at the messages of a stream before the reader believes their sizes.

use arrow::ipc::{Buffer, MessageHeader, RecordBatch, root_as_message};

/// A body with more rows is cut: the rest is one refusal with `LIMIT`.
pub const ROWS_MAX: usize = 4_000_000;
/// A body whose compressed buffers say that they hold more bytes is cut in the same way.
pub const DECODED_BYTES_MAX: usize = 256 << 20;

/// Marks the begin of a message.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// How much of a body can be read.
pub(super) struct Checked {
    /// The length of the messages that are whole and within the limits.
    pub length: usize,
    /// Why the rest is not; `None` when there is no rest.
    pub fault: Option<Fault>,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Truncated,
    Malformed,
    TooManyRows,
    TooManyBytes,
}

/// Walks the messages of a stream.
pub(super) fn check(body: &[u8]) -> Checked {
    let mut at = 0;
    let mut sums = Sums::default();
    while at < body.len() {
        match message(body, at, &mut sums) {
            // The end marker: what follows is not read.
            Ok(None) => return Checked { length: body.len(), fault: None },
            Ok(Some(end)) => at = end,
            Err(fault) => return Checked { length: at, fault: Some(fault) },
        }
    }
    Checked { length: at, fault: None }
}

#[derive(Default)]
struct Sums {
    rows: usize,
    bytes: usize,
}

/// Checks the message at an offset and tells where it ends.
fn message(body: &[u8], mut at: usize, sums: &mut Sums) -> Result<Option<usize>, Fault> {
    if body[at..].starts_with(&CONTINUATION) {
        at += CONTINUATION.len();
    }
    let length = body.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let length = i32::from_le_bytes(length.ok_or(Fault::Truncated)?);
    let length = usize::try_from(length).map_err(|_| Fault::Malformed)?;
    at += 4;
    if length == 0 {
        return Ok(None);
    }
    let metadata = body.get(at..at + length).ok_or(Fault::Truncated)?;
    at += length;
    let message = root_as_message(metadata).map_err(|_| Fault::Malformed)?;
    let size = usize::try_from(message.bodyLength()).map_err(|_| Fault::Malformed)?;
    let end = at.checked_add(size).filter(|end| *end <= body.len()).ok_or(Fault::Truncated)?;
    let data = &body[at..end];
    match message.header_type() {
        MessageHeader::RecordBatch => {
            let batch = message.header_as_record_batch().ok_or(Fault::Malformed)?;
            record_batch(&batch, data, sums)?;
        }
        MessageHeader::DictionaryBatch => {
            let dictionary = message.header_as_dictionary_batch().ok_or(Fault::Malformed)?;
            record_batch(&dictionary.data().ok_or(Fault::Malformed)?, data, sums)?;
        }
        _ => {}
    }
    Ok(Some(end))
}

fn record_batch(batch: &RecordBatch, data: &[u8], sums: &mut Sums) -> Result<(), Fault> {
    let rows = usize::try_from(batch.length()).map_err(|_| Fault::Malformed)?;
    sums.rows = sums.rows.saturating_add(rows);
    if sums.rows > ROWS_MAX {
        return Err(Fault::TooManyRows);
    }
    for node in batch.nodes().iter().flatten() {
        if usize::try_from(node.length()).is_ok_and(|length| length > ROWS_MAX) {
            return Err(Fault::TooManyRows);
        }
    }
    for buffer in batch.buffers().iter().flatten() {
        let size = buffer_size(buffer, data, batch.compression().is_some())?;
        sums.bytes = sums.bytes.saturating_add(size);
        if sums.bytes > DECODED_BYTES_MAX {
            return Err(Fault::TooManyBytes);
        }
    }
    Ok(())
}

/// The size of a buffer after decompression, as it says itself.
fn buffer_size(buffer: &Buffer, data: &[u8], compressed: bool) -> Result<usize, Fault> {
    let start = usize::try_from(buffer.offset()).map_err(|_| Fault::Malformed)?;
    let length = usize::try_from(buffer.length()).map_err(|_| Fault::Malformed)?;
    let end = start.checked_add(length).ok_or(Fault::Malformed)?;
    let bytes = data.get(start..end).ok_or(Fault::Malformed)?;
    if !compressed || bytes.is_empty() {
        return Ok(length);
    }
    let size = bytes.first_chunk::<8>().ok_or(Fault::Malformed)?;
    match i64::from_le_bytes(*size) {
        // Not compressed after all.
        -1 => Ok(length),
        size => usize::try_from(size).map_err(|_| Fault::Malformed),
    }
}
