//! The connection, the same for both versions of the protocol.

use super::settings::{Settings, Tls, Version};
use bytes::Bytes;
use rumqttc::v5::mqttbytes as v5bytes;
use rumqttc::{SubscribeFilter, TlsConfiguration, Transport, v5};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Requests that wait for the connection beside acknowledgements: subscriptions, a disconnect.
const REQUESTS_BESIDE: usize = 16;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}: {source}", path.display())]
pub struct FileError {
    path: PathBuf,
    source: std::io::Error,
}

/// The reading half: owns the connection.
pub(super) struct Link {
    events: Events,
    topics: Vec<String>,
    qos: u8,
    acks: Acks,
}

enum Events {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

#[derive(Clone)]
enum Client {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// The acknowledging half. Clones share the connection.
#[derive(Clone)]
pub(super) struct Acks {
    client: Client,
    /// Counts connections; held while an acknowledgement is queued, so that none can slip from
    /// one connection into the next.
    generation: Arc<Mutex<u64>>,
}

/// What came from the broker.
pub(super) enum Incoming {
    Connected {
        session_present: bool,
    },
    Message(Delivery),
    /// Subscriptions that the broker refused.
    Refused(Vec<String>),
    Other,
}

/// A message and how to acknowledge it.
pub(super) struct Delivery {
    pub topic: String,
    pub payload: Bytes,
    pub ack: Ack,
}

/// The acknowledgement of one message on one connection.
pub(super) struct Ack {
    generation: u64,
    packet: Packet,
}

enum Packet {
    /// QoS 0: nothing to say.
    None,
    V311(rumqttc::Publish),
    V5(v5bytes::v5::Publish),
}

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acked {
    Sent,
    /// Its connection is gone; the broker sends the message again.
    TooLate,
    /// The queue is full: try again.
    Full,
}

impl Link {
    /// Prepares a connection; the first poll makes it.
    pub fn new(settings: &Settings) -> Result<Self, FileError> {
        let transport = match &settings.tls {
            Some(tls) => Transport::tls_with_config(read_tls(tls)?),
            None => Transport::tcp(),
        };
        let keep_alive = Duration::from_micros(settings.keep_alive.0.unsigned_abs());
        let requests = 2 * usize::from(settings.in_flight) + REQUESTS_BESIDE;
        let (id, host, port) = (&settings.client_id, &settings.host, settings.port);
        let login = settings
            .username
            .as_ref()
            .map(|user| (user.clone(), settings.password.clone().unwrap_or_default()));
        let (client, events) = match settings.version {
            Version::V311 => {
                let mut options = rumqttc::MqttOptions::new(id, host, port);
                options.set_transport(transport).set_keep_alive(keep_alive);
                options.set_clean_session(false).set_manual_acks(true);
                options.set_max_packet_size(settings.packet_bytes as usize, 64 * 1024);
                if let Some((user, password)) = login {
                    options.set_credentials(user, password);
                }
                let (client, events) = rumqttc::AsyncClient::new(options, requests);
                (Client::V311(client), Events::V311(Box::new(events)))
            }
            Version::V5 => {
                let mut options = v5::MqttOptions::new(id, host, port);
                options.set_transport(transport).set_keep_alive(keep_alive);
                options.set_clean_start(false).set_manual_acks(true);
                let expiry = settings.session_expiry.0 / 1_000_000;
                let expiry = u32::try_from(expiry).unwrap_or(u32::MAX);
                options.set_session_expiry_interval(Some(expiry));
                options.set_receive_maximum(Some(settings.in_flight));
                options.set_max_packet_size(Some(settings.packet_bytes));
                if let Some((user, password)) = login {
                    options.set_credentials(user, password);
                }
                let (client, events) = v5::AsyncClient::new(options, requests);
                (Client::V5(client), Events::V5(Box::new(events)))
            }
        };
        let acks = Acks { client, generation: Arc::default() };
        Ok(Self { events, topics: settings.topics.clone(), qos: settings.qos, acks })
    }

    /// The acknowledging half.
    pub fn acks(&self) -> Acks {
        self.acks.clone()
    }

    /// Waits for the next thing, connecting first if need be. After an error the connection is
    /// gone, with all acknowledgements that were not sent.
    pub async fn poll(&mut self) -> Result<Incoming, String> {
        let result = match &mut self.events {
            Events::V311(events) => events.poll().await.map(v311).map_err(|e| e.to_string()),
            Events::V5(events) => events.poll().await.map(v5).map_err(|e| e.to_string()),
        };
        match result {
            Ok(Event::Message(topic, payload, packet)) => {
                let generation = *self.acks.lock();
                let ack = Ack { generation, packet };
                Ok(Incoming::Message(Delivery { topic, payload, ack }))
            }
            Ok(Event::Connected { session_present }) => {
                self.acks.client.subscribe(&self.topics, self.qos)?;
                Ok(Incoming::Connected { session_present })
            }
            Ok(Event::Subscribed(granted)) => {
                let refused = self.topics.iter().zip(granted).filter(|(_, granted)| !granted);
                let refused: Vec<String> = refused.map(|(topic, _)| topic.clone()).collect();
                Ok(if refused.is_empty() { Incoming::Other } else { Incoming::Refused(refused) })
            }
            Ok(Event::Other) => Ok(Incoming::Other),
            Err(e) => {
                self.disconnected();
                Err(e)
            }
        }
    }

