//! One signal that tells every task to stop.

use tokio::sync::watch;

/// A shared flag: once triggered it stays so. Clones share the flag.
#[derive(Clone, Debug)]
pub struct Shutdown(std::sync::Arc<watch::Sender<bool>>);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A flag that is not triggered yet.
    pub fn new() -> Self {
        Self(std::sync::Arc::new(watch::Sender::new(false)))
    }

    /// Tells everybody to stop.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether it is time to stop.
    pub fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is time to stop.
    pub async fn wait(&self) {
        let mut receiver = self.0.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = receiver.wait_for(|triggered| *triggered).await;
    }
}
