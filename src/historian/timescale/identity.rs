//! The name of a data directory, so that a database knows whose rows it has.

use super::error::Error;
use crate::base::fs::{Fs, RealFs};
use crate::historian::durable;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "id";

/// The id of the data directory; made on first sight, the same ever after. A copy of the directory
/// has the same id.
pub(super) fn of(data: &Path) -> Result<String, Error> {
    let path = data.join(FILE);
    let failed = |source| Error::Io { action: format!("read {}", path.display()), source };
    match fs::read_to_string(&path) {
        Ok(text) => match uuid::Uuid::try_parse(text.trim()) {
            Ok(id) => Ok(id.to_string()),
            Err(error) => Err(failed(std::io::Error::other(format!(
                "{error}; restore it from a backup, or remove it to send everything again"
            )))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = uuid::Uuid::now_v7().to_string();
            let fs: Arc<dyn Fs> = Arc::new(RealFs);
            durable::replace(&fs, &path, id.as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_the_same() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = of(one.path()).unwrap();
        assert_eq!(of(one.path()).unwrap(), id);
        assert_ne!(of(other.path()).unwrap(), id);
        fs::write(one.path().join(FILE), "torn").unwrap();
        assert!(of(one.path()).unwrap_err().to_string().contains("remove it"));
    }
}
