//! Printing that goes on when nobody reads any more: with `| head` behind it the standard macros
//! panic.

use std::fmt;
use std::io::{self, Write};

/// Prints a line to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print::line(std::io::stdout(), format_args!($($text)*)) };
}

/// Prints a line to standard error.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::print::line(std::io::stderr(), format_args!($($text)*)) };
}

/// Prints a line. What cannot be written is dropped.
pub fn line(mut out: impl Write, text: fmt::Arguments) {
    let _ = out.write_fmt(format_args!("{text}\n"));
}

/// A writer whose reader may go away: what is written after that is dropped, without an error.
pub struct Patient<W>(pub W);

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}
