//! The dead letters: the newest ones, up to a number and a size.

use super::cell::Cell;
use super::limits::Limits;
use super::series::DEAD_LETTERS_DROPPED;
use super::small::{SmallChange, SmallView};
use crate::model::DeadLetter;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;

/// A queue that forgets its oldest letters when a limit is passed, and counts them.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    /// Letters that came in this epoch and are still there.
    #[serde(skip)]
    fresh: usize,
    /// Letters of earlier epochs that this one pushed out; `None` while nobody wants to know.
    #[serde(skip)]
    gone: Option<Vec<DeadLetter>>,
}

impl DeadLetters {
    pub fn push(&mut self, letter: DeadLetter, limits: &Limits) {
        self.bytes += letter.bytes();
        self.letters.push_back(letter);
        self.fresh += 1;
        let mut dropped = 0;
        while self.letters.len() > limits.dead_letters || self.bytes > limits.dead_letter_bytes {
            let Some(oldest) = self.letters.pop_front() else { break };
            self.bytes -= oldest.bytes();
            dropped += 1;
            if self.fresh > self.letters.len() {
                self.fresh = self.letters.len();
            } else if let Some(gone) = &mut self.gone {
                gone.push(oldest);
            }
        }
        if dropped > 0 {
            metrics::counter!(DEAD_LETTERS_DROPPED).increment(dropped);
        }
    }
}

impl SmallView for DeadLetters {
    fn begin(&mut self, watched: bool) {
        self.fresh = 0;
        self.gone = watched.then(Vec::new);
    }

    fn each<'a>(&'a self, take: &mut dyn FnMut(Vec<Cell<'a>>) -> bool) {
        for letter in &self.letters {
            if !take(cells(letter)) {
                return;
            }
        }
    }

    fn changes(&self) -> Vec<SmallChange<'_>> {
        let Some(gone) = &self.gone else { return Vec::new() };
        let came = self.letters.iter().skip(self.letters.len() - self.fresh);
        let change = |row, before| SmallChange { cells: cells(row), before, after: 1 - before };
        gone.iter().map(|row| change(row, 1)).chain(came.map(|row| change(row, 0))).collect()
    }

    fn len(&self) -> usize {
        self.letters.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

fn cells(letter: &DeadLetter) -> Vec<Cell<'_>> {
    vec![
        Cell::Time(letter.received_at.0),
        Cell::text(&letter.source),
        letter.device.as_deref().map_or(Cell::Null, Cell::text),
        Cell::text(letter.reason.code()),
        Cell::text(&letter.detail),
        Cell::Text(readable(&letter.raw)),
    ]
}

/// The bytes as text; what is not UTF-8 is written as `\xNN`.
fn readable(raw: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(raw) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(raw.len());
    for chunk in raw.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &[u8], expected: &str) {
        assert_eq!(readable(raw), expected);
    }

    #[test]
    fn raw_bytes_are_readable() {
        check(b"{\"a\": 1}", "{\"a\": 1}");
        check("12 \u{b0}C".as_bytes(), "12 \u{b0}C");
        check(b"12 \xb0C\xff", "12 \\xb0C\\xff");
    }
}
