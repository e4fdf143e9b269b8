//! Opening a log: every frame is checked, a torn tail is cut, damage is refused or salvaged.
//!
//! What is open when this returns is durable: the tail of the last segment is synced even when it
//! is whole, because the process may have died between a write and its sync.

use super::cursor::{Cursor, Step};
use super::cut;
use super::error::Error;
use super::format::{Flaw, SEGMENT_HEADER};
use super::horizon;
use super::salvage;
use super::segment::{self, Segment};
use crate::base::fs::Fs;
use crate::model::{Epoch, Timestamp};
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments.
    pub segments: usize,
    /// Good frames.
    pub frames: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Bytes of an unfinished write that were cut off. They were never acknowledged.
    pub torn_bytes: u64,
    /// What could not be saved. Always empty in strict mode.
    pub losses: Vec<Loss>,
}

/// Frames that were durable once and are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The segment that was damaged, that continues nothing or after which the end is missing.
    pub segment: PathBuf,
    /// Where the bytes went; `None` when they were missing.
    pub moved_to: Option<PathBuf>,
    /// The last good epoch before the gap.
    pub after: Option<Epoch>,
    /// What was wrong.
    pub what: String,
}

/// The state of the log at its end.
#[derive(Default)]
pub(super) struct Recovered {
    /// The place behind the last frame of the last segment.
    pub tail: Option<Cursor>,
    pub last_epoch: Option<Epoch>,
    pub last_tick: Option<Timestamp>,
    /// An epoch that was acknowledged; the log may end before it after a salvage.
    pub horizon: Option<Epoch>,
    /// The log has all frames from this epoch on.
    pub begin: Epoch,
    pub report: Recovery,
}

