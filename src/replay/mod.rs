//! Replay: the pace of a recording. Reads no files and opens no doors; somebody else feeds.

mod pace;

pub use pace::{Pace, Progress, Speed};
