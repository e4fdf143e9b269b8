//! From a real broker through the real program: broker and program are ended in between, and what
//! the broker took from the publisher is in telemetry exactly once.

use crate::mqtt::Broker;
use crate::support::{BASE, Plant, Server};
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use std::ops::Range;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

fn serve(plant: &Plant, broker: &Broker, version: &str) -> Server {
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    plant.serve_with(&[
        "--mqtt-url",
        &url,
        "--mqtt-version",
        version,
        "--mqtt-topic",
        "plant/+/telemetry",
        "--mqtt-device-topic",
        "plant/{device}/telemetry",
    ])
}

/// Publishes a temperature for each second and returns when the broker has taken all.
pub async fn publish(port: u16, seconds: Range<i64>) {
    let mut options = MqttOptions::new("plant", "127.0.0.1", port);
    options.set_clean_session(false).set_inflight(20);
    let (client, mut events) = AsyncClient::new(options, 10);
    let count = seconds.clone().count();
    let sender = tokio::spawn(async move {
        for second in seconds {
            let topic = format!("plant/PUMP-{}/telemetry", second % 3 + 1);
            let temp = 20.0 + second as f64 / 100.0;
            let payload =
                format!(r#"{{"timestamp": {}, "metrics": {{"TEMP": {temp}}}}}"#, BASE + second);
            client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        }
        client
    });
    let all = async {
        let mut taken = 0;
        while taken < count {
            match events.poll().await {
                Ok(Event::Incoming(Packet::PubAck(_))) => taken += 1,
                Ok(_) => {}
                Err(_) => sleep(Duration::from_millis(100)).await,
            }
        }
    };
    timeout(PATIENCE, all).await.expect("the broker takes all messages");
    sender.await.unwrap();
}

/// Rows of telemetry, and distinct event times among them.
async fn counts(server: &Server) -> (i64, i64) {
    let query = "select count(*) as rows, count(distinct event_time) as times from telemetry";
    let row = &server.sql(query).await[0];
    (row["rows"].as_i64().unwrap(), row["times"].as_i64().unwrap())
}

async fn wait_for(server: &Server, times: i64) {
    let all = async {
        while counts(server).await.1 < times {
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, all).await.expect("everything arrives");
}

async fn nothing_is_lost(version: &str) {
    let plant = Plant::new();
    let mut broker = Broker::start("", tempfile::tempdir().unwrap());
    let mut server = serve(&plant, &broker, version);
    // Until the broker has the program's session, it keeps nothing for it.
    let subscribed = async {
        while counts(&server).await.1 < 1 {
            publish(broker.port, 0..1).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, subscribed).await.expect("the program subscribes");

    let port = broker.port;
    let publisher = tokio::spawn(publish(port, 1..400));
    sleep(Duration::from_millis(60)).await;
    server.kill();
    publisher.await.unwrap();
    let server = serve(&plant, &broker, version);
    publish(port, 400..600).await;
    broker.stop();
    sleep(Duration::from_millis(500)).await;
    broker.start_again();
    publish(port, 600..800).await;
    wait_for(&server, 800).await;
    assert_eq!(counts(&server).await, (800, 800));
    assert_eq!(server.terminate(), 0);
    plant.run(&["verify"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_3_1_1_to_telemetry_loses_nothing() {
    nothing_is_lost("3.1.1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_5_to_telemetry_loses_nothing() {
    nothing_is_lost("5").await;
}
