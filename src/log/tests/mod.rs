//! Tests of the log as a whole, on disks in memory and on the real one.

mod cut;
mod damage;
mod faults;
mod model;
mod round_trip;

use super::{Error, Log, Options, Recovery, pack, read, unpack};
use crate::base::fs::{Fs, MemFs};
use crate::model::{
    Action, Batch, Corrected, DataType, DeadLetter, Document, Edit, Epoch, Expiry, Frame, Kind,
    Page, PageContent, PageRequest, Quality, Reason, Timestamp, TypeId, Value,
};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const REASONS: [Reason; 9] = [
    Reason::Syntax,
    Reason::Schema,
    Reason::Ts,
    Reason::FutureTs,
    Reason::UnknownDevice,
    Reason::UnknownMetric,
    Reason::Value,
    Reason::Limit,
    Reason::BeyondRetention,
];

fn dir() -> &'static Path {
    Path::new("data/log")
}

/// The splitmix64 sequence.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn text(&mut self) -> Arc<str> {
        let words = ["", "well-1", "Druck °C", "{\"a\":1}", "p\u{0}q", "線"];
        words[self.below(words.len() as u64) as usize].into()
    }

    fn maybe_text(&mut self) -> Option<Arc<str>> {
        (self.below(3) > 0).then(|| self.text())
    }

    fn batch(&mut self) -> Batch {
        let rows = self.below(40) as usize;
        let schema = Batch::schema([
            ("p_tpt", DataType::Double),
            ("count", DataType::Integer),
            ("open", DataType::Bool),
            ("state", DataType::String),
        ]);
        let devices = StringArray::from_iter_values((0..rows).map(|_| self.text().to_string()));
        let times = (0..rows).map(|_| self.next() as i64 >> 12);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let quality = UInt32Array::from_iter_values((0..rows).map(|_| self.below(3) as u32));
        let messages = UInt32Array::from_iter_values(0..rows as u32);
        let doubles = (0..rows).map(|_| (self.below(4) > 0).then(|| self.next() as i32 as f64));
        let doubles = doubles.collect::<Float64Array>();
        let integers = (0..rows).map(|_| (self.below(4) > 0).then(|| self.next() as i64));
        let integers = integers.collect::<Int64Array>();
        let bools = (0..rows).map(|_| (self.below(4) > 0).then(|| self.below(2) == 0));
        let bools = bools.collect::<BooleanArray>();
        let texts = (0..rows).map(|_| self.maybe_text().map(|text| text.to_string()));
        let texts = texts.collect::<StringArray>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(devices),
            Arc::new(times),
            Arc::new(quality),
            Arc::new(messages),
            Arc::new(doubles),
            Arc::new(integers),
            Arc::new(bools),
            Arc::new(texts),
        ];
        let rows = RecordBatch::try_new(schema, columns).unwrap();
        let start = self.below(rows.num_rows() as u64 + 1) as usize;
        let rows = match self.below(3) {
            0 => rows.slice(start, rows.num_rows() - start),
            _ => rows,
        };
        Batch::try_new(rows).unwrap()
    }

    fn document(&mut self) -> Document {
        Document {
            kind: Kind::ALL[self.below(5) as usize],
            key: self.text(),
            id: self.next() as u32,
            version: self.next() as u32,
            effective_from: Timestamp::MIN,
            body: self.maybe_text(),
        }
    }

    fn dead_letter(&mut self) -> DeadLetter {
        DeadLetter {
            received_at: Timestamp(self.next() as i64),
            source: self.text(),
            device: self.maybe_text(),
            reason: REASONS[self.below(9) as usize],
            detail: self.text(),
            raw: (0..self.below(50)).map(|_| self.next() as u8).collect(),
        }
    }

    fn edit(&mut self) -> Edit {
        let action = match self.below(2) {
            0 => Action::Delete {
                metrics: (0..self.below(3)).map(|_| self.text()).collect(),
                from: Timestamp(self.next() as i64),
                to: Timestamp(self.next() as i64),
            },
            _ => Action::Correct { points: (0..self.below(5)).map(|_| self.corrected()).collect() },
        };
        Edit {
            id: self.text(),
            received_at: Timestamp(self.next() as i64),
            asset: self.next() as u32,
            asset_type: TypeId(self.next() as u32),
            key: self.text(),
            reason: self.text(),
            user: self.maybe_text(),
            action,
        }
    }

    fn corrected(&mut self) -> Corrected {
        Corrected {
            metric: self.text(),
            event_time: Timestamp(self.next() as i64),
            value: match self.below(4) {
                0 => Value::Double(self.below(1_000) as f64 / 7.0),
                1 => Value::Integer(self.next() as i64),
                2 => Value::Bool(self.below(2) == 0),
                _ => Value::String(self.text()),
            },
            quality: Quality(self.next() as u32),
            device: self.next() as u32,
        }
    }

    fn page(&mut self) -> Page {
        let (asset, asset_type) = (self.next() as u32, TypeId(self.next() as u32));
        let (key, from, to) = (self.text(), self.next() as i64, self.next() as i64);
        let many = self.below(2) == 0;
        Page {
            request: PageRequest { asset, asset_type, key, from, to, rows: 0 },
            after: Epoch(self.next()),
            content: if many { PageContent::TooMany } else { PageContent::Unread },
        }
    }

    fn frame(&mut self, epoch: u64) -> Frame {
        Frame {
            epoch: Epoch(epoch),
            tick: Timestamp(self.next() as i64),
            documents: (0..self.below(3)).map(|_| self.document()).collect(),
            batches: (0..self.below(3)).map(|_| self.batch()).collect(),
            dead_letters: (0..self.below(3)).map(|_| self.dead_letter()).collect(),
            edits: (0..self.below(3)).map(|_| self.edit()).collect(),
            pages: (0..self.below(3)).map(|_| self.page()).collect(),
            expiry: (self.below(3) == 0).then(|| Expiry {
                before: Timestamp(self.next() as i64),
                received: Epoch(self.next()),
            }),
        }
    }

    /// Frames with small gaps between their epochs.
    fn frames(&mut self, count: usize) -> Vec<Frame> {
        let mut epoch = 1_000;
        let mut frames = Vec::new();
        for _ in 0..count {
            epoch += 1 + self.below(3);
            frames.push(self.frame(epoch));
        }
        frames
    }
}

