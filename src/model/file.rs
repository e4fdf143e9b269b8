//! A file of the archive, as those know it who write, name and read it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One file of the archive. Never changed once a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFile {
    /// Path from the archive's directory, or from where the archive is on the store, with `/`.
    pub path: String,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Place::is_local")]
    pub place: Place,
    /// Number of rows: points, or aggregates of windows.
    pub rows: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// CRC-32C of the bytes.
    pub crc32c: u32,
    /// The earliest event time, or start of a window, in microseconds.
    pub min_event_time: i64,
    /// The latest event time, or start of a window, in microseconds.
    pub max_event_time: i64,
    /// The first epoch of the rows.
    pub min_epoch: u64,
    /// The last epoch of the rows.
    pub max_epoch: u64,
}

impl ArchiveFile {
    /// A file without rows yet.
    pub fn new(path: String) -> Self {
        Self {
            path,
            place: Place::Local,
            rows: 0,
            bytes: 0,
            crc32c: 0,
            min_event_time: i64::MAX,
            max_event_time: i64::MIN,
            min_epoch: u64::MAX,
            max_epoch: 0,
        }
    }
}

/// Where a file of the archive is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In the archive's directory.
    #[default]
    Local,
    /// On the store behind it.
    Store,
}

impl Place {
    /// Its name: `local` or `store`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Store => "store",
        }
    }

    /// Whether it is the archive's directory.
    pub fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// Documents for people say it by name. Checkpoints say nothing: the files that they name are all in
/// the directory.
impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => serializer.serialize_str(self.name()),
            false => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <()>::deserialize(deserializer).map(|()| Self::Local);
        }
        let name = String::deserialize(deserializer)?;
        let known = [Self::Local, Self::Store].into_iter().find(|place| place.name() == name);
        known.ok_or_else(|| serde::de::Error::unknown_variant(&name, &["local", "store"]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_what_they_were() {
        #[derive(Serialize)]
        struct Before(String, u64, u64, u32, i64, i64, u64, u64);
        let file = ArchiveFile::new("a/b.parquet".into());
        let before = Before(file.path.clone(), 0, 0, 0, i64::MAX, i64::MIN, u64::MAX, 0);
        let bytes = bincode::serialize(&file).unwrap();
        assert_eq!(bytes, bincode::serialize(&before).unwrap());
        assert_eq!(bincode::deserialize::<ArchiveFile>(&bytes).unwrap(), file);
        let there = ArchiveFile { place: Place::Store, ..file.clone() };
        for file in [file, there] {
            let text = serde_json::to_string(&file).unwrap();
            assert_eq!(text.contains("place"), file.place == Place::Store, "{text}");
            assert_eq!(serde_json::from_str::<ArchiveFile>(&text).unwrap(), file);
        }
        let text = r#"{"place": "moon"}"#;
        assert!(serde_json::from_str::<ArchiveFile>(text).is_err());
    }
}
