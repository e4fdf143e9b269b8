//! What the database lacks: points behind its place, from files and from memory.

use super::error::Error;
use crate::historian::places::Places;
use crate::historian::replaced::Replaced;
use crate::historian::{ArchiveFile, Historian, Pin, Selection, Telemetry};
use crate::model::Epoch;
use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

/// Hot points of a transaction, unless one epoch has more.
const HOT_POINTS_AT_ONCE: usize = 50_000;
/// Archived points of a transaction.
const FILE_POINTS_AT_ONCE: usize = 16_384;

/// The next thing to write.
pub(super) enum Work {
    /// Points of these files that are newer than the place. Within a file no key is twice.
    Files(Vec<Step>),
    /// These hot points. No key is twice.
    Hot {
        points: Telemetry,
        /// Where the place is afterwards.
        reaches: Epoch,
    },
    /// No points up to this epoch.
    Nothing(Epoch),
}

/// A file, and where the place is when it and those before it are written.
pub(super) struct Step {
    pub file: ArchiveFile,
    /// Keeps it where it is.
    pub _pin: Pin,
    pub reaches: Epoch,
}

impl Work {
    /// What comes after a place, and the points that are gone since.
    pub fn after(place: Epoch, historian: &Historian) -> Result<(Self, Vec<Replaced>), Error> {
        let telemetry = loop {
            match historian.snapshot(historian.epoch()) {
                Ok(telemetry) => break telemetry,
                // The archive moved in between.
                Err(crate::historian::Error::Passed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let gone = telemetry.gone_after(place);
        Ok((Self::of(place, telemetry, !gone.is_empty()), gone))
    }

    fn of(place: Epoch, mut telemetry: Telemetry, some_are_gone: bool) -> Self {
        telemetry.chunks.retain(|chunk| chunk.epoch > place);
        let first_hot = telemetry.chunks.first().map(|chunk| chunk.epoch);
        let closed = telemetry.epoch();
        let missing = telemetry.files().iter().filter(|file| file.max_epoch > place.0);
        let files: Vec<ArchiveFile> = missing.cloned().collect();
        if !files.is_empty() {
            let hot = first_hot.map_or(closed.0, |first| first.0 - 1);
            return Self::Files(steps(place, files, &telemetry.pin(), hot));
        }
        let mut points = 0;
        let Some(last) = telemetry.chunks.iter().find(|chunk| {
            points += chunk.points;
            points >= HOT_POINTS_AT_ONCE
        }) else {
            return match first_hot {
                None if !some_are_gone => Self::Nothing(closed),
                _ => Self::Hot { points: telemetry, reaches: closed },
            };
        };
        let reaches = last.epoch;
        telemetry.chunks.retain(|chunk| chunk.epoch <= reaches);
        Self::Hot { points: telemetry, reaches }
    }
}

/// The place moves behind a file as far as no file behind it has older points.
fn steps(place: Epoch, files: Vec<ArchiveFile>, pin: &Pin, end: u64) -> Vec<Step> {
    let mut reaches = end;
    let mut steps: Vec<Step> = Vec::with_capacity(files.len());
    for file in files.into_iter().rev() {
        let first = file.min_epoch;
        steps.push(Step { file, _pin: pin.clone(), reaches: Epoch(reaches.max(place.0)) });
        reaches = reaches.min(first.saturating_sub(1));
    }
    steps.reverse();
    steps
}

/// The hot points, batch by batch.
pub(super) fn hot(points: &Telemetry) -> impl Iterator<Item = Result<RecordBatch, Error>> + use<> {
    points.hot(&Selection::default(), None).map(|batch| batch.map_err(Error::from))
}

/// The points of a file, batch by batch.
pub(super) fn file(
    places: &Places,
    file: &ArchiveFile,
) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
    let (path, opened) = (places.name(file), places.open(file)?);
    let failed = {
        let path = path.clone();
        move |source| Error::File { path: path.clone(), source }
    };
    let reader: ParquetRecordBatchReader = ParquetRecordBatchReaderBuilder::try_new(opened)
        .and_then(|builder| builder.with_batch_size(FILE_POINTS_AT_ONCE).build())
        .map_err(failed.clone())?;
    Ok(reader.map(move |batch| batch.map_err(|error| failed(error.into()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Place;

    fn check(place: u64, files: &[(u64, u64)], end: u64, expected: &[u64]) {
        let file = |(min_epoch, max_epoch): &(u64, u64)| ArchiveFile {
            path: String::new(),
            place: Place::Local,
            rows: 1,
            crc32c: 0,
            bytes: 1,
            min_event_time: 0,
            max_event_time: 0,
            min_epoch: *min_epoch,
            max_epoch: *max_epoch,
        };
        let steps = steps(Epoch(place), files.iter().map(file).collect(), &Pin::default(), end);
        let found: Vec<u64> = steps.iter().map(|step| step.reaches.0).collect();
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn the_place_moves_only_behind_what_is_complete() {
        check(0, &[(3, 9)], 9, &[9]);
        // Two days of one segment: nothing is complete before both are written.
        check(0, &[(3, 9), (4, 8)], 12, &[3, 12]);
        check(5, &[(3, 9), (4, 8)], 12, &[5, 12]);
        // Three segments.
        check(0, &[(3, 9), (2, 8), (10, 12), (20, 20)], 31, &[1, 9, 19, 31]);
    }
}
