//! What runs under a name and can be cancelled by it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Everything that runs. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    names: Arc<Mutex<Names>>,
}

/// What tells the end, and for how many.
type Names = HashMap<String, (CancellationToken, usize)>;

/// One that runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Run {
    running: Running,
    name: String,
    token: CancellationToken,
}

impl Running {
    /// Runs under a name; `None` when something does already.
    pub fn begin(&self, name: &str) -> Option<Run> {
        let mut names = self.names();
        match names.contains_key(name) {
            true => None,
            false => Some(self.joined(&mut names, name)),
        }
    }

    /// Runs under a name that others may have too.
    pub fn join(&self, name: &str) -> Run {
        self.joined(&mut self.names(), name)
    }

    fn joined(&self, names: &mut Names, name: &str) -> Run {
        let (token, count) = names.entry(name.to_owned()).or_default();
        *count += 1;
        Run { running: self.clone(), name: name.to_owned(), token: token.clone() }
    }

    /// Cancels what runs under a name. False when nothing does.
    pub fn cancel(&self, name: &str) -> bool {
        let found = self.names().get(name).map(|(token, _)| token.cancel());
        found.is_some()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Run {
    /// Ends when somebody cancels it.
    pub fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        self.token.clone().cancelled_owned()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let mut names = self.running.names();
        if let Some((_, count)) = names.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                names.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_free_again_when_nothing_runs_under_them() {
        let running = Running::default();
        let run = running.begin("a").unwrap();
        assert!(running.begin("a").is_none());
        let other = running.join("a");
        assert!(running.cancel("a") && !running.cancel("b"));
        run.cancelled().await;
        other.cancelled().await;
        drop(run);
        assert!(running.begin("a").is_none());
        drop(other);
        assert!(!running.cancel("a"));
        assert!(running.begin("a").is_some());
    }
}
