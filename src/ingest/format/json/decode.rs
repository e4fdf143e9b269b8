//! A body as a row of elements, each parsed where it stands; what cannot be parsed is cut out and
//! the rest goes on.

use super::element::{Element, out_of_range, too_deep};
use crate::ingest::route::{Refusal, Router};
use crate::model::Reason;
use serde::de::{DeserializeSeed, IgnoredAny};
use serde_json::Deserializer;
use std::borrow::Cow;

/// A body with more elements is cut: the rest is one refusal with `LIMIT`.
pub const ELEMENTS_MAX: u32 = 100_000;
/// A message with more metrics is refused with `LIMIT`.
pub const METRICS_MAX: usize = 10_000;
/// Elements nested deeper are refused with `LIMIT`: the parser's own limit.
pub const DEPTH_MAX: usize = 128;
/// How often the rest of a body may be searched for the end of a broken element. Each search can
/// cost the whole body.
const SEARCHES_MAX: u32 = 16;

/// How elements follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// One element, an array, or several of these in a row, on any lines.
    #[default]
    Detect,
    /// One element a line, as `application/x-ndjson` says: a line end always ends an element.
    Lines,
}

/// Routes all messages of a body. `device` is the device of messages that name none.
///
/// Nothing fails: a broken element becomes a refusal with its own bytes. When an array's own
/// syntax breaks, the elements before stay and the rest is one refusal.
pub fn decode(body: &[u8], framing: Framing, device: Option<&str>, router: &mut Router) {
    let element = Element { bare: device.is_some(), ..Element::default() };
    let mut decoder = Decoder { body, at: 0, element, device, router, searches: 0 };
    if decoder.peek().is_none() {
        let detail = "the body is empty: give a message, an array of messages, or one a line";
        decoder.refuse(Reason::Syntax, detail.into(), 0..body.len());
    }
    match framing {
        Framing::Detect => decoder.values(),
        Framing::Lines => decoder.lines(),
    }
}

struct Decoder<'a, 'r, 'd> {
    body: &'a [u8],
    /// Where the next byte to read stands.
    at: usize,
    element: Element<'a>,
    device: Option<&'a str>,
    router: &'r mut Router<'d>,
    searches: u32,
}

impl<'a> Decoder<'a, '_, '_> {
    fn values(&mut self) {
        while let Some(byte) = self.peek() {
            let start = self.at;
            if self.full() {
                return;
            }
            if byte == b'[' {
                self.array();
                continue;
            }
            let Err((reason, detail)) = self.element(self.body.len()) else { continue };
            let end = match self.skip() {
                Some(end) => end,
                None if self.searches < SEARCHES_MAX => self.next_line(start),
                None => self.body.len(),
            };
            self.refuse(reason, detail, start..end);
        }
    }

    fn lines(&mut self) {
        while self.peek().is_some() {
            let start = self.at;
            if self.full() {
                return;
            }
            let length = self.body[start..].iter().position(|byte| *byte == b'\n');
            let end = length.map_or(self.body.len(), |length| start + length);
            let rows = self.router.elements();
            match self.element(end) {
                Ok(()) if self.body[self.at..end].trim_ascii().is_empty() => {}
                Ok(()) => {
                    debug_assert_eq!(rows + 1, self.router.elements());
                    let detail = "more than one value on the line".to_owned();
                    let rest = self.at..end;
                    self.refuse(Reason::Syntax, detail, rest);
                }
                Err((reason, detail)) => self.refuse(reason, detail, start..end),
            }
            self.at = end;
        }
    }

    fn array(&mut self) {
        let open = self.at;
        self.at += 1;
        let mut first = true;
        loop {
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return;
                }
                Some(b',') if !first => {
                    self.at += 1;
                    self.peek();
                }
                Some(_) if first => {}
                Some(_) => return self.break_off("expected ',' or ']' after an element"),
                None => {
                    return self.break_off(&format!("the array from byte {open} is not closed"));
                }
            }
            first = false;
            if self.full() {
                return;
            }
            let start = self.at;
            let Err((reason, detail)) = self.element(self.body.len()) else { continue };
            match self.skip() {
                Some(end) => self.refuse(reason, detail, start..end),
                None => return self.break_off(&detail),
            }
        }
    }

    /// Parses and routes the element here, which ends before `end`, and stands behind it. On an
    /// error it stands where it stood.
    fn element(&mut self, end: usize) -> Result<(), (Reason, String)> {
        let start = self.at;
        let bytes = &self.body[start..end];
        self.element.careful = false;
        let mut parsed = parse(bytes, &mut self.element);
        if parsed.as_ref().is_err_and(out_of_range) {
            self.element.careful = true;
            parsed = parse(bytes, &mut self.element);
        }
        let length = parsed.map_err(|e| explain(&e, start))?;
        if let Some(fault) = self.element.fault.take() {
            return Err(fault);
        }
        if self.element.message.device.is_none() {
            self.element.message.device = self.device.map(Cow::Borrowed);
        }
        self.router.message(&self.element.message, &bytes[..length]);
        self.at = start + length;
        Ok(())
    }

    /// The end of the value here, if its syntax is right.
    fn skip(&mut self) -> Option<usize> {
        let bytes = &self.body[self.at..];
        let mut values = Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => Some(self.at + values.byte_offset()),
            Some(Err(e)) => {
                self.searches += u32::from(e.is_eof());
                None
            }
            None => None,
        }
    }

    /// Where a new element may start behind a broken one: a line that begins with a bracket.
    /// Behind something that is no bracket at all, any line.
    fn next_line(&self, start: usize) -> usize {
        let any = !matches!(self.body[start], b'{' | b'[');
        let rest = &self.body[start..];
        let follows = |at: &usize| match rest.get(at + 1) {
            Some(next) => any || matches!(next, b'{' | b'['),
            None => true,
        };
        let ends = rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at);
        ends.into_iter().find(follows).map_or(self.body.len(), |at| start + at)
    }

    /// Refuses the rest of the body.
    fn break_off(&mut self, why: &str) {
        let detail = format!("the array breaks at byte {}: {why}", self.at);
        self.refuse(Reason::Syntax, detail, self.at..self.body.len());
    }

    /// Refuses the rest of the body when it has too many elements.
    fn full(&mut self) -> bool {
        let full = self.router.elements() >= ELEMENTS_MAX;
        if full {
            let detail = format!("more than {ELEMENTS_MAX} elements: split the body");
            self.refuse(Reason::Limit, detail, self.at..self.body.len());
        }
        full
    }

    fn refuse(&mut self, reason: Reason, detail: String, bytes: std::ops::Range<usize>) {
        let device = self.element.message.device.as_deref().or(self.device).map(str::to_owned);
        self.at = bytes.end;
        self.router.refuse(Refusal { reason, detail, device }, self.body[bytes].trim_ascii_end());
        self.element.reset();
    }

    /// Goes to the next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }
}

/// Parses one element and tells its length.
fn parse<'a>(bytes: &'a [u8], element: &mut Element<'a>) -> Result<usize, serde_json::Error> {
    element.reset();
    let mut deserializer = Deserializer::from_slice(bytes);
    element.deserialize(&mut deserializer)?;
    Ok(deserializer.into_iter::<IgnoredAny>().byte_offset())
}

fn explain(error: &serde_json::Error, start: usize) -> (Reason, String) {
    if too_deep(error) {
        return (Reason::Limit, format!("nested deeper than {DEPTH_MAX} levels"));
    }
    let reason = if error.is_data() { Reason::Schema } else { Reason::Syntax };
    (reason, format!("{error} (of the element at byte {start})"))
}

#[cfg(test)]
mod tests;