pub(super) fn recover(fs: &dyn Fs, dir: &Path, strict: bool) -> Result<Recovered, Error> {
    if !fs.exists(dir) {
        fs.create_dir_all(dir).map_err(Error::io("create", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs.sync_dir(parent).map_err(Error::io("sync", parent))?;
        }
    }
    let begin = cut::read(fs, dir)?;
    let mut listing = segment::list(fs, dir)?;
    let over = cut::over(&listing.segments, begin);
    cut::remove(fs, dir, &listing.segments[..over])?;
    listing.segments.drain(..over);
    for path in &listing.temporary {
        fs.remove(path).map_err(Error::io("remove", path))?;
    }
    let horizon = horizon::read(fs, dir)?;
    let mut state = Recovered { horizon, begin, ..Recovered::default() };
    let mut gaps = listing.gaps;
    if let Some(first) = listing.segments.first()
        && first.base > begin
        && begin > Epoch(0)
        && !gaps.contains(&first.base)
    {
        if strict {
            return Err(Error::Gap { path: first.path.clone() });
        }
        state.report.losses.push(salvage::mark_gap(fs, dir, first, None)?);
        gaps.push(first.base);
    }
    let last = listing.segments.len().saturating_sub(1);
    let mut buffer = Vec::new();
    for (i, segment) in listing.segments.iter().enumerate() {
        let mut cursor = match Cursor::open(fs, segment, state.last_epoch)? {
            Ok(cursor) => cursor,
            // Frames are written after the header is durable, so there never were any.
            Err((_, length)) if i == last && length <= SEGMENT_HEADER as u64 => {
                check_horizon(dir, &state, strict)?;
                warn!(segment = %segment.path.display(), length, "unfinished segment removed");
                fs.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
                state.report.torn_bytes += length;
                continue;
            }
            Err((flaw, _)) if strict => return Err(corrupt(segment, 0, flaw)),
            Err((flaw, _)) => {
                state.report.losses.push(salvage::drop_segment(
                    fs,
                    dir,
                    segment,
                    flaw,
                    state.last_epoch,
                )?);
                continue;
            }
        };
        if let Some(before) = &state.tail
            && cursor.header.follows != Some(before.chain)
            && !gaps.contains(&segment.base)
        {
            if strict {
                return Err(Error::Gap { path: segment.path.clone() });
            }
            let loss = salvage::mark_gap(fs, dir, segment, state.last_epoch)?;
            gaps.push(segment.base);
            // A damaged segment before it was booked already.
            if !state.report.losses.iter().any(|known| known.after == loss.after) {
                state.report.losses.push(loss);
            }
        }
        if let Some(flaw) = walk(&mut cursor, &mut state, &mut buffer)? {
            if i == last && !cursor.has_later_frame()? {
                check_horizon(dir, &state, strict)?;
                cut_tail(&mut cursor, &mut state)?;
            } else if strict {
                return Err(corrupt(segment, cursor.offset, flaw));
            } else {
                let loss = salvage::keep_prefix(fs, dir, segment, &cursor, flaw)?;
                state.report.losses.push(loss);
                let path = &segment.path;
                cursor.file = fs.open(path).map_err(Error::io("open", path))?;
            }
        }
        // A header alone may be in the page cache without being on the disk, when its sync failed
        // before the process died. Nothing is lost with it, and nothing must be built on it.
        if i == last && cursor.offset <= SEGMENT_HEADER as u64 {
            check_horizon(dir, &state, strict)?;
            fs.remove(&segment.path).map_err(Error::io("remove", &segment.path))?;
            continue;
        }
        state.report.segments += 1;
        state.report.bytes += cursor.offset;
        state.tail = Some(cursor);
    }
    if let Err(error) = check_horizon(dir, &state, true) {
        if strict {
            return Err(error);
        }
        salvage::book_tail(fs, dir, &mut state, &error)?;
    }
    if let Some(tail) = &mut state.tail {
        tail.file.sync().map_err(Error::io("sync", &tail.path))?;
    }
    fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let Recovery { segments, frames, bytes, torn_bytes, .. } = state.report;
    info!(dir = %dir.display(), segments, frames, bytes, torn_bytes, "log opened");
    Ok(state)
}

/// Refuses a log that ends too early, before anything of its end is cut.
fn check_horizon(dir: &Path, state: &Recovered, strict: bool) -> Result<(), Error> {
    match state.horizon {
        Some(acknowledged) if strict && state.last_epoch < Some(acknowledged) => {
            Err(Error::LostTail { dir: dir.into(), last: state.last_epoch, acknowledged })
        }
        _ => Ok(()),
    }
}

/// Goes to the end of the segment, or to the first thing that is no good frame.
fn walk(
    cursor: &mut Cursor,
    state: &mut Recovered,
    buffer: &mut Vec<u8>,
) -> Result<Option<Flaw>, Error> {
    loop {
        let header = match cursor.next()? {
            Step::Frame(header) => header,
            Step::End => return Ok(None),
            Step::Flaw(flaw) => return Ok(Some(flaw)),
        };
        // `next` has seen that the file is that long.
        buffer.resize(header.length as usize, 0);
        if let Err(flaw) = cursor.payload(buffer)? {
            return Ok(Some(flaw));
        }
        state.report.frames += 1;
        state.last_epoch = Some(header.epoch);
        state.last_tick = Some(header.tick);
    }
}

/// Cuts an unfinished write off and makes that durable, before anything is written behind it.
fn cut_tail(cursor: &mut Cursor, state: &mut Recovered) -> Result<(), Error> {
    let path = &cursor.path;
    let length = cursor.file.len().map_err(Error::io("read", path))?;
    let torn = length - cursor.offset;
    cursor.file.truncate(cursor.offset).map_err(Error::io("truncate", path))?;
    cursor.file.sync().map_err(Error::io("sync", path))?;
    warn!(segment = %path.display(), offset = cursor.offset, torn, "torn tail cut off");
    state.report.torn_bytes += torn;
    Ok(())
}

fn corrupt(segment: &Segment, offset: u64, flaw: Flaw) -> Error {
    Error::Corrupt { path: segment.path.clone(), offset, what: flaw.text() }
}
