//! TLS of a door.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A certificate and its key, checked. With them nobody is served without encryption.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("read {file}: {source}")]
    Read {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// A file without certificates.
    #[error("{file} has no certificates")]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// Certificate and key are not of each other, or of no use.
    #[error("the certificate and its key: {0}")]
    Unfit(#[from] rustls::Error),
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the server's certificates, its own first, and its private key, both PEM.
    pub fn read(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let failed = |file: &Path| {
            let file = file.to_path_buf();
            move |source| TlsError::Read { file, source }
        };
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed(certificates))?;
        if chain.is_empty() {
            return Err(TlsError::Empty { file: certificates.into() });
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self { config: Arc::new(config) })
    }

    /// Encrypts what is said in a protocol, under the name that it has among protocols (ALPN).
    pub(in crate::serve) fn acceptor(&self, protocol: &[u8]) -> TlsAcceptor {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}
