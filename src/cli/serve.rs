//! `serve`: the engine with all its doors, until it is told to stop.

use super::args::{Common, MqttVersion, ServeArgs};
use super::clients::ClientDoors;
use super::cluster;
use super::run::Outcome;
use crate::app::{self, Exports, Runtime, RuntimeDoors};
use crate::base::shutdown::Shutdown;
use crate::historian::timescale;
use crate::ingest::transport::mqtt;
use crate::model::Duration;
use crate::serve::{Hosts, Reason};
use anyhow::{Context, anyhow, bail};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Where the address of a running server stands, below its data directory.
pub const ADDRESS: &str = "address";
/// Where the files of exports are, below the data directory.
const EXPORTS: &str = "exports";

/// A listening address, and what it needs to serve one runtime after the other.
pub struct Door {
    /// Where it is.
    pub address: SocketAddr,
    /// The data directory.
    pub data: PathBuf,
    listener: std::net::TcpListener,
    hosts: Hosts,
    metrics: PrometheusHandle,
}

/// The doors of a runtime, open.
pub struct Open {
    /// Where they are.
    pub address: SocketAddr,
    /// For transports other than HTTP.
    pub doors: Arc<RuntimeDoors>,
    task: JoinHandle<std::io::Result<()>>,
    /// The listening address, when nobody else has it.
    door: Option<Door>,
}

/// The transport beside HTTP, when there is one.
pub type Mqtt = Option<JoinHandle<anyhow::Result<()>>>;

/// Runs the engine until it is interrupted.
pub async fn run(common: &Common, args: &ServeArgs) -> anyhow::Result<Outcome> {
    let data = common.data();
    // What was typed wrong is said before anything is opened.
    args.mqtt()?;
    let clients = args.clients()?;
    let hosts = args.cluster.hosts()?;
    let mut settings = common.settings(data.clone(), true);
    settings.database = args.database()?;
    if let Some(hosts) = hosts {
        return cluster::run(common, args, (hosts, clients), settings).await;
    }
    let runtime = Arc::new(open(common, settings).await?);
    let folder = common.folder()?;
    if let Some(folder) = folder {
        app::watch_folder(Arc::clone(&runtime), data.clone(), folder)?;
    }
    let signalled = signalled();
    let open = open_doors(common, &runtime, common.listen(), &data).await?;
    let clients = ClientDoors::open(clients).await?;
    say!("millstream serves http://{}{clients} from {}", open.address, data.display());
    let clients = clients.serve(&runtime)?;
    let mqtt = subscribe(args, &runtime, &open)?;
    until_stopped(&runtime, signalled).await;
    let mqtt = ended(mqtt).await;
    clients.close().await?;
    open.close().await?;
    close(runtime).await?;
    mqtt.map(|()| Outcome::Done)
}

/// Subscribes to the broker, when there is one. The end of that ends the runtime.
pub fn subscribe(args: &ServeArgs, runtime: &Runtime, open: &Open) -> anyhow::Result<Mqtt> {
    let Some(settings) = args.mqtt()? else { return Ok(None) };
    let sink = Arc::new(open.doors.intake().clone());
    let (shutdown, broker) = (runtime.shutdown.clone(), settings.host.clone());
    Ok(Some(tokio::spawn(async move {
        let result = mqtt::run(settings, sink, shutdown.clone()).await;
        if !shutdown.is_triggered() {
            shutdown.trigger();
        }
        result.with_context(|| format!("MQTT broker {broker}"))
    })))
}

/// Waits until a subscription has ended.
pub async fn ended(mqtt: Mqtt) -> anyhow::Result<()> {
    match mqtt {
        Some(task) => task.await.map_err(|error| anyhow!("MQTT: {error}"))?,
        None => Ok(()),
    }
}

/// Opens a runtime and publishes the catalog's folder. Problems in its files are printed; the
/// other documents take effect.
pub async fn open(common: &Common, settings: app::Settings) -> anyhow::Result<Runtime> {
    let folder = common.folder()?;
    let opened = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::open(&settings)?;
        publish(&runtime, &settings.data, folder.as_deref())?;
        Ok(runtime)
    });
    opened.await?
}

/// Publishes the catalog's folder, when there is one.
pub fn publish(runtime: &Runtime, data: &Path, folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    for problem in app::publish_folder(runtime, data, folder)? {
        tracing::error!(%problem, "catalog file not published");
    }
    Ok(())
}

