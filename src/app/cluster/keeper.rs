//! Documents of other processes, which process 0 publishes.

use super::door::Shared;
use super::meet::Cluster;
use super::peer::connect;
use super::wire::{self, DOCUMENTS_BYTES, HELLO_BYTES, Publish, Published, Purpose, Welcome};
use crate::ingest::commit::{CommitError, Refusal};
use crate::model::{Epoch, NewDocument};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::net::TcpStream;
use std::sync::{Arc, PoisonError};

/// Publishes documents; returns when they are durable.
pub type Keep = Arc<dyn Fn(Vec<NewDocument>) -> Result<Epoch, CommitError> + Send + Sync>;

impl Cluster {
    /// Has documents published by process 0. Blocks. The error of what was not published for
    /// another reason than itself is [`CommitError::Away`]; then it may have been all the same.
    pub fn publish(&self, documents: Vec<NewDocument>) -> Result<Epoch, CommitError> {
        let address = &self.hosts().addresses[0];
        let away = |why: &str| {
            let text = format!("process 0 ({address}), which keeps the catalog: {why}");
            CommitError::Away(text.into())
        };
        match self.ask(0, Purpose::Documents, &Publish { documents }, DOCUMENTS_BYTES) {
            Ok(Published::Committed(epoch)) => Ok(Epoch(epoch)),
            Ok(Published::Refused(list)) => {
                let refusal = |(index, kind, key, problem)| Refusal { index, kind, key, problem };
                Err(CommitError::Refused(list.into_iter().map(refusal).collect()))
            }
            Ok(Published::Away(why)) => Err(away(&why)),
            Err(error) => Err(away(&error.to_string())),
        }
    }

    /// Asks a process something over a connection of its own; its answer has at most so many bytes.
    pub(super) fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        process: usize,
        purpose: Purpose,
        question: &Q,
        limit: usize,
    ) -> io::Result<A> {
        let mut socket = connect(&self.hosts().addresses[process])?;
        wire::send(&mut socket, &self.hello(purpose))?;
        let welcome: Welcome = wire::receive(&mut socket, HELLO_BYTES)?;
        welcome.map_err(io::Error::other)?;
        wire::send(&mut socket, question)?;
        wire::receive(&mut socket, limit)
    }
}

/// Publishes what a process sends.
pub(super) fn answer(socket: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let Publish { documents } = wire::receive(socket, DOCUMENTS_BYTES)?;
    let keeper = shared.keeper.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let published = match keeper.map(|keep| keep(documents)) {
        None => Published::Away("the cluster is not whole".into()),
        Some(Ok(epoch)) => Published::Committed(epoch.0),
        Some(Err(CommitError::Refused(list))) => {
            let list = list.into_iter().map(|r| (r.index, r.kind, r.key, r.problem));
            Published::Refused(list.collect())
        }
        Some(Err(error)) => Published::Away(error.to_string()),
    };
    wire::send(socket, &published)
}
