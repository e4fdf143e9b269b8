//! The frames of all processes, in the order of their epochs: who recounts reads every log.

use super::door::Shared;
use super::meet::Cluster;
use super::wire::{self, Chunk, FRAMES_BYTES, Packed, Purpose, Want};
use crate::base::fs::Fs;
use crate::log::{self, Reader};
use crate::model::{Epoch, Frame, Timestamp};
use crate::query::FramesRead;
use std::collections::VecDeque;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// Bytes after which a chunk ends; the frame that passes them is in it.
const CHUNK: usize = 4 << 20;

/// Where the log of this process is.
#[derive(Clone)]
pub struct OwnLog {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// The directory.
    pub directory: PathBuf,
}

/// What another process has, a chunk at a time.
struct Remote {
    cluster: Arc<Cluster>,
    process: usize,
    /// Where the next chunk begins, and where the last one ends.
    rest: Option<Want>,
    frames: VecDeque<Packed>,
}

/// Several logs as one.
struct Merged {
    sources: Vec<std::iter::Peekable<FramesRead>>,
}

impl OwnLog {
    /// Reads the frames from an epoch to another.
    pub fn read(&self, from: Epoch, up_to: Epoch) -> Result<Reader, log::Error> {
        Ok(log::read(&self.fs, &self.directory, from)?.up_to(up_to))
    }

    /// The same where the beginning must not be missing.
    fn whole(&self, from: Epoch, up_to: Epoch) -> Result<Reader, String> {
        let begin = log::begin(&self.fs, &self.directory).map_err(|error| error.to_string())?;
        if begin > Epoch(0) {
            return Err(format!("its log was cut behind a checkpoint and begins at epoch {begin}"));
        }
        self.read(from, up_to).map_err(|error| error.to_string())
    }

    fn chunk(&self, want: Want) -> Result<Chunk, String> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        for frame in self.whole(Epoch(want.from), Epoch(want.up_to))? {
            let frame = frame.map_err(|error| error.to_string())?;
            let content = log::pack(&frame).map_err(|error| error.to_string())?;
            bytes += content.len();
            let (epoch, tick) = (frame.epoch.0, frame.tick.0);
            frames.push(Packed { epoch, tick, content });
            if bytes >= CHUNK {
                return Ok(Chunk { frames, is_last: false });
            }
        }
        Ok(Chunk { frames, is_last: true })
    }
}

impl Cluster {
    /// Says where the log is that others may read, or that none may be now.
    pub fn lend(&self, log: Option<OwnLog>) {
        *self.shared().log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// The frames of all processes up to an epoch, in order. Fails, as does what it gives, when a
    /// process is away or its log was cut.
    pub fn frames(self: &Arc<Self>, own: &OwnLog, up_to: Epoch) -> Result<FramesRead, String> {
        let place = self.place();
        let source = |process: usize| -> Result<_, String> {
            let read: FramesRead = if process == place.process {
                let own = own.whole(Epoch(0), up_to).map_err(|why| self.blame(process, &why))?;
                Box::new(own.map(|frame| frame.map_err(|error| error.to_string())))
            } else {
                let rest = Some(Want { from: 0, up_to: up_to.0 });
                let (cluster, frames) = (Arc::clone(self), VecDeque::new());
                Box::new(Remote { cluster, process, rest, frames })
            };
            Ok(read.peekable())
        };
        let sources = (0..place.processes).map(source).collect::<Result<_, _>>()?;
        Ok(Box::new(Merged { sources }))
    }

    fn blame(&self, process: usize, why: &str) -> String {
        format!("process {process} ({}): {why}", self.hosts().addresses[process])
    }
}

/// Gives a process some frames of the log.
pub(super) fn answer(socket: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let want: Want = wire::receive(socket, wire::HELLO_BYTES)?;
    let log = shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let told = log.ok_or_else(|| "the cluster is not whole".to_owned());
    wire::send(socket, &told.and_then(|log| log.chunk(want)))
}

impl Remote {
    /// Asks for the next chunk.
    fn ask(&mut self, want: Want) -> Result<(), String> {
        let asked = self.cluster.ask(self.process, Purpose::Frames, &want, FRAMES_BYTES);
        let told: Result<Chunk, String> = asked.map_err(|error| error.to_string())?;
        let Chunk { frames, is_last } = told?;
        let last = frames.last().filter(|_| !is_last);
        self.rest = last.map(|last| Want { from: last.epoch + 1, ..want });
        self.frames = frames.into();
        Ok(())
    }
}

impl Iterator for Remote {
    type Item = Result<Frame, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.frames.is_empty()
            && let Some(want) = self.rest.take()
            && let Err(why) = self.ask(want)
        {
            return Some(Err(self.cluster.blame(self.process, &why)));
        }
        let Packed { epoch, tick, content } = self.frames.pop_front()?;
        Some(log::unpack(Epoch(epoch), Timestamp(tick), &content))
    }
}

impl Iterator for Merged {
    type Item = Result<Frame, String>;

    fn next(&mut self) -> Option<Self::Item> {
        // An error comes before all frames.
        let key = |read: &Result<Frame, String>| read.as_ref().ok().map(|frame| frame.epoch);
        let sources = self.sources.iter_mut();
        let heads = sources.filter_map(|source| source.peek().map(key).map(|key| (key, source)));
        heads.min_by_key(|(key, _)| *key)?.1.next()
    }
}
