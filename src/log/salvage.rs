//! Going on without what is damaged. Nothing is deleted: damaged files are moved aside.

use super::cursor::Cursor;
use super::error::Error;
use super::format::Flaw;
use super::horizon;
use super::recovery::{Loss, Recovered};
use super::segment::{Segment, fill, gap_path};
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::path::{Path, PathBuf};
use tracing::error;

/// Moves a segment aside that has no readable header.
pub(super) fn drop_segment(
    fs: &dyn Fs,
    dir: &Path,
    segment: &Segment,
    flaw: Flaw,
    after: Option<Epoch>,
) -> Result<Loss, Error> {
    let aside = aside(fs, segment);
    fs.rename(&segment.path, &aside).map_err(Error::io("rename", &segment.path))?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(booked(segment, Some(aside), after, format!("segment header: {}", flaw.text())))
}

/// Keeps a copy of the segment aside, then replaces it by the frames before the cursor in one step.
pub(super) fn keep_prefix(
    fs: &dyn Fs,
    dir: &Path,
    segment: &Segment,
    cursor: &Cursor,
    flaw: Flaw,
) -> Result<Loss, Error> {
    let length = cursor.file.len().map_err(Error::io("read", &segment.path))?;
    let aside = aside(fs, segment);
    copy(fs, cursor, length, &aside)?;
    let temporary = segment.path.with_extension("tmp");
    copy(fs, cursor, cursor.offset, &temporary)?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    fs.rename(&temporary, &segment.path).map_err(Error::io("rename", &temporary))?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    let what = format!("at byte {}: {}", cursor.offset, flaw.text());
    Ok(booked(segment, Some(aside), cursor.last, what))
}

/// Leaves a mark that the segment continues nothing, so that the next start need not salvage.
pub(super) fn mark_gap(
    fs: &dyn Fs,
    dir: &Path,
    segment: &Segment,
    after: Option<Epoch>,
) -> Result<Loss, Error> {
    let mark = gap_path(dir, segment.base);
    let mut file = fs.create(&mark).map_err(Error::io("create", &mark))?;
    file.sync().map_err(Error::io("sync", &mark))?;
    fs.sync_dir(dir).map_err(Error::io("sync", dir))?;
    Ok(booked(segment, None, after, "it does not continue the segment before it".into()))
}

/// Books that the log ends before its horizon, and forgets the horizon.
pub(super) fn book_tail(
    fs: &dyn Fs,
    dir: &Path,
    state: &mut Recovered,
    error: &Error,
) -> Result<(), Error> {
    let horizon = horizon::path(dir);
    fs.remove(&horizon).map_err(Error::io("remove", &horizon))?;
    let path = state.tail.as_ref().map_or(dir.to_owned(), |tail| tail.path.clone());
    let segment = Segment { path, base: Epoch(0) };
    // When the end is what was moved aside, that was booked already.
    if !state.report.losses.iter().any(|known| known.after == state.last_epoch) {
        let loss = booked(&segment, None, state.last_epoch, error.to_string());
        state.report.losses.push(loss);
    }
    Ok(())
}

/// Copies the first bytes of a segment to a new file and makes its contents durable.
fn copy(fs: &dyn Fs, from: &Cursor, length: u64, to: &Path) -> Result<(), Error> {
    const CHUNK: u64 = 1 << 20;
    let mut copy = fs.create(to).map_err(Error::io("create", to))?;
    let mut at = 0;
    while at < length {
        let mut bytes = vec![0; (length - at).min(CHUNK) as usize];
        let count = fill(&*from.file, at, &mut bytes).map_err(Error::io("read", &from.path))?;
        copy.append(&bytes[..count]).map_err(Error::io("write", to))?;
        at += bytes.len() as u64;
    }
    copy.sync().map_err(Error::io("sync", to))
}

/// A name that is free, so that a second salvage does not overwrite the first.
fn aside(fs: &dyn Fs, segment: &Segment) -> PathBuf {
    let mut path = segment.path.with_extension("damaged");
    let mut number = 1;
    while fs.exists(&path) {
        number += 1;
        path = segment.path.with_extension(format!("damaged-{number}"));
    }
    path
}

fn booked(
    segment: &Segment,
    moved_to: Option<PathBuf>,
    after: Option<Epoch>,
    what: String,
) -> Loss {
    error!(
        segment = %segment.path.display(),
        after = after.map(|epoch| epoch.0),
        what,
        "durable frames lost"
    );
    Loss { segment: segment.path.clone(), moved_to, after, what }
}
