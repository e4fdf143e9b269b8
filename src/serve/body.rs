//! Reads bodies: whole, up to a limit, and decompressed.

use super::doors::{BodyRoom, DoorError, ErrorKind};
use super::limits::{BODY_BYTES_DECODED, BODY_BYTES_DRAINED, BODY_BYTES_ENCODED};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::io::{self, Read};

/// Bytes that are decompressed before room is asked for again.
const DECODED_AT_ONCE: u64 = 256 << 10;

/// How a body is compressed.
enum Encoding {
    Gzip,
    Zstd,
}

/// Room for a body, or why there is none.
pub(super) type Room = Result<Box<dyn BodyRoom>, DoorError>;

/// Reads a whole body that may be compressed with gzip or zstd: up to [`BODY_BYTES_ENCODED`] as it
/// comes, and up to [`BODY_BYTES_DECODED`] after decompression, as far as there is room. The room
/// comes back with it.
pub(super) async fn read_encoded(
    headers: &HeaderMap,
    body: Body,
    room: Room,
) -> Result<(Bytes, Box<dyn BodyRoom>), DoorError> {
    let encoding = Encoding::of(headers)?;
    let (body, mut room) = read_as_it_comes(headers, body, room).await?;
    let Some(encoding) = encoding else { return Ok((body, room)) };
    let decoded = tokio::task::spawn_blocking(move || {
        let decoded = encoding.decode(&body, &mut *room)?;
        Ok((decoded, room))
    });
    let (decoded, room) =
        decoded.await.unwrap_or_else(|error| Err(undecodable(io::Error::other(error))))?;
    if decoded.len() > BODY_BYTES_DECODED {
        return Err(too_large("decompressed body", BODY_BYTES_DECODED));
    }
    Ok((decoded.into(), room))
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, DoorError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else { return Ok(None) };
        let name = value.to_str().unwrap_or("?").trim();
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            _ => {
                let detail = format!("the content encoding '{name}' is not read here");
                Err(DoorError::new(ErrorKind::UnsupportedMedia, detail)
                    .hint("use gzip, zstd or no content encoding"))
            }
        }
    }

    /// The decompressed bytes; one more than the limit where there are more.
    fn decode(&self, bytes: &[u8], room: &mut dyn BodyRoom) -> Result<Vec<u8>, DoorError> {
        let decoder: Box<dyn Read + '_> = match self {
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
            Self::Zstd => Box::new(zstd::Decoder::with_buffer(bytes).map_err(undecodable)?),
        };
        let mut decoder = decoder.take(BODY_BYTES_DECODED as u64 + 1);
        let mut decoded = Vec::new();
        loop {
            let part = (&mut decoder).take(DECODED_AT_ONCE).read_to_end(&mut decoded);
            match part.map_err(undecodable)? {
                0 => return Ok(decoded),
                more => room.grow(more)?,
            }
        }
    }
}

/// Reads a body up to [`BODY_BYTES_ENCODED`]. What is refused is read and thrown away, up to
/// [`BODY_BYTES_DRAINED`]: a client that is cut off while it writes does not read why.
async fn read_as_it_comes(
    headers: &HeaderMap,
    body: Body,
    room: Room,
) -> Result<(Bytes, Box<dyn BodyRoom>), DoorError> {
    let length = content_length(headers).unwrap_or(0);
    let mut room = match length > BODY_BYTES_ENCODED as u64 {
        true => Err(too_large("encoded body", BODY_BYTES_ENCODED)),
        false => room,
    };
    if headers.contains_key(header::EXPECT) {
        // The client waits for leave to send.
        room = Ok(room?);
    }
    let (mut taken, mut drained) = (BytesMut::new(), 0);
    let mut body = body.into_data_stream();
    while let Some(part) = body.next().await {
        let part = match (part, &room) {
            (Ok(part), _) => part,
            (Err(_), Err(_)) => break,
            (Err(error), Ok(_)) => {
                let detail = format!("the body broke off: {error}");
                return Err(DoorError::new(ErrorKind::Malformed, detail));
            }
        };
        room = room.and_then(|mut room| {
            if taken.len() + part.len() > BODY_BYTES_ENCODED {
                return Err(too_large("encoded body", BODY_BYTES_ENCODED));
            }
            room.grow(part.len())?;
            Ok(room)
        });
        match &room {
            // A body in one part is not copied.
            Ok(_) if part.len() as u64 == length => return Ok((part, room?)),
            Ok(_) => taken.extend_from_slice(&part),
            Err(_) => {
                taken = BytesMut::new();
                drained += part.len();
                if drained > BODY_BYTES_DRAINED {
                    break;
                }
            }
        }
    }
    Ok((taken.freeze(), room?))
}

/// Reads a whole body, up to a limit.
pub(super) async fn read_body(body: Body, what: &str, limit: usize) -> Result<Bytes, DoorError> {
    to_bytes(body, limit).await.map_err(|error| match is_length_limit(&error) {
        true => too_large(what, limit),
        false => unreadable(error),
    })
}

/// The same, as text.
pub(super) async fn read_text(body: Body, what: &str, limit: usize) -> Result<String, DoorError> {
    let bytes = read_body(body, what, limit).await?;
    String::from_utf8(bytes.into()).map_err(|error| {
        DoorError::new(ErrorKind::Malformed, format!("the {what} is not UTF-8: {error}"))
    })
}

fn undecodable(error: io::Error) -> DoorError {
    unreadable(error).hint("check the content-encoding header and the compressed bytes")
}

/// A text as the JSON document that it must be; `hint` shows one.
pub(super) fn parse_json<T: DeserializeOwned>(
    text: &str,
    what: &str,
    hint: &str,
) -> Result<T, DoorError> {
    serde_json::from_str(text).map_err(|error| {
        DoorError::new(ErrorKind::Malformed, format!("the body is no {what}: {error}")).hint(hint)
    })
}

fn unreadable(error: impl std::fmt::Display) -> DoorError {
    DoorError::new(ErrorKind::Malformed, format!("the body cannot be read: {error}"))
}

fn too_large(what: &str, limit: usize) -> DoorError {
    DoorError::new(ErrorKind::TooLarge, format!("the {what} is larger than {limit} bytes"))
        .hint("send it in smaller parts")
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Body errors come wrapped by every layer that they pass: the limit is one of their sources.
fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn Error> = Some(error);
    while let Some(error) = source {
        if error.to_string() == "length limit exceeded" {
            return true;
        }
        source = error.source();
    }
    false
}
