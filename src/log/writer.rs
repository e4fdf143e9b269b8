//! The single writer of a log.

use super::cut;
use super::error::{Error, is_no_space};
use super::format::{FRAME_HEADER, FrameHeader, SEGMENT_HEADER, SegmentHeader};
use super::horizon;
use super::payload;
use super::recovery::{Recovery, recover};
use super::segment;
use crate::base::fs::{File, Fs};
use crate::model::{Epoch, Frame, Timestamp};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{error, info, warn};

/// Gauge: bytes of all segments.
pub const BYTES: &str = "millstream_log_bytes";
/// Gauge: number of segments.
pub const SEGMENTS: &str = "millstream_log_segments";
/// Counter: frames appended since the process started.
pub const FRAMES: &str = "millstream_log_frames_total";

/// The encoding buffer is given back when a frame made it larger than this.
const BUFFER_KEPT: usize = 8 << 20;

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment that would grow over this is closed and the next one begun. A larger frame has a
    /// segment of its own.
    pub segment_bytes: u64,
    /// The largest frame, encoded.
    pub frame_bytes: usize,
    /// Whether damage refuses to open (the default) or is moved aside and booked as loss.
    pub strict: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, frame_bytes: 64 << 20, strict: true }
    }
}

/// The single writer of a log directory. Whoever opens it holds the directory's lock.
pub struct Log {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    options: Options,
    active: Option<Active>,
    last_epoch: Option<Epoch>,
    last_tick: Option<Timestamp>,
    durable_epoch: Option<Epoch>,
    /// An epoch that was acknowledged, as it stands beside the log.
    horizon: Option<Epoch>,
    begin: Epoch,
    /// Bytes of closed segments.
    closed_bytes: u64,
    segments: usize,
    recovery: Recovery,
    poison: Option<String>,
    buffer: Vec<u8>,
}

/// The segment that grows.
struct Active {
    file: Box<dyn File>,
    path: PathBuf,
    /// No frame in it has an earlier epoch.
    base: Epoch,
    seed: u32,
    /// The header checksum of the last frame, here or in the segment before.
    chain: u32,
    /// Where the next frame goes.
    end: u64,
    /// What of it is durable.
    durable_end: u64,
}

