//! Small files beside the log that hold one epoch: magic, epoch, checksum.

use super::error::Error;
use super::segment::fill;
use crate::base::fs::Fs;
use crate::model::Epoch;
use std::io;
use std::path::Path;

const LENGTH: usize = 16;

/// What such a file says.
pub(super) enum Mark {
    Missing,
    Damaged,
    At(Epoch),
}

pub(super) fn read(fs: &dyn Fs, path: &Path, magic: [u8; 4]) -> Result<Mark, Error> {
    if !fs.exists(path) {
        return Ok(Mark::Missing);
    }
    let file = fs.open(path).map_err(Error::io("open", path))?;
    let mut bytes = [0; LENGTH];
    let count = fill(&*file, 0, &mut bytes).map_err(Error::io("read", path))?;
    let (mut epoch, mut crc) = ([0; 8], [0; 4]);
    epoch.copy_from_slice(&bytes[4..12]);
    crc.copy_from_slice(&bytes[12..]);
    let good = count == LENGTH
        && bytes[..4] == magic
        && u32::from_le_bytes(crc) == crc32c::crc32c(&bytes[..12]);
    Ok(if good { Mark::At(Epoch(u64::from_le_bytes(epoch))) } else { Mark::Damaged })
}

/// Replaces the file in one step. What it says is durable when `durable` is set; its name is after
/// the next sync of the directory.
pub(super) fn write(
    fs: &dyn Fs,
    path: &Path,
    magic: [u8; 4],
    epoch: Epoch,
    durable: bool,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend_from_slice(&magic);
    bytes.extend_from_slice(&epoch.0.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let temporary = path.with_extension("tmp");
    if fs.exists(&temporary) {
        fs.remove(&temporary)?;
    }
    let mut file = fs.create(&temporary)?;
    file.append(&bytes)?;
    if durable {
        file.sync()?;
    }
    fs.rename(&temporary, path)
}
