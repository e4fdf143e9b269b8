//! The shape of the source: rooms import only from lower floors, foreign libraries stay in their
//! rooms, files stay readable.

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, lowest first. Rooms on one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["base"],
    &["model"],
    &["expr", "log", "checkpoint", "health"],
    &["catalog"],
    &["ingest", "dataflow", "views", "historian"],
    &["query", "replay"],
    &["serve"],
    &["app", "cli"],
];

/// Foreign libraries, and the rooms that may name them.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("timely", &["dataflow"]),
    ("differential_dataflow", &["dataflow"]),
    ("datafusion", &["query", "expr"]),
    ("jsonata_core", &["expr"]),
    ("datafusion_pg_catalog", &["query"]),
    ("pgwire", &["serve"]),
    ("arrow_pg", &["serve"]),
    ("arrow_flight", &["serve"]),
    ("tonic", &["serve"]),
    ("axum", &["serve"]),
    ("utoipa", &["serve"]),
    ("rumqttc", &["ingest"]),
    ("parquet", &["historian", "ingest", "query", "cli"]),
    ("rust_xlsxwriter", &["query"]),
    ("object_store", &["historian", "query"]),
    ("tokio_postgres", &["historian"]),
    ("tokio_postgres_rustls", &["historian"]),
    ("refinery", &["historian"]),
    ("webpki_roots", &["historian"]),
    ("clap", &["cli"]),
    ("ureq", &["cli"]),
    ("indicatif", &["cli"]),
    ("octofhir_ucum", &["catalog"]),
];

/// Files longer than this are no longer proofread.
const MOST_LINES: usize = 800;

/// The files of a folder that end in `.rs`.
pub fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
    found.sort();
    found
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The room of a file: the first part of its path below `src`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix(src()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Names that follow `prefix` in the text: `crate::` gives the rooms that a file imports.
fn names_after<'a>(text: &'a str, prefix: &str) -> Vec<&'a str> {
    let name = |rest: &'a str| {
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
    };
    text.match_indices(prefix).map(|(at, _)| name(&text[at + prefix.len()..])).collect()
}

#[test]
fn rooms_import_only_from_lower_floors() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let here = room(&path);
        let Some(own) = floor(&here) else {
            assert!(["lib", "main"].contains(&here.as_str()), "room {here} is on no floor");
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        for there in names_after(&text, "crate::") {
            match floor(there) {
                Some(other) if there != here && other >= own && own + 1 < FLOORS.len() => {
                    wrong.push(format!("{}: {here} imports {there}", path.display()));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn foreign_libraries_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for path in sources(&src()) {
        let text = fs::read_to_string(&path).unwrap();
        for (library, rooms) in LIBRARIES {
            let named = text.contains(&format!("use {library}::"))
                || text.contains(&format!(" {library}::"))
                || text.contains(&format!("({library}::"));
            if named && !rooms.contains(&room(&path).as_str()) {
                wrong.push(format!("{}: names {library}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    for path in sources(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines: split it", path.display());
    }
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(src().join("../ARCHITECTURE.md")).unwrap();
    for room in FLOORS.iter().copied().flatten() {
        assert!(map.contains(&format!("`{room}`")), "ARCHITECTURE.md does not name {room}");
    }
}

#[test]
fn printing_never_panics() {
    let printing = ["print!(", "println!("];
    for path in sources(&src()).into_iter().filter(|path| !path.to_string_lossy().contains("test"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let told = text.split("mod tests {").next().unwrap();
        let found = printing.iter().any(|word| told.contains(word));
        assert!(!found, "{}: use say! or tell!", path.display());
    }
}
