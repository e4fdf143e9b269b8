//! The store behind the archive's directory: files that are old move there.
//!
//! The manifest says of each file where it is. A file that moves is written on the store, read back
//! and compared, then the manifest is swapped, and then the local file goes, when nobody reads it any
//! more. The manifest also tells what may be on the store without being named: it is written down
//! before, so that nothing has to be looked for there, and nothing is removed that this archive has
//! not written.
//!
//! Everything stands below the archive's own id: archives may share a bucket and a prefix.

mod blocks;
mod mover;
mod settings;
mod shelf;

use super::durable::Sum;
use super::error::Error;
use super::manifest::{Manifest, OnStore};
use crate::base::fs::Fs;
use crate::base::shutdown::Shutdown;
use crate::model::ArchiveFile;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use settings::Opened;
use shelf::Shelf;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

pub(super) use blocks::Blocks;
pub(super) use mover::Age;
pub use settings::{StoreSettings, StoreUrl};

/// How long a request is waited for, with its repetitions.
const PATIENCE: Duration = Duration::from_secs(60);
/// A file is written in pieces of this size, and read back so.
const PIECE: u64 = if cfg!(test) { 300 } else { 8 << 20 };
/// What is told of a failure at most.
const TOLD: usize = 600;

/// A store, asked by threads that wait for the answer.
pub(super) struct Remote {
    /// Requests run here, whoever waits for them. `None` once it is dropped.
    runtime: Option<Runtime>,
    closed: Shutdown,
    store: Arc<dyn ObjectStore>,
    base: Path,
    folder: Option<PathBuf>,
    /// Where the files of this archive are.
    url: String,
}

/// Opens the store of an archive: the one that is given, else the one that the manifest names. The
/// manifest has it afterwards. Asks nothing of it: it may be away.
pub(super) fn open(
    fs: &Arc<dyn Fs>,
    directory: &std::path::Path,
    manifest: &mut Manifest,
    given: Option<&StoreSettings>,
) -> Result<Option<Arc<Remote>>, Error> {
    let settings = match (given, &manifest.store) {
        (Some(given), _) => given.clone(),
        (None, Some(known)) if manifest.uses_store() => {
            let url = known.url.parse();
            let url = url.map_err(|reason| Error::StoreUrl { url: known.url.clone(), reason })?;
            StoreSettings::new(url, None)
        }
        (None, _) => return Ok(None),
    };
    let url = settings.url.to_string();
    let known = manifest.store.clone().unwrap_or_else(OnStore::begin);
    if known.url != url {
        if manifest.uses_store() {
            let before = &known.url;
            tracing::warn!(url, before, "files of the archive are looked for on another store");
        }
        manifest.store = Some(OnStore { url, ..known.clone() });
        manifest.write(fs, directory)?;
    }
    Remote::open(&settings, &known.id).map(|remote| Some(Arc::new(remote)))
}

