//! Which store takes the files of the archive that are old.

use super::super::error::Error;
use crate::model::Duration;
use object_store::aws::AmazonS3Builder;
use object_store::client::SpawnedReqwestConnector;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, RetryConfig};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use tokio::runtime::Handle;

/// A request that failed for a reason that may pass is repeated so often, and for so long.
const RETRIES: usize = 3;
const RETRY_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// Where a store is: `s3://BUCKET[/PREFIX]` or `file:///DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    S3 { bucket: String, prefix: Path },
    Folder(PathBuf),
}

/// The store that takes old files.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Where it is.
    pub url: StoreUrl,
    /// How long a day has to be over, and how long ago the last point of a file has to have come,
    /// until the file moves; `None` moves none, and reads what is there.
    pub after: Option<Duration>,
    /// Takes the place of the store that the URL names.
    #[cfg(test)]
    pub given: Option<Arc<dyn ObjectStore>>,
}

/// A store, and where in it things are.
pub(super) struct Opened {
    pub store: Arc<dyn ObjectStore>,
    pub prefix: Path,
    /// The directory, when it is one: there it takes syncs to make things durable.
    pub folder: Option<PathBuf>,
}

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let usage = "give s3://BUCKET/PREFIX or file:///DIRECTORY";
        let kind = match text.split_once("://") {
            Some(("s3", rest)) => {
                let rest = rest.trim_end_matches('/');
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(format!("'{text}' names no bucket: {usage}"));
                }
                let prefix = Path::parse(prefix).map_err(|error| format!("{error}: {usage}"))?;
                Kind::S3 { bucket: bucket.into(), prefix }
            }
            Some(("file", path)) if path.starts_with('/') => Kind::Folder(path.into()),
            _ => return Err(format!("'{text}' is no store: {usage}")),
        };
        Ok(Self { text: text.trim_end_matches('/').into(), kind })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StoreSettings {
    /// The store at a URL. With a time files move there once they are as old.
    pub fn new(url: StoreUrl, after: Option<Duration>) -> Self {
        Self {
            url,
            after,
            #[cfg(test)]
            given: None,
        }
    }

    /// The store, whose requests run on a runtime of their own. Keys and addresses of S3 are from
    /// the environment: `AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT` and so on.
    pub(super) fn open(&self, runtime: &Handle) -> Result<Opened, Error> {
        #[cfg(test)]
        if let Some(store) = &self.given {
            let (store, prefix) = (Arc::clone(store), Path::default());
            return Ok(Opened { store, prefix, folder: None });
        }
        let failed = |reason: String| Error::Store {
            action: "open archive store",
            url: self.url.to_string(),
            reason,
        };
        match &self.url.kind {
            Kind::S3 { bucket, prefix } => {
                let retry = RetryConfig {
                    max_retries: RETRIES,
                    retry_timeout: RETRY_FOR,
                    ..RetryConfig::default()
                };
                let store = AmazonS3Builder::from_env()
                    .with_bucket_name(bucket)
                    .with_retry(retry)
                    .with_http_connector(SpawnedReqwestConnector::new(runtime.clone()))
                    .build();
                let store = Arc::new(store.map_err(|error| failed(error.to_string()))?);
                Ok(Opened { store, prefix: prefix.clone(), folder: None })
            }
            Kind::Folder(folder) => {
                std::fs::create_dir_all(folder).map_err(|error| failed(error.to_string()))?;
                let store = LocalFileSystem::new_with_prefix(folder);
                let store = Arc::new(store.map_err(|error| failed(error.to_string()))?);
                Ok(Opened { store, prefix: Path::default(), folder: Some(folder.clone()) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_wrong_ones_are_told() {
        let url = |text: &str| text.parse::<StoreUrl>();
        let s3 = |bucket: &str, prefix: &str| Kind::S3 {
            bucket: bucket.into(),
            prefix: Path::parse(prefix).unwrap(),
        };
        assert_eq!(url("s3://plant").unwrap().kind, s3("plant", ""));
        assert_eq!(url("s3://plant/a/b/").unwrap().kind, s3("plant", "a/b"));
        assert_eq!(url("s3://plant/a/b/").unwrap().to_string(), "s3://plant/a/b");
        assert_eq!(url("file:///mnt/cold").unwrap().kind, Kind::Folder("/mnt/cold".into()));
        for (wrong, why) in [
            ("s3://", "no bucket"),
            ("s3:///prefix", "no bucket"),
            ("s3://plant/a//b", "a//b"),
            ("gs://plant", "is no store"),
            ("/mnt/cold", "is no store"),
            ("file://mnt/cold", "is no store"),
            ("", "is no store"),
        ] {
            let told = url(wrong).unwrap_err();
            assert!(told.contains(why) && told.contains("give s3://BUCKET/PREFIX"), "{told}");
        }
    }
}
