//! The README is true: its blocks run, its tables are those of the program.
//!
//! Blocks run in their order in one folder, as a reader would run them, with three differences:
//! doors take a free port, `cargo run --release` starts the program that the tests were built
//! with (without arguments at `--speed 600`), and `tests/run` and `cargo bench` are only looked
//! for. What a block prints is compared by its shape with the block that follows at once.

use crate::timescale::Database;
use millstream::app::ExportLimits;
use millstream::query;
use millstream::serve;
use millstream::views::{self, View};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_millstream");
/// The address that the README speaks of.
const ADDRESS: &str = "127.0.0.1:7878";
/// Where it speaks of PostgreSQL clients.
const POSTGRES: &str = "127.0.0.1:5433";
/// Where it speaks of Flight SQL clients.
const FLIGHT: &str = "127.0.0.1:32010";
/// The broker that the README speaks of, and a port that nothing listens on.
const BROKER: [&str; 2] = ["127.0.0.1:1883", "127.0.0.1:9"];
/// The database that the README speaks of.
const DATABASE: &str = "postgres://millstream:millstream@127.0.0.1:5432/history";
/// How long a block may run, or a server may take to open its doors.
const PATIENCE: Duration = Duration::from_secs(120);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// A fenced block.
struct Block {
    kind: String,
    text: String,
    line: usize,
    /// Whether it stands directly below the block before.
    follows: bool,
}

fn blocks() -> Vec<Block> {
    let (mut blocks, mut open, mut follows) = (Vec::<Block>::new(), false, false);
    for (i, line) in readme().lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if open => (open, follows) = (false, true),
            Some(kind) => {
                let (kind, text) = (kind.to_owned(), String::new());
                blocks.push(Block { kind, text, line: i + 1, follows });
                open = true;
            }
            None if open => {
                let block = blocks.last_mut().unwrap();
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => follows &= line.trim().is_empty(),
        }
    }
    assert!(!open, "the last block is not closed");
    blocks
}

#[test]
fn readme_blocks_run() {
    let blocks = blocks();
    let mut place = Place::new();
    for block in blocks.iter().filter(|block| block.kind == "yaml") {
        place.write_document(block);
    }
    let (output, status) = place.run("millstream check plant", None);
    assert!(status.unwrap().success(), "{output}");
    for (i, block) in blocks.iter().enumerate() {
        let answer = blocks.get(i + 1).filter(|next| next.follows);
        match block.kind.as_str() {
            "sh" => place.shell(block, answer),
            "sql" => place.sql(block, answer),
            "yaml" => {}
            "text" | "json" if block.follows => {}
            "text" => {
                let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
                assert!(
                    map.contains(&block.text),
                    "README.md:{}: neither an answer nor a picture of ARCHITECTURE.md",
                    block.line
                );
            }
            other => panic!("README.md:{}: no test knows blocks of '{other}'", block.line),
        }
    }
}

/// A folder with what a reader has in front of him, and the server that he has started.
struct Place {
    folder: tempfile::TempDir,
    server: Option<Running>,
    address: String,
    postgres: String,
    flight: String,
    database: Database,
}

