//! A store on which a request goes wrong.

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What goes wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Trouble {
    /// It is refused.
    Refused,
    /// It is done, and the answer gets lost.
    Lost,
    /// Other bytes than were sent arrive.
    Garbled,
}

/// A store in memory, one of whose requests goes wrong.
#[derive(Debug)]
pub(super) struct Shaky {
    pub store: Arc<InMemory>,
    pub requests: AtomicU64,
    /// The requests until then.
    left: AtomicI64,
    trouble: Mutex<Trouble>,
}

impl Shaky {
    pub fn new() -> Arc<Self> {
        let (requests, left) = (AtomicU64::new(0), AtomicI64::new(i64::MAX));
        let trouble = Mutex::new(Trouble::Refused);
        Arc::new(Self { store: Arc::default(), requests, left, trouble })
    }

    pub fn fail(&self, nth: u64, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
        self.left.store(nth as i64, Ordering::SeqCst);
    }

    /// What goes wrong with the next request.
    fn next(&self) -> Option<Trouble> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let hit = self.left.fetch_sub(1, Ordering::SeqCst) == 1;
        hit.then(|| *self.trouble.lock().unwrap())
    }

    async fn ask<T>(
        &self,
        trouble: Option<Trouble>,
        answer: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        match trouble {
            Some(Trouble::Refused) => Err(gone()),
            Some(Trouble::Lost) => answer.await.and(Err(gone())),
            _ => answer.await,
        }
    }

    /// What is there.
    pub fn paths(&self) -> BTreeSet<String> {
        let list = self.store.list(None).map(|meta| meta.unwrap().location.to_string());
        futures::executor::block_on(list.collect())
    }
}

fn gone() -> object_store::Error {
    object_store::Error::Generic { store: "shaky", source: "the line is dead".into() }
}

fn garbled(trouble: Option<Trouble>, payload: PutPayload) -> PutPayload {
    if trouble != Some(Trouble::Garbled) {
        return payload;
    }
    let mut bytes: Vec<u8> = payload.iter().flat_map(|bytes| bytes.to_vec()).collect();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 8;
    bytes.into()
}

impl fmt::Display for Shaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shaky")
    }
}

#[async_trait]
impl ObjectStore for Shaky {
    async fn put_opts(
        &self,
        to: &Key,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let trouble = self.next();
        self.ask(trouble, self.store.put_opts(to, garbled(trouble, payload), options)).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Key,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let upload = self.ask(self.next(), self.store.put_multipart_opts(to, options)).await?;
        let parts = self.next();
        Ok(Box::new(Upload { upload, parts, end: self.next() }))
    }

    async fn get_opts(&self, from: &Key, options: GetOptions) -> object_store::Result<GetResult> {
        self.ask(self.next(), self.store.get_opts(from, options)).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Key>>,
    ) -> BoxStream<'static, object_store::Result<Key>> {
        match self.next() {
            Some(Trouble::Refused) => futures::stream::once(async { Err(gone()) }).boxed(),
            Some(_) => self.store.delete_stream(locations).map(|_| Err(gone())).boxed(),
            None => self.store.delete_stream(locations),
        }
    }

    fn list(&self, at: Option<&Key>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.store.list(at)
    }

    async fn list_with_delimiter(&self, at: Option<&Key>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(at).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, o: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, o).await
    }
}

/// A file in pieces: what goes wrong with the first, and with the end.
#[derive(Debug)]
struct Upload {
    upload: Box<dyn MultipartUpload>,
    parts: Option<Trouble>,
    end: Option<Trouble>,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let trouble = self.parts.take();
        let part = self.upload.put_part(garbled(trouble, payload));
        Box::pin(async move {
            match trouble {
                Some(Trouble::Refused | Trouble::Lost) => Err(gone()),
                _ => part.await,
            }
        })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        match self.end.take() {
            Some(Trouble::Refused) => Err(gone()),
            Some(_) => self.upload.complete().await.and(Err(gone())),
            None => self.upload.complete().await,
        }
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.upload.abort().await
    }
}
