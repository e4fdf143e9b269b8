//! Answers to SQL that are read page by page, each page by a request of its own.

use super::doors::{DoorError, ErrorKind};
use super::held::{Held, Room};
use super::limits::{PAGE_ROWS, PAGES};
use crate::query::{Cursor, Piece};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer is kept that nobody reads on: longer than the query itself waits.
const AGE: Duration = Duration::from_secs(600);

/// The answers that are being read. Clones share them.
#[derive(Clone)]
pub(super) struct Pages {
    held: Arc<Mutex<Held<Arc<Answer>>>>,
}

/// One answer, and where its reader is.
pub(super) struct Answer {
    /// Rows of a page.
    rows: usize,
    place: tokio::sync::Mutex<Place>,
}

struct Place {
    cursor: Cursor,
    /// The number of the newest page, from 1, and its rows: whoever did not get them asks again.
    number: u64,
    page: Option<Piece>,
}

/// A page of an answer.
pub(super) struct Page {
    /// Its rows, and whether it is the last one.
    pub piece: Piece,
    /// Of which columns.
    pub schema: arrow::datatypes::SchemaRef,
    /// The epoch that all pages are of.
    pub epoch: u64,
}

impl Default for Pages {
    fn default() -> Self {
        let room = Room { count: PAGES, bytes: usize::MAX, age: AGE };
        Self { held: Arc::new(Mutex::new(Held::new(room))) }
    }
}

impl Pages {
    /// Keeps an answer under a name. When too many are kept, the one that was not read for the
    /// longest time is forgotten.
    pub fn keep(&self, name: &str, answer: Answer) {
        self.held().keep(name, Arc::new(answer), 0, Instant::now());
    }

    /// The answer under a name.
    pub fn get(&self, name: &str) -> Option<Arc<Answer>> {
        self.held().get(name, Instant::now()).cloned()
    }

    /// Forgets an answer. False when there is none.
    pub fn forget(&self, name: &str) -> bool {
        self.held().forget(name).is_some()
    }

    fn held(&self) -> MutexGuard<'_, Held<Arc<Answer>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// An answer in pages of so many rows, of which none was read yet.
    pub fn new(cursor: Cursor, rows: usize) -> Self {
        let place = Place { cursor, number: 0, page: None };
        Self { rows, place: tokio::sync::Mutex::new(place) }
    }

    /// A page by its number, from 1: the one after the newest that was read, or that one again.
    pub async fn page(&self, number: u64) -> Result<Page, DoorError> {
        let mut place = self.place.lock().await;
        let place = &mut *place;
        let piece = match &place.page {
            Some(page) if number == place.number => page.clone(),
            Some(page) if page.last => return Err(gone(number, place.number)),
            _ if number != place.number + 1 => return Err(gone(number, place.number)),
            _ => {
                let piece = place.cursor.next(self.rows, Duration::MAX).await?;
                place.number = number;
                place.page = Some(piece.clone());
                piece
            }
        };
        Ok(Page { piece, schema: place.cursor.schema(), epoch: place.cursor.epoch().0 })
    }
}

fn gone(number: u64, newest: u64) -> DoorError {
    let detail = format!("page {number} cannot be read: the newest one that was read is {newest}");
    DoorError::new(ErrorKind::Conflict, detail)
        .hint("pages are read one after the other, and the newest one again: follow 'next'")
}

/// The number of rows of a page, when it is one.
pub(super) fn page_rows(rows: usize) -> Result<usize, DoorError> {
    match rows {
        1..=PAGE_ROWS => Ok(rows),
        _ => {
            let detail = format!("page_size is {rows}, not between 1 and {PAGE_ROWS}");
            Err(DoorError::new(ErrorKind::Malformed, detail))
        }
    }
}
