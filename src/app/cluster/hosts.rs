//! The hosts file: one address a line, that of process 0 first.

use anyhow::{Context, bail, ensure};
use std::path::Path;

/// Who the processes are, and which of them this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The number of this process.
    pub process: usize,
    /// `host:port` of each.
    pub addresses: Vec<String>,
}

impl Hosts {
    /// The most processes that a cluster has.
    pub const MOST: usize = 64;

    /// Reads the addresses of so many processes. Empty lines and those that begin with `#` do not
    /// count; neither do lines after the last process.
    pub fn read(file: &Path, processes: usize, process: usize) -> anyhow::Result<Self> {
        let name = file.display();
        let text = std::fs::read_to_string(file).with_context(|| format!("read --hosts {name}"))?;
        Self::parse(&text, processes, process).with_context(|| format!("--hosts {name}"))
    }

    fn parse(text: &str, processes: usize, process: usize) -> anyhow::Result<Self> {
        let most = Self::MOST;
        ensure!((2..=most).contains(&processes), "--processes {processes}: give 2 to {most}");
        ensure!(
            process < processes,
            "--process {process}: the processes are numbered from 0 to {}",
            processes - 1
        );
        let lines = text.lines().map(str::trim).enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut addresses: Vec<String> = Vec::new();
        for (number, line) in lines.take(processes) {
            let port = line.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none_or(|port| port == 0) {
                bail!("line {}: '{line}' is no address: give HOST:PORT", number + 1);
            }
            if let Some(same) = addresses.iter().position(|known| known == line) {
                bail!("line {}: '{line}' is the address of process {same} already", number + 1);
            }
            addresses.push(line.to_owned());
        }
        let found = addresses.len();
        ensure!(found == processes, "it has {found} addresses for {processes} processes");
        Ok(Self { process, addresses })
    }

    /// The number of processes.
    pub fn processes(&self) -> usize {
        self.addresses.len()
    }

    /// The address of this process.
    pub fn own(&self) -> &str {
        &self.addresses[self.process]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, processes: usize, process: usize, expected: Result<&[&str], &str>) {
        let found = Hosts::parse(text, processes, process);
        match (&found, expected) {
            (Ok(found), Ok(addresses)) => assert_eq!(found.addresses, addresses),
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
            _ => panic!("{found:?}"),
        }
    }

    #[test]
    fn a_hosts_file_has_one_address_a_line() {
        check("a:1\nb:2\n", 2, 1, Ok(&["a:1", "b:2"]));
        check("# plant\n\n a:1 \nb:2\nc:3\n", 2, 0, Ok(&["a:1", "b:2"]));
        check("[::1]:7\nb:2\n", 2, 0, Ok(&["[::1]:7", "b:2"]));
        check("a:1\nb:2\n", 3, 1, Err("it has 2 addresses for 3 processes"));
        check("a:1\nb\n", 2, 1, Err("line 2: 'b' is no address"));
        check("a:1\nb:0\n", 2, 1, Err("line 2: 'b:0' is no address"));
        check("a:1\na:1\n", 2, 1, Err("line 2: 'a:1' is the address of process 0 already"));
        check("a:1\nb:2\n", 2, 2, Err("numbered from 0 to 1"));
        check("a:1\n", 1, 0, Err("give 2 to 64"));
    }
}
