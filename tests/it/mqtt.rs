//! The MQTT transport against a real Mosquitto, with broker and engine ended in between.

use bytes::Bytes;
use millstream::base::shutdown::Shutdown;
use millstream::ingest::transport::mqtt::{Settings, Template, Tls, Version, run};
use millstream::ingest::transport::{Sink, SinkError};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// A Mosquitto with its own folder and port; ends with the value.
pub struct Broker {
    folder: TempDir,
    pub port: u16,
    process: Child,
}

fn mosquitto() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders
        .map(|folder| folder.join("mosquitto"))
        .find(|file| file.is_file())
        .expect("this test needs Mosquitto: install the package 'mosquitto'")
}

impl Broker {
    pub fn start(more: &str, folder: TempDir) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Started by root, it would change to a user who cannot write to the folder.
        let root = if is_root() { "user root\n" } else { "" };
        let at = folder.path().display();
        let text = format!(
            "{root}persistence true\npersistence_location {at}/\nmax_queued_messages 0\n\
             log_dest file {at}/log\nlistener {port} 127.0.0.1\nallow_anonymous true\n{more}"
        );
        std::fs::write(folder.path().join("conf"), text).unwrap();
        let process = launch(folder.path());
        let broker = Self { folder, port, process };
        broker.wait();
        broker
    }

    fn wait(&self) {
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("the broker does not start: {log}");
    }

    /// Ends the broker in peace, so that it writes its sessions down.
    pub fn stop(&mut self) {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        self.process.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.process = launch(self.folder.path());
        self.wait();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn launch(folder: &Path) -> Child {
    let mut command = Command::new(mosquitto());
    command.arg("-c").arg(folder.join("conf")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Payloads that became durable, with their devices. Each takes a while, and is lost when its
/// engine is ended before.
#[derive(Default)]
struct Durable {
    seen: Mutex<BTreeSet<(Option<String>, String)>>,
    calls: AtomicUsize,
}

impl Sink for Durable {
    async fn submit(&self, payload: Bytes, device: Option<String>) -> Result<(), SinkError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call % 97 == 5 {
            return Err(SinkError::Busy);
        }
        sleep(Duration::from_millis((call % 7) as u64)).await;
        let text = String::from_utf8(payload.to_vec()).unwrap();
        self.seen.lock().unwrap().insert((device, text));
        Ok(())
    }
}

impl Durable {
    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    async fn wait_for(&self, count: usize) {
        let reached = async {
            while self.count() < count {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let done = timeout(PATIENCE, reached).await;
        assert!(done.is_ok(), "{} of {count} arrived", self.count());
    }
}

type Engine = JoinHandle<Result<(), millstream::ingest::transport::mqtt::Error>>;

fn engine(settings: &Settings, sink: &Arc<Durable>) -> (Engine, Shutdown) {
    let shutdown = Shutdown::new();
    let task = tokio::spawn(run(settings.clone(), Arc::clone(sink), shutdown.clone()));
    (task, shutdown)
}

fn settings(port: u16, version: Version, id: &str) -> Settings {
    let mut settings = Settings::new("127.0.0.1", port, id, vec!["plant/+/telemetry".into()]);
    settings.version = version;
    settings.device_from_topic = Some(Template::parse("plant/{device}/telemetry").unwrap());
    settings.topics.push("lab/#".into());
    settings
}

/// Publishes numbered messages with QoS 1 and returns when the broker has acknowledged all.
async fn publish(port: u16, numbers: std::ops::Range<usize>) {
    let mut options = MqttOptions::new("publisher", "127.0.0.1", port);
    options.set_clean_session(false).set_inflight(50);
    let (client, mut events) = AsyncClient::new(options, 10);
    let count = numbers.len();
    let sender = tokio::spawn(async move {
        for number in numbers {
            let topic = format!("plant/pump-{}/telemetry", number % 5);
            client.publish(topic, QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        }
        client
    });
    let mut acknowledged = 0;
    let all = async {
        while acknowledged < count {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => acknowledged += 1,
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(PATIENCE, all).await.expect("the broker takes all messages");
    sender.await.unwrap();
}

/// Waits until the broker has the engine's session, so that it keeps messages for it.
async fn session(port: u16, sink: &Durable) {
    let before = sink.count();
    let reached = async {
        while sink.count() == before {
            publish(port, 0..1).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, reached).await.expect("the engine subscribes");
}

async fn nothing_is_lost(version: Version) {
    let mut broker = Broker::start("", tempfile::tempdir().unwrap());
    let sink = Arc::new(Durable::default());
    let settings = settings(broker.port, version, "engine");
    let (first, _) = engine(&settings, &sink);
    session(broker.port, &sink).await;

    // The engine dies while messages are under way; its successor gets them again.
    publish(broker.port, 0..300).await;
    first.abort();
    publish(broker.port, 300..600).await;
    let (second, shutdown) = engine(&settings, &sink);

    // The broker goes and comes back, with messages not yet acknowledged.
    publish(broker.port, 600..900).await;
    broker.stop();
    sleep(Duration::from_millis(700)).await;
    broker.start_again();
    publish(broker.port, 900..1_200).await;
    sink.wait_for(1_200).await;
    let seen = sink.seen.lock().unwrap().clone();
    for number in 0..1_200 {
        let device = Some(format!("pump-{}", number % 5));
        assert!(seen.contains(&(device, number.to_string())), "{number}");
    }

    // In peace everything is acknowledged, so the next engine gets nothing twice.
    shutdown.trigger();
    timeout(PATIENCE, second).await.unwrap().unwrap().unwrap();
    let calls = sink.calls.load(Ordering::SeqCst);
    let (third, _) = engine(&settings, &sink);
    publish(broker.port, 1_200..1_201).await;
    sink.wait_for(1_201).await;
    let again = sink.calls.load(Ordering::SeqCst) - calls;
    assert!(again <= 2, "{again} messages came again");
    third.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_3_1_1_loses_nothing() {
    nothing_is_lost(Version::V311).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_5_loses_nothing() {
    nothing_is_lost(Version::V5).await;
}

/// An authority, a certificate for the server and one for the client, as files.
fn certificates(folder: &Path) -> Tls {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(vec![]).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in ["localhost", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec![name.to_owned(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    Tls {
        ca_file: folder.join("ca.pem"),
        cert_file: Some(folder.join("client.pem")),
        key_file: Some(folder.join("client.key")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_over_tls_with_client_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificates(folder.path());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.path().display();
    let listener = format!(
        "listener {port} 127.0.0.1\ncafile {at}/ca.pem\ncertfile {at}/localhost.pem\n\
         keyfile {at}/localhost.key\nrequire_certificate true\n"
    );
    let broker = Broker::start(&listener, folder);
    for version in [Version::V311, Version::V5] {
        let sink = Arc::new(Durable::default());
        let mut settings = settings(port, version, &format!("{version:?}"));
        settings.tls = Some(tls.clone());
        let (task, _) = engine(&settings, &sink);
        session(broker.port, &sink).await;
        task.abort();
        // Without a certificate of its own the client never gets in.
        settings.client_id += "-stranger";
        settings.tls = Some(Tls { cert_file: None, key_file: None, ..tls.clone() });
        let sink = Arc::new(Durable::default());
        let (task, _) = engine(&settings, &sink);
        sleep(Duration::from_millis(300)).await;
        publish(broker.port, 0..1).await;
        sleep(Duration::from_millis(300)).await;
        assert_eq!(sink.count(), 0);
        task.abort();
    }
}
