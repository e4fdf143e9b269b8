//! Every byte cut, every byte flipped: never a panic, never a wrong frame.

use super::*;

/// One segment, its bytes, and where each frame ends.
struct Segment {
    path: PathBuf,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
    ends: Vec<usize>,
}

fn segment(seed: u64, count: usize) -> Segment {
    let fs = MemFs::new();
    let mut log = open(&fs, Options::default()).unwrap();
    let frames = Random(seed).frames(count);
    let mut ends = Vec::new();
    for frame in &frames {
        log.append(frame).unwrap();
        ends.push(log.bytes() as usize);
    }
    let path = segments(&fs).remove(0);
    let bytes = fs.contents(&path).unwrap();
    Segment { path, bytes, frames, ends }
}

/// A disk with only this file.
fn disk(path: &Path, bytes: &[u8]) -> MemFs {
    let fs = MemFs::new();
    fs.set_contents(path, bytes);
    fs
}

/// The tail is cut to whole frames, and what is appended afterwards can be read.
fn check_cut(segment: &Segment, bytes: &[u8], kept: usize, place: &str) {
    let fs = disk(&segment.path, bytes);
    let (found, error) = read_all(&fs, 0);
    assert!(error.is_none() && found == segment.frames[..kept], "{place}: {error:?}");
    let mut log = open(&fs, Options::default()).unwrap_or_else(|error| panic!("{place}: {error}"));
    let next = Random(4).frame(log.next_epoch(Epoch(9_000)).0);
    log.append(&next).unwrap();
    log.sync().unwrap();
    fs.crash(crate::base::fs::Crash::Power);
    let mut expected = segment.frames[..kept].to_vec();
    expected.push(next);
    assert_eq!(frames_of(&fs), expected, "{place}");
}

/// A segment for tests of every byte of it: 64 KiB in long runs.
fn every_byte(seed: u64) -> Segment {
    let long = seeds(2_000) > 2_000;
    let fs = MemFs::new();
    let mut log = open(&fs, Options::default()).unwrap();
    let mut random = Random(seed);
    let mut frames = random.frames(3);
    if long {
        let raw = (0..48 << 10).map(|_| random.next() as u8).collect();
        frames[1].dead_letters.push(DeadLetter { raw, ..random.dead_letter() });
    }
    let mut ends = Vec::new();
    for frame in &frames {
        log.append(frame).unwrap();
        ends.push(log.bytes() as usize);
    }
    let path = segments(&fs).remove(0);
    let bytes = fs.contents(&path).unwrap();
    Segment { path, bytes, frames, ends }
}

