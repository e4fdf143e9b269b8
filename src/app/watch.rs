//! Watches a folder for changes.

use crate::base::shutdown::Shutdown;
use anyhow::Context;
use notify::{RecursiveMode, Watcher};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// Changes of files are taken together when they come this close to each other.
const SETTLE: Duration = Duration::from_millis(200);

/// Calls `changed` on a thread of its own, once at its start and whenever something in the folder
/// has changed, until shutdown.
pub fn watch(
    thread: &str,
    folder: PathBuf,
    shutdown: Shutdown,
    changed: impl Fn() + Send + 'static,
) -> anyhow::Result<()> {
    let (sender, changes) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event| {
        // The thread below is gone only at shutdown.
        let _ = sender.send(event);
    })?;
    watcher
        .watch(&folder, RecursiveMode::Recursive)
        .with_context(|| format!("watch {}", folder.display()))?;
    std::thread::Builder::new().name(thread.into()).spawn(move || {
        let _watcher = watcher;
        // What changed before the start of the watch.
        changed();
        while !shutdown.is_triggered() {
            match changes.recv_timeout(Duration::from_millis(500)) {
                Ok(Ok(event)) if event.kind.is_access() => {}
                Ok(_) => {
                    while changes.recv_timeout(SETTLE).is_ok() {}
                    changed();
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    })?;
    Ok(())
}
