//! Some assets of one type: their points in the order of event times, through the graph's core.

use super::health::Course;
use super::plant::{Asset, Plant};
use super::{Take, hand_out};
use crate::dataflow::Retelling;
use crate::historian::{Ask, Historian};
use crate::model::{Change, Document, Epoch, PagePoints};
use crate::query::Telling;
use crate::views::{Limits, Told, View};
use std::sync::Arc;

/// Points of an asset that are read at once; where there are more, for a shorter time.
const POINTS_AT_ONCE: usize = 200_000;
/// Microseconds.
const DAY: i64 = 86_400_000_000;

/// Assets of a type, as of an epoch.
pub struct Group<'a> {
    pub historian: &'a Historian,
    pub as_of: Epoch,
    /// The versions of the type's document, in the order of publication and of their times.
    pub versions: &'a [Document],
    pub assets: Vec<Asset>,
    /// The days that may have points.
    pub days: &'a [i64],
}

/// Who hears what is told.
trait Listener {
    /// Whether what is true after each row is to be told.
    const ROW_BY_ROW: bool;
    fn hear(&mut self, changes: Vec<Change>);
    /// A version takes effect.
    fn version(&mut self, document: &Document, changes: Vec<Change>);
    /// What is ready, and about how many bytes are held.
    fn ready(&mut self, take: Take<'_>) -> Result<bool, String>;
}

/// Keeps a view.
struct Keeper {
    told: Told,
    before: Option<Document>,
}

impl Listener for Keeper {
    const ROW_BY_ROW: bool = false;

    fn hear(&mut self, changes: Vec<Change>) {
        self.told.take(changes);
    }

    fn version(&mut self, document: &Document, mut changes: Vec<Change>) {
        let before = self.before.replace(document.clone()).map(|before| (before, -1));
        let documents = before.into_iter().chain([(document.clone(), 1)]);
        changes.insert(0, Change::Documents(documents.collect()));
        self.told.take(changes);
    }

    fn ready(&mut self, take: Take<'_>) -> Result<bool, String> {
        take(Telling::Working(self.told.bytes()))
    }
}

impl Listener for Course {
    const ROW_BY_ROW: bool = true;

    fn hear(&mut self, changes: Vec<Change>) {
        self.note(Retelling::scores(&changes));
    }

    fn version(&mut self, document: &Document, _changes: Vec<Change>) {
        self.read_bands(document);
    }

    fn ready(&mut self, take: Take<'_>) -> Result<bool, String> {
        match self.batch().map_err(|error| error.to_string())? {
            Some(batch) => take(Telling::Rows(batch)),
            None => take(Telling::Working(0)),
        }
    }
}

impl Group<'_> {
    /// Tells a view. False when no more is wanted.
    pub fn view(&self, view: View, plant: &Plant, take: Take<'_>) -> Result<bool, String> {
        let mut told = Told::new(Limits::default());
        let documents = self.assets.iter().map(|asset| (asset.document.clone(), 1)).collect();
        told.take(vec![Change::Documents(documents)]);
        let mut keeper = Keeper { told, before: None };
        let Some(mut retelling) = self.tell(i64::MAX, &mut keeper, take)? else { return Ok(false) };
        keeper.hear(retelling.tick(plant.clock.0));
        hand_out(keeper.told.rows(view), take)
    }

    /// Tells how the health of the assets went, up to a time. False when no more is wanted.
    pub fn health(&self, until: Option<i64>, take: Take<'_>) -> Result<bool, String> {
        let assets = self.assets.iter().map(|asset| (asset.id, Arc::clone(&asset.key)));
        let mut course = Course::of(assets);
        let told = self.tell(until.unwrap_or(i64::MAX), &mut course, take)?;
        Ok(told.is_some() && course.ready(take)?)
    }

    /// Tells of all points up to a time. `None` when no more is wanted.
    fn tell<L: Listener>(
        &self,
        until: i64,
        listener: &mut L,
        take: Take<'_>,
    ) -> Result<Option<Retelling>, String> {
        let names = self.assets.iter().map(|asset| (asset.id, Arc::clone(&asset.key)));
        let mut retelling = Retelling::of(names);
        let mut versions = self.versions.iter().peekable();
        for day in self.days {
            let (mut from, end) = (*day, day.saturating_add(DAY).min(until.saturating_add(1)));
            while from < end {
                while let Some(version) = versions.next_if(|v| v.effective_from.0 <= from) {
                    publish(&mut retelling, version, listener);
                }
                let next = versions.peek().map_or(end, |v| v.effective_from.0.min(end));
                if !self.slice((from, next - 1), &mut retelling, listener, take)? {
                    return Ok(None);
                }
                from = next;
            }
        }
        // Those that begin behind the last point.
        versions.for_each(|version| publish(&mut retelling, version, listener));
        Ok(Some(retelling))
    }

    /// Tells of the points of a time in which one version is in force; first and last microsecond.
    fn slice<L: Listener>(
        &self,
        (from, to): (i64, i64),
        retelling: &mut Retelling,
        listener: &mut L,
        take: Take<'_>,
    ) -> Result<bool, String> {
        let ask =
            |asset: &Asset| Ask { asset: Arc::clone(&asset.key), from, to, after: asset.after };
        let asks: Vec<Ask> = self.assets.iter().map(ask).collect();
        let read = self.historian.history(&asks, self.as_of, POINTS_AT_ONCE);
        let read = read.map_err(|error| error.to_string())?;
        let read: Option<Vec<PagePoints>> = read.into_iter().collect();
        let Some(read) = read else {
            let middle = from + (to - from) / 2;
            return Ok(self.slice((from, middle), retelling, listener, take)?
                && self.slice((middle + 1, to), retelling, listener, take)?);
        };
        for (asset, points) in self.assets.iter().zip(&read) {
            retelling.points(asset.id, points, L::ROW_BY_ROW, |changes| listener.hear(changes));
        }
        listener.ready(take)
    }
}

/// One that is of no effect changes nothing, as ever.
fn publish<L: Listener>(retelling: &mut Retelling, version: &Document, listener: &mut L) {
    if let Ok(changes) = retelling.publish(version) {
        listener.version(version, changes);
    }
}
