//! Columns: the same rules for record batches from doors and from files.
//!
//! A batch is *narrow* (`time, device, metric, value[, quality]`, a row a point) or *wide* (`time,
//! device, <metric columns>[, quality]`, a row all points of a device at one time). Column names
//! are compared without case, blanks and punctuation: `Device_ID` is `deviceid`.
//!
//! Event times: timestamps of any unit (without a zone: UTC), dates, epoch numbers whose unit
//! their magnitude tells, texts in RFC 3339 (without an offset: UTC). Values: any number type,
//! bools, texts; texts are read as numbers where the metric is one, as files without types need
//! it. A null value means "not there"; a NaN is refused.
//!
//! Wide batches keep their columns: nothing but the device is looked at row by row. Narrow
//! batches become wide rows, one for each device, time and quality of a batch; when a point is
//! there twice, a second row follows.

mod detect;
mod times;
mod values;
mod refused;
mod wide;
mod narrow;

pub use detect::{Columns, Error, Form};
pub use times::{Times, times};

#[cfg(test)]
mod tests;