impl Log {
    /// Opens a log, creating its directory when there is none, and recovers it.
    ///
    /// Reads everything and checks every checksum. An unfinished write at the end is cut off; any
    /// other damage is an error, or is salvaged when `options.strict` is off. Afterwards
    /// everything in the log is durable.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<Self, Error> {
        let recovered = recover(&*fs, dir, options.strict)?;
        let mut closed_bytes = recovered.report.bytes;
        let active = recovered.tail.map(|tail| {
            closed_bytes -= tail.offset;
            let (end, durable_end) = (tail.offset, tail.offset);
            Active {
                file: tail.file,
                path: tail.path,
                base: tail.header.base,
                seed: tail.seed,
                chain: tail.chain,
                end,
                durable_end,
            }
        });
        let log = Self {
            fs,
            dir: dir.into(),
            options,
            active,
            last_epoch: recovered.last_epoch,
            last_tick: recovered.last_tick,
            durable_epoch: recovered.last_epoch,
            horizon: recovered.horizon,
            begin: recovered.begin,
            closed_bytes,
            segments: recovered.report.segments,
            recovery: recovered.report,
            poison: None,
            buffer: Vec::new(),
        };
        log.report_size();
        Ok(log)
    }

    /// The epoch of the last frame, durable or not.
    pub fn last_epoch(&self) -> Option<Epoch> {
        self.last_epoch
    }

    /// The epoch of a frame that is appended next: `wall`, or the least that is allowed when that
    /// is greater.
    pub fn next_epoch(&self, wall: Epoch) -> Epoch {
        let last = self.last_epoch.max(self.horizon);
        let after = last.map_or(Epoch(1), |last| Epoch(last.0 + 1));
        let base = self.active.as_ref().map_or(Epoch(0), |active| active.base);
        wall.max(after).max(base)
    }

    /// The tick of the last frame, durable or not.
    pub fn last_tick(&self) -> Option<Timestamp> {
        self.last_tick
    }

    /// The epoch of the last durable frame.
    pub fn durable_epoch(&self) -> Option<Epoch> {
        self.durable_epoch
    }

    /// The log has all frames from this epoch on; 0 when it was never cut.
    pub fn begin(&self) -> Epoch {
        self.begin
    }

    /// Removes the segments that end before an epoch which nobody needs any more; frames of that
    /// epoch and later stay, and some before it. Returns how many segments went.
    ///
    /// What could not be removed is tried again with the next cut. The log goes on working.
    pub fn cut(&mut self, epoch: Epoch) -> Result<usize, Error> {
        self.check()?;
        // The segment that holds the frame of the epoch stays, so one with a durable frame does.
        let epoch = epoch.min(self.durable_epoch.unwrap_or_default());
        let listing = segment::list(&*self.fs, &self.dir)?;
        let count = cut::over(&listing.segments, epoch);
        if count == 0 {
            return Ok(0);
        }
        let begin = listing.segments[count].base;
        cut::write(&*self.fs, &self.dir, begin)?;
        self.begin = begin;
        let freed = cut::remove(&*self.fs, &self.dir, &listing.segments[..count])?;
        self.closed_bytes = self.closed_bytes.saturating_sub(freed);
        self.segments -= count;
        self.report_size();
        Ok(count)
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.closed_bytes + self.active.as_ref().map_or(0, |active| active.end)
    }

    /// The largest frame that can be appended, encoded.
    pub fn frame_limit(&self) -> usize {
        self.options.frame_bytes
    }

    /// What was found when the log was opened.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Why every further call fails, if so.
    pub fn poisoned(&self) -> Option<&str> {
        self.poison.as_deref()
    }

    /// Appends a frame, whose epoch is at least [`Log::next_epoch`] of 0. It is durable
    /// after the next [`Log::sync`].
    ///
    /// At most one frame is not durable: a second append syncs the first one first, because only
    /// so a torn tail can be told from damage. After [`Error::NoSpace`], [`Error::TooLarge`],
    /// [`Error::Order`] and [`Error::Encode`] the log is as it was and goes on working. Any other
    /// error poisons it: every further call fails.
    pub fn append(&mut self, frame: &Frame) -> Result<(), Error> {
        self.check()?;
        self.sync()?;
        let least = self.next_epoch(Epoch(0));
        if frame.epoch < least {
            return Err(Error::Order { epoch: frame.epoch, least });
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.write(frame, &mut buffer);
        buffer.clear();
        if buffer.capacity() > BUFFER_KEPT {
            buffer.shrink_to(BUFFER_KEPT);
        }
        self.buffer = buffer;
        result
    }

    /// Makes all frames durable (fdatasync). After an error nothing is known of the last frame:
    /// the log is poisoned, and only opening it anew tells.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.check()?;
        let Some(active) = self.active.as_mut().filter(|active| active.durable_end < active.end)
        else {
            return Ok(());
        };
        if let Err(source) = active.file.sync() {
            // The page cache may show the frame although the disk does not have it, and a restart
            // would believe it. It was never acknowledged, so take it out; if that fails too, the
            // frame is as unknown as it is now.
            if let Err(error) = active.file.truncate(active.durable_end) {
                warn!(segment = %active.path.display(), %error, "unsynced frame not taken back");
            }
            let path = active.path.clone();
            return Err(self.poison(Error::Io { doing: "sync", path, source }));
        }
        active.durable_end = active.end;
        self.durable_epoch = self.last_epoch;
        self.move_horizon();
        Ok(())
    }

    /// Says beside the log how far it must reach. Only helps to find damage, so that a failure is
    /// no failure of the log.
    fn move_horizon(&mut self) {
        let due = |horizon: Epoch| self.durable_epoch >= Some(Epoch(horizon.0 + horizon::EVERY));
        let Some(durable) = self.durable_epoch.filter(|_| self.horizon.is_none_or(due)) else {
            return;
        };
        self.horizon = Some(durable);
        if let Err(error) = horizon::write(&*self.fs, &self.dir, durable) {
            warn!(dir = %self.dir.display(), %error, "acknowledgement horizon not written");
        }
    }

    fn write(&mut self, frame: &Frame, buffer: &mut Vec<u8>) -> Result<(), Error> {
        buffer.resize(FRAME_HEADER, 0);
        payload::encode(frame, buffer)?;
        if buffer.len() > self.options.frame_bytes {
            let (bytes, limit) = (buffer.len() as u64, self.options.frame_bytes as u64);
            return Err(Error::TooLarge { bytes, limit });
        }
        let fits = |active: &Active| {
            active.end <= SEGMENT_HEADER as u64
                || active.end + buffer.len() as u64 <= self.options.segment_bytes
        };
        let mut active = match self.active.take() {
            Some(active) if fits(&active) => active,
            before => self.begin_segment(before, frame.epoch)?,
        };
        let payload = &buffer[FRAME_HEADER..];
        let rows: usize = frame.batches.iter().map(|batch| batch.len()).sum();
        let items = frame.documents.len()
            + frame.dead_letters.len()
            + frame.edits.len()
            + frame.pages.len()
            + rows;
        let header = FrameHeader {
            length: payload.len() as u64,
            epoch: frame.epoch,
            tick: frame.tick,
            durable: self.durable_epoch.unwrap_or_default(),
            items: u32::try_from(items).unwrap_or(u32::MAX),
            chain: active.chain,
            payload_crc: crc32c::crc32c(payload),
        };
        let (header, chain) = header.encode(active.seed);
        buffer[..FRAME_HEADER].copy_from_slice(&header);
        let written = active.file.append(buffer);
        let active = self.active.insert(active);
        if let Err(source) = written {
            return Err(self.take_back(source));
        }
        active.end += buffer.len() as u64;
        active.chain = chain;
        self.last_epoch = Some(frame.epoch);
        self.last_tick = Some(frame.tick);
        metrics::counter!(FRAMES).increment(1);
        self.report_size();
        Ok(())
    }

    /// Cuts a failed write off, so that the next frame does not stand behind rubbish.
    fn take_back(&mut self, source: io::Error) -> Error {
        let Some(active) = &mut self.active else { return Error::io("write", &self.dir)(source) };
        let path = active.path.clone();
        let cut = active.file.truncate(active.end).and_then(|()| active.file.sync());
        match cut {
            Ok(()) if is_no_space(&source) => Error::NoSpace { path, source },
            Ok(()) => self.poison(Error::Io { doing: "write", path, source }),
            Err(source) => {
                self.poison(Error::Io { doing: "truncate after a failed write", path, source })
            }
        }
    }

    /// Begins a segment whose first frame has this epoch. What was active before is durable; it
    /// stays active when there is no space.
    fn begin_segment(&mut self, before: Option<Active>, base: Epoch) -> Result<Active, Error> {
        let path = segment::path(&self.dir, base);
        let follows = before.as_ref().map(|before| before.chain);
        let (header, seed) = SegmentHeader { base, follows }.encode();
        let end = header.len() as u64;
        let before_end = before.as_ref().map_or(0, |before| before.end);
        let file = match self.create_segment(&path, &header) {
            Ok(file) => file,
            Err(error) => {
                self.active = before;
                return Err(error);
            }
        };
        self.closed_bytes += before_end;
        self.segments += 1;
        info!(segment = %path.display(), "log segment begun");
        Ok(Active { file, path, base, seed, chain: follows.unwrap_or(0), end, durable_end: end })
    }

    fn create_segment(&mut self, path: &Path, header: &[u8]) -> Result<Box<dyn File>, Error> {
        let mut file = match self.fs.create(path) {
            Ok(file) => file,
            Err(source) if is_no_space(&source) => {
                return Err(Error::NoSpace { path: path.into(), source });
            }
            Err(source) => return Err(self.poison(Error::io("create", path)(source))),
        };
        if let Err(source) = file.append(header) {
            let removed = self.fs.remove(path).and_then(|()| self.fs.sync_dir(&self.dir));
            return Err(match removed {
                Ok(()) if is_no_space(&source) => Error::NoSpace { path: path.into(), source },
                _ => self.poison(Error::io("write", path)(source)),
            });
        }
        // The header and the name are durable before the first frame: so a last segment without a
        // good header never held one.
        let synced = file.sync().and_then(|()| self.fs.sync_dir(&self.dir));
        synced.map_err(|source| self.poison(Error::io("sync", path)(source)))?;
        Ok(file)
    }

    fn check(&self) -> Result<(), Error> {
        match &self.poison {
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn poison(&mut self, error: Error) -> Error {
        error!(dir = %self.dir.display(), %error, "log closed: restart to recover");
        self.poison = Some(error.to_string());
        error
    }

    fn report_size(&self) {
        metrics::gauge!(BYTES).set(self.bytes() as f64);
        metrics::gauge!(SEGMENTS).set(self.segments as f64);
    }
}
