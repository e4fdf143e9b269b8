//! The files of a log directory: names and listing.

use super::error::Error;
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::io;
use std::path::{Path, PathBuf};

/// A segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub path: PathBuf,
    /// The epoch in its name: that of its first frame.
    pub base: Epoch,
}

/// What is in a log directory. Other files there are left alone.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In the order of their epochs.
    pub segments: Vec<Segment>,
    /// Segments before which a gap was salvaged: they continue nothing.
    pub gaps: Vec<Epoch>,
    /// Half-written files of an interrupted salvage.
    pub temporary: Vec<PathBuf>,
}

/// Twenty digits hold every epoch, so names sort as epochs do.
pub(super) fn path(dir: &Path, base: Epoch) -> PathBuf {
    dir.join(format!("frames-{:020}.log", base.0))
}

/// The mark that a salvage leaves: the segment of this epoch continues nothing.
pub(super) fn gap_path(dir: &Path, base: Epoch) -> PathBuf {
    dir.join(format!("frames-{:020}.gap", base.0))
}

pub(super) fn list(fs: &dyn Fs, dir: &Path) -> Result<Listing, Error> {
    let mut listing = Listing::default();
    for name in fs.list(dir).map_err(Error::io("list", dir))? {
        let Some(text) = name.to_str().and_then(|name| name.strip_prefix("frames-")) else {
            continue;
        };
        let Some((digits, kind)) = text.split_once('.') else { continue };
        let Some(base) = epoch(digits) else { continue };
        match kind {
            "log" => listing.segments.push(Segment { path: dir.join(&name), base }),
            "gap" => listing.gaps.push(base),
            "tmp" => listing.temporary.push(dir.join(&name)),
            _ => {}
        }
    }
    listing.segments.sort_by_key(|segment| segment.base);
    Ok(listing)
}

fn epoch(digits: &str) -> Option<Epoch> {
    let plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok().map(Epoch) } else { None }
}

/// Reads as much of `buffer` as the file has.
pub(super) fn fill(
    file: &dyn crate::base::fs::File,
    offset: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(offset + done as u64, &mut buffer[done..])? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}
