//! What every room stands on: clocks, the file system, shutdown. No nouns of telemetry here.

pub mod clock;
pub mod fs;
pub mod lock;
pub mod shutdown;