fn open(fs: &MemFs, options: Options) -> Result<Log, Error> {
    Log::open(Arc::new(fs.clone()), dir(), options)
}

/// A disk with a log that holds these frames.
fn written(frames: &[Frame], options: Options) -> MemFs {
    let fs = MemFs::new();
    let mut log = open(&fs, options).unwrap();
    for frame in frames {
        log.append(frame).unwrap();
        log.sync().unwrap();
    }
    fs
}

/// All frames that can be read, and the error at the end if there is one.
fn read_all(fs: &MemFs, from: u64) -> (Vec<Frame>, Option<Error>) {
    let fs: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut frames = Vec::new();
    for frame in read(&fs, dir(), Epoch(from)).unwrap() {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => return (frames, Some(error)),
        }
    }
    (frames, None)
}

fn frames_of(fs: &MemFs) -> Vec<Frame> {
    let (frames, error) = read_all(fs, 0);
    assert!(error.is_none(), "{error:?}");
    frames
}

fn segments(fs: &MemFs) -> Vec<PathBuf> {
    let logs = fs.paths().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.collect()
}

fn small_segments() -> Options {
    Options { segment_bytes: 12_000, ..Options::default() }
}

fn recovery_of(fs: &MemFs, options: Options) -> Result<Recovery, Error> {
    open(fs, options).map(|log| log.recovery().clone())
}

/// The number of random cases: that of the variable when it is set, for long runs.
fn seeds(usual: u64) -> u64 {
    let asked = std::env::var("MILLSTREAM_SEEDS").ok();
    asked.map_or(usual, |text| text.parse().expect("MILLSTREAM_SEEDS is a number"))
}
