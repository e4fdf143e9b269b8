//! Looks at the views from time to time, table by table, a transaction at a time.

use super::error::Error;
use super::follow::{Ask, Changes};
use super::session::Session;
use super::tables::{TABLES, Table};
use crate::model::Epoch;
use std::time::{Duration, Instant};

/// How far the places of tables of which nothing changes may fall behind, in epochs of milliseconds.
const IDLE_EPOCHS: u64 = 10_000;
/// Between two looks at least.
const PAUSE: Duration = Duration::from_millis(50);
/// The pause after a look is so many times as long as it took: what changes faster than it can be
/// written is written less often, and points have most of the time.
const REST: u32 = 2;

/// A look at all views, of which many follow each other in a session.
pub(super) struct Look {
    /// All tables have at least the rows of this epoch.
    reached: Epoch,
    /// The epoch that they will have reached after this look.
    epoch: Epoch,
    /// Tables that are still to be asked for.
    left: std::slice::Iter<'static, Table>,
    /// What is being written.
    writing: Option<(&'static Table, Changes)>,
    /// Tables that have nothing new and whose places are far behind.
    idle: Vec<&'static Table>,
    is_under_way: bool,
    is_last: bool,
    begun: Instant,
    next: Instant,
}

static ALL: [Table; 11] = TABLES;

impl Look {
    /// The first look of a session.
    pub fn new() -> Self {
        let (reached, now) = (Epoch(0), Instant::now());
        let (left, idle) = (ALL[..0].iter(), Vec::new());
        Self {
            reached,
            epoch: reached,
            left,
            writing: None,
            idle,
            is_under_way: false,
            is_last: false,
            begun: now,
            next: now,
        }
    }

    /// All tables have at least the rows of this epoch.
    pub fn reached(&self) -> Epoch {
        self.reached
    }

    /// How long nothing is to be done; `None` when a look is under way.
    pub fn pause(&self) -> Option<Duration> {
        let rest = self.next.saturating_duration_since(Instant::now());
        (!self.is_under_way).then_some(rest)
    }

    /// Writes the next piece, when it is time. With `last` a look that begins now leaves the places
    /// of all tables behind; returns whether such a one has ended.
    pub async fn go_on(
        &mut self,
        session: &mut Session,
        views: &dyn Ask,
        last: bool,
    ) -> Result<bool, Error> {
        if let Some(pause) = self.pause() {
            if !pause.is_zero() && !last {
                return Ok(false);
            }
            (self.begun, self.is_under_way) = (Instant::now(), true);
            (self.epoch, self.is_last, self.left) = (views.epoch(), last, ALL.iter());
        }
        while self.writing.is_none() {
            let Some(table) = self.left.next() else {
                let idle = std::mem::take(&mut self.idle);
                session.move_views(&idle, self.epoch).await?;
                (self.reached, self.is_under_way) = (self.epoch, false);
                self.next = Instant::now() + PAUSE.max(self.begun.elapsed() * REST);
                return Ok(self.is_last);
            };
            let place = session.place_of(table);
            let changed = views.changed(table.name, place);
            let changed = changed.map_err(|reason| Error::View { view: table.name, reason })?;
            let idle = if self.is_last { 0 } else { IDLE_EPOCHS };
            match changed {
                Some(changes) => self.writing = Some((table, changes)),
                None if self.epoch.0 > place.0 + idle => self.idle.push(table),
                None => {}
            }
        }
        if let Some((table, changes)) = &mut self.writing
            && !session.write_changes(table, changes).await?
        {
            self.writing = None;
        }
        Ok(false)
    }
}
