//! The program is killed again and again while clients send: over HTTP, and through a broker.

use crate::ledger::{Ledger, kept};
use crate::mqtt::Broker;
use crate::support::*;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep;

/// Messages of a request.
const MESSAGES: usize = 20;
/// How long a client waits between its requests.
const PAUSE: Duration = Duration::from_millis(40);
/// The pump that sends through the broker.
const THROUGH_BROKER: usize = 9;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// The splitmix64 sequence.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Sends at a steady rate until the server is gone. What is in doubt is sent again first.
async fn client(url: String, mut ledger: Ledger) -> Ledger {
    let http = reqwest::Client::new();
    loop {
        let seconds = ledger.take(MESSAGES);
        let body = ledger.messages(&seconds, &json!({})).to_string();
        let request = http.post(format!("{url}{INGEST}")).header("content-type", JSON).body(body);
        let Ok(answer) = request.send().await else { return ledger };
        assert_eq!(answer.status(), 200);
        // Acknowledged is what was answered: the status alone says it.
        ledger.acknowledge(&seconds);
        if let Ok(text) = answer.text().await {
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(answer["rejected"], json!([]));
        }
        sleep(PAUSE).await;
    }
}

/// Publishes a second after the other; the ledger knows which the broker has taken.
async fn publish(port: u16, ledger: Arc<Mutex<Ledger>>, stop: Arc<AtomicBool>) {
    let mut options = MqttOptions::new("plant", "127.0.0.1", port);
    options.set_clean_session(false).set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 10);
    let topic = format!("plant/PUMP-{THROUGH_BROKER}/telemetry");
    let (sent, mut waiting) = tokio::sync::mpsc::unbounded_channel();
    let sender = {
        let (ledger, stop) = (Arc::clone(&ledger), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut next = 0;
            while !stop.load(Ordering::Relaxed) {
                let payload = {
                    let ledger = ledger.lock().unwrap();
                    let mut message = ledger.messages(&[next], &json!({}))[0].take();
                    message.as_object_mut().unwrap().remove("deviceId");
                    message.to_string()
                };
                // The broker acknowledges in the order of the messages.
                sent.send(next).unwrap();
                client.publish(&topic, QoS::AtLeastOnce, false, payload).await.unwrap();
                next += 1;
                sleep(PAUSE).await;
            }
            client
        })
    };
    let mut taken = 0;
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::PubAck(_))) => {
                let second = waiting.recv().await.unwrap();
                let mut ledger = ledger.lock().unwrap();
                ledger.sent(second);
                ledger.acknowledge(&[second]);
                taken += 1;
            }
            Ok(_) => {}
            Err(error) => panic!("the broker: {error}"),
        }
        if sender.is_finished() && waiting.is_empty() {
            println!("{taken} messages through the broker");
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_every_kill() {
    let kills = number("MILLSTREAM_KILLS").unwrap_or(50);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number("MILLSTREAM_SEED").unwrap_or(now);
    println!("{kills} kills, seed {seed}");
    let (mut random, begun) = (Random(seed), Instant::now());
    let plant = Plant::new();
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start("", tempfile::tempdir().unwrap());
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let args = [
        "--mqtt-url",
        &url,
        "--mqtt-topic",
        "plant/+/telemetry",
        "--mqtt-device-topic",
        "plant/{device}/telemetry",
    ];

    let mut server = plant.serve_with(&args);
    // Until the broker has the program's session, it keeps nothing for it.
    eventually("the program subscribes", async || {
        crate::mqtt_street::publish(broker.port, 0..1).await;
        (!server.sql("SELECT 1 FROM telemetry").await.is_empty()).then_some(())
    })
    .await;
    let through_broker = Arc::new(Mutex::new(Ledger::new(folder.path(), THROUGH_BROKER)));
    let stop = Arc::new(AtomicBool::new(false));
    let publisher =
        tokio::spawn(publish(broker.port, Arc::clone(&through_broker), Arc::clone(&stop)));

    let mut ledgers: Vec<Ledger> = (2..5).map(|pump| Ledger::new(folder.path(), pump)).collect();
    let mut starts = Vec::new();
    for _ in 0..kills {
        let from = ledgers.iter().map(Ledger::next).min().unwrap_or(0);
        let clients: Vec<_> = ledgers
            .drain(..)
            .map(|ledger| tokio::spawn(client(server.url.clone(), ledger)))
            .collect();
        sleep(Duration::from_millis(100 + random.below(500))).await;
        server.kill();
        for client in clients {
            ledgers.push(client.await.unwrap());
        }
        if random.below(8) == 0 {
            // Killed while it starts, too.
            let mut child = plant.engine(program(), &args).spawn().unwrap();
            sleep(Duration::from_millis(random.below(150))).await;
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let start = Instant::now();
        server = plant.serve_with(&args);
        starts.push(start.elapsed());
        let from = from - 2 * MESSAGES as i64;
        let kept = kept(&server, from.max(0)).await;
        ledgers.iter().for_each(|ledger| ledger.check(&kept, from..i64::MAX));
    }
    stop.store(true, Ordering::Relaxed);
    publisher.await.unwrap();
    let acknowledged: usize = ledgers.iter().map(Ledger::acknowledged).sum();
    eventually("all messages of the broker arrive", async || {
        let query = format!("SELECT 1 FROM telemetry WHERE asset = 'pump-{THROUGH_BROKER}'");
        let arrived = server.sql(&query).await.len();
        (arrived >= through_broker.lock().unwrap().acknowledged()).then_some(())
    })
    .await;
    let kept = kept(&server, 0).await;
    ledgers.iter().for_each(|ledger| ledger.check(&kept, 0..i64::MAX));
    through_broker.lock().unwrap().check(&kept, 0..i64::MAX);
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
    starts.sort();
    println!(
        "{acknowledged} points over HTTP, each there once; starts p50 {:?}, p95 {:?}; {:?} in all",
        starts[starts.len() / 2],
        starts[starts.len() * 95 / 100],
        begun.elapsed()
    );
    assert!(acknowledged > kills as usize * MESSAGES, "{acknowledged} points");
}