#[test]
fn a_log_cut_at_any_byte_keeps_its_whole_frames() {
    let segment = every_byte(11);
    for cut in 0..=segment.bytes.len() {
        let kept = segment.ends.iter().filter(|end| **end <= cut).count();
        check_cut(&segment, &segment.bytes[..cut], kept, &format!("cut at {cut}"));
        for (name, filler) in [("zeros", 0), ("rubbish", 0xa5)] {
            let place = format!("cut at {cut}, then {name}");
            let mut bytes = segment.bytes[..cut].to_vec();
            bytes.resize(segment.bytes.len(), filler);
            if bytes == segment.bytes {
                continue;
            }
            if cut < 4096 {
                // No frame is written before the header is durable: this is no unfinished write.
                let fs = disk(&segment.path, &bytes);
                let opened = recovery_of(&fs, Options::default());
                assert!(matches!(opened, Err(Error::Corrupt { .. })), "{place}: {opened:?}");
                let (found, error) = read_all(&fs, 0);
                assert!(found.is_empty() && error.is_some(), "{place}");
                continue;
            }
            let same = |at: usize| segment.bytes[at] == filler;
            // A filler that is what was there in the first place completes the frame.
            let mut whole = cut;
            while whole < segment.bytes.len() && same(whole) {
                whole += 1;
            }
            let kept = segment.ends.iter().filter(|end| **end <= whole).count();
            check_cut(&segment, &bytes, kept, &place);
        }
    }
    println!("{} cases", 3 * (segment.bytes.len() + 1));
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let segment = every_byte(12);
    let last_frame = segment.ends[segment.ends.len() - 2];
    let whole = segment.frames.len();
    let starts: Vec<usize> = [4096].into_iter().chain(segment.ends.iter().copied()).collect();
    let header =
        |at: usize| at < 4096 || starts.iter().any(|start| (*start..start + 64).contains(&at));
    let mut cases = 0;
    for at in 0..segment.bytes.len() {
        let bits = if header(at) { 0..8 } else { at % 8..at % 8 + 1 };
        for bit in bits {
            let place = format!("bit {bit} of byte {at}");
            let mut bytes = segment.bytes.clone();
            bytes[at] ^= 1 << bit;
            let fs = disk(&segment.path, &bytes);
            let (found, error) = read_all(&fs, 0);
            assert!(found.len() < whole && found == segment.frames[..found.len()], "{place}");
            assert_eq!(error.is_none(), at >= last_frame, "{place}: {error:?}");
            match open(&fs, Options::default()) {
                // At the end it cannot be told from an unfinished write.
                Ok(_) => {
                    assert!(at >= last_frame, "{place} was not found");
                    assert_eq!(frames_of(&fs), segment.frames[..whole - 1], "{place}");
                }
                Err(Error::Corrupt { .. } | Error::Version { .. }) => {
                    assert!(at < last_frame, "{place} in the tail refused");
                }
                Err(error) => panic!("{place}: {error}"),
            }
            cases += 1;
        }
    }
    println!("{cases} cases");
}

#[test]
fn an_older_segment_must_be_whole() {
    let frames = Random(13).frames(40);
    let fs = written(&frames, small_segments());
    let paths = segments(&fs);
    let middle = fs.contents(&paths[1]).unwrap();
    for cut in (0..middle.len()).step_by(7) {
        let fs = written(&frames, small_segments());
        fs.set_contents(&paths[1], &middle[..cut]);
        let error = recovery_of(&fs, small_segments()).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { .. } | Error::Gap { .. }),
            "cut at {cut}: {error}"
        );
        let (found, error) = read_all(&fs, 0);
        assert!(error.is_some() && found == frames[..found.len()], "cut at {cut}");
    }
}

#[test]
fn a_missing_segment_in_the_middle_is_a_gap() {
    let fs = written(&Random(14).frames(40), small_segments());
    fs.remove(&segments(&fs)[1]).unwrap();
    assert!(matches!(recovery_of(&fs, small_segments()), Err(Error::Gap { .. })));
    let (_, error) = read_all(&fs, 0);
    assert!(matches!(error, Some(Error::Gap { .. })), "{error:?}");
    // The oldest ones may go: they were cut.
    let fs = written(&Random(14).frames(40), small_segments());
    fs.remove(&segments(&fs)[0]).unwrap();
    assert!(recovery_of(&fs, small_segments()).unwrap().losses.is_empty());
}

