//! What goes over a connection: pieces of the dataflow's messages, and beats between them, which say
//! that somebody is there.
//!
//! Four bytes in front of each piece say how long it is; a beat is a piece of no length.

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A connection over which nothing has come for so long is broken.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How often each end says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes in front of a piece.
const HEAD: usize = 4;
/// Bytes that are read ahead.
const READ_AHEAD: usize = 1 << 16;

/// The end where pieces go in. Each is written whole before the next.
pub(super) struct Outward(Mutex<TcpStream>);

/// The end where pieces come out.
pub(super) struct Inward {
    stream: BufReader<TcpStream>,
    /// Bytes of the piece that are not read yet.
    rest: usize,
}

/// Wakes those who beat, at the end.
#[derive(Default)]
pub(super) struct Bell {
    over: Mutex<bool>,
    rung: Condvar,
}

impl Outward {
    pub fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Writes a piece of some bytes, and says of how many.
    pub fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(i32::MAX as usize);
        let (head, bytes) = ((count as u32).to_le_bytes(), &bytes[..count]);
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let both = [IoSlice::new(&head), IoSlice::new(bytes)];
        let done = loop {
            match stream.write_vectored(&both) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        stream.write_all(&head[done.min(HEAD)..])?;
        stream.write_all(&bytes[done.saturating_sub(HEAD)..])?;
        Ok(count)
    }

    /// Beats on a thread of its own until the connection breaks or the bell is rung. A connection
    /// that takes nothing holds up nobody else.
    pub fn beat(self: &Arc<Self>, peer: usize, bell: &Arc<Bell>) -> io::Result<()> {
        let (outward, bell) = (Arc::clone(self), Arc::clone(bell));
        let thread = std::thread::Builder::new().name(format!("cluster-beat-{peer}"));
        thread.spawn(move || while outward.put(&[]).is_ok() && !bell.is_over() {})?;
        Ok(())
    }
}

impl Inward {
    /// Reads from a connection that breaks when it is silent.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream: BufReader::with_capacity(READ_AHEAD, stream), rest: 0 })
    }

    /// Reads some bytes of a piece; 0 at the end of the connection.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self.rest {
                0 => self.head().map(|()| None),
                rest => {
                    let most = rest.min(buffer.len());
                    self.stream.read(&mut buffer[..most]).map(Some)
                }
            };
            match read {
                Ok(None) => {}
                Ok(Some(count)) => {
                    self.rest -= count;
                    return Ok(count);
                }
                // So a process is told that was stopped and goes on.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if is_silence(&error) => {
                    let text = format!("it has said nothing for {} s", SILENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn head(&mut self) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        self.rest = u32::from_le_bytes(head) as usize;
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Bell {
    /// Nobody beats any more.
    pub fn ring(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_all();
    }

    /// Waits for the next beat, or for the end.
    fn is_over(&self) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(over, BEAT, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
