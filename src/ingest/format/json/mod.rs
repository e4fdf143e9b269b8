//! JSON bodies: one message `{deviceId, metrics: {...}, timestamp, quality, metadata}`, an array
//! of messages, or one message a line (NDJSON).
//!
//! * `deviceId` (also `device_id`, `device`): a text. Where the door knows the device already, it
//!   may be left out, and the metrics may stand at the top instead of inside `metrics`.
//! * `metrics`: an object of numbers, bools, texts; `null` means "not in this message".
//! * `timestamp` (also `ts`, `time`): RFC 3339, or an epoch number whose unit its magnitude tells;
//!   left out or `null`: the receive time.
//! * `quality`: `Good`, `Uncertain`, `Bad` or an OPC UA status code, for all values.
//! * `metadata` and unknown keys are checked for syntax and depth, and not kept.
//!
//! Good messages are parsed in one pass without intermediate values; only refused ones are looked
//! at twice.

mod decode;
mod element;
mod schema;

pub use decode::{DEPTH_MAX, ELEMENTS_MAX, Framing, METRICS_MAX, decode};
pub use schema::schema;
