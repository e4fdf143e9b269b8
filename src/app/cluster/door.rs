//! The door of a process: who comes says who he is and what for.

use super::frames::{self, OwnLog};
use super::keeper::{self, Keep};
use super::peer::tune;
use super::wire::{self, HELLO_BYTES, Hello, MAGIC, Purpose, WITHIN, Welcome};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::warn;

/// Conversations at once; whoever comes beyond that is turned away.
const CONVERSATIONS: usize = 64;
/// How long the door rests when it cannot take a connection.
const REST: Duration = Duration::from_millis(50);

/// What the thread that listens knows.
pub(super) struct Shared {
    pub hello: Hello,
    /// By process: links that have come and are not taken yet.
    pub arrived: Mutex<Vec<Option<TcpStream>>>,
    /// Publishes documents, while there is an engine.
    pub keeper: Mutex<Option<Keep>>,
    /// The log, while others may read it.
    pub log: Mutex<Option<OwnLog>>,
    pub waits_for: Mutex<String>,
    pub conversations: AtomicUsize,
    pub closing: AtomicBool,
}

/// Takes connections until the end. Each has its conversation on a thread of its own.
pub(super) fn listen(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.closing.load(Ordering::SeqCst) {
            return;
        }
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                warn!(%error, "a connection of another process failed");
                std::thread::sleep(REST);
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
        Purpose::Frames => frames::answer(&mut socket, shared),
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
        // Links come from those after this one only.
        let is_link = matches!(hello.purpose, Purpose::Link { .. });
        let is_before = is_link && hello.process < own.process;
        if hello.process == own.process || is_before || hello.process >= own.processes {
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
