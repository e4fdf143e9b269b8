//! Rows of small views that have left memory: in which files they are, and which of them count.
//!
//! Such a row comes and goes by differences, and may be there several times. Copies in memory and
//! copies in files add up. A row that is taken back and is not in memory is brought back first: from
//! then on files say nothing of it. So files of one row either all count or none does.

use super::aging::Aging;
use super::cell::Batches;
use super::returning::{OldFiles, Wanted};
use crate::model::{ArchiveFile, Epoch};
use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

/// What readers have to know of the rows of a view that are in files.
pub trait InFiles: Debug + Send + Sync {
    /// The files, oldest first; the rows of each are of one epoch.
    fn files(&self) -> &[ArchiveFile];
    /// The column of which each file says the first and the last value.
    fn time(&self) -> &'static str;
    /// Rows of files that do not count: those that are equal to a row of one of these batches in
    /// all its columns but `before_epoch`, where null stands for any value, and whose epoch is
    /// before that.
    fn but(&self) -> Result<Vec<RecordBatch>, ArrowError>;
    /// Whether row `i` of a file counts, which is of this epoch.
    fn has(&self, batch: &RecordBatch, i: usize, epoch: Epoch) -> bool;
}

/// The rows of one small view that have left memory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound(serialize = "R: Serialize", deserialize = "R: Deserialize<'de> + Ord"))]
pub(super) struct Filed<R> {
    files: Vec<ArchiveFile>,
    /// Rows of which files from before the epoch have none that counts.
    but: BTreeMap<R, Epoch>,
    /// Assets that were removed, with the epoch from which on rows are of another one.
    assets: BTreeMap<Arc<str>, Epoch>,
    /// All of them are from before this time.
    until: i64,
}

impl<R> Default for Filed<R> {
    fn default() -> Self {
        let (files, but, assets) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { files, but, assets, until: i64::MIN }
    }
}

impl<R: Aging> Filed<R> {
    /// Whether files may have the row.
    pub fn may_have(&self, row: &R) -> bool {
        row.time() < self.until
    }

    /// Whether a row of a file of this epoch counts.
    pub fn counts(&self, row: &R, epoch: Epoch) -> bool {
        let is_older = |limit: Option<&Epoch>| limit.is_some_and(|limit| epoch < *limit);
        let of_removed = row.asset().and_then(|asset| self.assets.get(asset));
        !is_older(self.but.get(row)) && !is_older(of_removed)
    }

    /// Whether the row's asset was removed at this epoch.
    pub fn was_removed(&self, row: &R, epoch: Epoch) -> bool {
        row.asset().is_some_and(|asset| self.assets.get(asset) == Some(&epoch))
    }

    /// How many copies of these rows files have; rows of which there are none are left out. Blocks.
    /// The error says which file could not be read.
    pub fn find<'a>(
        &self,
        files: &dyn OldFiles,
        rows: impl Iterator<Item = &'a R>,
    ) -> Result<BTreeMap<R, i64>, String> {
        let mut wanted = Wanted { time: R::VIEW.time(), of: BTreeMap::new() };
        for row in rows.filter(|row| self.may_have(row)) {
            let Some(asset) = row.asset() else { continue };
            wanted.of.entry(Arc::clone(asset)).or_default().insert(row.time());
        }
        let mut found = BTreeMap::new();
        if wanted.of.is_empty() {
            return Ok(found);
        }
        for (place, batch) in files.read(&self.files, &wanted)? {
            let epoch = Epoch(self.files[place].min_epoch);
            let rows = (0..batch.num_rows()).filter_map(|i| R::read(&batch, i));
            for row in rows.filter(|row| self.counts(row, epoch)) {
                *found.entry(row).or_default() += 1;
            }
        }
        Ok(found)
    }

    /// The row has left memory.
    pub fn add(&mut self, row: &R) {
        self.until = self.until.max(row.time().saturating_add(1));
    }

    /// What files of epochs before `epoch` have of a row does not count any more.
    pub fn replace(&mut self, row: R, epoch: Epoch) {
        let before = self.but.entry(row).or_default();
        *before = epoch.max(*before);
    }

    /// Forgets an asset that was removed at an epoch.
    pub fn remove(&mut self, asset: &Arc<str>, epoch: Epoch) {
        self.but.retain(|row, _| row.asset() != Some(asset));
        self.assets.insert(Arc::clone(asset), epoch);
    }

    /// Names a file that was written.
    pub fn name(&mut self, file: ArchiveFile) {
        self.files.push(file);
    }

    /// The bytes that it takes.
    pub fn bytes(&self) -> usize {
        let row = size_of::<R>() + R::OWN_TEXT + size_of::<Epoch>();
        self.files.len() * 160 + self.but.len() * row * 4 / 3 + self.assets.len() * 64
    }
}

impl<R: Aging> InFiles for Filed<R> {
    fn files(&self) -> &[ArchiveFile] {
        &self.files
    }

    fn time(&self) -> &'static str {
        R::VIEW.time()
    }

    fn but(&self) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut but = Vec::new();
        if !self.but.is_empty() {
            let schema = R::VIEW.schema();
            let mut rows = Batches::new(Arc::clone(&schema), usize::MAX);
            self.but.keys().try_for_each(|row| rows.push(&row.cells()))?;
            let rows = concat_batches(&schema, &rows.finish()?)?;
            let columns = schema.fields().iter().zip(rows.columns());
            let columns =
                columns.map(|(field, values)| (field.name().as_str(), Arc::clone(values)));
            but.push(before(columns.collect(), self.but.values())?);
        }
        if !self.assets.is_empty() {
            let assets = self.assets.keys().map(|asset| asset.as_ref());
            let assets = arrow::array::StringArray::from_iter_values(assets);
            but.push(before(vec![("asset", Arc::new(assets))], self.assets.values())?);
        }
        Ok(but)
    }

    fn has(&self, batch: &RecordBatch, i: usize, epoch: Epoch) -> bool {
        R::read(batch, i).is_some_and(|row| self.counts(&row, epoch))
    }
}

/// Rows with a column `before_epoch`.
fn before<'a>(
    columns: Vec<(&str, ArrayRef)>,
    epochs: impl Iterator<Item = &'a Epoch>,
) -> Result<RecordBatch, ArrowError> {
    let field = |(name, values): &(&str, ArrayRef)| {
        Field::new(*name, values.data_type().clone(), values.null_count() > 0)
    };
    let mut fields: Vec<Field> = columns.iter().map(field).collect();
    fields.push(Field::new("before_epoch", DataType::UInt64, false));
    let epochs: ArrayRef = Arc::new(UInt64Array::from_iter_values(epochs.map(|epoch| epoch.0)));
    let columns = columns.into_iter().map(|(_, values)| values).chain([epochs]).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
