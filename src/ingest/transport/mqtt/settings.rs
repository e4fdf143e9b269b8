//! What a user types about a broker.

use super::topic::Template;
use crate::model::Duration;
use serde::Deserialize;
use std::path::PathBuf;

/// A broker and what to take from it.
///
/// ```yaml
/// host: broker.plant.example
/// port: 8883
/// version: v5
/// client_id: millstream-1
/// topics: ["plant/+/telemetry", "lab/#"]
/// device_from_topic: plant/{device}/telemetry
/// tls: { ca_file: ca.pem, cert_file: client.pem, key_file: client.key }
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name or address of the broker.
    pub host: String,
    /// Its port; 1883 plain and 8883 with TLS are usual.
    #[serde(default = "port")]
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub version: Version,
    /// Names the session: unique at the broker, the same after every restart. Not empty.
    pub client_id: String,
    /// Topic filters, with `+` and `#`. At least one.
    pub topics: Vec<String>,
    /// 0 or 1. With 0 nothing is acknowledged and a lost connection loses messages.
    #[serde(default = "qos")]
    pub qos: u8,
    /// Where the device stands in a topic, for payloads that do not name it.
    #[serde(default)]
    pub device_from_topic: Option<Template>,
    /// User name.
    #[serde(default)]
    pub username: Option<String>,
    /// Password; needs a user name.
    #[serde(default)]
    pub password: Option<String>,
    /// TLS. None: plain TCP.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// How long a v5 broker keeps the session while nobody is connected. A v3.1.1 broker has its
    /// own limit.
    #[serde(default = "session_expiry")]
    pub session_expiry: Duration,
    /// Silence after which the connection is tested; at least 5 s.
    #[serde(default = "keep_alive")]
    pub keep_alive: Duration,
    /// Messages that may wait for durability at a time; from 1 on.
    #[serde(default = "in_flight")]
    pub in_flight: u16,
    /// Larger packets end the connection; a v5 broker is told and leaves such messages out.
    #[serde(default = "packet_bytes")]
    pub packet_bytes: u32,
}

/// The protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    #[serde(alias = "v3.1.1", alias = "3.1.1")]
    V311,
    /// MQTT 5.
    #[serde(alias = "5")]
    V5,
}

/// Files in PEM form. The broker's certificate must name the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates of the authorities that may sign the broker's.
    pub ca_file: PathBuf,
    /// The client's certificate, where the broker asks for one.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key of the client's certificate.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
}

impl Settings {
    /// A broker at an address, everything else as usual.
    pub fn new(
        host: impl Into<String>,
        port: u16,
        client_id: impl Into<String>,
        topics: Vec<String>,
    ) -> Self {
        Self {
            host: host.into(),
            port,
            version: Version::default(),
            client_id: client_id.into(),
            topics,
            qos: qos(),
            device_from_topic: None,
            username: None,
            password: None,
            tls: None,
            session_expiry: session_expiry(),
            keep_alive: keep_alive(),
            in_flight: in_flight(),
            packet_bytes: packet_bytes(),
        }
    }

    /// What is wrong with the settings, if anything.
    pub(super) fn fault(&self) -> Option<&'static str> {
        match self {
            _ if self.client_id.is_empty() => Some("client_id is empty: it names the session"),
            _ if self.topics.is_empty() => Some("topics is empty: give at least one filter"),
            _ if !self.topics.iter().all(|topic| rumqttc::valid_filter(topic)) => {
                Some("a topic filter is malformed: + and # stand alone between slashes, # last")
            }
            _ if self.qos > 1 => Some("qos must be 0 or 1"),
            _ if self.keep_alive.0 < 5_000_000 => Some("keep_alive must be 5 s or more"),
            _ if self.in_flight == 0 => Some("in_flight must be 1 or more"),
            _ if self.password.is_some() && self.username.is_none() => {
                Some("a password needs a username")
            }
            Self { tls: Some(tls), .. } if tls.cert_file.is_some() != tls.key_file.is_some() => {
                Some("tls.cert_file and tls.key_file go together")
            }
            _ => None,
        }
    }
}

fn port() -> u16 {
    1883
}

fn qos() -> u8 {
    1
}

fn session_expiry() -> Duration {
    Duration(7 * 86_400_000_000)
}

fn keep_alive() -> Duration {
    Duration(30_000_000)
}

fn in_flight() -> u16 {
    1_024
}

fn packet_bytes() -> u32 {
    16 << 20
}
