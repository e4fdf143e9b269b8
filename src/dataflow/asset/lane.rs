//! The lane: the assets of which the next row is expected to be an ordinary one, and all that such
//! a row changes, side by side.
//!
//! A row is *ordinary* when it is newer than all of its asset, has a good point of every metric,
//! and leaves the rules as they are. Most rows are. Such a row adds to the newest window of each
//! size, and is what the asset's rows of `Latest` and `Health` say next. Of an asset on the lane
//! these stand here, and what stands at the [`Asset`] is old: whoever wants to know or change that
//! calls [`TypeState::fetch`] before. The rows themselves go into the series at once.
//! [`super::ordinary`] says how rows are taken.

use super::assess::TypeState;
use super::era::Era;
use super::plan::Plan;
use super::row::NEVER;
use super::series::Series;
use super::single::Asset;

/// No row of the batch.
const NONE: u32 = u32::MAX;

/// What the assets on the lane have here, by their index.
#[derive(Default)]
pub struct Lane {
    pub(super) spots: Vec<Spot>,
    /// The newest windows, for each size.
    pub(super) windows: Vec<Newest>,
    /// Rows of the table `Health`.
    pub(super) health: Cells,
    /// The rules' conditions of which the health is made; see [`Asset::scored`].
    pub(super) scored: Cells,
}

/// An asset's place on the lane.
#[derive(Clone)]
pub(super) struct Spot {
    /// Rows from this time on may be ordinary.
    from: i64,
    pub id: u32,
    /// What the rules remember in short.
    pub resting: u64,
    /// See [`Asset::settle_at`] and [`Asset::forget_at`].
    pub settle_at: i64,
    pub forget_at: usize,
    is_here: bool,
    /// Whether further rows of the batch at hand are to be looked at in the other way, and whether
    /// one that was expected to be ordinary is.
    pub leaves: bool,
    pub is_off: bool,
    /// The asset's last row in the batch at hand, when it may be ordinary.
    pub last: u32,
    /// Whether any row came since the asset is here, and whether the tables have the last one.
    pub has_rows: bool,
    pub is_told: bool,
    /// Whether the health is made of the conditions alone.
    pub is_scored: bool,
    /// Whether windows before the newest have changed.
    pub has_older: bool,
}

/// The newest window of each asset, of one size.
pub(super) struct Newest {
    size: i64,
    pub starts: Vec<i64>,
    /// Rows of the table.
    pub words: Cells,
}

/// As many words for each asset.
#[derive(Default)]
pub(super) struct Cells {
    stride: usize,
    words: Vec<u64>,
}

impl Lane {
    /// Nobody is here yet.
    pub fn new(plan: &Plan) -> Self {
        let windows = plan.windows.iter().map(|window| Newest {
            size: window.size().0,
            starts: Vec::new(),
            words: Cells::new(plan.window_words()),
        });
        Self {
            spots: Vec::new(),
            windows: windows.collect(),
            health: Cells::new(plan.health.as_ref().map_or(0, |health| health.stride())),
            scored: Cells::new(plan.rows.condition_words()),
        }
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let windows = self.windows.iter().map(|w| w.starts.capacity() * 8 + w.words.bytes());
        let spots = self.spots.capacity() * size_of::<Spot>();
        spots + windows.sum::<usize>() + self.health.bytes() + self.scored.bytes()
    }

    /// A batch comes for these assets.
    pub fn begin(&mut self, assets: usize) {
        self.spots.resize(assets.max(self.spots.len()), Spot::default());
    }

    /// Whether row `i` of the batch, of this time, may be ordinary. Then it is the asset's last so
    /// far, and the next one has to be newer.
    #[inline]
    pub fn expects(&mut self, index: usize, time: i64, i: usize) -> bool {
        let spot = &mut self.spots[index];
        if !spot.is_here || spot.leaves || time < spot.from {
            return false;
        }
        spot.from = time.saturating_add(1);
        spot.last = i as u32;
        true
    }

    /// Lets an asset come onto the lane that is ready for it. Returns whether it did.
    pub fn board(&mut self, index: usize, era: &Era, asset: &mut Asset, series: &Series) -> bool {
        if self.spots[index].is_here || self.spots[index].leaves {
            return false;
        }
        let (Some((since, resting)), Some(newest)) = (asset.resting, series.newest()) else {
            return false;
        };
        let is_usual = asset.parked.is_none() && asset.said.is_none() && asset.past.is_empty();
        if !is_usual || asset.windows.iter().any(|w| w.newest().is_some_and(|(_, w)| w[0] > 0)) {
            return false;
        }
        self.windows.iter_mut().for_each(|newest| newest.make_room(index));
        self.health.make_room(index);
        self.scored.make_room(index);
        for (newest, windows) in self.windows.iter_mut().zip(&asset.windows) {
            let (start, words) = windows.newest().unwrap_or((NEVER, &[]));
            newest.starts[index] = start;
            newest.words.get_mut(index)[..words.len()].copy_from_slice(words);
        }
        self.spots[index] = Spot {
            from: newest.max(since).saturating_add(1).max(asset.opens_at()).max(era.from),
            id: asset.id,
            resting,
            settle_at: asset.settle_at,
            forget_at: asset.forget_at,
            is_here: true,
            ..Spot::default()
        };
        self.take_health(index, asset);
        asset.is_on_lane = true;
        true
    }