/// A process with all its children and what it has printed.
struct Running {
    child: Child,
    output: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (work, bin) = (folder.path().join("work"), folder.path().join("bin"));
        fs::create_dir_all(work.join("tests")).unwrap();
        fs::create_dir(&bin).unwrap();
        for name in ["dataflows", "schemas", "recordings", "benches", "Cargo.toml"] {
            symlink(root().join(name), work.join(name)).unwrap();
        }
        // The reader adds to this folder.
        fs::create_dir(work.join("queries")).unwrap();
        for file in fs::read_dir(root().join("queries")).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), work.join("queries").join(file.file_name())).unwrap();
        }
        script(&bin.join("millstream"), &format!("exec '{PROGRAM}' \"$@\""));
        script(
            &bin.join("cargo"),
            &format!(
                r#"case "$1 $2" in
"run --release") shift 2; [ "$1" = -- ] && shift; [ $# = 0 ] && set -- --speed 600; exec '{PROGRAM}' "$@";;
"bench --bench") test -f "benches/$3.rs" && exec grep -q "name = \"$3\"" Cargo.toml;;
"install --path") exec test -f "$3/Cargo.toml";;
esac
echo "no test knows cargo $*"; exit 99"#
            ),
        );
        let tests = root().join("tests/run");
        script(&work.join("tests/run"), &format!("exec test -x '{}'", tests.display()));
        let shell = root().join("tests/timescale");
        script(&bin.join("psql"), &format!("exec '{}' psql \"$@\"", shell.display()));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let database = runtime.block_on(Database::new());
        let python = root().join("tests/python");
        script(&bin.join("python3"), &format!("exec '{}' \"$@\"", python.display()));
        let [postgres, flight] = [(); 2].map(|()| "127.0.0.1:0".to_owned());
        Self { folder, server: None, address: ADDRESS.into(), postgres, flight, database }
    }

    fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// Writes a document to the file that its first line names.
    fn write_document(&self, block: &Block) {
        let name = block.text.strip_prefix("# ").and_then(|text| text.split(':').next());
        let name = name.filter(|name| name.starts_with("plant/") && name.ends_with(".yaml"));
        let name = name.unwrap_or_else(|| {
            panic!("README.md:{}: the first line is no comment with a path in plant/", block.line)
        });
        let path = self.work().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &block.text).unwrap();
    }

    fn shell(&mut self, block: &Block, answer: Option<&Block>) {
        let (serves, alone) = what_it_does(&block.text);
        if alone {
            self.stop();
        }
        let answer = answer.filter(|answer| ["text", "json"].contains(&answer.kind.as_str()));
        if serves {
            let output = self.start(block);
            if !block.text.contains(" serve ") {
                self.wait_for(block, "select * from threshold_states");
            }
            if block.text.contains("--database-url") {
                let caught_up =
                    "select * from millstream_sinks where state = 'following' and lag_ms = 0";
                self.wait_for(block, caught_up);
            }
            if let Some(answer) = answer {
                assert_eq!(missing(&answer.text, &output), None, "{}\n{output}", place_of(block));
            }
            return;
        }
        let streams = block.text.contains("curl -sN");
        let until = answer.filter(|_| streams).map(|answer| answer.text.as_str());
        assert!(!streams || until.is_some(), "{}: show what the stream says", place_of(block));
        let (output, status) = self.run(&block.text, until);
        let fails = answer.is_some_and(|answer| answer.text.starts_with("error:"));
        if let Some(status) = status {
            assert_eq!(status.success(), !fails, "{}: {status}\n{output}", place_of(block));
        }
        match answer {
            Some(answer) if answer.kind == "json" => {
                let read = |text: &str| -> Value {
                    let problem = |error| panic!("{}: {error}\n{text}", place_of(block));
                    serde_json::from_str(text).unwrap_or_else(problem)
                };
                let found = differs(&read(&answer.text), &read(&output), "");
                assert_eq!(found, None, "{}\n{output}", place_of(block));
            }
            Some(answer) => {
                assert_eq!(missing(&answer.text, &output), None, "{}\n{output}", place_of(block));
            }
            None => {}
        }
    }

    fn sql(&mut self, block: &Block, answer: Option<&Block>) {
        assert!(self.server.is_some(), "{}: no server runs to ask", place_of(block));
        let query = format!("millstream sql --url http://{} \"$(cat query.sql)\"", self.address);
        fs::write(self.work().join("query.sql"), &block.text).unwrap();
        let (output, status) = self.run(&query, None);
        assert!(status.unwrap().success(), "{}\n{output}", place_of(block));
        if let Some(answer) = answer {
            assert_eq!(missing(&answer.text, &output), None, "{}\n{output}", place_of(block));
        }
    }

    /// Starts a server and returns what it printed until its doors were open.
    fn start(&mut self, block: &Block) -> String {
        let server = self.spawn(&format!("exec {}", block.text.trim()));
        let address = Regex::new(r"http://(127\.0\.0\.1:\d+)").unwrap();
        let postgres = Regex::new(r" and postgres://(127\.0\.0\.1:\d+)").unwrap();
        let flight = Regex::new(r" and grpc://(127\.0\.0\.1:\d+)").unwrap();
        let begun = Instant::now();
        loop {
            let output = server.output();
            // A line that is not complete may have half of a port.
            let complete = output.rfind('\n').map_or("", |end| &output[..end]);
            if let Some(found) = address.captures(complete) {
                self.address = found[1].to_owned();
                let other = postgres.captures(complete).map(|found| found[1].to_owned());
                self.postgres = other.unwrap_or(self.postgres.clone());
                let other = flight.captures(complete).map(|found| found[1].to_owned());
                self.flight = other.unwrap_or(self.flight.clone());
                self.server = Some(server);
                return output;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: no doors\n{output}", place_of(block));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a query has rows, as a reader does who opens a terminal.
    fn wait_for(&self, block: &Block, query: &str) {
        let url = format!("http://{}/api/v1/sql", self.address);
        let begun = Instant::now();
        loop {
            let mut answer = ureq::post(&url).content_type("text/plain").send(query).unwrap();
            let body: Value =
                serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
            if body["rows"].as_array().is_some_and(|rows| !rows.is_empty()) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: no rows of {query}", place_of(block));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs commands to their end, or until they have printed what is awaited.
    fn run(&self, commands: &str, until: Option<&str>) -> (String, Option<ExitStatus>) {
        let mut running = self.spawn(&format!("set -e -o pipefail\n{commands}"));
        let begun = Instant::now();
        loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                running.reader.take().unwrap().join().unwrap();
                return (running.output(), Some(status));
            }
            let output = running.output();
            if until.is_some_and(|until| missing(until, &output).is_none()) {
                return (output, None);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{commands}: takes too long, missing {:?}\n{output}",
                until.and_then(|until| missing(until, &output))
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn spawn(&self, commands: &str) -> Running {
        let commands = commands
            .replace(ADDRESS, &self.address)
            .replace(POSTGRES, &self.postgres)
            .replace(FLIGHT, &self.flight)
            .replace(BROKER[0], BROKER[1])
            .replace(DATABASE, &self.database.url());
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = self.folder.path().join("bin");
        let mut child = Command::new("bash")
            .args(["-c", &format!("exec 2>&1\n{commands}")])
            .current_dir(self.work())
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("MILLSTREAM_LISTEN", "127.0.0.1:0")
            .env_remove("RUST_LOG")
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let output = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&output);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
                shared.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Running { child, output, reader: Some(reader) }
    }

    /// Stops the server as Ctrl-C does and waits until it has let go of its directory.
    fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        server.signal("-INT");
        let begun = Instant::now();
        while server.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < PATIENCE, "the server does not stop\n{}", server.output());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Running {
    fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
        assert!(sent.is_ok());
    }
}

impl Drop for Running {
    /// Leaves nothing behind, also when a test fails.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal("-KILL");
            let _ = self.child.wait();
        }
    }
}

fn script(path: &Path, commands: &str) {
    fs::write(path, format!("#!/bin/sh\n{commands}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn place_of(block: &Block) -> String {
    format!("README.md:{}", block.line)
}

/// Whether a command runs until it is stopped, and whether it needs the data directory alone.
fn what_it_does(command: &str) -> (bool, bool) {
    let command = command.trim();
    let arguments = (command.strip_prefix("cargo run --release"))
        .map(|rest| rest.trim_start().trim_start_matches("-- "))
        .or_else(|| command.strip_prefix("millstream").map(str::trim_start));
    let Some(arguments) = arguments else { return (false, false) };
    let first = arguments.split_whitespace().next().unwrap_or("demo");
    let alone = ["serve", "demo"].contains(&first) || first.starts_with("--");
    (alone && !arguments.contains("--once"), alone)
}

/// The first line of a transcript whose shape does not come in the output, in order.
fn missing(transcript: &str, output: &str) -> Option<String> {
    let output = shapes(output);
    let mut rest = output.iter();
    shapes(transcript).into_iter().find(|wanted| !rest.any(|shape| shape == wanted))
}

/// What stays the same from run to run: of tables the names of the columns, of rows as JSON the
/// names of their members, of other lines all but the numbers.
fn shapes(text: &str) -> Vec<String> {
    let member = Regex::new(r#""(\w+)":"#).unwrap();
    let number = Regex::new(r"[0-9][0-9.,:]*").unwrap();
    let (mut shapes, mut in_table) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        let table = line.starts_with(['+', '|']);
        if table && (in_table || line.starts_with('+')) {
            continue;
        }
        in_table = table;
        if table {
            shapes.push(line.split('|').map(str::trim).collect::<Vec<_>>().join(","));
        } else if member.is_match(line) {
            let names = member.captures_iter(line).map(|found| found[1].to_owned());
            shapes.push(names.collect::<Vec<_>>().join(" "));
        } else if !line.is_empty() && line != "..." {
            let words = line.split_whitespace().collect::<Vec<_>>().join(" ");
            shapes.push(number.replace_all(&words, "#").into_owned());
        }
    }
    shapes
}

/// Where two JSON values have other members or another number of elements.
fn differs(expected: &Value, found: &Value, path: &str) -> Option<String> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            let names = |map: &serde_json::Map<String, Value>| {
                map.keys().cloned().collect::<BTreeSet<String>>()
            };
            if names(expected) != names(found) {
                return Some(format!("{path}: {:?} are {:?}", names(expected), names(found)));
            }
            expected
                .iter()
                .find_map(|(name, e)| differs(e, &found[name], &format!("{path}.{name}")))
        }
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                return Some(format!("{path}: {} elements are {}", expected.len(), found.len()));
            }
            let pairs = expected.iter().zip(found).enumerate();
            pairs.into_iter().find_map(|(i, (e, f))| differs(e, f, &format!("{path}[{i}]")))
        }
        _ => (std::mem::discriminant(expected) != std::mem::discriminant(found))
            .then(|| format!("{path}: {expected} is {found}")),
    }
}

