//! What the application adds to the spans of its sessions.

use super::Builder;
use crate::identity::Identity;
use crate::observe::Tracer;

impl Builder {
    /// What to write into the field `identity` of a session's span, of whom the application has
    /// authorized. By default nothing: an [`Identity`] may hold secrets, and is never looked into.
    ///
    /// Asked once for each namespace that a client connects to. It must not block.
    ///
    /// ```
    /// use peer_data_server::{Identity, PeerData};
    ///
    /// struct User { number: u64, token: String }
    ///
    /// let server = PeerData::builder()
    ///     .trace_identity(|identity| identity.get::<User>().map(|user| user.number.to_string()))
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn trace_identity(
        mut self,
        field: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.tracer = Tracer::new(field);
        self
    }
}
