//! What every room stands on: clocks, the file system, waiting, shutdown. No nouns of telemetry here.

pub mod backoff;
pub mod clock;
pub mod fs;
pub mod lock;
pub mod serial;
pub mod shutdown;
