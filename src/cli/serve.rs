//! `serve`: the engine with all its doors, until it is told to stop.

use super::args::{Common, MqttVersion, ServeArgs};
use super::run::Outcome;
use crate::app::{self, Runtime, RuntimeDoors};
use crate::historian::timescale;
use crate::ingest::transport::mqtt;
use crate::serve::Hosts;
use anyhow::{Context, anyhow, bail};
use metrics_exporter_prometheus::PrometheusBuilder;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Where the address of a running server stands, below its data directory.
pub const ADDRESS: &str = "address";

/// The doors of a runtime, open.
pub struct Open {
    /// Where they are.
    pub address: SocketAddr,
    /// For transports other than HTTP.
    pub doors: Arc<RuntimeDoors>,
    task: JoinHandle<std::io::Result<()>>,
    file: std::path::PathBuf,
}

/// Runs the engine until it is interrupted.
pub async fn run(common: &Common, args: &ServeArgs) -> anyhow::Result<Outcome> {
    let data = common.data();
    let mqtt = args.mqtt()?;
    let mut settings = common.settings(data.clone(), true);
    settings.database = args.database()?;
    let runtime = Arc::new(open(common, settings).await?);
    let folder = common.folder()?;
    if let Some(folder) = folder {
        app::watch_folder(Arc::clone(&runtime), data.clone(), folder)?;
    }
    let open = open_doors(common, &runtime, common.listen(), &data).await?;
    say!("millstream serves http://{} from {}", open.address, data.display());
    let mut ended = None;
    if let Some(settings) = mqtt {
        let sink = Arc::new(open.doors.intake().clone());
        let (shutdown, broker) = (runtime.shutdown.clone(), settings.host.clone());
        ended = Some(tokio::spawn(async move {
            let result = mqtt::run(settings, sink, shutdown.clone()).await;
            if !shutdown.is_triggered() {
                shutdown.trigger();
            }
            result.with_context(|| format!("MQTT broker {broker}"))
        }));
    }
    until_stopped(&runtime).await;
    let mqtt = match ended {
        Some(task) => task.await.map_err(|error| anyhow!("MQTT: {error}"))?,
        None => Ok(()),
    };
    open.close().await?;
    close(runtime).await?;
    mqtt.map(|()| Outcome::Done)
}

/// Opens a runtime and publishes the catalog's folder. Problems in its files are printed; the
/// other documents take effect.
pub async fn open(common: &Common, settings: app::Settings) -> anyhow::Result<Runtime> {
    let folder = common.folder()?;
    let opened = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::open(&settings)?;
        if let Some(folder) = folder {
            for problem in app::publish_folder(&runtime, &settings.data, &folder)? {
                tracing::error!(%problem, "catalog file not published");
            }
        }
        Ok(runtime)
    });
    opened.await?
}

/// Opens the HTTP doors of a runtime.
pub async fn open_doors(
    common: &Common,
    runtime: &Arc<Runtime>,
    listen: SocketAddr,
    data: &Path,
) -> anyhow::Result<Open> {
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("listen on {listen}: choose another address with --listen, port 0 takes a free one")
    })?;
    let address = listener.local_addr()?;
    let metrics =
        PrometheusBuilder::new().install_recorder().context("install the metrics recorder")?;
    let queries = app::open_queries(common.queries()?, &runtime.shutdown)?;
    let doors = Arc::new(RuntimeDoors::new(Arc::clone(runtime), metrics, queries));
    let file = data.join(ADDRESS);
    // Only tells other commands: on a full disk the doors open all the same.
    if let Err(error) = std::fs::write(&file, address.to_string()) {
        tracing::warn!(file = %file.display(), %error, "address of the doors not written");
    }
    let serving = crate::serve::serve(
        listener,
        Hosts::new(address.ip(), &common.allowed_host),
        Arc::clone(&doors) as Arc<dyn crate::serve::Doors>,
        runtime.views.clone(),
        runtime.shutdown.clone(),
    );
    Ok(Open { address, doors, task: tokio::spawn(serving), file })
}

impl Open {
    /// Waits until the doors are closed, after shutdown.
    pub async fn close(self) -> anyhow::Result<()> {
        self.task.await.map_err(|error| anyhow!("HTTP: {error}"))??;
        // Only a hint for other commands: a stale one does no harm.
        let _ = std::fs::remove_file(&self.file);
        Ok(())
    }
}

/// Returns when the program is told to stop, or the engine fails.
pub async fn until_stopped(runtime: &Runtime) {
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
        () = runtime.shutdown.wait() => {}
        _ = runtime.committer.stopped() => {}
    }
    runtime.shutdown.trigger();
}

/// Closes a runtime once all others have let go of it.
pub async fn close(mut runtime: Arc<Runtime>) -> anyhow::Result<()> {
    loop {
        match Arc::try_unwrap(runtime) {
            Ok(runtime) => return tokio::task::spawn_blocking(move || runtime.close()).await?,
            Err(shared) => runtime = shared,
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

impl ServeArgs {
    /// The database, when there is one.
    fn database(&self) -> anyhow::Result<Option<timescale::Settings>> {
        let Some(url) = &self.database_url else { return Ok(None) };
        let settings = timescale::Settings::parse(url, self.database_ca.as_deref())?;
        tracing::info!(server = settings.server(), "history goes to a database too");
        Ok(Some(settings))
    }

    /// The broker's settings, when there is a broker.
    fn mqtt(&self) -> anyhow::Result<Option<mqtt::Settings>> {
        let Some(url) = &self.mqtt_url else { return Ok(None) };
        let (tls, rest) = match url.split_once("://") {
            Some(("mqtt", rest)) => (false, rest),
            Some(("mqtts", rest)) => (true, rest),
            _ => bail!("'{url}' is no broker: give mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"),
        };
        let (host, port) = match rest.trim_end_matches('/').rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().with_context(|| format!("the port in '{url}'"))?)
            }
            None => (rest.trim_end_matches('/'), if tls { 8_883 } else { 1_883 }),
        };
        let topics = self.mqtt_topic.clone();
        let mut settings = mqtt::Settings::new(host, port, self.mqtt_client_id.as_str(), topics);
        settings.version = match self.mqtt_version {
            MqttVersion::V3 => mqtt::Version::V311,
            MqttVersion::V5 => mqtt::Version::V5,
        };
        settings.device_from_topic =
            self.mqtt_device_topic.as_deref().map(mqtt::Template::parse).transpose()?;
        settings.username.clone_from(&self.mqtt_user);
        settings.password.clone_from(&self.mqtt_password);
        settings.tls = match (tls, &self.mqtt_ca) {
            (false, _) => None,
            (true, Some(ca)) => Some(mqtt::Tls {
                ca_file: ca.clone(),
                cert_file: self.mqtt_cert.clone(),
                key_file: self.mqtt_key.clone(),
            }),
            (true, None) => bail!("mqtts:// needs --mqtt-ca FILE: the authorities to trust"),
        };
        Ok(Some(settings))
    }
}
