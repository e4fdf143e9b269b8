//! A connection to another process of the same engine, which may break without a panic.
//!
//! What carries the dataflow between processes reads messages until a last one, of no length, and
//! panics where the stream ends before. A [`Link`] always ends with that last message: when the
//! connection breaks, it tells so once, waits until nobody looks at the messages any more, and makes
//! up the rest of the message that was cut off.
//!
//! A process may stop, or a network swallow everything, with nothing that breaks. So each end beats
//! once a second, and what is silent for [`SILENCE`] is broken. A beat carries the newest words that
//! one end has for the other beside the dataflow.

mod ends;
mod place;
#[cfg(test)]
mod tests;

pub use ends::SILENCE;

use ends::{Inward, Outward, Voice};
use place::Place;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

/// What is done when a connection breaks: the number of the process, and why.
pub type OnLost = Box<dyn Fn(usize, &str) + Send + Sync>;

/// What is done when another process has said something, maybe again: its number, and the words.
pub type OnWords = Box<dyn Fn(usize, &[u8]) + Send + Sync>;

/// What all links of an engine share.
#[derive(Default)]
pub struct Lines {
    sockets: Mutex<Vec<TcpStream>>,
    on_lost: OnceLock<OnLost>,
    on_words: OnceLock<OnWords>,
    voice: Arc<Voice>,
    /// Readers that still look at messages.
    readers: Mutex<usize>,
    left: Condvar,
}

/// One end of a connection.
pub struct Link {
    stream: TcpStream,
    inward: Inward,
    outward: Arc<Outward>,
    /// The process at the other end.
    peer: usize,
    lines: Arc<Lines>,
    place: Place,
    /// What is made up of a stream that broke: zeros, so many.
    made_up: Option<usize>,
}

impl Lines {
    /// Lines that this many threads read messages of.
    pub fn new(readers: usize) -> Arc<Self> {
        let lines = Self::default();
        *lines.readers.lock().unwrap_or_else(PoisonError::into_inner) = readers;
        Arc::new(lines)
    }

    /// Says what is done when a connection breaks, once, before anything is read.
    pub fn on_lost(&self, on_lost: OnLost) {
        let _ = self.on_lost.set(on_lost);
    }

    /// Says what is done with what other processes say, once, before anything is read.
    pub fn on_words(&self, on_words: OnWords) {
        let _ = self.on_words.set(on_words);
    }

    /// Tells all other processes something, at most 4 KiB; it takes the place of what was said
    /// before, which not everybody has heard.
    pub fn say(&self, words: &[u8]) {
        self.voice.say(words);
    }

    /// A link over this connection to a process, which beats from now on.
    pub fn link(self: &Arc<Self>, peer: usize, stream: TcpStream) -> io::Result<Link> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
        let outward = Arc::new(Outward::new(stream.try_clone()?));
        outward.beat(peer, &self.voice)?;
        Link::new(stream, outward, peer, Arc::clone(self))
    }

    /// Breaks every connection.
    pub fn close(&self) {
        self.voice.end();
        for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It may be broken already.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// A reader looks at no more messages.
    pub fn leave(&self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        *readers = readers.saturating_sub(1);
        self.left.notify_all();
    }

    fn lost(&self, peer: usize, why: &str) {
        if let Some(on_lost) = self.on_lost.get() {
            on_lost(peer, why);
        }
    }

    fn hear(&self, peer: usize, words: &[u8]) {
        if let Some(on_words) = self.on_words.get() {
            on_words(peer, words);
        }
    }

    fn wait_for_readers(&self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        while *readers > 0 {
            readers = self.left.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.voice.end();
    }
}

impl Link {
    fn new(
        stream: TcpStream,
        outward: Arc<Outward>,
        peer: usize,
        lines: Arc<Lines>,
    ) -> io::Result<Self> {
        let inward = Inward::new(stream.try_clone()?)?;
        Ok(Self { stream, inward, outward, peer, lines, place: Place::START, made_up: None })
    }

    /// Another handle to the same connection, of which nothing was read yet. One of them reads.
    pub fn another(&self) -> io::Result<Self> {
        let (outward, lines) = (Arc::clone(&self.outward), Arc::clone(&self.lines));
        Self::new(self.stream.try_clone()?, outward, self.peer, lines)
    }

    /// Whether reads and writes return at once.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        self.stream.set_nonblocking(nonblocking)
    }

    /// Ends the connection, which may be broken already.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = self.stream.shutdown(how);
    }
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.made_up.is_none() {
            let hear = |words: &[u8]| self.lines.hear(self.peer, words);
            let why = match self.inward.read(buffer, hear) {
                Ok(0) | Err(_) if self.place.over => return Ok(0),
                Ok(0) => "it has closed the connection".to_owned(),
                Ok(count) => {
                    self.place.pass(&buffer[..count]);
                    if self.place.over {
                        self.lines.lost(self.peer, "it has left");
                    }
                    return Ok(count);
                }
                Err(error) => error.to_string(),
            };
            self.lines.lost(self.peer, &why);
            self.lines.wait_for_readers();
            self.made_up = Some(self.place.missing());
        }
        let left = self.made_up.get_or_insert(0);
        let count = buffer.len().min(*left);
        buffer[..count].fill(0);
        *left -= count;
        Ok(count)
    }
}

/// What is written to a broken connection is gone.
impl Write for Link {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.outward.put(buffer).or_else(|error| {
            self.lines.lost(self.peer, &error.to_string());
            Ok(buffer.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
