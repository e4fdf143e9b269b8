//! The meeting: every process has a link to every other one, and all know it.

use super::hosts::Hosts;
use super::keeper::{self, Keep};
use super::wire::{self, HELLO_BYTES, Hello, MAGIC, Purpose, WITHIN, Welcome};
use crate::base::shutdown::Shutdown;
use crate::dataflow;
use crate::model::Epoch;
use anyhow::{Context, anyhow, bail};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often somebody who is missing is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long the attempt to connect to one process may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// How long after a failed attempt to connect the next one is made.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);
/// Conversations at once; whoever comes beyond that is turned away.
const CONVERSATIONS: usize = 64;
/// A peer that is silent for so long is asked by TCP whether it is there, so many times.
const SILENT: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);

/// One process among the others, for as long as it runs: engines come and go.
pub struct Cluster {
    hosts: Hosts,
    workers: usize,
    stop: Shutdown,
    shared: Arc<Shared>,
    /// Taken when it is dropped.
    doorman: Option<JoinHandle<()>>,
    listens_at: std::net::SocketAddr,
}

/// What the thread that listens knows.
pub(super) struct Shared {
    pub hello: Hello,
    /// By process: links that have come and are not taken yet.
    arrived: Mutex<Vec<Option<TcpStream>>>,
    /// Publishes documents, while there is an engine.
    pub keeper: Mutex<Option<Keep>>,
    waits_for: Mutex<String>,
    conversations: AtomicUsize,
    closing: AtomicBool,
}

/// All processes have met.
pub struct Met {
    /// By process; `None` at the place of this one.
    pub sockets: Vec<Option<TcpStream>>,
    /// The last epoch that is in any log: all frames from now on have later ones.
    pub newest: Epoch,
}

/// The meeting was given up, because it is time to stop.
#[derive(Debug, thiserror::Error)]
#[error("stopped before all processes of the cluster had met")]
pub struct Stopped;

/// Whether an engine ended because another process is gone.
pub fn is_lost_peer(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause| matches!(cause, dataflow::Error::Peer { .. }))
}

/// What is known of another process during a meeting.
#[derive(Default)]
struct Peer {
    socket: Option<TcpStream>,
    said: bool,
    heard: Option<Epoch>,
    tried: Option<Instant>,
}

/// What each says to each when it has links to all: a magic word and the last epoch in its log.
const READY: usize = 16;

