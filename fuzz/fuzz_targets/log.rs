//! Recovery and reader of the log. The input is a list of edits of a good segment (a first byte of
//! 0), or a segment as such.
//!
//! No damage brings a frame that was never written; what recovery keeps is what the reader reads;
//! and a log that opens takes the next frame.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millstream::base::fs::{Fs, MemFs};
use millstream::log::{Log, Options, read};
use millstream::model::{
    DeadLetter, Document, Epoch, Expiry, Frame, Kind, Page, PageContent, PageRequest, Reason,
    Timestamp, TypeId,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// Frames, and the only segment of the log that has them.
static WRITTEN: LazyLock<(Vec<Frame>, PathBuf, Vec<u8>)> = LazyLock::new(|| {
    let fs = Arc::new(MemFs::new());
    let mut log = open(&fs, true).expect("an empty log opens");
    let frames: Vec<Frame> = (1..=8).map(frame).collect();
    for frame in &frames {
        log.append(frame).expect("a frame is written");
        log.sync().expect("and durable");
    }
    drop(log);
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|e| e == "log");
    let path = fs.paths().into_iter().find(is_segment).expect("a segment");
    let bytes = fs.contents(&path).expect("its bytes");
    (frames, path, bytes)
});

fuzz_target!(|input: &[u8]| {
    let (frames, path, bytes) = &*WRITTEN;
    let segment = match input.split_first() {
        Some((0, edits)) => edited(bytes, edits),
        _ => input.to_vec(),
    };
    for strict in [true, false] {
        let fs = Arc::new(MemFs::new());
        fs.set_contents(path, &segment);
        let Ok(mut log) = open(&fs, strict) else { continue };
        let kept = frames_of(&fs);
        assert!(kept.iter().all(|frame| frames.contains(frame)), "no frame was made up");
        assert!(kept.is_sorted_by(|a, b| a.epoch < b.epoch), "epochs ascend");
        assert_eq!(
            kept.last().map(|last| last.epoch),
            log.last_epoch().filter(|_| !kept.is_empty())
        );
        let next = frame(log.next_epoch(Epoch(1_000)).0);
        log.append(&next).expect("a log that opens takes frames");
        log.sync().expect("and makes them durable");
        drop(log);
        let mut all = kept;
        all.push(next);
        open(&fs, true).expect("what was recovered opens again");
        assert_eq!(frames_of(&fs), all);
    }
});

fn open(fs: &Arc<MemFs>, strict: bool) -> Result<Log, millstream::log::Error> {
    let fs: Arc<dyn Fs> = Arc::clone(fs) as _;
    Log::open(fs, Path::new("/log"), Options { strict, ..Options::default() })
}

fn frames_of(fs: &Arc<MemFs>) -> Vec<Frame> {
    let fs: Arc<dyn Fs> = Arc::clone(fs) as _;
    let frames = read(&fs, Path::new("/log"), Epoch(0)).expect("a log that opened is read");
    frames.map(|frame| frame.expect("a frame that was recovered is read")).collect()
}

/// A frame with a document and a refusal, different at each epoch.
fn frame(epoch: u64) -> Frame {
    let body: Arc<str> = format!(r#"{{"n":{epoch}}}"#).into();
    Frame {
        epoch: Epoch(epoch),
        tick: Timestamp(epoch as i64 * 1_000),
        documents: vec![Document {
            kind: Kind::Assets,
            key: format!("asset-{epoch}").into(),
            id: epoch as u32,
            version: 1,
            effective_from: Timestamp::MIN,
            body: Some(body),
        }],
        batches: Vec::new(),
        edits: Vec::new(),
        pages: (0..epoch % 3).map(page).collect(),
        expiry: epoch
            .is_multiple_of(5)
            .then_some(Expiry { before: Timestamp(epoch as i64), received: Epoch(epoch) }),
        dead_letters: vec![DeadLetter {
            received_at: Timestamp(epoch as i64),
            source: "fuzz".into(),
            device: None,
            reason: Reason::Syntax,
            detail: "not readable".into(),
            raw: Arc::from(&b"{"[..]),
        }],
    }
}

/// A request for archived points.
fn page(asset: u64) -> Page {
    let (key, many) = (format!("asset-{asset}").into(), asset % 2 == 1);
    Page {
        request: PageRequest {
            asset: asset as u32,
            asset_type: TypeId(0),
            key,
            from: i64::MIN,
            to: 7,
            rows: 0,
        },
        after: Epoch(asset),
        content: if many { PageContent::TooMany } else { PageContent::Unread },
    }
}

/// Edits of four bytes each: a place (two bytes, modulo the length), what is done there (change a
/// byte, cut off the rest, repeat what is before, leave out a byte), and with what.
fn edited(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for edit in edits.as_chunks::<4>().0 {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len();
        match edit[2] % 4 {
            0 => bytes[at] ^= edit[3],
            1 => bytes.truncate(at),
            2 => {
                let from = at.saturating_sub(usize::from(edit[3]));
                bytes.extend_from_within(from..at);
            }
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}
