//! The rows of one view, found asset by asset and compared with what was recomputed.

use super::cell::{Row, Shape, columns, row};
use super::report::{Difference, Finding};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

/// How many differing rows are shown.
const SHOWN: usize = 10;

/// The contents of a view, and what the comparison found so far.
pub(super) struct Side {
    shape: Shape,
    batches: Vec<Vec<ArrayRef>>,
    /// Where those begin that were added since the last time all such were compared.
    added: usize,
    /// Batch and row of each asset's rows that were not compared yet.
    places: HashMap<String, Vec<(u32, u32)>>,
    equal: u64,
    different: u64,
    first: Vec<Difference>,
}

impl Side {
    /// Indexes a view by its first column. The error names a column that does not fit.
    pub(super) fn new(shape: Shape, batches: &[RecordBatch]) -> Result<Self, String> {
        let mut this = Self {
            shape,
            batches: Vec::new(),
            added: 0,
            places: HashMap::new(),
            equal: 0,
            different: 0,
            first: Vec::new(),
        };
        this.add(batches)?;
        this.added = this.batches.len();
        Ok(this)
    }

    /// Indexes further rows of the view.
    pub(super) fn add(&mut self, batches: &[RecordBatch]) -> Result<(), String> {
        for rows in batches {
            let (batch, columns) = (self.batches.len() as u32, columns(rows, self.shape)?);
            let assets = columns[0].as_string::<i32>();
            for i in 0..assets.len() {
                let place = (batch, i as u32);
                match self.places.get_mut(assets.value(i)) {
                    Some(places) => places.push(place),
                    None => {
                        self.places.insert(assets.value(i).into(), vec![place]);
                    }
                }
            }
            self.batches.push(columns);
        }
        Ok(())
    }

    /// Lets go of the rows that were added. Those that were not compared are rows too many.
    pub(super) fn finish_added(&mut self) {
        let is_added = |(batch, _): &(u32, u32)| *batch as usize >= self.added;
        let of_added = self.places.iter().filter(|(_, places)| places.iter().any(is_added));
        let mut left: Vec<String> = of_added.map(|(asset, _)| asset.clone()).collect();
        left.sort_unstable();
        for asset in left {
            self.compare(&asset, Vec::new());
        }
        self.batches.truncate(self.added);
    }

    /// The rows of batches by their first column.
    pub(super) fn rows(
        shape: Shape,
        batches: &[RecordBatch],
    ) -> Result<BTreeMap<String, Vec<Row>>, String> {
        let mut side = Self::new(shape, batches)?;
        let names: Vec<String> = side.places.keys().cloned().collect();
        Ok(names.into_iter().map(|name| (name.clone(), side.take(&name))).collect())
    }

    /// Compares the rows of one asset.
    pub(super) fn compare(&mut self, asset: &str, recomputed: Vec<Row>) {
        self.compare_but(asset, recomputed, |_| false);
    }

    /// Compares the rows of one asset but some, on both sides. Says how many the view has of those.
    pub(super) fn compare_but(
        &mut self,
        asset: &str,
        mut recomputed: Vec<Row>,
        is_left_out: impl Fn(&Row) -> bool,
    ) -> u64 {
        let mut rows = self.take(asset);
        let all = rows.len();
        rows.retain(|row| !is_left_out(row));
        recomputed.retain(|row| !is_left_out(row));
        let left_out = (all - rows.len()) as u64;
        recomputed.sort_unstable();
        rows.sort_unstable();
        let (mut ours, mut theirs) =
            (rows.into_iter().peekable(), recomputed.into_iter().peekable());
        let (mut extra, mut missing) = (Vec::new(), Vec::new());
        loop {
            match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(a), Some(b)) if a == b => {
                    self.equal += 1;
                    ours.next();
                    theirs.next();
                }
                (Some(a), Some(b)) if a.cmp(b) == Ordering::Less => extra.extend(ours.next()),
                (Some(_), None) => extra.extend(ours.next()),
                _ => missing.extend(theirs.next()),
            }
        }
        self.report(extra, missing);
        left_out
    }

    /// Leaves the rows of an asset out of the comparison.
    pub(super) fn skip(&mut self, asset: &str) {
        self.places.remove(asset);
    }

    /// What was found. Rows of assets that were never compared are rows too many.
    pub(super) fn finish(mut self) -> Finding {
        let mut left: Vec<String> = self.places.keys().cloned().collect();
        left.sort_unstable();
        for asset in left {
            self.compare(&asset, Vec::new());
        }
        match self.different {
            0 => Finding::Equal { rows: self.equal },
            rows => Finding::Different { rows, first: self.first },
        }
    }

    fn take(&mut self, asset: &str) -> Vec<Row> {
        let places = self.places.remove(asset).unwrap_or_default();
        let read =
            |(batch, i): (u32, u32)| row(&self.batches[batch as usize], self.shape, i as usize);
        places.into_iter().map(read).collect()
    }

    /// Books rows of one side only; those of one key are one difference.
    fn report(&mut self, extra: Vec<Row>, mut missing: Vec<Row>) {
        let key = self.shape.key;
        for row in extra {
            let partner = missing.iter().position(|other| other[..key] == row[..key]);
            let partner = partner.map(|at| missing.remove(at));
            self.differ(Some(row), partner);
        }
        for row in missing {
            self.differ(None, Some(row));
        }
    }

    fn differ(&mut self, view: Option<Row>, recomputed: Option<Row>) {
        self.different += 1;
        if self.first.len() < SHOWN {
            let show = |row: Option<Row>| row.map(|row| self.show(&row));
            let (view, recomputed) = (show(view), show(recomputed));
            self.first.push(Difference { view, recomputed });
        }
    }

    fn show(&self, row: &Row) -> String {
        let named = self.shape.columns.iter().zip(row);
        named.map(|((name, _), cell)| format!("{name}={cell}")).collect::<Vec<_>>().join(" ")
    }
}