impl Cluster {
    /// Listens for the others. Triggering `stop` ends a meeting that is under way.
    pub fn listen(hosts: Hosts, workers: usize, stop: Shutdown) -> anyhow::Result<Self> {
        let own = hosts.own();
        let listener = TcpListener::bind(own)
            .with_context(|| format!("listen for the other processes on {own}"))?;
        let listens_at = listener.local_addr()?;
        let hello = Hello {
            magic: MAGIC,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            processes: hosts.processes(),
            process: hosts.process,
            purpose: Purpose::Link { workers },
        };
        let shared = Arc::new(Shared {
            hello,
            arrived: Mutex::new((0..hosts.processes()).map(|_| None).collect()),
            keeper: Mutex::default(),
            waits_for: Mutex::default(),
            conversations: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("cluster-door".into());
        let doorman = thread.spawn(move || listen(&listener, &for_thread))?;
        Ok(Self { hosts, workers, stop, shared, doorman: Some(doorman), listens_at })
    }

    /// The number of this process.
    pub fn process(&self) -> usize {
        self.hosts.process
    }

    /// Who the processes are.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Worker threads of each process.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Whether this process gives the documents their ids.
    pub fn keeps_catalog(&self) -> bool {
        self.hosts.process == 0
    }

    /// Tells everybody to stop.
    pub fn stop(&self) -> &Shutdown {
        &self.stop
    }

    /// For whom a meeting waits, in words; empty when nothing is known to be missing.
    pub fn waits_for(&self) -> String {
        self.shared.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says who publishes documents that other processes send, or that nobody does.
    pub fn keep(&self, keeper: Option<Keep>) {
        *self.shared.keeper.lock().unwrap_or_else(PoisonError::into_inner) = keeper;
    }

    pub(super) fn hello(&self, purpose: Purpose) -> Hello {
        Hello { purpose, ..self.shared.hello.clone() }
    }

    /// Waits until all processes have links to each other. Fails with [`Stopped`], or when another
    /// process refuses this one for what it was started with.
    pub fn meet(&self, last: Epoch) -> anyhow::Result<Met> {
        let mut peers: Vec<Peer> = (0..self.hosts.processes()).map(|_| Peer::default()).collect();
        let mut told = String::new();
        loop {
            if self.stop.is_triggered() {
                bail!(Stopped);
            }
            for (number, peer) in peers.iter_mut().enumerate() {
                if number != self.hosts.process {
                    self.look_for(number, peer)?;
                }
            }
            let others = || (0..peers.len()).filter(|number| *number != self.hosts.process);
            let missing: Vec<usize> = others().filter(|n| peers[*n].socket.is_none()).collect();
            if missing.is_empty() {
                let heard = others().filter_map(|number| peers[number].heard);
                if heard.clone().count() + 1 == peers.len() && others().all(|n| peers[n].said) {
                    let newest = heard.max().unwrap_or_default().max(last);
                    self.say(String::new());
                    let sockets = peers.into_iter().map(|peer| peer.socket).collect();
                    return Ok(Met { sockets, newest });
                }
                peers.iter_mut().for_each(|peer| peer.say(last));
            }
            let names = |list: &[usize]| {
                let names =
                    list.iter().map(|n| format!("process {n} ({})", self.hosts.addresses[*n]));
                names.collect::<Vec<_>>().join(", ")
            };
            let waits_for = match missing.as_slice() {
                [] => "the other processes to be ready".to_owned(),
                missing => names(missing),
            };
            if waits_for != told {
                info!(%waits_for, "waiting for the cluster to be whole");
                self.say(waits_for.clone());
                told = waits_for;
            }
            std::thread::sleep(LOOK);
        }
    }

    fn say(&self, waits_for: String) {
        *self.shared.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = waits_for;
    }

    /// Takes the newest link to a process, lets go of one that broke, and hears what it says.
    fn look_for(&self, number: usize, peer: &mut Peer) -> anyhow::Result<()> {
        let newer = {
            let mut arrived = self.shared.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived[number].take()
        };
        if let Some(socket) = newer {
            *peer = Peer { socket: Some(socket), ..Peer::default() };
        }
        if peer.socket.is_none()
            && number < self.hosts.process
            && peer.tried.is_none_or(|tried| tried.elapsed() >= CONNECT_AGAIN)
        {
            peer.tried = Some(Instant::now());
            peer.socket = self.connect(number)?;
        }
        if let Some(socket) = &peer.socket
            && peer.heard.is_none()
        {
            match hear(socket) {
                Ok(heard) => peer.heard = heard,
                Err(_) => *peer = Peer { tried: peer.tried, ..Peer::default() },
            }
        }
        Ok(())
    }

    /// A link to a process before this one; `None` when it is not there.
    fn connect(&self, number: usize) -> anyhow::Result<Option<TcpStream>> {
        let address = &self.hosts.addresses[number];
        let workers = self.workers;
        let Ok(mut socket) = connect(address) else { return Ok(None) };
        let hello = self.hello(Purpose::Link { workers });
        let welcome = wire::send(&mut socket, &hello)
            .and_then(|()| wire::receive::<Welcome>(&mut socket, HELLO_BYTES));
        match welcome {
            Ok(Ok(())) => {
                tune(&socket).with_context(|| format!("the link to {address}"))?;
                Ok(Some(socket))
            }
            Ok(Err(why)) => Err(anyhow!("process {number} ({address}) refuses this one: {why}")),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        // Whoever waits for a connection gets one, and then looks whether to go on.
        drop(TcpStream::connect_timeout(&self.listens_at, CONNECT_WITHIN));
        if let Some(doorman) = self.doorman.take() {
            let _ = doorman.join();
        }
    }
}

impl Peer {
    fn say(&mut self, last: Epoch) {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.said) else { return };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(last.0.to_le_bytes());
        match socket.write_all(&bytes) {
            Ok(()) => self.said = true,
            Err(_) => *self = Self::default(),
        }
    }
}

/// What a process says when it has links to all; `None` when it has not said it yet.
fn hear(socket: &TcpStream) -> io::Result<Option<Epoch>> {
    let mut bytes = [0; READY];
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(&mut bytes);
    socket.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(READY) => {
            io::Read::read_exact(&mut &*socket, &mut bytes)?;
            let (magic, epoch) = bytes.split_at(MAGIC.len());
            if magic != MAGIC {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut word = [0; 8];
            word.copy_from_slice(epoch);
            Ok(Some(Epoch(u64::from_le_bytes(word))))
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
fn tune(socket: &TcpStream) -> io::Result<()> {
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

/// Takes connections until the end. Each has its conversation on a thread of its own.
fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(%error, "a connection of another process failed");
                std::thread::sleep(LOOK);
                continue;
            }
        };
        if shared.conversations.fetch_add(1, Ordering::SeqCst) >= CONVERSATIONS {
            shared.conversations.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let of_thread = Arc::clone(shared);
        let spawned = std::thread::Builder::new().name("cluster-talk".into()).spawn(move || {
            if let Err(error) = talk(socket, &of_thread) {
                warn!(%error, "a connection of another process failed");
            }
            of_thread.conversations.fetch_sub(1, Ordering::SeqCst);
        });
        if spawned.is_err() {
            shared.conversations.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn talk(mut socket: TcpStream, shared: &Shared) -> io::Result<()> {
    socket.set_read_timeout(Some(WITHIN))?;
    socket.set_write_timeout(Some(WITHIN))?;
    let hello: Hello = wire::receive(&mut socket, HELLO_BYTES)?;
    let welcome = shared.check(&hello);
    wire::send(&mut socket, &welcome)?;
    if let Err(why) = welcome {
        warn!(%why, "another process is refused");
        return Ok(());
    }
    match hello.purpose {
        Purpose::Link { .. } => {
            tune(&socket)?;
            let mut arrived = shared.arrived.lock().unwrap_or_else(PoisonError::into_inner);
            arrived[hello.process] = Some(socket);
            Ok(())
        }
        Purpose::Documents => keeper::answer(&mut socket, shared),
    }
}

impl Shared {
    fn check(&self, hello: &Hello) -> Welcome {
        let own = &self.hello;
        if hello.magic != MAGIC {
            return Err("it does not speak this language".into());
        }
        if hello.version != own.version {
            let (its, ours) = (&hello.version, &own.version);
            return Err(format!("it is version {its} of the program, the others are {ours}"));
        }
        if hello.processes != own.processes {
            let (its, ours) = (hello.processes, own.processes);
            return Err(format!("it was started with --processes {its}, the others with {ours}"));
        }
        if hello.process <= own.process || hello.process >= own.processes {
            return Err(format!("--process {} is another one's number", hello.process));
        }
        match (hello.purpose, own.purpose) {
            (Purpose::Link { workers: its }, Purpose::Link { workers: ours }) if its != ours => {
                Err(format!("it has --workers {its}, the others {ours}: give all the same"))
            }
            _ => Ok(()),
        }
    }
}
