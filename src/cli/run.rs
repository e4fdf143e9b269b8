//! Reads the command line and runs the command.

use super::args::{Cli, Command, Common, Memory};
use super::{ask, check, clients, demo, query, replay, retention, schemas, serve};
use crate::app::{self, ExportLimits, Keep};
use crate::base::memory::{Available, Budget, Origin, available};
use crate::historian::StoreSettings;
use crate::views::InMemory;
use anyhow::bail;
use bytesize::ByteSize;
use clap::Parser;
use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Where the data goes when nothing is said.
const DATA: &str = "millstream-data";
/// The port of the doors when nothing is said.
const PORT: u16 = 7_878;
/// The catalog's folder that is taken when it is there and nothing is said.
const CATALOG: &str = "dataflows";
/// The folder of named queries that is taken when it is there, beside the catalog's.
const QUERIES: &str = "queries";

/// The part of the memory that there is which is used when nothing is said.
const DEFAULT_PART: (u64, u64) = (3, 4);
/// The memory that is used when nothing is said and the system does not tell how much there is.
const UNKNOWN: Available = Available { bytes: 2 << 30, origin: Origin::Unknown };

/// What a command ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Done,
    /// A view differs from its query, or points are lost.
    Differs,
    /// Documents have problems.
    Problems,
}

/// The program: reads the command line, runs, and says how it ended.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let long_running = matches!(cli.command, Some(Command::Serve(_)));
    let usual = if long_running { "warn,millstream=info" } else { "warn" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A closed standard error must not end the engine.
        .log_internal_errors(false)
        .init();
    // TLS clients take the one provider of the process; a second one is never installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // Rooms were closed in order before: what is left only waits for signals.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Differs) => ExitCode::from(3),
        Ok(Outcome::Problems) => ExitCode::from(4),
        Err(error) => {
            tell!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let common = cli.common;
    if cli.command.is_some() && (cli.demo.once || cli.demo.speed.is_some()) {
        bail!(
            "--speed and --once before a command belong to the demo: put them behind the command"
        );
    }
    match cli.command {
        None => demo::run(&common, &cli.demo).await,
        Some(Command::Demo(args)) => demo::run(&common, &args).await,
        Some(Command::Serve(args)) => serve::run(&common, &args).await,
        Some(Command::Replay(args)) => replay::run(&common, &args).await,
        Some(Command::Sql(args)) => ask::sql(&common, &args).await,
        Some(Command::Query(args)) => query::run(&common, &args).await,
        Some(Command::Verify(args)) => ask::verify(&common, &args).await,
        Some(Command::Retention(args)) => retention::run(&common, &args).await,
        Some(Command::Check(args)) => check::run(&common, &args),
        Some(Command::Schemas(args)) => schemas::run(&args),
        Some(Command::PostgresUser(args)) => clients::user(&args),
    }
}

impl Common {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| DATA.into())
    }

    /// The address of the doors.
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, PORT).into())
    }

    /// The catalog's folder: the one that was named, or `dataflows` where there is one.
    pub fn folder(&self) -> anyhow::Result<Option<PathBuf>> {
        match &self.catalog {
            Some(folder) if !folder.is_dir() => {
                bail!(
                    "{} is no folder: --catalog wants one laid out like dataflows/",
                    folder.display()
                )
            }
            Some(folder) => Ok(Some(folder.clone())),
            None => Ok(Some(PathBuf::from(CATALOG)).filter(|folder| folder.is_dir())),
        }
    }

    /// The folder of named queries: the one that was named, or `queries` beside the catalog's
    /// folder where there is one.
    pub fn queries(&self) -> anyhow::Result<Option<PathBuf>> {
        let catalog = self.catalog.as_deref().unwrap_or(Path::new(CATALOG));
        match &self.queries {
            Some(folder) if !folder.is_dir() => {
                bail!("{} is no folder: --queries wants one with .sql files", folder.display())
            }
            Some(folder) => Ok(Some(folder.clone())),
            None => Ok(Some(catalog.with_file_name(QUERIES)).filter(|folder| folder.is_dir())),
        }
    }

    /// Settings of a runtime on this data directory.
    pub fn settings(&self, data: PathBuf, live: bool) -> app::Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        app::Settings {
            workers: self.workers.unwrap_or((cores / 2).max(1)),
            unknown_devices: self.unknown_devices.into(),
            live,
            checkpoint_every: self.checkpoint_every.time(),
            memory: self.memory(),
            archive_store: self
                .archive_store
                .clone()
                .map(|url| StoreSettings::new(url, Some(self.archive_store_after))),
            keep: Keep { telemetry: self.retain_telemetry, min_age: self.retain_min_age },
            in_memory: InMemory {
                windows: self.windows_in_memory as usize,
                age: self.events_in_memory,
                ..InMemory::default()
            },
            ..app::Settings::new(data)
        }
    }

    /// How much exports may take.
    pub fn exports(&self) -> ExportLimits {
        let age = std::time::Duration::from_micros(self.exports_age.0.unsigned_abs());
        ExportLimits { bytes: self.exports_space.0, age, ..ExportLimits::default() }
    }

    /// How much memory may be used, which is logged with where the number is from.
    fn memory(&self) -> u64 {
        let given = self.memory.map(|Memory(bytes)| Available { bytes, origin: Origin::Setting });
        let part = |found: Available| Available {
            bytes: (found.bytes / DEFAULT_PART.1 * DEFAULT_PART.0).max(Budget::LEAST),
            ..found
        };
        let found = given.or_else(|| available(Path::new("/")).map(part));
        let Available { bytes, origin } = found.unwrap_or(UNKNOWN);
        tracing::info!(budget = %ByteSize(bytes), from = %origin, "memory");
        bytes
    }
}
