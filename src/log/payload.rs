//! The payload of a frame: documents, dead letters and edits length-prefixed, batches as Arrow
//! streams.
//!
//! ```text
//! documents u32 | dead letters u32 | batches u32 | edits u32 (0 in frames of older programs)
//! pages u32    only when the highest bit of the number of documents is set
//! expiry       before i64 | received u64; only when the bit after that is set
//! document     kind u8 | has body u8 | id u32 | version u32 | key | body
//! dead letter  received at i64 | reason u8 | has device u8 | source | detail | device | raw
//! edit         see `edits`
//! page         asset u32 | asset type u32 | from i64 | to i64 | after u64 | too many u8 | key
//! (text and bytes: length u32, then the bytes; then zeros up to a multiple of 8)
//! batch        length u64 | Arrow IPC stream of one record batch, 8-byte aligned
//! ```
//!
//! The empty payload is a frame without content. Decoding gives batches that share the payload's
//! memory.

use super::edits;
use super::error::Error;
use super::format::ALIGNMENT;
use crate::model::{
    Batch, DeadLetter, Document, Edit, Epoch, Expiry, Frame, Kind, Page, PageContent, PageRequest,
    Reason, Timestamp, TypeId,
};
use arrow::buffer::Buffer;
use arrow::ipc::MetadataVersion;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use std::sync::Arc;

/// Everything of a frame that is not in its header.
#[derive(Default)]
pub(super) struct Content {
    pub documents: Vec<Document>,
    pub dead_letters: Vec<DeadLetter>,
    pub batches: Vec<Batch>,
    pub edits: Vec<Edit>,
    pub pages: Vec<Page>,
    pub expiry: Option<Expiry>,
}

/// Set in the number of documents of a frame that has pages.
const HAS_PAGES: u32 = 1 << 31;
/// Set there in a frame with which telemetry expires.
const HAS_EXPIRY: u32 = 1 << 30;

/// Appends the frame's payload to `out`, which holds a multiple of [`ALIGNMENT`] bytes and does
/// so afterwards.
pub(super) fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), Error> {
    let counts =
        [frame.documents.len(), frame.dead_letters.len(), frame.batches.len(), frame.edits.len()];
    let pages = frame.pages.len();
    if counts == [0; 4] && pages == 0 && frame.expiry.is_none() {
        return Ok(());
    }
    let at = out.len();
    for count in counts {
        put_length(out, count)?;
    }
    if pages > 0 {
        out[at + 3] |= HAS_PAGES.to_le_bytes()[3];
        put_length(out, pages)?;
    }
    if let Some(Expiry { before, received }) = frame.expiry {
        out[at + 3] |= HAS_EXPIRY.to_le_bytes()[3];
        out.extend_from_slice(&before.0.to_le_bytes());
        out.extend_from_slice(&received.0.to_le_bytes());
    }
    for document in &frame.documents {
        out.push(kind_code(document.kind));
        out.push(u8::from(document.body.is_some()));
        out.extend_from_slice(&document.id.to_le_bytes());
        out.extend_from_slice(&document.version.to_le_bytes());
        out.extend_from_slice(&document.effective_from.0.to_le_bytes());
        put_bytes(out, document.key.as_bytes())?;
        put_bytes(out, document.body.as_deref().unwrap_or_default().as_bytes())?;
    }
    for letter in &frame.dead_letters {
        out.extend_from_slice(&letter.received_at.0.to_le_bytes());
        out.push(reason_code(letter.reason));
        out.push(u8::from(letter.device.is_some()));
        put_bytes(out, letter.source.as_bytes())?;
        put_bytes(out, letter.detail.as_bytes())?;
        put_bytes(out, letter.device.as_deref().unwrap_or_default().as_bytes())?;
        put_bytes(out, &letter.raw)?;
    }
    for edit in &frame.edits {
        edits::put(out, edit)?;
    }
    for page in &frame.pages {
        put_page(out, page)?;
    }
    pad(out);
    for batch in &frame.batches {
        put_batch(out, batch)?;
    }
    Ok(())
}

fn put_page(out: &mut Vec<u8>, page: &Page) -> Result<(), Error> {
    let request = &page.request;
    out.extend_from_slice(&request.asset.to_le_bytes());
    out.extend_from_slice(&request.asset_type.0.to_le_bytes());
    out.extend_from_slice(&request.from.to_le_bytes());
    out.extend_from_slice(&request.to.to_le_bytes());
    out.extend_from_slice(&page.after.0.to_le_bytes());
    out.push(u8::from(page.content == PageContent::TooMany));
    put_bytes(out, request.key.as_bytes())
}

fn read_page(input: &mut Input<'_>) -> Result<Page, String> {
    let (asset, asset_type) = (input.u32()?, TypeId(input.u32()?));
    let (from, to) = (input.u64()?.cast_signed(), input.u64()?.cast_signed());
    let after = Epoch(input.u64()?);
    let content = if input.u8()? == 0 { PageContent::Unread } else { PageContent::TooMany };
    let key = input.text()?;
    let request = PageRequest { asset, asset_type, key, from, to, rows: 0 };
    Ok(Page { request, after, content })
}

