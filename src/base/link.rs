//! A connection to another process of the same engine, which may break without a panic.
//!
//! What carries the dataflow between processes reads messages until a last one, of no length, and
//! panics where the stream ends before. A [`Link`] always ends with that last message: when the
//! connection breaks, it tells so once, waits until nobody looks at the messages any more, and makes
//! up the rest of the message that was cut off.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

/// Bytes of a message's header: six words, big-endian.
const HEADER: usize = 48;
/// Where in the header the length of what follows stands.
const LENGTH: usize = 32;

/// What is done when a connection breaks: the number of the process, and why.
pub type OnLost = Box<dyn Fn(usize, &str) + Send + Sync>;

/// What all links of an engine share.
#[derive(Default)]
pub struct Lines {
    sockets: Mutex<Vec<TcpStream>>,
    on_lost: OnceLock<OnLost>,
    /// Readers that still look at messages.
    readers: Mutex<usize>,
    left: Condvar,
}

/// One end of a connection.
pub struct Link {
    stream: TcpStream,
    /// The process at the other end.
    peer: usize,
    lines: Arc<Lines>,
    place: Place,
    /// What is made up of a stream that broke: zeros, so many.
    made_up: Option<usize>,
}

/// Where in the run of messages a stream is.
#[derive(Clone, Copy)]
struct Place {
    header: [u8; HEADER],
    /// Bytes of the header that were read.
    known: usize,
    /// Bytes of the message that are not read yet.
    rest: usize,
    /// Whether the last message was read.
    over: bool,
}

impl Lines {
    /// Lines that this many threads read messages of.
    pub fn new(readers: usize) -> Arc<Self> {
        Arc::new(Self { readers: Mutex::new(readers), ..Self::default() })
    }

    /// Says what is done when a connection breaks, once, before anything is read.
    pub fn on_lost(&self, on_lost: OnLost) {
        let _ = self.on_lost.set(on_lost);
    }

    /// A link over this connection to a process.
    pub fn link(self: &Arc<Self>, peer: usize, stream: TcpStream) -> io::Result<Link> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(stream.try_clone()?);
        Ok(Link { stream, peer, lines: Arc::clone(self), place: Place::START, made_up: None })
    }

    /// Breaks every connection.
    pub fn close(&self) {
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

    fn wait_for_readers(&self) {
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        while *readers > 0 {
            readers = self.left.wait(readers).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Link {
    /// Another handle to the same connection.
    pub fn another(&self) -> io::Result<Self> {
        let (stream, lines) = (self.stream.try_clone()?, Arc::clone(&self.lines));
        Ok(Self { stream, peer: self.peer, lines, place: self.place, made_up: self.made_up })
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
            let why = match self.stream.read(buffer) {
                Ok(0) if self.place.over => return Ok(0),
                Ok(0) => "it has closed the connection".to_owned(),
                Ok(count) => {
                    self.place.pass(&buffer[..count]);
                    if self.place.over {
                        self.lines.lost(self.peer, "it has left");
                    }
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
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
        match self.stream.write(buffer) {
            Ok(count) if count > 0 || buffer.is_empty() => Ok(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Ok(_) => Ok(buffer.len()),
            Err(error) => {
                self.lines.lost(self.peer, &error.to_string());
                Ok(buffer.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Place {
    const START: Self = Self { header: [0; HEADER], known: 0, rest: 0, over: false };

    fn length(&self) -> usize {
        let mut word = [0; 8];
        word.copy_from_slice(&self.header[LENGTH..LENGTH + 8]);
        usize::try_from(u64::from_be_bytes(word)).unwrap_or(usize::MAX)
    }

    /// Takes note of bytes that were read.
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let count = self.rest.min(bytes.len());
                self.rest -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (HEADER - self.known).min(bytes.len());
            self.header[self.known..self.known + count].copy_from_slice(&bytes[..count]);
            self.known += count;
            bytes = &bytes[count..];
            if self.known == HEADER {
                self.rest = self.length();
                self.over |= self.rest == 0;
                (self.header, self.known) = ([0; HEADER], 0);
            }
        }
    }

    /// How many zeros end the message that was begun, and then the stream.
    fn missing(&self) -> usize {
        match self.known {
            0 => self.rest + HEADER,
            // The header is completed with zeros: one that then has no length is the last.
            known => match self.length() {
                0 => HEADER - known,
                length => HEADER - known + length + HEADER,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn message(length: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        [7, 1, 2, 3, length, 9].iter().for_each(|w: &u64| bytes.extend(w.to_be_bytes()));
        bytes.extend((0..length).map(|i| i as u8 | 1));
        bytes
    }

    /// The messages' lengths, read as the one does who takes the stream for a whole one.
    fn lengths(bytes: &[u8]) -> Vec<u64> {
        let (mut at, mut found) = (0, Vec::new());
        while at < bytes.len() {
            let length = u64::from_be_bytes(bytes[at + LENGTH..][..8].try_into().unwrap());
            found.push(length);
            at += HEADER + length as usize;
        }
        assert_eq!(at, bytes.len());
        found
    }

    #[test]
    fn a_stream_that_is_cut_anywhere_ends_with_the_last_message() {
        let whole = [message(5), message(300)].concat();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for cut in 0..=whole.len() {
            let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let lines = Lines::new(1);
            let told = Arc::new(Mutex::new(Vec::new()));
            let heard = Arc::clone(&told);
            lines.on_lost(Box::new(move |peer, _| heard.lock().unwrap().push(peer)));
            let mut link = lines.link(3, listener.accept().unwrap().0).unwrap();
            sender.write_all(&whole[..cut]).unwrap();
            drop(sender);
            lines.leave();
            let mut read = Vec::new();
            link.read_to_end(&mut read).unwrap();
            assert_eq!(read[..cut], whole[..cut]);
            assert_eq!(lengths(&read).last(), Some(&0), "cut at {cut}");
            assert_eq!(*told.lock().unwrap(), [3], "cut at {cut}");
            assert_eq!(link.write(&whole).unwrap(), whole.len());
        }
    }
}
