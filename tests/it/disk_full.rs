//! A disk that is really full: a small file system of its own under the real program.

use crate::ledger::{Ledger, kept};
use crate::support::*;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A file system of some MiB in memory, mounted in a mount namespace of its own.
struct SmallDisk {
    keeper: Child,
    at: PathBuf,
    user: bool,
}

impl SmallDisk {
    fn mount(at: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(at).unwrap();
        let id = Command::new("id").arg("-u").output().unwrap();
        let user = id.stdout.trim_ascii() != b"0";
        // Who is not root becomes root of a namespace.
        let namespaces = if user { "-Urm" } else { "-m" };
        // The namespace lives until its input is closed: not longer than the test.
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m small '{}' && echo mounted && exec cat",
            at.display()
        );
        let mut keeper = Command::new("unshare")
            .args([namespaces, "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this test needs unshare of util-linux");
        let mut line = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let mut error = String::new();
            let _ = keeper.kill();
            let _ = keeper.stderr.take().unwrap().read_to_string(&mut error);
            panic!(
                "this test mounts a small disk: run it as root, or let users make namespaces: {error}"
            );
        }
        Self { keeper, at: at.into(), user }
    }

    /// The program, to be run where the disk can be seen.
    fn program(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.keeper.id().to_string(), "-m"]).stdin(Stdio::null());
        if self.user {
            command.args(["-U", "--preserve-credentials"]);
        }
        command.arg("--").arg(program().get_program());
        command
    }

    /// A file on the disk, as it can be reached from outside.
    fn file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.at.strip_prefix("/").unwrap()).join(name)
    }

    /// Takes so much of the disk, or all that is left.
    fn ballast(&self, mebibytes: usize) {
        let _ = fs::write(self.file("ballast"), vec![1; mebibytes << 20]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Sends messages of a kilobyte each; what was said unless they were taken.
async fn send(server: &Server, ledger: &mut Ledger, count: usize) -> Option<Answer> {
    let seconds = ledger.take(count);
    let text = "state of the pump ".repeat(50);
    let messages = ledger.messages(&seconds, &json!({"STATE": format!("{text} {}", seconds[0])}));
    let answer = server.post(INGEST, JSON, messages.to_string()).await;
    if answer.status != 200 {
        return Some(answer);
    }
    assert_eq!(answer.good()["rejected"], json!([]));
    ledger.acknowledge(&seconds);
    None
}

/// Sends until the disk is so full that not even one message is taken.
async fn fill(server: &Server, ledger: &mut Ledger) -> Value {
    for count in [200, 20, 1] {
        let begun = Instant::now();
        let problem = loop {
            match send(server, ledger, count).await {
                Some(answer) => break answer.problem(503),
                None => {
                    assert!(begun.elapsed() < Duration::from_secs(60), "the disk is never full")
                }
            }
        };
        if count == 1 {
            return problem;
        }
    }
    unreachable!("the last one returns")
}

/// Reads and questions go on, the program says what is wrong, and nothing is acknowledged.
async fn check_full(server: &Server, ledger: &mut Ledger) {
    // What was refused takes effect once there is space: a second try would change nothing.
    let key = format!("pump-{}", ledger.acknowledged());
    let acknowledged = ledger.acknowledged();
    for _ in 0..5 {
        let refused = send(server, ledger, 50).await.expect("nothing is taken");
        let problem = refused.problem(503);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("no space left on the disk; free some and try again"), "{detail}");
    }
    assert_eq!(ledger.acknowledged(), acknowledged);
    ledger.check(&kept(server, 0).await, 0..i64::MAX);
    assert!(!server.view("asset_metrics").await.is_empty());
    assert!(server.get("/metrics").await.text().contains("millstream_"));
    eventually("the health check tells of the disk", async || {
        send(server, ledger, 50).await.expect("nothing is taken").problem(503);
        let health = server.get("/health").await;
        (health.status == 503 && health.text().contains("no space left on the disk")).then_some(())
    })
    .await;
    let name = "large ".repeat(1_000);
    let document = format!("{{key: {key}, asset_type: pump, display_name: {name}}}");
    let headers = [("content-type", YAML)];
    let path = format!("/api/v1/catalog/assets/{key}");
    let refused = server.send(reqwest::Method::PUT, &path, &headers, document).await;
    refused.problem(503);
}

/// With space again, messages are taken within five seconds.
async fn check_space(server: &Server, ledger: &mut Ledger) {
    let begun = Instant::now();
    while let Some(answer) = send(server, ledger, 200).await {
        answer.problem(503);
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "nothing is taken although there is space"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_loses_nothing_and_heals() {
    let plant = Plant::new();
    let disk = SmallDisk::mount(&plant.data(), 24);
    let mut ledger = Ledger::new(&plant.path(""), 1);
    disk.ballast(16);
    let mut server = plant.serve_by(disk.program(), &[]);
    fill(&server, &mut ledger).await;
    check_full(&server, &mut ledger).await;

    // Space comes, and acknowledgements with it, without a restart.
    fs::remove_file(disk.file("ballast")).unwrap();
    check_space(&server, &mut ledger).await;
    ledger.check(&kept(&server, 0).await, 0..i64::MAX);

    // The disk fills up again, and the process dies on it.
    disk.ballast(14);
    fill(&server, &mut ledger).await;
    server.kill();
    let server = plant.serve_by(disk.program(), &[]);
    fill(&server, &mut ledger).await;
    check_full(&server, &mut ledger).await;

    // A stop cannot write the archive; the log has the points all the same.
    assert_eq!(server.terminate(), 1);
    fs::remove_file(disk.file("ballast")).unwrap();
    let mut server = plant.serve_by(disk.program(), &[]);
    check_space(&server, &mut ledger).await;
    server.kill();

    let server = plant.serve_by(disk.program(), &[]);
    ledger.check(&kept(&server, 0).await, 0..i64::MAX);
    println!("{} points acknowledged, each there once", ledger.acknowledged());
    assert!(ledger.acknowledged() > 1_000);
    assert_eq!(server.terminate(), 0);
    let data = plant.data();
    let verified = disk.program().args(["verify", "--data", text(&data)]).output().unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