fn put_batch(out: &mut Vec<u8>, batch: &Batch) -> Result<(), Error> {
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    let options =
        IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5).map_err(Error::Encode)?;
    let rows = batch.rows();
    let mut writer = StreamWriter::try_new_with_options(&mut *out, rows.schema_ref(), options)
        .map_err(Error::Encode)?;
    writer.write(rows).and_then(|()| writer.finish()).map_err(Error::Encode)?;
    drop(writer);
    pad(out);
    let length = (out.len() - at - 8) as u64;
    out[at..at + 8].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

pub(super) fn put_length(out: &mut Vec<u8>, length: usize) -> Result<(), Error> {
    let limit = u64::from(u32::MAX);
    let length =
        u32::try_from(length).map_err(|_| Error::TooLarge { bytes: length as u64, limit })?;
    out.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
    put_length(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

/// Reads a payload whose checksum was right. An error says what is wrong with it.
pub(super) fn decode(payload: Buffer) -> Result<Content, String> {
    let mut content = Content::default();
    if payload.is_empty() {
        return Ok(content);
    }
    let mut input = Input { bytes: payload.as_slice(), at: 0 };
    let [documents, dead_letters, batches, edits] =
        [input.u32()?, input.u32()?, input.u32()?, input.u32()?];
    let pages = if documents & HAS_PAGES == 0 { 0 } else { input.u32()? };
    if documents & HAS_EXPIRY != 0 {
        let before = Timestamp(input.u64()?.cast_signed());
        content.expiry = Some(Expiry { before, received: Epoch(input.u64()?) });
    }
    for _ in 0..documents & !(HAS_PAGES | HAS_EXPIRY) {
        let kind = kind(input.u8()?)?;
        let deletes = input.u8()? == 0;
        let (id, version) = (input.u32()?, input.u32()?);
        let effective_from = Timestamp(input.u64()?.cast_signed());
        let (key, body) = (input.text()?, input.text()?);
        let body = if deletes { None } else { Some(body) };
        content.documents.push(Document { kind, key, id, version, effective_from, body });
    }
    for _ in 0..dead_letters {
        let received_at = Timestamp(input.u64()?.cast_signed());
        let reason = reason(input.u8()?)?;
        let unknown = input.u8()? == 0;
        let (source, detail, device) = (input.text()?, input.text()?, input.text()?);
        let device = if unknown { None } else { Some(device) };
        let raw = Arc::from(input.counted()?);
        content.dead_letters.push(DeadLetter { received_at, source, device, reason, detail, raw });
    }
    for _ in 0..edits {
        content.edits.push(edits::read(&mut input)?);
    }
    for _ in 0..pages {
        content.pages.push(read_page(&mut input)?);
    }
    input.at = input.at.next_multiple_of(ALIGNMENT);
    for _ in 0..batches {
        let length = usize::try_from(input.u64()?).map_err(|_| "a batch is too long")?;
        let start = input.at;
        input.take(length)?;
        content.batches.push(batch(payload.slice_with_length(start, length))?);
    }
    if input.at != payload.len() {
        return Err("bytes are left over".into());
    }
    Ok(content)
}

fn batch(mut stream: Buffer) -> Result<Batch, String> {
    let mut decoder = StreamDecoder::new();
    let rows = decoder.decode(&mut stream).map_err(|error| error.to_string())?;
    let rows = rows.ok_or("an Arrow stream holds no record batch")?;
    Batch::try_new(rows).map_err(|error| error.to_string())
}

pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("the payload ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut word = [0; N];
        word.copy_from_slice(self.take(N)?);
        Ok(word)
    }

    pub(super) fn u8(&mut self) -> Result<u8, String> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn counted(&mut self) -> Result<&'a [u8], String> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<Arc<str>, String> {
        let text = std::str::from_utf8(self.counted()?).map_err(|_| "a text is not UTF-8")?;
        Ok(text.into())
    }
}

/// The code of a kind on disk: never changes, never reused.
fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::AssetTypes => 1,
        Kind::DeviceTypes => 2,
        Kind::Assets => 3,
        Kind::Devices => 4,
        Kind::Links => 5,
    }
}

fn kind(code: u8) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind_code(*kind) == code);
    found.ok_or_else(|| format!("kind of document {code} is not known"))
}

const REASONS: [Reason; 9] = [
    Reason::Syntax,
    Reason::Schema,
    Reason::Ts,
    Reason::FutureTs,
    Reason::UnknownDevice,
    Reason::UnknownMetric,
    Reason::Value,
    Reason::Limit,
    Reason::BeyondRetention,
];

/// The code of a reason on disk: never changes, never reused.
fn reason_code(reason: Reason) -> u8 {
    match reason {
        Reason::Syntax => 1,
        Reason::Schema => 2,
        Reason::Ts => 3,
        Reason::FutureTs => 4,
        Reason::UnknownDevice => 5,
        Reason::UnknownMetric => 6,
        Reason::Value => 7,
        Reason::Limit => 8,
        Reason::BeyondRetention => 9,
    }
}

fn reason(code: u8) -> Result<Reason, String> {
    let found = REASONS.into_iter().find(|reason| reason_code(*reason) == code);
    found.ok_or_else(|| format!("reason of a dead letter {code} is not known"))
}
