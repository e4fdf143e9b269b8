//! The task that keeps a subscription alive.

use super::deliver::deliver;
use super::link::{FileError, Incoming, Link};
use super::settings::Settings;
use crate::base::backoff::Backoff;
use crate::base::shutdown::Shutdown;
use crate::ingest::transport::{Sink, SinkError};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// Gauge: 1 while connected to the broker, else 0. Label `client`.
pub const CONNECTED: &str = "millstream_mqtt_connected";
/// Counter: messages that came from the broker, second copies included. Label `client`.
pub const MESSAGES: &str = "millstream_mqtt_messages_total";
/// Counter: connections that were lost or not made. Label `client`.
pub const RECONNECTS: &str = "millstream_mqtt_reconnects_total";

/// How long messages under way may take to become durable when the program stops.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Why a subscription ended or never began. A broker that is not there is no such reason.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings contradict themselves.
    #[error("mqtt settings of {client}: {fault}")]
    Settings {
        /// The client id.
        client: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// A file of the TLS settings cannot be read.
    #[error("mqtt settings: {0}")]
    File(#[from] FileError),
    /// The sink takes nothing any more.
    #[error("mqtt subscription ended: {0}")]
    Sink(SinkError),
}

/// Takes messages from a broker into a sink until shutdown, connecting again and again.
///
/// Returns an error at once for settings that cannot work, and later only when the sink stops. On
/// shutdown, messages under way are finished and acknowledged, at most for ten seconds; the
/// session stays at the broker.
pub async fn run<S: Sink>(
    settings: Settings,
    sink: Arc<S>,
    shutdown: Shutdown,
) -> Result<(), Error> {
    if let Some(fault) = settings.fault() {
        return Err(Error::Settings { client: settings.client_id, fault });
    }
    let mut link = Link::new(&settings)?;
    let (deliveries, received) = mpsc::channel(usize::from(settings.in_flight));
    let mut worker = tokio::spawn(deliver(received, sink, link.acks(), settings.clone()));
    let client = settings.client_id.clone();
    let connected = metrics::gauge!(CONNECTED, "client" => client.clone());
    let messages = metrics::counter!(MESSAGES, "client" => client.clone());
    let reconnects = metrics::counter!(RECONNECTS, "client" => client.clone());
    let mut backoff = Backoff::new(&client);
    loop {
        let incoming = tokio::select! {
            biased;
            () = shutdown.wait() => break,
            ended = &mut worker => return Err(sink_error(ended)),
            incoming = link.poll() => incoming,
        };
        match incoming {
            Ok(Incoming::Message(delivery)) => {
                messages.increment(1);
                tokio::select! {
                    biased;
                    // The worker reads until this half is dropped, or ends with an error.
                    _ = deliveries.send(delivery) => {}
                    () = shutdown.wait() => break,
                }
            }
            Ok(Incoming::Connected { session_present }) => {
                info!(%client, host = %settings.host, session_present, "mqtt connected");
                connected.set(1.0);
                backoff.reset();
            }
            Ok(Incoming::Refused(topics)) => {
                error!(%client, ?topics, "mqtt broker refused subscriptions");
            }
            Ok(Incoming::Other) => {}
            Err(e) => {
                let wait = backoff.wait();
                warn!(%client, error = %e, wait_ms = wait.as_millis(), "mqtt connection lost");
                connected.set(0.0);
                reconnects.increment(1);
                tokio::select! {
                    () = shutdown.wait() => break,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    }
    drop(deliveries);
    stop(link, worker).await;
    connected.set(0.0);
    Ok(())
}

/// Finishes messages under way, then says goodbye. New messages are read and left unacknowledged.
async fn stop(mut link: Link, mut worker: JoinHandle<Result<(), SinkError>>) {
    let acks = link.acks();
    let finish = async {
        let mut disconnecting = false;
        loop {
            tokio::select! {
                _ = &mut worker, if !disconnecting => {
                    disconnecting = true;
                    acks.disconnect();
                }
                event = link.poll() => if event.is_err() && disconnecting {
                    return;
                } else if event.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                },
            }
        }
    };
    if tokio::time::timeout(STOP_WAIT, finish).await.is_err() {
        warn!("mqtt messages under way were not finished; the broker sends them again");
    }
    worker.abort();
}

fn sink_error(ended: Result<Result<(), SinkError>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(e)) => Error::Sink(e),
        Ok(Ok(())) => Error::Sink(SinkError::Stopped("no more messages are taken".into())),
        Err(e) => Error::Sink(SinkError::Stopped(format!("a delivery failed: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::transport::mqtt::{Tls, Version};
    use bytes::Bytes;
    use std::path::PathBuf;

    struct Nothing;

    impl Sink for Nothing {
        async fn submit(&self, _: Bytes, _: Option<String>) -> Result<(), SinkError> {
            Ok(())
        }
    }

    async fn check(change: impl FnOnce(&mut Settings), expected: &str) {
        let mut settings = Settings::new("127.0.0.1", 1, "test", vec!["plant/#".into()]);
        change(&mut settings);
        let shutdown = Shutdown::new();
        shutdown.trigger();
        let result = run(settings, Arc::new(Nothing), shutdown).await;
        let found = result.map_or_else(|e| e.to_string(), |()| String::new());
        assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found}");
    }

    #[tokio::test]
    async fn settings_are_checked_before_anything_starts() {
        let absent = || {
            let (ca_file, cert_file, key_file) = (PathBuf::from("no/ca.pem"), None, None);
            Some(Tls { ca_file, cert_file, key_file })
        };
        check(|s| s.topics.clear(), "topics is empty").await;
        check(|s| s.topics.push("a/#/b".into()), "a topic filter is malformed").await;
        check(|s| s.client_id.clear(), "client_id is empty").await;
        check(|s| s.qos = 2, "qos must be 0 or 1").await;
        check(|s| s.password = Some("x".into()), "a password needs a username").await;
        check(|s| s.tls = absent(), "read no/ca.pem").await;
    }

    #[test]
    fn settings_are_read_from_yaml() {
        let settings: Settings = serde_saphyr::from_str(
            "host: broker\nversion: v5\nclient_id: c\ntopics: [plant/+/telemetry]\n\
             device_from_topic: plant/{device}/telemetry\nkeep_alive: 10s\n",
        )
        .unwrap();
        assert_eq!((settings.version, settings.keep_alive.0), (Version::V5, 10_000_000));
        assert!(serde_saphyr::from_str::<Settings>("host: b\nclient: c\n").is_err());
    }
}
