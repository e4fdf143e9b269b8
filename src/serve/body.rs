//! Reads bodies: whole, up to a limit, and decompressed.

use super::doors::{DoorError, ErrorKind};
use super::limits::{BODY_BYTES_DECODED, BODY_BYTES_DRAINED, BODY_BYTES_ENCODED};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use std::error::Error;
use std::io::{self, Read};

/// How a body is compressed.
enum Encoding {
    Gzip,
    Zstd,
}

/// Reads a whole body that may be compressed with gzip or zstd: up to [`BODY_BYTES_ENCODED`] as it
/// comes, and up to [`BODY_BYTES_DECODED`] after decompression.
pub(super) async fn read_encoded(headers: &HeaderMap, body: Body) -> Result<Bytes, DoorError> {
    let encoding = Encoding::of(headers)?;
    let body = read_as_it_comes(headers, body).await?;
    let Some(encoding) = encoding else { return Ok(body) };
    let decoded = tokio::task::spawn_blocking(move || encoding.decode(&body)).await;
    let decoded = decoded.unwrap_or_else(|error| Err(io::Error::other(error)));
    let decoded = decoded.map_err(|error| {
        unreadable(error).hint("check the content-encoding header and the compressed bytes")
    })?;
    if decoded.len() > BODY_BYTES_DECODED {
        return Err(too_large("decompressed body", BODY_BYTES_DECODED));
    }
    Ok(decoded.into())
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
    fn decode(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let most = BODY_BYTES_DECODED as u64 + 1;
        let mut decoded = Vec::new();
        match self {
            Self::Gzip => {
                flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut decoded)?
            }
            Self::Zstd => {
                zstd::Decoder::with_buffer(bytes)?.take(most).read_to_end(&mut decoded)?
            }
        };
        Ok(decoded)
    }
}

/// Reads a body up to [`BODY_BYTES_ENCODED`].
async fn read_as_it_comes(headers: &HeaderMap, body: Body) -> Result<Bytes, DoorError> {
    let refused = || too_large("encoded body", BODY_BYTES_ENCODED);
    let length = content_length(headers).unwrap_or(0);
    let mut is_too_large = length > BODY_BYTES_ENCODED as u64;
    if is_too_large && headers.contains_key(header::EXPECT) {
        // The client waits for leave to send.
        return Err(refused());
    }
    let (mut taken, mut drained) = (BytesMut::new(), 0);
    let mut body = body.into_data_stream();
    while let Some(part) = body.next().await {
        match part {
            // A body in one part is not copied.
            Ok(part) if part.len() as u64 == length && !is_too_large => return Ok(part),
            Ok(part) if !is_too_large && taken.len() + part.len() <= BODY_BYTES_ENCODED => {
                taken.extend_from_slice(&part);
            }
            Ok(part) => {
                is_too_large = true;
                taken = BytesMut::new();
                drained += part.len();
                if drained > BODY_BYTES_DRAINED {
                    return Err(refused());
                }
            }
            Err(_) if is_too_large => return Err(refused()),
            Err(error) => {
                let detail = format!("the body broke off: {error}");
                return Err(DoorError::new(ErrorKind::Malformed, detail));
            }
        }
    }
    if is_too_large { Err(refused()) } else { Ok(taken.freeze()) }
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
