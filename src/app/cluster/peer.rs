//! Another process: the connection to it, and what it says before that is a link.

use super::wire::{MAGIC, WITHIN};
use crate::app::accord::Standing;
use crate::model::Epoch;
use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long the attempt to connect to one process may take.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// A peer that is silent for so long is asked by TCP whether it is there, so many times.
const SILENT: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);

/// What is known of another process during a meeting.
#[derive(Default)]
pub(super) struct Peer {
    pub socket: Option<TcpStream>,
    pub said: bool,
    pub heard: Option<Ready>,
    pub tried: Option<Instant>,
}

/// What each says to each when it has links to all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    /// The last epoch in its log.
    pub last: Epoch,
    /// Its checkpoints.
    pub standing: Standing,
}

/// A magic word, the last epoch and the checkpoints.
const READY: usize = 16 + Standing::BYTES;

impl Peer {
    pub fn say(&mut self, ready: &Ready) {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.said) else { return };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(ready.last.0.to_le_bytes());
        bytes.extend(ready.standing.encode());
        match socket.write_all(&bytes) {
            Ok(()) => self.said = true,
            Err(_) => *self = Self::default(),
        }
    }
}

/// What a process says when it has links to all; `None` when it has not said it yet.
pub(super) fn hear(socket: &TcpStream) -> io::Result<Option<Ready>> {
    let mut bytes = [0; READY];
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(&mut bytes);
    socket.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(READY) => {
            io::Read::read_exact(&mut &*socket, &mut bytes)?;
            let (head, standing) = bytes.split_at(16);
            let (words, _) = head.as_chunks::<8>();
            match Standing::decode(standing).filter(|_| words[0] == MAGIC) {
                Some(standing) => {
                    Ok(Some(Ready { last: Epoch(u64::from_le_bytes(words[1])), standing }))
                }
                None => Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// A connection on which every step of a conversation ends in time.
pub(super) fn connect(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(socket) => {
                socket.set_read_timeout(Some(WITHIN))?;
                socket.set_write_timeout(Some(WITHIN))?;
                return Ok(socket);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Makes a connection a link: no step ends by itself, but a silent end is noticed.
pub(super) fn tune(socket: &TcpStream) -> io::Result<()> {
    let (after, every, times) = SILENT;
    socket.set_read_timeout(None)?;
    socket.set_write_timeout(None)?;
    socket.set_nodelay(true)?;
    let alive = socket2::TcpKeepalive::new().with_time(after).with_interval(every);
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_keepalive(&alive.with_retries(times))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(after + every * times))?;
    Ok(())
}
