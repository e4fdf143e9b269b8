//! The views for the sink into TimescaleDB.

use crate::historian::timescale::{Ask, Changes, Ended};
use crate::historian::{self, OldRows};
use crate::model::{ArchiveFile, Epoch};
use crate::views::{self, Archived, Changed, EndedRows, InFiles, Views};
use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::UInt64Type;
use arrow::error::ArrowError;
use std::sync::Arc;

/// Views that are asked what has changed, and the files of their old rows.
pub struct Asked {
    /// The views.
    pub views: Views,
    /// The files.
    pub old_rows: OldRows,
}

impl Ask for Asked {
    fn epoch(&self) -> Epoch {
        self.views.epoch()
    }

    fn changed(&self, view: &str, after: Epoch) -> Result<Option<Changes>, String> {
        let changed = self.views.changed(view, after).map_err(|error| error.to_string())?;
        let Some(changed) = changed else { return Ok(None) };
        let ended = match changed.ended() {
            views::Ended::Others => Ended::Others,
            views::Ended::These(rows) => self.ended(rows),
        };
        let (epoch, old_rows) = (changed.epoch(), self.old_rows.clone());
        let rows = Rows { changed, after, old_rows, files: None, open: None };
        Ok(Some(Changes { epoch, ended: Some(ended), rows: Box::new(rows) }))
    }
}

impl Asked {
    fn ended(&self, rows: &[EndedRows]) -> Ended {
        let (mut assets, mut metrics, mut windows) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows {
            match row {
                EndedRows::Asset(asset) => assets.push(Arc::clone(asset)),
                EndedRows::Metric(of, metric) => metrics.push((Arc::clone(of), metric.clone())),
                EndedRows::Window(asset, start) => windows.push((Arc::clone(asset), *start)),
            }
        }
        Ended::Windows { assets, metrics, windows, of: self.views.numeric_metrics() }
    }
}

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, historian::Error>>>;

/// What has changed: in memory first, then what has left it since.
struct Rows {
    changed: Changed,
    after: Epoch,
    old_rows: OldRows,
    /// Files that are to be read, once there are no more rows in memory.
    files: Option<(Arc<Archived>, Vec<ArchiveFile>)>,
    open: Option<Batches>,
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

impl Rows {
    fn batch(&mut self) -> Result<Option<RecordBatch>, String> {
        if self.files.is_none() {
            if let Some(batch) = self.changed.rows().map_err(|error| error.to_string())? {
                return Ok(Some(batch));
            }
            let Some(archived) = self.changed.archived() else { return Ok(None) };
            let later = |file: &&ArchiveFile| file.max_epoch > self.after.0;
            let files = archived.files.iter().rev().filter(later).cloned().collect();
            self.files = Some((archived, files));
        }
        let Some((archived, files)) = &mut self.files else { return Ok(None) };
        loop {
            let read = self.open.as_mut().and_then(Iterator::next);
            if let Some(batch) = read.transpose().map_err(|error| error.to_string())? {
                let counted = counted(&batch, &**archived, self.after);
                return counted.map(Some).map_err(|error| error.to_string());
            }
            let Some(file) = files.pop() else { return Ok(None) };
            let opened = self.old_rows.rows(&file).map_err(|error| error.to_string())?;
            self.open = Some(Box::new(opened));
        }
    }
}

/// The rows of a file that count and are of later epochs.
pub(super) fn counted(
    batch: &RecordBatch,
    archived: &dyn InFiles,
    after: Epoch,
) -> Result<RecordBatch, ArrowError> {
    let epochs = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>();
    let counts = |i: usize| {
        let epoch = Epoch(epochs.value(i));
        Some(epoch > after && archived.has(batch, i, epoch))
    };
    let counts: BooleanArray = (0..batch.num_rows()).map(counts).collect();
    filter_record_batch(batch, &counts)
}