#[test]
fn readme_tables_are_those_of_the_program() {
    let text = readme();
    for view in View::ALL {
        let schema = view.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let row = format!("| `{view}` | `{}` |", columns.join(", "));
        assert!(text.contains(&row), "README.md lacks {row}");
    }
    let row = Regex::new(r"(?m)^\| `(GET|POST|PUT|DELETE) (\S+)` \|").unwrap();
    let told: BTreeSet<String> =
        row.captures_iter(&text).map(|found| format!("{} {}", &found[1], &found[2])).collect();
    let mut served = BTreeSet::new();
    for (path, item) in serve::openapi().paths.paths {
        let methods = [
            ("GET", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PUT", item.put.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        served.extend(methods.iter().filter(|m| m.1).map(|m| format!("{} {path}", m.0)));
    }
    assert_eq!(told, served);
}

#[test]
fn readme_limits_are_those_of_the_program() {
    let (text, sql, views) = (readme(), query::Limits::default(), views::Limits::default());
    let exports = ExportLimits::default();
    let thousands = |n: usize| match n {
        0..1_000 => n.to_string(),
        1_000..1_000_000 => format!("{},{:03}", n / 1_000, n % 1_000),
        _ => format!("{},{:03},{:03}", n / 1_000_000, n / 1_000 % 1_000, n % 1_000),
    };
    for told in [
        format!("| length of the text | {} KiB |", sql.text_bytes >> 10),
        format!("| operators in the text | {} |", sql.operators),
        format!("| nesting | {} |", sql.depth),
        format!("| joins | {} |", sql.joins),
        format!("| time, from the question to the last row | {} s |", sql.time.as_secs()),
        format!("| rows of an answer | {} |", thousands(sql.rows)),
        format!("before they spill to disk | {} MiB |", sql.memory_bytes >> 20),
        format!(
            "| the same of all queries, with the rows of the views that they read | {} GiB |",
            sql.all_memory_bytes >> 30
        ),
        format!("| spilled to disk by all queries | {} GiB |", sql.spill_bytes >> 30),
        format!("| queries at the same time; others wait | {} |", sql.concurrent),
        format!("most {} intervals of a metric", thousands(query::INTERVALS_MAX)),
        format!("a\nsheet of {} rows", thousands(query::SHEET_ROWS as usize)),
        format!("one takes {} cells", thousands(query::CELLS_MAX as usize)),
        format!("| exports that are kept, with those that wait or run | {} |", exports.jobs),
        format!("| that are written at the same time; others wait | {} |", exports.running),
        format!("| bytes of all files, `--exports-space` | {} GiB |", exports.bytes >> 30),
        format!("| time until a file is written | {} min |", exports.time.as_secs() / 60),
        format!("| rows of a file | {} |", thousands(exports.rows)),
        format!(
            "| how long it is kept after its end, `--exports-age` | {} h |",
            exports.age.as_secs() / 3_600
        ),
        format!("by cursors; more are refused | {} |", sql.cursors),
        format!("read the longest time ago gives way | {} |", serve::PAGES),
        format!("more than about 4 MiB | {} |", thousands(serve::PAGE_ROWS)),
        format!("| pause between two of them | {} s |", sql.cursor_idle.as_secs()),
        format!("| connections | {} |", serve::FLIGHT_CONNECTIONS),
        format!("| a message of a client | {} MiB |", serve::FLIGHT_MESSAGE_BYTES >> 20),
        format!("time ends | {} |", thousands(serve::FLIGHT_SESSIONS)),
        format!("time is forgotten | {} |", thousands(serve::FLIGHT_HELD)),
        format!("| their texts and values | {} MiB |", serve::FLIGHT_HELD_BYTES >> 20),
        format!("are not used for | {} h |", serve::FLIGHT_HELD_IDLE.as_secs() / 3_600),
        format!("are not used for | {} h |", serve::FLIGHT_SESSION_IDLE.as_secs() / 3_600),
        format!("at most {} MiB,", serve::BODY_BYTES_ENCODED >> 20),
        format!("{} MiB after\ndecompression", serve::BODY_BYTES_DECODED >> 20),
        format!("up to {} views over one WebSocket", serve::SOCKET_SUBSCRIPTIONS),
        format!("| connections | {} |", serve::POSTGRES_CONNECTIONS),
        format!(
            "| prepared statements, portals and cursors of a connection | {} |",
            serve::POSTGRES_HELD
        ),
        format!("| their texts and values | {} MiB |", serve::POSTGRES_HELD_BYTES >> 20),
        format!("| a message | {} MiB |", serve::POSTGRES_MESSAGE_BYTES >> 20),
        format!(
            "by {} messages or {} MiB",
            thousands(views.queue_messages),
            views.queue_bytes >> 20
        ),
        format!(
            "newest {}, at most {} MiB",
            thousands(views.dead_letters),
            views.dead_letter_bytes >> 20
        ),
    ] {
        assert!(text.contains(&told), "README.md lacks: {told}");
    }
}

#[test]
fn readme_options_are_those_of_the_program() {
    /// Options of other programs.
    const FOREIGN: [&str; 7] = [
        "--release",
        "--bench",
        "--path",
        "--locked",
        "--line-buffered",
        "--data-binary",
        "--build",
    ];
    let mut help = String::new();
    for command in [
        "",
        "serve",
        "demo",
        "replay",
        "sql",
        "query",
        "verify",
        "retention",
        "check",
        "schemas",
        "postgres-user",
    ] {
        let arguments = [command, "--help"].into_iter().filter(|argument| !argument.is_empty());
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        help.push_str(&String::from_utf8(output.stdout).unwrap());
    }
    let option = Regex::new(r"--[a-z][a-z-]+").unwrap();
    let known: BTreeSet<&str> = option.find_iter(&help).map(|found| found.as_str()).collect();
    let text = readme();
    for found in option.find_iter(&text).map(|found| found.as_str()) {
        assert!(known.contains(found) || FOREIGN.contains(&found), "no command has {found}");
    }
}

#[test]
fn readme_refers_to_what_is_there() {
    let text = readme();
    let test = Regex::new(r"\[`(\w+)`\]\((\S+)\)").unwrap();
    for found in test.captures_iter(&text) {
        let file = fs::read_to_string(root().join(&found[2])).unwrap_or_default();
        assert!(file.contains(&format!("fn {}(", &found[1])), "{} has no {}", &found[2], &found[1]);
    }
    let link = Regex::new(r"\]\(([^):]+)\)").unwrap();
    for found in link.captures_iter(&text) {
        assert!(root().join(&found[1]).exists(), "there is no {}", &found[1]);
    }
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let bench = Regex::new(r"cargo bench --bench (\w+)").unwrap();
    for found in bench.captures_iter(&text) {
        let file = root().join(format!("benches/{}.rs", &found[1]));
        assert!(file.exists(), "there is no {}", file.display());
        assert!(manifest.contains(&format!("name = \"{}\"", &found[1])), "{}", &found[1]);
    }
}
