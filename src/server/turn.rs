//! Who acts on what a client has said.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::client::Client;

/// One acts for a client at a time, the others in the order in which they asked. In the client
/// itself, and not a `tokio::sync::Mutex`, whose owned guards want an allocation of their own: taking
/// the turn is the first thing that every message does, and its memory is at hand then.
#[derive(Debug)]
pub(super) struct Turns(Semaphore);

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

/// Held by the one whose turn it is.
pub(super) struct Turn(Arc<Client>);

impl Turn {
    /// `None`: it is somebody else's.
    pub(super) fn try_take(client: &Arc<Client>) -> Option<Self> {
        client.turns.0.try_acquire().ok()?.forget();
        Some(Self(Arc::clone(client)))
    }

    /// Waits for those who asked before. Dropping the future gives the place in the line up.
    pub(super) async fn take(client: Arc<Client>) -> Self {
        if let Ok(permit) = client.turns.0.acquire().await {
            permit.forget();
        }
        Self(client)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.turns.0.add_permits(1);
    }
}