#[test]
fn salvage_keeps_what_is_good_and_books_the_rest() {
    let salvage = Options { strict: false, ..small_segments() };
    let frames = Random(15).frames(40);
    let clean = written(&frames, small_segments());
    let paths = segments(&clean);
    let middle = clean.contents(&paths[1]).unwrap();
    for at in (0..middle.len()).step_by(61) {
        let fs = written(&frames, small_segments());
        let mut bytes = middle.clone();
        bytes[at] ^= 0x10;
        fs.set_contents(&paths[1], &bytes);
        assert!(recovery_of(&fs, small_segments()).is_err(), "flip at {at}");
        let report = recovery_of(&fs, salvage).unwrap();
        assert_eq!(report.losses.len(), 1, "flip at {at}: {report:?}");
        let aside = report.losses[0].moved_to.clone().unwrap();
        assert_eq!(fs.contents(&aside), Some(bytes), "the damaged bytes are kept");
        // From now on it opens as any other, and only frames of that segment are gone.
        fs.crash(crate::base::fs::Crash::Power);
        assert!(recovery_of(&fs, small_segments()).unwrap().losses.is_empty(), "flip at {at}");
        let found = frames_of(&fs);
        let mut expected = frames.clone();
        expected.retain(|frame| found.contains(frame));
        assert_eq!(found, expected, "flip at {at}: in order, none invented");
        assert!(found.len() < frames.len() && found.last() == frames.last(), "flip at {at}");
        let mut log = open(&fs, small_segments()).unwrap();
        log.append(&Random(1).frame(9_000)).unwrap();
        assert_eq!(frames_of(&fs).len(), found.len() + 1);
    }
}

#[test]
fn rubbish_that_claims_to_be_long_takes_no_memory() {
    let segment = segment(16, 5);
    let mut bytes = segment.bytes.clone();
    let at = segment.ends[3];
    bytes[at + 8..at + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    let fs = disk(&segment.path, &bytes);
    assert_eq!(recovery_of(&fs, Options::default()).unwrap().frames, 4);
}

#[test]
fn a_frame_inside_a_dead_letter_is_not_taken_for_one() {
    // The raw bytes of a dead letter are a whole segment, frames and all. When the write of that
    // frame is torn, what is inside must not count as a later frame.
    let inner = segment(17, 5);
    let fs = written(&inner.frames[..1], Options::default());
    let mut log = open(&fs, Options::default()).unwrap();
    let end = log.bytes() as usize;
    let letter = DeadLetter { raw: segment(18, 5).bytes.into(), ..Random(1).dead_letter() };
    let outer = Frame { dead_letters: vec![letter], ..Random(1).frame(5_000) };
    log.append(&outer).unwrap();
    let path = segments(&fs).remove(0);
    let mut bytes = fs.contents(&path).unwrap();
    bytes[end + 20] ^= 1;
    let fs = disk(&path, &bytes);
    assert!(recovery_of(&fs, Options::default()).unwrap().torn_bytes > 0);
    assert_eq!(frames_of(&fs), inner.frames[..1]);
}

#[test]
fn a_lost_end_that_was_acknowledged_is_noticed() {
    let salvage = Options { strict: false, ..Options::default() };
    let frames: Vec<_> = (1..=5).map(|i| Random(i).frame(2_000 * i)).collect();
    let ends = {
        let fs = MemFs::new();
        let mut log = open(&fs, Options::default()).unwrap();
        let mut size = |frame| {
            log.append(frame).unwrap();
            log.bytes() as usize
        };
        frames.iter().map(&mut size).collect::<Vec<_>>()
    };
    for cut in [0, 100, 4096, ends[0], ends[3], ends[3] + 70, ends[4] - 1] {
        let fs = written(&frames, Options::default());
        let path = segments(&fs).remove(0);
        let bytes = fs.contents(&path).unwrap();
        fs.set_contents(&path, &bytes[..cut]);
        let error = recovery_of(&fs, Options::default()).unwrap_err();
        let lost = matches!(error, Error::LostTail { acknowledged: Epoch(10_000), .. });
        assert!(lost, "cut at {cut}: {error}");
        assert_eq!(fs.contents(&path).unwrap().len(), cut, "a refusal changes nothing");
        let kept = ends.iter().filter(|end| **end <= cut).count();
        let log = open(&fs, salvage).unwrap();
        assert_eq!(log.recovery().losses.len(), 1, "cut at {cut}");
        assert_eq!(log.next_epoch(Epoch(0)), Epoch(10_001), "no epoch is given twice");
        assert_eq!(frames_of(&fs), frames[..kept]);
        assert!(recovery_of(&fs, Options::default()).unwrap().losses.is_empty());
    }
}
