//! The folder of exports: `ID.FORM` is a whole file, `ID.note` says what it is, and `*.unfinished`
//! is being written.

use super::job::Job;
use crate::query::Form;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

const NOTE: &str = "note";
const UNFINISHED: &str = "unfinished";

/// What a restart must know of an export that is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub id: String,
    pub question: String,
    #[serde(with = "by_name")]
    pub form: Form,
    /// Microseconds since 1970.
    pub created: i64,
    /// The same.
    pub finished: i64,
    pub epoch: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// Where the files are.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// The folder, which need not be there yet, and what is whole in it. All else is removed.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Note>)> {
        let folder = Self { path: path.to_owned() };
        if !path.is_dir() {
            return Ok((folder, Vec::new()));
        }
        let (mut notes, mut known) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            if entry.extension().is_some_and(|ending| ending == NOTE)
                && let Some(note) = folder.note(&entry)
            {
                known.extend([folder.file(&note.id, note.form), entry]);
                notes.push(note);
            }
        }
        for entry in fs::read_dir(path)? {
            let entry = entry?.path();
            if !known.contains(&entry) && entry.is_file() {
                fs::remove_file(&entry)?;
            }
        }
        Ok((folder, notes))
    }

    /// A note whose file is there and whole.
    fn note(&self, path: &Path) -> Option<Note> {
        let note: Note = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let length = fs::metadata(self.file(&note.id, note.form)).ok()?.len();
        (length == note.bytes && self.beside(&note.id, NOTE) == path).then_some(note)
    }

    fn beside(&self, id: &str, ending: &str) -> PathBuf {
        self.path.join(format!("{id}.{ending}"))
    }

    fn file(&self, id: &str, form: Form) -> PathBuf {
        self.beside(id, form.name())
    }

    /// A file to write.
    pub fn create(&self, job: &Job) -> io::Result<File> {
        fs::create_dir_all(&self.path)?;
        File::create(self.beside(job.id(), UNFINISHED))
    }

    /// Makes a written file durable and gives it its name, and a note before that.
    pub fn complete(&self, file: &File, note: &Note) -> io::Result<()> {
        file.sync_all()?;
        let path = self.beside(&note.id, NOTE);
        fs::write(&path, serde_json::to_vec(note)?)?;
        File::open(&path)?.sync_all()?;
        fs::rename(self.beside(&note.id, UNFINISHED), self.file(&note.id, note.form))?;
        File::open(&self.path)?.sync_all()
    }

    /// A whole file.
    pub fn read(&self, job: &Job) -> io::Result<File> {
        File::open(self.file(job.id(), job.form()))
    }

    /// Removes whatever there is of a job.
    pub fn remove(&self, job: &Job) -> io::Result<()> {
        let id = job.id();
        for path in [self.beside(id, NOTE), self.beside(id, UNFINISHED), self.file(id, job.form())]
        {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// A form as its name.
mod by_name {
    use crate::query::Form;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(form: &Form, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(form.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Form, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}
