//! The nouns that every room speaks: times, qualities, values, batches, frames and changes.
//!
//! Pure values only. Nothing here reads a clock, opens a file, allocates an identity or knows a
//! foreign runtime; everything can be compared, printed and sent to another thread.

mod time;
mod quality;
mod value;
mod ids;
mod batch;
mod rows;
mod edit;
mod expiry;
mod page;
mod frame;
mod change;
mod file;
pub mod spare;

pub use batch::{Batch, BatchError, DEVICE, EVENT_TIME, MESSAGE, METRICS_FROM, QUALITY};
pub use change::{
    Change, ErrorRow, EventRow, FleetHealthRow, FleetThresholdRow, Occurrence, Outcome, Output,
    Table, Upserts, Window,
};
pub use edit::{Action, Corrected, Edit, EditRefusal, EditRow};
pub use expiry::Expiry;
pub use file::{ArchiveFile, Place};
pub use frame::{DeadLetter, Document, Frame, Kind, NewDocument, Reason};
pub use ids::{AssetId, DeviceId, TypeId};
pub use page::{Page, PageContent, PagePoints, PageRequest};
pub use quality::Quality;
pub use rows::{NO_MESSAGE, Rows, mask_words};
pub use time::{Duration, Epoch, TimeError, Timestamp};
pub use value::{DataType, Symbol, Value};
