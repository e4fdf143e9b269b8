//! The meeting: every process has a link to every other one, and all know it.

use super::door::{Shared, listen};
use super::hosts::Hosts;
use super::keeper::Keep;
use super::peer::{CONNECT_WITHIN, Peer, Ready, connect, hear, tune};
use super::wire::{self, HELLO_BYTES, Hello, MAGIC, Purpose, Welcome};
use crate::app::accord::{Standing, common};
use crate::base::shutdown::Shutdown;
use crate::dataflow::{self, Place};
use crate::model::Epoch;
use anyhow::{Context, anyhow, bail};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::info;

/// How often somebody who is missing is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How long after a failed attempt to connect the next one is made.
const CONNECT_AGAIN: Duration = Duration::from_millis(200);

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

/// All processes have met.
pub struct Met {
    /// By process; `None` at the place of this one.
    pub sockets: Vec<Option<TcpStream>>,
    /// The last epoch that is in any log: all frames from now on have later ones.
    pub newest: Epoch,
    /// The checkpoints that all of them have, newest first.
    pub common: Vec<Epoch>,
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
            log: Mutex::default(),
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

    /// Which workers are this process's.
    pub fn place(&self) -> Place {
        let (process, processes) = (self.hosts.process, self.hosts.processes());
        Place { process, processes, workers: self.workers }
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

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn hello(&self, purpose: Purpose) -> Hello {
        Hello { purpose, ..self.shared.hello.clone() }
    }

    /// Waits until all processes have links to each other. Fails with [`Stopped`], or when another
    /// process refuses this one for what it was started with. Tells the others the last epoch in
    /// the log, and which checkpoints there are.
    pub fn meet(&self, last: Epoch, standing: Standing) -> anyhow::Result<Met> {
        let ready = Ready { last, standing };
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
                    let newest = heard.clone().map(|heard| heard.last).fold(last, Epoch::max);
                    let standings = others().filter_map(|number| peers[number].heard.as_ref());
                    let common = common(&standing, standings.map(|heard| &heard.standing));
                    self.say(String::new());
                    let sockets = peers.into_iter().map(|peer| peer.socket).collect();
                    return Ok(Met { sockets, newest, common });
                }
                peers.iter_mut().for_each(|peer| peer.say(&ready));
            }
            let names = |list: Vec<usize>| {
                let names =
                    list.iter().map(|n| format!("process {n} ({})", self.hosts.addresses[*n]));
                names.collect::<Vec<_>>().join(", ")
            };
            let waits_for = match missing.is_empty() {
                true => {
                    let others = (0..peers.len()).filter(|number| *number != self.hosts.process);
                    let silent: Vec<usize> = others.filter(|n| peers[*n].heard.is_none()).collect();
                    let ready = if silent.is_empty() { "" } else { " to be ready" };
                    names(silent) + ready
                }
                false => names(missing),
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
