//! Writes a segment of hot points as Parquet files, one for each day of event time.

use super::chunk::Segment;
use super::day::DayFile;
use super::durable;
use super::error::Error;
use super::manifest::FOLDER;
use super::names::Names;
use super::points::{Points, Selection};
use super::replaced::Replaced;
use crate::base::fs::Fs;
use crate::model::ArchiveFile;
use std::path::Path;
use std::sync::Arc;

/// A row group has so many points at least, except at the end of a day.
const ROW_GROUP_POINTS: usize = 256 * 1024;
/// What the names of files with older values end in.
const OLDER: &str = "-older";

/// What became of a segment.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Files with the newest value that each key has in the segment.
    pub files: Vec<ArchiveFile>,
    /// Files with the values that keys had at older epochs of the segment.
    pub older: Vec<ArchiveFile>,
    /// Points of earlier files that points of these files replace.
    pub replaced: Vec<Replaced>,
}

/// Writes and syncs the files. Nobody sees them before a manifest names them; after an error
/// whatever was written is an orphan, and the same files may be written again.
pub(super) fn write(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    segment: &Segment,
    names: &Names,
) -> Result<Written, Error> {
    let all = Selection::default();
    let notes = segment.notes.iter().copied();
    let mut points = Points::new(segment.chunks.clone(), notes, names, &all, ROW_GROUP_POINTS);
    points.keep_older();
    let mut result = Written::default();
    let mut open: Option<(i32, DayFile)> = None;
    while let Some(next) = points.next_batch() {
        let (day, batch) = next?;
        let mut current = match open.take() {
            Some((of, writer)) if of == day => writer,
            other => {
                if let Some((_, writer)) = other {
                    result.files.push(writer.finish(&**fs, directory)?);
                }
                create(fs, directory, day, segment, "")?
            }
        };
        current.write(&batch)?;
        open = Some((day, current));
    }
    if let Some((_, writer)) = open {
        result.files.push(writer.finish(&**fs, directory)?);
    }
    let replaced = points.older_outside().iter();
    result.replaced.extend(replaced.filter_map(|note| note.superseded(names)));
    while let Some(next) = points.next_older() {
        let (day, batch) = next?;
        let mut writer = create(fs, directory, day, segment, OLDER)?;
        writer.write(&batch)?;
        result.older.push(writer.finish(&**fs, directory)?);
    }
    Ok(result)
}

/// `2026-03-01`; the number of the day where the calendar ends.
fn day_name(day: i32) -> String {
    let first = jiff::civil::date(1970, 1, 1);
    match first.checked_add(jiff::ToSpan::days(i64::from(day).clamp(-4_000_000, 4_000_000))) {
        Ok(date) if i64::from(day).abs() < 4_000_000 => date.to_string(),
        _ => day.to_string(),
    }
}

fn create(
    fs: &Arc<dyn Fs>,
    directory: &Path,
    day: i32,
    segment: &Segment,
    ending: &str,
) -> Result<DayFile, Error> {
    let folder = format!("{FOLDER}/day={}", day_name(day));
    durable::create_dir(&**fs, &directory.join(&folder))?;
    let epochs = format!("{}-{}", segment.first_epoch, segment.last_epoch);
    DayFile::create(fs, directory, format!("{folder}/{epochs}{ending}.parquet"))
}
