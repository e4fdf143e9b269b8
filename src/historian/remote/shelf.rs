//! The store as queries read it.

use super::super::error::Error;
use super::told;
use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;

/// Reads the files of one archive by their paths, and says in errors which store it was. Writes
/// nothing.
#[derive(Debug)]
pub(super) struct Shelf {
    pub store: Arc<dyn ObjectStore>,
    pub base: Path,
    pub url: String,
}

impl Shelf {
    fn named(url: &str, error: &object_store::Error) -> object_store::Error {
        let (url, reason) = (url.to_owned(), told(error));
        let source = Box::new(Error::Store { action: "read archive store", url, reason });
        object_store::Error::Generic { store: "archive", source }
    }

    fn only_reads<T>(&self, operation: &str) -> Result<T> {
        let (operation, implementer) = (operation.to_owned(), self.to_string());
        Err(object_store::Error::NotImplemented { operation, implementer })
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files of the archive at {}", self.url)
    }
}

#[async_trait]
impl ObjectStore for Shelf {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let path = self.base.parts().chain(location.parts()).collect();
        let found = self.store.get_opts(&path, options).await;
        let mut found = found.map_err(|error| Self::named(&self.url, &error))?;
        found.meta.location = location.clone();
        if let GetResultPayload::Stream(bytes) = found.payload {
            let url = self.url.clone();
            let named = bytes.map(move |piece| piece.map_err(|error| Self::named(&url, &error)));
            found.payload = GetResultPayload::Stream(named.boxed());
        }
        Ok(found)
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.only_reads("put")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.only_reads("put_multipart")
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let refused = self.only_reads("delete");
        futures::stream::once(async { refused }).boxed()
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let refused = self.only_reads("list");
        futures::stream::once(async { refused }).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        self.only_reads("list")
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        self.only_reads("copy")
    }
}