/// Opens the HTTP doors of a runtime.
pub async fn open_doors(
    common: &Common,
    runtime: &Arc<Runtime>,
    listen: SocketAddr,
    data: &Path,
) -> anyhow::Result<Open> {
    let door = Door::open(common, listen, data).await?;
    let open = door.serve(common, runtime)?;
    Ok(Open { door: Some(door), ..open })
}

impl Door {
    /// Listens, and writes down where.
    pub async fn open(common: &Common, listen: SocketAddr, data: &Path) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "listen on {listen}: choose another address with --listen, port 0 takes a free one"
            )
        })?;
        let address = listener.local_addr()?;
        let metrics =
            PrometheusBuilder::new().install_recorder().context("install the metrics recorder")?;
        let hosts = Hosts::new(address.ip(), &common.allowed_host);
        let file = data.join(ADDRESS);
        // Only tells other commands: on a full disk the doors open all the same.
        if let Err(error) = std::fs::write(&file, address.to_string()) {
            tracing::warn!(file = %file.display(), %error, "address of the doors not written");
        }
        let listener = listener.into_std()?;
        Ok(Self { address, data: data.into(), listener, hosts, metrics })
    }

    fn listener(&self) -> std::io::Result<TcpListener> {
        TcpListener::from_std(self.listener.try_clone()?)
    }

    /// Serves a runtime until its shutdown.
    pub fn serve(&self, common: &Common, runtime: &Arc<Runtime>) -> anyhow::Result<Open> {
        let queries = app::open_queries(common.queries()?, &runtime.shutdown)?;
        let metrics = self.metrics.clone();
        let (clock, shutdown) = (Arc::clone(&runtime.clock), runtime.shutdown.clone());
        let exports = self.data.join(EXPORTS);
        let exports = Exports::open(&exports, common.exports(), clock, shutdown)?;
        let doors = RuntimeDoors::new(Arc::clone(runtime), metrics, queries, exports);
        let doors = Arc::new(doors);
        let serving = crate::serve::serve(
            self.listener()?,
            self.hosts.clone(),
            Arc::clone(&doors) as Arc<dyn crate::serve::Doors>,
            runtime.views.clone(),
            runtime.shutdown.clone(),
        );
        Ok(Open { address: self.address, doors, task: tokio::spawn(serving), door: None })
    }

    /// Refuses everybody until the shutdown.
    pub fn refuse(
        &self,
        reason: Reason,
        shutdown: Shutdown,
    ) -> std::io::Result<impl Future<Output = std::io::Result<()>> + use<>> {
        Ok(crate::serve::refuse(self.listener()?, self.hosts.clone(), reason, shutdown))
    }
}

/// Forgets the address.
impl Drop for Door {
    fn drop(&mut self) {
        // Only a hint for other commands: a stale one does no harm.
        let _ = std::fs::remove_file(self.data.join(ADDRESS));
    }
}

impl Open {
    /// Waits until the doors are closed, after shutdown.
    pub async fn close(self) -> anyhow::Result<()> {
        self.task.await.map_err(|error| anyhow!("HTTP: {error}"))??;
        drop(self.door);
        Ok(())
    }
}

/// Hears from now on when the program is told to stop, and ends then.
pub fn signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    async move {
        let [terminate, interrupt] = heard.map(|heard| async {
            match heard {
                Ok(mut signal) => drop(signal.recv().await),
                Err(_) => std::future::pending().await,
            }
        });
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

/// Returns when the program is told to stop, or the engine fails.
pub async fn until_stopped(runtime: &Runtime, signalled: impl Future<Output = ()>) {
    tokio::select! {
        () = signalled => {}
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
        let time = |name: &str, time: Option<Duration>| match time {
            Some(Duration(micros)) if micros < 1_000_000 => {
                bail!("--database-{name} is less than a second: give more, or leave it out")
            }
            time => Ok(time.map(|time| std::time::Duration::from_micros(time.0.unsigned_abs()))),
        };
        let policies = timescale::Policies {
            compress_after: time("compress-after", self.database_compress_after)?,
            retain: time("retain", self.database_retain)?,
            aggregate_every: time("aggregate-every", self.database_aggregate_every)?,
        };
        let settings = timescale::Settings::parse(url, self.database_ca.as_deref())?;
        let settings = settings.with(policies);
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
        // A broker keeps one session a name.
        let client_id = match self.cluster.process {
            Some(process) => format!("{}-{process}", self.mqtt_client_id),
            None => self.mqtt_client_id.clone(),
        };
        let mut settings = mqtt::Settings::new(host, port, client_id, topics);
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
