//! One graph in several processes: which workers are where, and the links between them.
//!
//! The workers of all processes are numbered through, those of process 0 first. The sockets are
//! made by others; here they become timely's channels.

use super::error::Error;
use super::graph::Tick;
use super::shared::Shared;
use crate::base::link::{Lines, Link};
use crate::model::Epoch;
use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use timely::communication::allocator::AllocatorBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::zero_copy::stream::Stream;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

/// Called with the epoch of each frame that any process has fed: nobody may keep it open.
pub type Heard = Arc<dyn Fn(Epoch) + Send + Sync>;

/// The other processes of an engine.
pub struct Cluster {
    /// The number of this process.
    pub process: usize,
    /// A connection to every other process, by number; `None` at the place of this one. Each of
    /// them starts an engine with the same number of workers on the other end.
    pub sockets: Vec<Option<TcpStream>>,
    /// What the links over these connections share.
    pub lines: Arc<Lines>,
    /// Is told how far the others are.
    pub heard: Heard,
}

/// Which workers are this process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of this process.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
    /// Workers of each.
    pub workers: usize,
}

impl Place {
    /// That of an engine in one process.
    pub fn alone(workers: usize) -> Self {
        Self { process: 0, processes: 1, workers }
    }

    /// Whether there are no other processes.
    pub fn is_alone(self) -> bool {
        self.processes == 1
    }

    /// The first worker of this process.
    pub fn first(self) -> usize {
        self.process * self.workers
    }

    /// The worker that owns an asset. Its process does not depend on the number of workers, so
    /// that what a process has saved of its assets is all that its workers need, however many.
    pub fn owner(self, asset: u32) -> usize {
        let (processes, workers) = (self.processes as u32, self.workers as u32);
        (asset % processes * workers + asset / processes % workers) as usize
    }
}

impl Cluster {
    /// Which of the workers are its own.
    pub(super) fn place(&self, workers: usize) -> Place {
        Place { process: self.process, processes: self.sockets.len(), workers }
    }

    /// Channels over the sockets. Each worker leaves the lines when it has looked at its last
    /// message; until then the engine fails when a connection breaks.
    pub(super) fn connect(
        self,
        workers: usize,
        shared: &Arc<Shared>,
    ) -> Result<(Vec<AllocatorBuilder>, Box<dyn Any + Send>), Error> {
        let failed = |error: std::io::Error| Error::Start { reason: error.to_string() };
        let lines = self.lines;
        shared.set_lines(Arc::clone(&lines));
        let failures = Arc::downgrade(shared);
        lines.on_lost(Box::new(move |process, reason| {
            if let Some(shared) = failures.upgrade() {
                shared.fail(Error::Peer { process, reason: reason.into() });
            }
        }));
        let sockets = self.sockets.into_iter().enumerate();
        let links = sockets.map(|(peer, socket)| socket.map(|s| lines.link(peer, s)).transpose());
        let links = links.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let (local, _) = timely::CommunicationConfig::Process(workers)
            .try_build()
            .map_err(|reason| Error::Start { reason })?;
        let local = local.into_iter().filter_map(|builder| match builder {
            AllocatorBuilder::Process(builder) => Some(builder),
            AllocatorBuilder::Thread(_) | AllocatorBuilder::Tcp(_) => None,
        });
        let (builders, guard) = initialize_networking_from_sockets(
            local.collect(),
            links,
            self.process,
            workers,
            timely::communication::Hooks::default(),
        )
        .map_err(failed)?;
        Ok((builders.into_iter().map(AllocatorBuilder::Tcp).collect(), Box::new(guard)))
    }
}

/// Lets ticks pass, of which every frame has one, and tells how far they are as soon as they come.
pub fn hear(ticks: StreamVec<'_, u64, Tick>, heard: Option<Heard>) -> StreamVec<'_, u64, Tick> {
    ticks.unary::<CapacityContainerBuilder<Vec<Tick>>, _, _, _>(Pipeline, "Hear", |_, _| {
        move |input, output| {
            input.for_each(|capability, ticks| {
                if let Some(heard) = &heard {
                    heard(Epoch(*capability.time()));
                }
                output.session(&capability).give_container(ticks);
            });
        }
    })
}

impl Stream for Link {
    fn try_clone(&self) -> std::io::Result<Self> {
        self.another()
    }

    fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
        Link::set_nonblocking(self, nonblocking)
    }

    fn shutdown(&self, how: Shutdown) -> std::io::Result<()> {
        Link::shutdown(self, how);
        Ok(())
    }
}
