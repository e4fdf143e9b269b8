//! `serve` as one process of several: the doors stay open while the others come and go.

use super::args::{ClusterArgs, Common, ServeArgs};
use super::clients::{ClientDoors, Wanted};
use super::run::Outcome;
use super::serve::{self, Door};
use crate::app::{self, Cluster, Runtime};
use crate::base::shutdown::Shutdown;
use crate::serve::Reason;
use anyhow::bail;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing::{info, warn};

/// How long after an engine ended the next one begins: the others have noticed then, too.
const AGAIN: Duration = Duration::from_millis(200);

impl ClusterArgs {
    /// Who the processes are, when there are several.
    pub fn hosts(&self) -> anyhow::Result<Option<app::Hosts>> {
        match (self.processes, self.process, &self.hosts) {
            (None, None, None) => Ok(None),
            (Some(processes), Some(process), Some(file)) => {
                app::Hosts::read(file, processes, process).map(Some)
            }
            _ => bail!("--processes, --process and --hosts belong together: give all three"),
        }
    }
}

/// Runs one process of several until it is interrupted.
pub async fn run(
    common: &Common,
    args: &ServeArgs,
    (hosts, clients): (app::Hosts, Vec<Wanted>),
    mut settings: app::Settings,
) -> anyhow::Result<Outcome> {
    let stop = Shutdown::new();
    let (process, processes) = (hosts.process, hosts.processes());
    let cluster = Arc::new(Cluster::listen(hosts, settings.workers, stop.clone())?);
    settings.cluster = Some(Arc::clone(&cluster));
    if process > 0 && settings.database.is_some() {
        info!("dead letters of this process go to the database; process 0 writes all else");
    }
    let data = settings.data.clone();
    std::fs::create_dir_all(&data)?;
    let signalled = serve::signalled();
    let door = Door::open(common, common.listen(), &data).await?;
    let clients = ClientDoors::open(clients).await?;
    let (address, shown) = (door.address, data.display());
    say!(
        "millstream serves http://{address}{clients} from {shown} as process {process} of \
         {processes}"
    );
    let signals = stop.clone();
    tokio::spawn(async move {
        signalled.await;
        signals.trigger();
    });
    // Documents come from the folder of the process that keeps them.
    let folder = common.folder()?.filter(|_| process == 0);
    while !stop.is_triggered() {
        let opened = {
            let (ended, cluster) = (Shutdown::new(), Arc::clone(&cluster));
            let reason: Reason = Arc::new(move || reason(&cluster.waits_for()));
            let refusing = tokio::spawn(door.refuse(reason, ended.clone())?);
            let refused = clients.refuse(&ended)?;
            let opened = open(settings.clone(), folder.clone()).await;
            ended.trigger();
            refusing.await??;
            refused.close().await?;
            opened
        };
        let ended = match opened {
            Ok(runtime) => {
                info!("the cluster is whole");
                let doors = (&door, &clients);
                serve_whole(common, args, doors, Arc::new(runtime), folder.clone()).await
            }
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => {}
            Err(error) if error.is::<app::Stopped>() => {}
            Err(error) if app::is_lost_peer(&error) => {
                let error = format!("{error:#}");
                warn!(error, "the cluster is not whole: no telemetry is taken until it is again");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Outcome::Done)
}

fn reason(waits_for: &str) -> String {
    match waits_for {
        "" => "the cluster is starting: the logs are read".to_owned(),
        waits_for => format!("the cluster is not whole: it waits for {waits_for}"),
    }
}

/// Opens a runtime among the others, and publishes the catalog's folder.
async fn open(settings: app::Settings, folder: Option<PathBuf>) -> anyhow::Result<Runtime> {
    let opened = tokio::task::spawn_blocking(move || {
        let runtime = Runtime::open(&settings)?;
        match serve::publish(&runtime, &settings.data, folder.as_deref()) {
            Ok(()) => Ok(runtime),
            // Closing says when another process is gone.
            Err(error) => Err(runtime.close().err().unwrap_or(error)),
        }
    });
    opened.await?
}

/// Serves until the program is told to stop, or another process is gone.
async fn serve_whole(
    common: &Common,
    args: &ServeArgs,
    (door, clients): (&Door, &ClientDoors),
    runtime: Arc<Runtime>,
    folder: Option<PathBuf>,
) -> anyhow::Result<()> {
    if let Some(folder) = folder {
        app::watch_folder(Arc::clone(&runtime), door.data.clone(), folder)?;
    }
    let open = door.serve(common, &runtime)?;
    let clients = clients.serve(&runtime)?;
    let mqtt = serve::subscribe(args, &runtime, &open)?;
    serve::until_stopped(&runtime, serve::signalled()).await;
    let mqtt = serve::ended(mqtt).await;
    clients.close().await?;
    open.close().await?;
    serve::close(runtime).await?;
    mqtt
}
