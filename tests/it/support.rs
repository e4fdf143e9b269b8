//! The real program as a child process, and what tests ask of it. Every test has a plant of its
//! own: a data directory and a copy of the catalog in `tests/data/plant`.

pub use crate::server::*;
use reqwest::Client;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Event times of the tests start here: 2023-11-14T22:13:20Z, in seconds.
pub const BASE: i64 = 1_700_000_000;

pub const JSON: &str = "application/json";
pub const LINES: &str = "application/x-ndjson";
pub const ARROW: &str = "application/vnd.apache.arrow.stream";
pub const YAML: &str = "application/yaml";
pub const INGEST: &str = "/api/v1/telemetry/ingest";

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The program. It runs outside of the repository, so that it finds no catalog by itself.
pub fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_millstream").to_owned();
    let mut command =
        Command::new(std::env::var("CARGO_BIN_EXE_millstream").unwrap_or_else(|_| built()));
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null()).env_remove("DATABASE_URL");
    command
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// How a command ended.
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub bytes: Vec<u8>,
}

/// Runs a command to its end.
pub fn run<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Finished {
    let output = program().args(args).output().expect("the program starts");
    Finished {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
        bytes: output.stdout,
    }
}

impl Finished {
    /// Panics with everything that was said unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }
}

/// What was said of the log at a start.
#[derive(Clone, Copy, Debug)]
pub struct Replayed {
    /// The epoch of the checkpoint; 0 when there was none.
    pub checkpoint: u64,
    /// Frames behind it.
    pub frames: u64,
    /// Rows in them.
    pub rows: u64,
}

/// A plant on disk: `data` and `catalog` in a directory that goes with it.
pub struct Plant {
    directory: TempDir,
}

impl Plant {
    pub fn new() -> Self {
        let plant = Self::empty();
        copy(&repository("tests/data/plant"), &plant.catalog());
        plant
    }

    /// A plant without a catalog.
    pub fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn catalog(&self) -> PathBuf {
        self.path("catalog")
    }

    /// A file of the catalog.
    pub fn document(&self, path: &str) -> String {
        fs::read_to_string(self.catalog().join(path)).expect("a document")
    }

    /// Starts the engine and waits until its doors are open.
    pub fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    pub fn serve_with(&self, args: &[&str]) -> Server {
        self.serve_by(program(), args)
    }

    /// The same without the plant's own catalog.
    pub fn serve_from(&self, args: &[&str]) -> Server {
        self.serve_at("127.0.0.1:0", args)
    }

    /// The same at this address.
    pub fn serve_at(&self, address: &str, args: &[&str]) -> Server {
        self.start(self.command(program(), address, args))
    }

    /// The same with a command that runs the program.
    pub fn serve_by(&self, program: Command, args: &[&str]) -> Server {
        self.start(self.engine(program, args))
    }

    /// The engine's command, from one that runs the program.
    pub fn engine(&self, program: Command, args: &[&str]) -> Command {
        let catalog = self.catalog();
        let args = [&["--catalog", text(&catalog)], args].concat();
        self.command(program, "127.0.0.1:0", &args)
    }

    fn command(&self, mut program: Command, address: &str, args: &[&str]) -> Command {
        let log = File::options().create(true).append(true).open(self.path("server.log"));
        program
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .args(["--listen", address])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"));
        program
    }

    fn start(&self, mut command: Command) -> Server {
        let log = self.path("server.log");
        let mut child = command.spawn().expect("the program starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let told = |scheme| line.split_whitespace().find_map(|word| word.strip_prefix(scheme));
        let Some(url) = told("http://").map(|address| format!("http://{address}")) else {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("no address in '{line}'; the log says\n{log}");
        };
        let postgres = told("postgres://").map(str::to_owned);
        let flight = told("grpc://").or(told("grpc+tls://")).map(str::to_owned);
        Server { child, url, postgres, flight, log, client: Client::new() }
    }

    /// What was said at the last start.
    pub fn replayed(&self) -> Replayed {
        let log = fs::read_to_string(self.path("server.log")).expect("a log");
        let line = log.lines().rfind(|line| line.contains("log replayed")).expect("a start");
        let number = |name: &str| {
            let (_, rest) = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}"));
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().expect("a number")
        };
        let [checkpoint, frames, rows] = ["checkpoint=", "frames=", "rows="].map(number);
        Replayed { checkpoint, frames, rows }
    }

    /// Runs a command on the data directory.
    pub fn run(&self, args: &[&str]) -> Finished {
        let data = self.data();
        let mut all: Vec<&str> = args.to_vec();
        all.extend(["--data", data.to_str().expect("a plain path")]);
        run(&all)
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &to),
            false => drop(fs::copy(&path, &to).expect("a copy")),
        }
    }
}
