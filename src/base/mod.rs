//! What every room stands on: clocks, the file system, memory, waiting, shutdown. No nouns of telemetry here.

pub mod backoff;
pub mod clock;
pub mod fs;
pub mod link;
pub mod lock;
pub mod memory;
pub mod serial;
pub mod shutdown;
