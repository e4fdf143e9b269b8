//! Where the database is and how to get there.

use super::error::Error;
use super::policies::Policies;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that acknowledges nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// Every connection speaks UTC, whatever the role's own time zone is.
const UTC: &str = "-c timezone=UTC";

/// A database that can be connected to. Whether it is there is found out later.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    tls: MakeRustlsConnect,
    pub(super) policies: Policies,
}

impl Settings {
    /// Reads `postgres://USER:PASSWORD@HOST[:PORT]/DATABASE[?sslmode=...]` or libpq's
    /// `key=value` form.
    ///
    /// `sslmode` is `disable`, `prefer` (TLS when the server has it, the default) or `require`.
    /// Whenever there is TLS the server's certificate is checked: against the authorities in the
    /// PEM file when one is given, else against the public ones.
    pub fn parse(url: &str, authorities: Option<&Path>) -> Result<Self, Error> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Error::Url(cause.unwrap_or_else(|| error.to_string()))
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Url("it names no host".into()));
        }
        let options = config.get_options().map_or(UTC.into(), |given| format!("{given} {UTC}"));
        config.options(options).tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("millstream");
        }
        let tls = MakeRustlsConnect::new(tls(authorities)?);
        Ok(Self { config, tls, policies: Policies::default() })
    }

    /// The same with what is wanted of old rows.
    pub fn with(self, policies: Policies) -> Self {
        Self { policies, ..self }
    }

    /// `HOST[:PORT]/DATABASE`, for messages: no password.
    pub fn server(&self) -> String {
        let host = match (self.config.get_hosts().first(), self.config.get_hostaddrs().first()) {
            (Some(Host::Tcp(name)), _) => name.clone(),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => path.display().to_string(),
            (None, address) => address.map(ToString::to_string).unwrap_or_default(),
        };
        let port = self.config.get_ports().first().map(|port| format!(":{port}"));
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or_default();
        format!("{host}{}/{database}", port.unwrap_or_default())
    }

    /// The same for whoever only reads, with more options of the server.
    pub(super) fn reading(&self, options: &str) -> Self {
        let mut config = self.config.clone();
        let given = config.get_options().unwrap_or(UTC).to_owned();
        config.options(format!("{given} {options}"));
        Self { config, ..self.clone() }
    }

    /// What a connection is encrypted with.
    pub(super) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Connects; the connection is driven by a task that ends with the client.
    pub(super) async fn connect(&self) -> Result<Client, Error> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, connection) = connected.map_err(Error::database("connect"))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection to the database ended");
            }
        });
        Ok(client)
    }
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let refused = |reason: String| Error::Authorities { path: path.into(), reason };
            let found = CertificateDer::pem_file_iter(path).map_err(|e| refused(e.to_string()))?;
            for certificate in found {
                let certificate = certificate.map_err(|e| refused(e.to_string()))?;
                roots.add(certificate).map_err(|e| refused(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refused("there is no certificate in it".into()));
            }
        }
    }
    // The provider is named, so that it does not depend on what the process has installed.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Error::Url(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<&str, &str>) {
        match (Settings::parse(url, None), expected) {
            (Ok(settings), Ok(server)) => {
                assert_eq!(settings.server(), server);
                assert!(settings.config.get_options().unwrap().ends_with(UTC));
            }
            (Err(error), Err(part)) => {
                let text = error.to_string();
                assert!(text.contains(part) && text.contains("give postgres://"), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
            (found, _) => panic!("{url}: {:?}", found.map(|settings| settings.server())),
        }
    }

    #[test]
    fn urls_are_read_and_never_shown_with_their_password() {
        check(
            "postgres://u:secret@db.plant:5433/history?sslmode=require",
            Ok("db.plant:5433/history"),
        );
        check("postgresql://u@10.0.0.1", Ok("10.0.0.1:5432/u"));
        check("host=db user=u password=secret dbname=history", Ok("db/history"));
        check(
            "postgres://u:secret@db/history?options=-c%20search_path%3Dplant",
            Ok("db:5432/history"),
        );
        check("http://u:secret@db/history", Err(""));
        check("postgres://u:secret@db:high/history", Err("port"));
        check("postgres://u:secret@db/history?sslmode=perhaps", Err("sslmode"));
        check("user=u password=secret", Err("no host"));
    }

    #[test]
    fn authorities_that_cannot_be_read_are_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let url = "postgres://u@db/history";
        let error = Settings::parse(url, Some(file.path())).err().unwrap().to_string();
        assert!(
            error.contains("no certificate") || error.contains("certificate authorities"),
            "{error}"
        );
        assert!(Settings::parse(url, Some(Path::new("/nowhere"))).is_err());
    }
}
