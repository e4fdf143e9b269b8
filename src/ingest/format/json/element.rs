//! One message as a serde visitor: borrows from the body and remembers faults instead of failing,
//! so that only broken syntax ends a parse.

use super::decode::METRICS_MAX;
use crate::ingest::route::{Message, Scalar};
use crate::model::{Quality, Reason, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Longer metric names are refused.
const NAME_BYTES_MAX: usize = 256;

/// A message being read. Reused from element to element of a body.
#[derive(Default)]
pub(super) struct Element<'a> {
    pub message: Message<'a>,
    /// The first thing that is wrong with the message as a whole.
    pub fault: Option<(Reason, String)>,
    /// Whether metrics may stand at the top.
    pub bare: bool,
    /// Reads each metric on its own, so that a number that is out of range stays alone.
    pub careful: bool,
    pub has_metrics: bool,
}

/// The keys of a message that mean something.
enum Key<'a> {
    Device,
    Metrics,
    Time,
    Quality,
    Metadata,
    Other(Cow<'a, str>),
}

impl Element<'_> {
    /// Forgets the last message, keeps the memory and the modes.
    pub fn reset(&mut self) {
        self.message.device = None;
        self.message.metrics.clear();
        self.message.event_time = None;
        self.message.quality = Quality::GOOD;
        self.fault = None;
        self.has_metrics = false;
    }

    fn fail(&mut self, reason: Reason, detail: impl Into<String>) {
        if self.fault.is_none() {
            self.fault = Some((reason, detail.into()));
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Element<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Element<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a message: an object with 'deviceId' and 'metrics'")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Key>()? {
            match key {
                Key::Metrics => {
                    if !self.has_metrics {
                        self.message.metrics.clear();
                    }
                    self.has_metrics = true;
                    map.next_value_seed(MetricsSeed(self))?;
                }
                Key::Device => match map.next_value::<Scalar>()? {
                    Scalar::Text(device) => self.message.device = Some(device),
                    Scalar::Null => {}
                    _ => self.fail(Reason::Schema, "'deviceId' must be a text"),
                },
                Key::Time => match map.next_value::<Scalar>()? {
                    Scalar::Null => {}
                    scalar => match timestamp(&scalar) {
                        Ok(time) => self.message.event_time = Some(time),
                        Err(detail) => self.fail(Reason::Ts, detail),
                    },
                },
                Key::Quality => match quality(&map.next_value::<Scalar>()?) {
                    Some(quality) => self.message.quality = quality,
                    None => self.fail(
                        Reason::Schema,
                        "'quality' must be Good, Uncertain, Bad or a status code",
                    ),
                },
                Key::Other(name) if self.bare && !self.has_metrics => {
                    let value = self.value(&mut map)?;
                    self.push(name, value);
                }
                Key::Metadata | Key::Other(_) => {
                    map.next_value::<Skip>()?;
                }
            }
        }
        if !self.has_metrics && !self.bare {
            self.fail(Reason::Schema, "no metrics: give 'metrics', an object");
        }
        Ok(())
    }
}

impl<'de> Element<'de> {
    fn value<A: MapAccess<'de>>(&self, map: &mut A) -> Result<Scalar<'de>, A::Error> {
        if !self.careful {
            return map.next_value();
        }
        let raw: &RawValue = map.next_value()?;
        match serde_json::from_str(raw.get()) {
            Ok(scalar) => Ok(scalar),
            Err(e) if too_deep(&e) => Err(A::Error::custom(e)),
            Err(_) => Ok(Scalar::Other("a number that is out of range")),
        }
    }

    fn push(&mut self, name: Cow<'de, str>, value: Scalar<'de>) {
        if self.message.metrics.len() >= METRICS_MAX {
            self.fail(Reason::Limit, format!("more than {METRICS_MAX} metrics in one message"));
        } else if name.len() > NAME_BYTES_MAX {
            let detail = format!("a metric name is longer than {NAME_BYTES_MAX} bytes");
            self.fail(Reason::Limit, detail);
        } else {
            self.message.metrics.push((name, value));
        }
    }
}

/// Whether an error says that something is nested deeper than the parser goes.
pub(super) fn too_deep(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("recursion limit exceeded")
}

/// Whether an error says that a number is too large for a float.
pub(super) fn out_of_range(error: &serde_json::Error) -> bool {
    error.to_string().starts_with("number out of range")
}

fn timestamp(scalar: &Scalar) -> Result<Timestamp, String> {
    let read = match scalar {
        Scalar::Integer(number) => Timestamp::from_integer(*number),
        Scalar::Double(number) => Timestamp::from_number(*number),
        Scalar::Text(text) => return Timestamp::parse(text).map_err(|e| e.to_string()),
        _ => return Err("'timestamp' must be a text or a number".into()),
    };
    read.ok_or_else(|| "'timestamp' is a number that is no time".into())
}

fn quality(scalar: &Scalar) -> Option<Quality> {
    match scalar {
        Scalar::Null => Some(Quality::GOOD),
        Scalar::Text(text) => Quality::parse(text),
        Scalar::Integer(code) => u32::try_from(*code).ok().map(Quality),
        _ => None,
    }
}

struct MetricsSeed<'s, 'a>(&'s mut Element<'a>);

impl<'de> DeserializeSeed<'de> for MetricsSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetricsSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of metrics")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            let value = self.0.value(&mut map)?;
            self.0.push(name, value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<Skip>()?.is_some() {}
        self.wrong()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.wrong()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.wrong()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.wrong()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.wrong()
    }
}

impl MetricsSeed<'_, '_> {
    fn wrong<E>(self) -> Result<(), E> {
        self.0.fail(Reason::Schema, "'metrics' must be an object");
        Ok(())
    }
}

/// A name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

struct NameVisitor;

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.into())))
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Name(name) = Name::deserialize(deserializer)?;
        Ok(match &*name {
            "deviceId" | "device_id" | "device" => Self::Device,
            "metrics" => Self::Metrics,
            "timestamp" | "ts" | "time" => Self::Time,
            "quality" => Self::Quality,
            "metadata" => Self::Metadata,
            _ => Self::Other(name),
        })
    }
}

struct ScalarVisitor;

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Double(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Scalar::Double(value as f64), Scalar::Integer))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.into())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Skip>()?.is_some() {}
        Ok(Scalar::Other("an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Skip, Skip>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

/// Anything, thrown away. Unlike serde's own, it recurses, so that the parser's depth limit holds.
struct Skip;

impl<'de> Deserialize<'de> for Skip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Scalar::deserialize(deserializer).map(|_| Self)
    }
}