    /// Takes over the health that was scored last.
    pub fn take_health(&mut self, index: usize, asset: &Asset) {
        let spot = &mut self.spots[index];
        spot.is_scored = !asset.scored.is_empty() && !asset.health.is_empty();
        if spot.is_scored {
            self.scored.get_mut(index).copy_from_slice(&asset.scored);
            self.health.get_mut(index).copy_from_slice(&asset.health);
        }
    }

    /// Lets the window that ended go home and begins the one that a time is in. Returns `false`
    /// when that one is not the newest.
    #[inline(never)]
    pub fn turn(
        &mut self,
        plan: &Plan,
        (at, index): (usize, usize),
        asset: &mut Asset,
        time: i64,
    ) -> bool {
        let (newest, spot) = (&mut self.windows[at], &mut self.spots[index]);
        let start = time - time.rem_euclid(newest.size);
        if start < newest.starts[index] {
            return false;
        }
        let changed = spot.has_rows && !spot.is_told;
        spot.has_older |= changed;
        asset.windows[at].set_newest(newest.words.get(index), changed);
        asset.windows[at].begin(plan, start);
        newest.starts[index] = start;
        newest.words.get_mut(index).fill(0);
        true
    }

    /// Gives an asset back all that stands here.
    pub fn leave(&mut self, index: usize, plan: &Plan, asset: &mut Asset, series: &Series) {
        let Some(spot) = self.spots.get_mut(index).filter(|spot| spot.is_here) else { return };
        (spot.is_here, asset.is_on_lane) = (false, false);
        if !spot.has_rows {
            return;
        }
        for (newest, windows) in self.windows.iter().zip(&mut asset.windows) {
            windows.set_newest(newest.words.get(index), !spot.is_told);
        }
        if spot.is_scored {
            asset.health.copy_from_slice(self.health.get(index));
        }
        asset.take_newest(plan, series.row(&plan.rows, series.len() - 1));
    }
}

impl TypeState {
    /// Lets an asset have all that is known of it. It is on the lane no longer.
    pub(super) fn fetch(&mut self, index: usize) {
        let (asset, series) = (&mut self.assets[index], &self.series[index]);
        self.lane.leave(index, &self.era.plan, asset, series);
    }

    /// Lets all assets have all that is known of them.
    pub(super) fn fetch_all(&mut self) {
        (0..self.assets.len()).for_each(|index| self.fetch(index));
    }
}

impl Default for Spot {
    fn default() -> Self {
        Self {
            from: i64::MAX,
            id: u32::MAX,
            resting: 0,
            settle_at: NEVER,
            forget_at: 0,
            is_here: false,
            leaves: false,
            is_off: false,
            last: NONE,
            has_rows: false,
            is_told: false,
            is_scored: false,
            has_older: false,
        }
    }
}

impl Spot {
    /// From here on the asset's rows of this batch are looked at in the other way, which tells
    /// what those before have changed too.
    pub fn leave(&mut self) {
        (self.leaves, self.last) = (true, NONE);
    }

    /// A row that was expected to be ordinary is not: like [`Spot::leave`], and from that row on.
    pub fn fall_off(&mut self) {
        self.leave();
        self.is_off = true;
    }

    /// The rows of the batch were looked at.
    pub fn end(&mut self) {
        (self.leaves, self.is_off) = (false, false);
    }
}

impl Newest {
    /// Whether a time is in the asset's newest window.
    #[inline]
    pub fn contains(&self, index: usize, time: i64) -> bool {
        let start = self.starts[index];
        start != NEVER && start <= time && time - start < self.size
    }

    fn make_room(&mut self, index: usize) {
        if self.starts.len() <= index {
            self.starts.resize(index + 1, NEVER);
        }
        self.words.make_room(index);
    }
}

impl Cells {
    fn new(stride: usize) -> Self {
        Self { stride, words: Vec::new() }
    }

    #[inline]
    pub fn get(&self, index: usize) -> &[u64] {
        &self.words[index * self.stride..][..self.stride]
    }

    #[inline]
    pub fn get_mut(&mut self, index: usize) -> &mut [u64] {
        &mut self.words[index * self.stride..][..self.stride]
    }

    fn make_room(&mut self, index: usize) {
        if self.words.len() <= index * self.stride {
            self.words.resize((index + 1) * self.stride, 0);
        }
    }

    fn bytes(&self) -> usize {
        self.words.capacity() * 8
    }
}