    /// Forgets what belongs to the lost connection: acknowledgements in the queue, and messages
    /// that were read from it but not handed out; the broker sends those again.
    fn disconnected(&mut self) {
        let mut generation = self.acks.lock();
        *generation += 1;
        match &mut self.events {
            Events::V311(events) => {
                events.clean();
                events.state.events.clear();
            }
            Events::V5(events) => {
                events.clean();
                events.state.events.clear();
            }
        }
    }
}

impl Acks {
    /// Queues an acknowledgement, if its connection is still there.
    pub fn send(&self, ack: &Ack) -> Acked {
        let generation = self.lock();
        if *generation != ack.generation {
            return Acked::TooLate;
        }
        let sent = match (&self.client, &ack.packet) {
            (Client::V311(client), Packet::V311(publish)) => client.try_ack(publish).is_ok(),
            (Client::V5(client), Packet::V5(publish)) => client.try_ack(publish).is_ok(),
            _ => true,
        };
        if sent { Acked::Sent } else { Acked::Full }
    }

    /// Asks the broker to end the connection in peace; the session stays.
    pub fn disconnect(&self) {
        // When the queue is full, the connection ends without a word: the session stays as well.
        let _ = match &self.client {
            Client::V311(client) => client.try_disconnect().is_ok(),
            Client::V5(client) => client.try_disconnect().is_ok(),
        };
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn subscribe(&self, topics: &[String], qos: u8) -> Result<(), String> {
        match self {
            Self::V311(client) => {
                let qos = match qos {
                    0 => rumqttc::QoS::AtMostOnce,
                    _ => rumqttc::QoS::AtLeastOnce,
                };
                let filter = |topic: &String| SubscribeFilter { path: topic.clone(), qos };
                client.try_subscribe_many(topics.iter().map(filter)).map_err(|e| e.to_string())
            }
            Self::V5(client) => {
                let qos = match qos {
                    0 => v5bytes::QoS::AtMostOnce,
                    _ => v5bytes::QoS::AtLeastOnce,
                };
                let filter = |topic: &String| v5bytes::v5::Filter::new(topic, qos);
                client.try_subscribe_many(topics.iter().map(filter)).map_err(|e| e.to_string())
            }
        }
    }
}

/// An event in the words of both versions.
enum Event {
    Connected {
        session_present: bool,
    },
    Message(String, Bytes, Packet),
    /// For each filter, whether it was granted.
    Subscribed(Vec<bool>),
    Other,
}

fn v311(event: rumqttc::Event) -> Event {
    use rumqttc::{Packet as Mqtt, QoS, SubscribeReasonCode};
    match event {
        rumqttc::Event::Incoming(Mqtt::ConnAck(ack)) => {
            Event::Connected { session_present: ack.session_present }
        }
        rumqttc::Event::Incoming(Mqtt::Publish(mut publish)) => {
            let payload = std::mem::take(&mut publish.payload);
            let topic = publish.topic.clone();
            let acked = publish.qos != QoS::AtMostOnce;
            let packet = if acked { Packet::V311(publish) } else { Packet::None };
            Event::Message(topic, payload, packet)
        }
        rumqttc::Event::Incoming(Mqtt::SubAck(ack)) => {
            let granted = |code: &SubscribeReasonCode| *code != SubscribeReasonCode::Failure;
            Event::Subscribed(ack.return_codes.iter().map(granted).collect())
        }
        _ => Event::Other,
    }
}

fn v5(event: v5::Event) -> Event {
    use v5bytes::QoS;
    use v5bytes::v5::{Packet as Mqtt, SubscribeReasonCode};
    match event {
        v5::Event::Incoming(Mqtt::ConnAck(ack)) => {
            Event::Connected { session_present: ack.session_present }
        }
        v5::Event::Incoming(Mqtt::Publish(mut publish)) => {
            let payload = std::mem::take(&mut publish.payload);
            let topic = String::from_utf8_lossy(&publish.topic).into_owned();
            let acked = publish.qos != QoS::AtMostOnce;
            let packet = if acked { Packet::V5(publish) } else { Packet::None };
            Event::Message(topic, payload, packet)
        }
        v5::Event::Incoming(Mqtt::SubAck(ack)) => {
            let granted = |code: &_| matches!(code, SubscribeReasonCode::Success(_));
            Event::Subscribed(ack.return_codes.iter().map(granted).collect())
        }
        _ => Event::Other,
    }
}

fn read_tls(tls: &Tls) -> Result<TlsConfiguration, FileError> {
    // Fails when a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read =
        |path: &PathBuf| fs::read(path).map_err(|source| FileError { path: path.clone(), source });
    let client_auth = match (&tls.cert_file, &tls.key_file) {
        (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
        _ => None,
    };
    Ok(TlsConfiguration::Simple { ca: read(&tls.ca_file)?, alpn: None, client_auth })
}
