//! Whose data directory it is: a log of one process of several says nothing without the others.

use super::hosts::Hosts;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::Path;

const FILE: &str = "cluster.json";

/// Which process of how many a data directory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The number of the process.
    pub process: usize,
    /// How many there are.
    pub processes: usize,
}

impl Member {
    fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(FILE);
        match std::fs::read(&path) {
            Ok(bytes) => {
                let read = serde_json::from_slice(&bytes);
                Ok(Some(read.with_context(|| format!("read {}", path.display()))?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Takes a data directory for a process. Fails when it is another's.
    pub fn take(data: &Path, hosts: &Hosts) -> anyhow::Result<()> {
        let own = Self { process: hosts.process, processes: hosts.processes() };
        match Self::read(data)? {
            Some(known) if known == own => Ok(()),
            Some(Self { process, processes }) => bail!(
                "{} belongs to process {process} of {processes}: start it as that one",
                data.display()
            ),
            None => {
                let path = data.join(FILE);
                let text = serde_json::to_vec(&own)?;
                std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
            }
        }
    }
}

/// Refuses the data directory of one process of several to who would start alone.
pub fn check_alone(data: &Path) -> anyhow::Result<()> {
    match Member::read(data)? {
        None => Ok(()),
        Some(Member { process, processes }) => bail!(
            "{} belongs to process {process} of {processes}: start it with --processes, --process \
             and --hosts, and ask the running server",
            data.display()
        ),
    }
}
