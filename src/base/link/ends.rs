//! What goes over a connection: pieces of the dataflow's messages, and beats between them, which say
//! that somebody is there, and what he has to say beside the dataflow.
//!
//! Four bytes in front of each say how long it is, and whether it is a beat.

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A connection over which nothing has come for so long is broken.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How often each end says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// Bytes in front of a piece and of a beat.
const HEAD: usize = 4;
/// In the head of a beat.
const IS_BEAT: u32 = 1 << 31;
/// The most bytes that a beat has.
const WORDS: u32 = 4 << 10;
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

/// What those who beat say.
#[derive(Default)]
pub(super) struct Voice {
    spoken: Mutex<Spoken>,
    changed: Condvar,
}

#[derive(Default)]
struct Spoken {
    words: Arc<[u8]>,
    /// How often they have changed.
    count: u64,
    over: bool,
}

impl Outward {
    pub fn new(stream: TcpStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Writes a piece of some bytes, and says of how many.
    pub fn put(&self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(i32::MAX as usize);
        self.write(count as u32, &bytes[..count])?;
        Ok(count)
    }

    fn write(&self, head: u32, bytes: &[u8]) -> io::Result<()> {
        let head = head.to_le_bytes();
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let both = [IoSlice::new(&head), IoSlice::new(bytes)];
        let done = loop {
            match stream.write_vectored(&both) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        stream.write_all(&head[done.min(HEAD)..])?;
        stream.write_all(&bytes[done.saturating_sub(HEAD)..])
    }

    /// Beats on a thread of its own until the connection breaks or nobody speaks any more. A
    /// connection that takes nothing holds up nobody else.
    pub fn beat(self: &Arc<Self>, peer: usize, voice: &Arc<Voice>) -> io::Result<()> {
        let (outward, voice) = (Arc::clone(self), Arc::clone(voice));
        let thread = std::thread::Builder::new().name(format!("cluster-beat-{peer}"));
        thread.spawn(move || {
            let mut said = None;
            while let Some((words, count)) = voice.next(said) {
                said = Some(count);
                if outward.write(IS_BEAT | words.len() as u32, &words).is_err() {
                    return;
                }
            }
        })?;
        Ok(())
    }
}

impl Inward {
    /// Reads from a connection that breaks when it is silent.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(SILENCE))?;
        Ok(Self { stream: BufReader::with_capacity(READ_AHEAD, stream), rest: 0 })
    }

    /// Reads some bytes of a piece; 0 at the end of the connection. Beats before it are heard.
    pub fn read(&mut self, buffer: &mut [u8], mut hear: impl FnMut(&[u8])) -> io::Result<usize> {
        loop {
            let read = match self.rest {
                0 => self.head(&mut hear).map(|()| None),
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

    /// Reads the head of the next piece, or a beat.
    fn head(&mut self, hear: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let mut head = [0; HEAD];
        self.stream.read_exact(&mut head)?;
        let head = u32::from_le_bytes(head);
        let length = head & !IS_BEAT;
        if head == length {
            self.rest = length as usize;
            return Ok(());
        }
        if length > WORDS {
            let text = format!("a beat of {length} bytes, the limit is {WORDS}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let mut words = vec![0; length as usize];
        self.stream.read_exact(&mut words)?;
        hear(&words);
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

impl Voice {
    /// These words are said at once, and with every beat from now on.
    pub fn say(&self, words: &[u8]) {
        let mut spoken = self.lock();
        (spoken.words, spoken.count) = (words.into(), spoken.count + 1);
        self.changed.notify_all();
    }

    /// Nobody speaks any more.
    pub fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// The words of the next beat, when it is time for it, and how often they have changed; the
    /// first beat comes at once. `None` at the end.
    fn next(&self, said: Option<u64>) -> Option<(Arc<[u8]>, u64)> {
        let spoken = self.lock();
        let waits = |spoken: &mut Spoken| !spoken.over && said == Some(spoken.count);
        let waited = self.changed.wait_timeout_while(spoken, BEAT, waits);
        let (spoken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!spoken.over).then(|| (Arc::clone(&spoken.words), spoken.count))
    }

    fn lock(&self) -> MutexGuard<'_, Spoken> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
