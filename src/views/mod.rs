//! Views: what every public view holds at one epoch, and the changes that lead to the next.
//!
//! Everything of one epoch becomes visible at once, in every view and on every subscription. This
//! room keeps contents and hands them out as Arrow batches; it computes nothing, knows no wire
//! format, and forgets nothing that the dataflow did not retract, with the one exception of dead
//! letters, of which the newest are kept. What is old leaves memory for files.

mod handle;
mod view;
mod filter;
mod limits;
mod subscription;
mod error;
mod state;
mod learning;
mod names;
mod wide;
mod kept;
mod leaving;
mod old_windows;
mod old_rows;
mod returning;
mod back_windows;
mod unpivot;
mod small;
mod aging;
mod filed;
mod documents;
mod dead_letters;
mod read;
mod changed;
mod told;
mod delta;
mod registry;
mod queue;
mod cell;
mod series;
mod image;
#[cfg(test)]
mod tests;

pub use changed::{Changed, Ended, EndedRows};
pub use error::Error;
pub use filed::InFiles;
pub use filter::{Envelope, Filter};
pub use handle::{Held, Rows, Snapshot, ViewInfo, Views};
pub use image::{Image, Restored};
pub use kept::Archived;
pub use leaving::{InMemory, Leaving, Old};
pub use limits::{Limits, SlowConsumer};
pub use returning::{OldFiles, Wanted};
pub use series::{
    APPLY_SECONDS, DEAD_LETTERS_DROPPED, EPOCH, ROWS_REFUSED, ROWS_UPSERTED, SUBSCRIBERS,
    SUBSCRIBERS_CLOSED,
};
pub use state::Removed;
pub use subscription::{Closed, Delta, Message, Subscription};
pub use told::Told;
pub use view::View;
