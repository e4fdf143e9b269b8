//! The great oracle: random stories of a plant, told to the whole engine below its doors.
//!
//! Points come late, long after their time, twice, corrected, bad and not at all; documents change,
//! also since a time long before, assets go and come back. However a story is cut into frames,
//! however many workers there are and wherever the program is stopped or killed and started again,
//! every view is what telemetry gives by another path, and is the same.
//!
//! What no story has: a version without a metric and one that has it again since a time before.

mod documents;
mod story;
mod course;

use crate::exports::settled;
use course::{Contents, Course};
use documents::Random;
use std::collections::BTreeSet;
use story::Step;

/// How many stories are told; another number with `MILLSTREAM_SEEDS`, from `MILLSTREAM_SEED` on.
const STORIES: u64 = 500;
/// Steps of a story.
const STEPS: usize = 16;
/// With so many stories, every view has rows in some.
const MANY: u64 = 100;

/// Tells a story in two ways. Returns the views that have rows; the error says what differs.
fn check(seed: u64, story: &[Step]) -> Result<BTreeSet<String>, String> {
    let mut random = Random(seed ^ 0x0c1e);
    let (somewhere, last) = (random.below(story.len() as u64) as usize, story.len() - 1);
    let plain = Course { seed: seed ^ 0xaaaa, workers: 1, restarts: false };
    let workers = [1, 2, 4][random.below(3) as usize];
    let other = Course { seed: seed ^ 0x5555, workers, restarts: true };
    // Where both hold the same, it is enough that one of them is verified.
    let verified = if random.one_in(2) { [None, Some(last)] } else { [Some(somewhere), None] };
    let one = plain.tell(story, &[somewhere, last], verified[0])?;
    let two = other.tell(story, &[somewhere, last], verified[1])?;
    for (one, two) in one.iter().zip(&two) {
        same(one, two).map_err(|error| format!("{plain}, {other}: {error}"))?;
    }
    let filled = one.into_iter().flatten().filter(|(_, rows)| !rows.is_empty());
    Ok(filled.map(|(view, _)| view).collect())
}

/// Which rows differ, apart from whether a settled window is told as revised: that depends on which
/// rows became visible together.
fn same(one: &Contents, two: &Contents) -> Result<(), String> {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|row| !those.contains(row)).take(3).cloned().collect()
    };
    for (view, rows) in one {
        let (rows, others) = (settled(rows.iter().cloned()), settled(two[view].iter().cloned()));
        if rows != others {
            let (here, there) = (only(&rows, &others), only(&others, &rows));
            return Err(format!("{view} differs: {here:#?} against {there:#?}"));
        }
    }
    Ok(())
}

/// A shorter story with which it fails too: steps are left out while that is so.
fn shrink(seed: u64, mut story: Vec<Step>, mut error: String) -> (Vec<Step>, String) {
    let mut size = story.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at < story.len() {
            let mut less = story.clone();
            less.drain(at..(at + size).min(story.len()));
            match if less.is_empty() { None } else { check(seed, &less).err() } {
                None => at += size,
                Some(why) => (story, error) = (less, why),
            }
        }
        size /= 2;
    }
    (story, error)
}

#[test]
fn every_story_ends_in_what_telemetry_gives_however_it_comes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let begin = number("MILLSTREAM_SEED").unwrap_or(1);
    let stories = number("MILLSTREAM_SEEDS").unwrap_or(STORIES);
    println!("stories from seed {begin} on");
    let mut filled = BTreeSet::new();
    for seed in begin..begin + stories {
        let story = story::story(seed, STEPS);
        match check(seed, &story) {
            Ok(views) => filled.extend(views),
            Err(error) => {
                println!("MILLSTREAM_SEED={seed} MILLSTREAM_SEEDS=1 repeats it:\n{error}");
                let (story, error) = shrink(seed, story, error);
                story.iter().for_each(|step| println!("{step:?}"));
                panic!("seed {seed}, {} steps: {error}", story.len());
            }
        }
    }
    let pages = course::PAGES.load(std::sync::atomic::Ordering::Relaxed);
    println!("{pages} requests for archived points");
    assert!(stories < MANY || pages > stories / 4, "{pages} requests for archived points");
    for (files, of) in course::FILES.iter().zip(["windows", "other rows"]) {
        let files = files.load(std::sync::atomic::Ordering::Relaxed);
        println!("{files} files of {of} that had left memory");
        assert!(stories < MANY || files > stories, "{files} files of {of}");
    }
    let moved = course::MOVED.load(std::sync::atomic::Ordering::Relaxed);
    println!("{moved} files of the archive had moved to a store");
    assert!(stories < MANY || moved > stories / 4, "{moved} files had moved");
    let told = course::TOLD.load(std::sync::atomic::Ordering::Relaxed);
    println!("{told} rows told again as of before");
    assert!(stories < MANY || told > 10 * stories, "{told} rows told again");
    let views = millstream::views::Views::new(Default::default()).list();
    // No story deletes or corrects over the API.
    let is_meant = |name: &str| name != "corrections" && !filled.contains(name);
    let empty: Vec<_> = views.iter().map(|view| view.name).filter(|name| is_meant(name)).collect();
    assert!(stories < MANY || empty.is_empty(), "no story fills {empty:?}");
}
