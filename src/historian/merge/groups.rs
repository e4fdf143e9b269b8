//! Which files are merged with each other.

use super::super::aside::Aside;
use super::super::manifest::{FOLDER, Manifest};
use super::super::remote::Age;
use super::combine::Kind;
use crate::model::{ArchiveFile, Place};
use std::collections::BTreeMap;

/// Files with more points are large enough.
const POINTS_MAX: u64 = 2 << 20;
/// Files with up to so many points are of the first size; each further size has eight times as many.
const FIRST_SIZE: u64 = 32 * 1024;
/// The size of files that are old.
const OLD: u32 = u32::MAX;

/// Files that become one.
#[derive(Debug)]
pub(super) struct Group {
    pub kind: Kind,
    pub files: Vec<ArchiveFile>,
    /// What new files are called, without their ending.
    pub name: String,
}

/// Files of one kind, by their folder and by how large they are.
type Groups<'a> = BTreeMap<(&'a str, u32), Vec<&'a ArchiveFile>>;

/// Groups of files that can be merged: at least `least` of one day and about the same size. Files of
/// a day that are old enough to move are one group whatever their size, when there are two of them.
fn groups<'a>(
    files: &'a [ArchiveFile],
    least: usize,
    aside: &Aside,
    age: Option<Age>,
) -> Groups<'a> {
    let mut groups = Groups::new();
    let may_grow = |file: &&ArchiveFile| {
        file.rows < POINTS_MAX && file.place == Place::Local && aside.is_free(&file.path)
    };
    for file in files.iter().filter(may_grow) {
        let Some((folder, _)) = file.path.rsplit_once('/') else { continue };
        debug_assert!(folder.starts_with(FOLDER));
        let size = match age.is_some_and(|age| age.is_due(file)) {
            true => OLD,
            false => (file.rows / FIRST_SIZE).checked_ilog(8).map_or(0, |size| size + 1),
        };
        groups.entry((folder, size)).or_default().push(file);
    }
    groups.retain(|(_, size), files| files.len() >= if *size == OLD { 2 } else { least });
    groups
}

/// The first group; twice as many files as `least` at most. `None` when `least` is 0.
pub(super) fn pick(
    manifest: &Manifest,
    least: usize,
    aside: &Aside,
    age: Option<Age>,
) -> Option<Group> {
    let group = |kind: Kind, files: &[ArchiveFile]| {
        let ((folder, _), files) = groups(files, least, aside, age).pop_first()?;
        let name = format!("{folder}/merged-{}", manifest.merged + 1);
        let files = files.into_iter().take(least.saturating_mul(2)).cloned().collect();
        Some(Group { kind, files, name })
    };
    if least == 0 {
        return None;
    }
    group(Kind::Newest, &manifest.files).or_else(|| group(Kind::Older, &manifest.older))
}

/// The paths of files that will be merged with others, as it is now.
pub(in super::super) fn to_merge<'a>(
    manifest: &'a Manifest,
    least: usize,
    aside: &Aside,
    age: Option<Age>,
) -> Vec<&'a str> {
    if least == 0 {
        return Vec::new();
    }
    let of = |files| groups(files, least, aside, age).into_values().flatten();
    of(&manifest.files).chain(of(&manifest.older)).map(|file| file.path.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn file(day: u8, number: u64, rows: u64) -> ArchiveFile {
        let mut file = ArchiveFile::new(format!("telemetry/day=2026-03-0{day}/{number}.parquet"));
        (file.rows, file.min_epoch, file.max_epoch) = (rows, number, number);
        file
    }

    #[test]
    fn files_of_one_day_and_size_are_merged() {
        let mut manifest = Manifest::default();
        manifest.files.extend((0..7).map(|i| file(1, i, 1_000)));
        manifest.files.extend((7..14).map(|i| file(2, i, 1_000)));
        manifest.files.extend((14..20).map(|i| file(2, i, 100_000)));
        manifest.files.extend((20..40).map(|i| file(3, i, POINTS_MAX)));
        let mut aside = Aside::default();
        assert!(pick(&manifest, 8, &aside, None).is_none());
        manifest.files.push(file(2, 50, 2_000));
        let group = pick(&manifest, 8, &aside, None).unwrap();
        let numbers: Vec<u64> = group.files.iter().map(|file| file.min_epoch).collect();
        assert_eq!(numbers, [7, 8, 9, 10, 11, 12, 13, 50]);
        assert_eq!(group.name, "telemetry/day=2026-03-02/merged-1");
        assert_eq!(pick(&manifest, 3, &aside, None).unwrap().files.len(), 6);
        assert!(pick(&manifest, 0, &aside, None).is_none());
        aside.leave(&manifest.files[9].path, Instant::now());
        assert!(pick(&manifest, 8, &aside, None).is_none());
    }
}