impl Remote {
    fn open(settings: &StoreSettings, id: &str) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("archive-store")
            .enable_all()
            .build()
            .map_err(|error| Error::Store {
                action: "start the threads of archive store",
                url: settings.url.to_string(),
                reason: error.to_string(),
            })?;
        let Opened { store, prefix, folder } = settings.open(runtime.handle())?;
        let (url, base) = (format!("{}/{id}", settings.url), prefix.join(id));
        let closed = Shutdown::new();
        Ok(Self { runtime: Some(runtime), closed, store, base, folder, url })
    }

    /// What errors call a file.
    pub fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Where the files of this archive are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The store as queries read it: files by their paths, errors with the name of the store.
    pub fn shelf(&self) -> Arc<dyn ObjectStore> {
        let (store, base) = (Arc::clone(&self.store), self.base.clone());
        Arc::new(Shelf { store, base, url: self.url.clone() })
    }

    /// Lets nobody wait any longer.
    pub fn close(&self) {
        self.closed.trigger();
    }

    /// Bytes of a file, which must be there. Blocks.
    pub fn range(&self, path: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let (store, place, wanted) = (Arc::clone(&self.store), self.place(path), range.clone());
        let bytes = async move { store.get_range(&place, wanted).await };
        let bytes = self.wait("read", path, bytes)?;
        if bytes.len() as u64 != range.end - range.start {
            let reason = format!("{} bytes at {} are not there", bytes.len(), range.start);
            return Err(self.failed("read", path, reason));
        }
        Ok(bytes)
    }

    /// Reads all of a file and compares: [`Error::Damaged`] when it is something else. Blocks.
    pub fn check(&self, file: &ArchiveFile) -> Result<(), Error> {
        let (store, place) = (Arc::clone(&self.store), self.place(&file.path));
        let head = async move { store.head(&place).await };
        let bytes = self.wait("measure", &file.path, head)?.size;
        let mut found = Sum { bytes, crc32c: 0 };
        let mut at = 0;
        while bytes == file.bytes && at < bytes {
            let piece = self.range(&file.path, at..bytes.min(at + PIECE))?;
            found.crc32c = crc32c::crc32c_append(found.crc32c, &piece);
            at += piece.len() as u64;
        }
        let path = || PathBuf::from(self.name(&file.path));
        (found == file.sum()).then_some(()).ok_or_else(|| Error::Damaged { path: path() })
    }

    /// Writes a local file, which must be what the manifest says ([`Error::Damaged`]), and waits
    /// until it is there. Holds a piece of it at a time. Blocks.
    pub fn write(
        &self,
        fs: &dyn Fs,
        (local, sum): (&std::path::Path, Sum),
        path: &str,
    ) -> Result<(), Error> {
        let file = fs.open(local).map_err(Error::io("open", local))?;
        let piece = |at: u64| {
            let mut bytes = vec![0; (sum.bytes - at).min(PIECE) as usize];
            let mut filled = 0;
            while filled < bytes.len() {
                let read = file.read_at(at + filled as u64, &mut bytes[filled..]);
                match read.map_err(Error::io("read", local))? {
                    0 => return Err(Error::Damaged { path: local.into() }),
                    count => filled += count,
                }
            }
            Ok(bytes)
        };
        let is_whole = |crc32c: u32| match crc32c == sum.crc32c {
            true => Ok(()),
            false => Err(Error::Damaged { path: local.into() }),
        };
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        if sum.bytes <= PIECE {
            let bytes = piece(0)?;
            is_whole(crc32c::crc32c(&bytes))?;
            let put = async move { store.put(&place, PutPayload::from(bytes)).await };
            self.wait("write", path, put)?;
            return self.sync(path);
        }
        let begin = async move { store.put_multipart(&place).await };
        let mut upload = self.wait("write", path, begin)?;
        let mut send = || {
            let (mut at, mut crc32c) = (0, 0);
            while at < sum.bytes {
                let bytes = piece(at)?;
                crc32c = crc32c::crc32c_append(crc32c, &bytes);
                at += bytes.len() as u64;
                self.wait("write", path, upload.put_part(PutPayload::from(bytes)))?;
            }
            is_whole(crc32c)
        };
        if let Err(failure) = send() {
            // What was sent costs space until then.
            let given_up = self.wait("give up", path, async move { upload.abort().await });
            given_up.unwrap_or_else(|error| tracing::debug!(%error, "unfinished upload stays"));
            return Err(failure);
        }
        self.wait("write", path, async move { upload.complete().await })?;
        self.sync(path)
    }

    /// Removes a file, when it is there. Blocks.
    pub fn remove(&self, path: &str) -> Result<(), Error> {
        let (store, place) = (Arc::clone(&self.store), self.place(path));
        let removed = async move {
            match store.delete(&place).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                other => other,
            }
        };
        self.wait("remove", path, removed)
    }

    /// Makes a file durable where the store is a directory.
    fn sync(&self, path: &str) -> Result<(), Error> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut place = folder.join(self.place(path).as_ref());
        loop {
            let synced = std::fs::File::open(&place).and_then(|file| file.sync_all());
            synced.map_err(Error::io("sync", &place))?;
            if place == *folder || !place.pop() {
                return Ok(());
            }
        }
    }

    fn place(&self, path: &str) -> Path {
        self.base.parts().chain(Path::from(path).parts()).collect()
    }

    fn failed(&self, action: &'static str, path: &str, reason: String) -> Error {
        Error::Store { action, url: self.name(path), reason }
    }

    /// Waits for an answer, on any thread.
    fn wait<T: Send + 'static>(
        &self,
        action: &'static str,
        path: &str,
        answer: impl Future<Output = object_store::Result<T>> + Send + 'static,
    ) -> Result<T, Error> {
        let (send, receive) = mpsc::sync_channel(1);
        let closed = self.closed.clone();
        let runtime = self.runtime.as_ref().ok_or(Error::Closed)?;
        runtime.spawn(async move {
            tokio::select! {
                answer = tokio::time::timeout(PATIENCE, answer) => drop(send.send(answer)),
                () = closed.wait() => {}
            }
        });
        match receive.recv() {
            Ok(Ok(answer)) => answer.map_err(|error| self.failed(action, path, told(&error))),
            Ok(Err(_)) => {
                let reason = format!("no answer for {} s", PATIENCE.as_secs());
                Err(self.failed(action, path, reason))
            }
            Err(_) => Err(Error::Closed),
        }
    }
}

impl Drop for Remote {
    /// Requests that run end; nobody waits for them.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a store said, in one line. It answers in XML, of which only the words are told.
fn told(error: &object_store::Error) -> String {
    let mut is_tag = false;
    let word = |c: char| match c {
        '<' | '>' => {
            is_tag = c == '<';
            Some(' ')
        }
        _ => (!is_tag).then_some(c),
    };
    let text: String = error.to_string().chars().filter_map(word).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
