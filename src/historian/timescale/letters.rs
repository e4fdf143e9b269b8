//! Dead letters, read from the log: there each has a place that no restart changes.

use super::error::Error;
use crate::base::fs::Fs;
use crate::log::{self, Reader};
use crate::model::{DeadLetter, Epoch};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Letters of a transaction, unless one frame has more.
const LETTERS_AT_ONCE: usize = 1_000;
/// Bytes of letters of a transaction, unless one frame has more.
const BYTES_AT_ONCE: usize = 8 << 20;

/// A dead letter and where it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    pub epoch: Epoch,
    /// Its place among the letters of its frame.
    pub ordinal: i32,
    pub letter: DeadLetter,
}

/// A reader that goes through the log once.
pub(super) struct Letters {
    fs: Arc<dyn Fs>,
    log: PathBuf,
    from: Epoch,
    reader: Option<Reader>,
}

impl Letters {
    /// The letters after an epoch.
    pub fn after(fs: &Arc<dyn Fs>, log: &Path, epoch: Epoch) -> Self {
        let (fs, log, from) = (Arc::clone(fs), log.to_owned(), Epoch(epoch.0 + 1));
        Self { fs, log, from, reader: None }
    }

    /// The next letters up to an epoch, and whether there may be more of them. An epoch that is
    /// not durable yet must not be asked for.
    pub fn next(&mut self, up_to: Epoch) -> Result<(Vec<Letter>, bool), Error> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => log::read(&self.fs, &self.log, self.from)?,
        };
        let mut reader = reader.up_to(up_to);
        let (mut letters, mut bytes) = (Vec::new(), 0);
        let mut more = false;
        for frame in &mut reader {
            let frame = frame?;
            for (ordinal, letter) in frame.dead_letters.into_iter().enumerate() {
                bytes += letter.raw.len();
                letters.push(Letter { epoch: frame.epoch, ordinal: ordinal as i32, letter });
            }
            if letters.len() >= LETTERS_AT_ONCE || bytes >= BYTES_AT_ONCE {
                more = true;
                break;
            }
        }
        self.reader = Some(reader);
        Ok((letters, more))
    }
}
