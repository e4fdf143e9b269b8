//! Several sorted files as one.

use super::super::error::Error;
use super::output::Output;
use super::source::{Key, Source};
use std::cmp::Ordering;

/// What is in the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Of each key the newest value that it had when the file was written: it is there once.
    Newest,
    /// Values that were replaced: a key is there as often as it was.
    Older,
}

/// Writes the rows of all files in order. Of files with newest values the newest of all goes to
/// `newest`, and those that it replaces to `older`, where rows of files with older values go too.
/// `go_on` is asked from time to time; [`Error::Closed`] when it does not want to.
pub(super) fn combine(
    mut sources: Vec<Source>,
    kind: Kind,
    (newest, older): (&mut Output, &mut Output),
    go_on: impl Fn() -> bool,
) -> Result<(), Error> {
    // In order of what comes next. There are few of them.
    sources.retain(|source| source.key().is_some());
    sources.sort_by(order);
    while !sources.is_empty() {
        let limit = sources.get(1).and_then(Source::key);
        let before = sources[0].before(limit);
        let is_tied = before.is_empty();
        let rows = if is_tied { sources[0].next() } else { before };
        let (output, number) = match kind {
            Kind::Newest => (&mut *newest, 0),
            Kind::Older => (&mut *older, 1),
        };
        if output.push(&mut sources[0].rows, rows.clone(), number)? && !go_on() {
            return Err(Error::Closed);
        }
        if kind == Kind::Newest && is_tied {
            push_older(&mut sources, older)?;
        }
        advance(&mut sources, rows.len())?;
    }
    Ok(())
}

/// Writes what others have of the first one's key.
fn push_older(sources: &mut Vec<Source>, older: &mut Output) -> Result<(), Error> {
    let Some((asset, metric, time)) = sources[0].key() else { return Ok(()) };
    let (asset, metric) = (asset.to_owned(), metric.to_owned());
    let key: Key<'_> = (&asset, &metric, time);
    let mut rest = sources.split_off(1);
    while rest.first().is_some_and(|source| source.key() == Some(key)) {
        let rows = rest[0].next();
        older.push(&mut rest[0].rows, rows, 1)?;
        advance(&mut rest, 1)?;
    }
    sources.append(&mut rest);
    Ok(())
}

/// Goes on in the first file, which gets its new place among the others.
fn advance(sources: &mut Vec<Source>, rows: usize) -> Result<(), Error> {
    sources[0].skip(rows)?;
    if sources[0].key().is_none() {
        sources.remove(0);
        return Ok(());
    }
    let first = &sources[0];
    let place = sources[1..].partition_point(|other| order(other, first) == Ordering::Less);
    sources[..=place].rotate_left(1);
    Ok(())
}

/// By key, and among the same by epoch, newest first.
fn order(left: &Source, right: &Source) -> Ordering {
    left.key().cmp(&right.key()).then_with(|| right.epoch().cmp(&left.epoch()))
}
