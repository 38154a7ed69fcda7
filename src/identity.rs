//! Who a client is, in the application's own terms.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Who a client is: a value of the application's own, or nothing. Cloning shares it.
///
/// Given by the policy that authorizes clients, found again by
/// the peer. The server never looks inside.
///
/// ```
/// use peer_data_server::Identity;
///
/// struct User { name: String }
///
/// let identity = Identity::new(User { name: "Ann".into() });
/// let user = identity.get::<User>().map(|user| user.name.clone());
/// assert_eq!(user.as_deref(), Some("Ann"));
/// assert!(identity.get::<u32>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Identity(Option<Arc<dyn Any + Send + Sync>>);

impl Identity {
    /// That value.
    #[must_use]
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// Nobody in particular: what every client is that nobody has authorized.
    #[must_use]
    pub const fn anonymous() -> Self {
        Self(None)
    }

    /// Whether there is no value.
    #[must_use]
    pub const fn is_anonymous(&self) -> bool {
        self.0.is_none()
    }

    /// The value, if there is one of that type.
    #[must_use]
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        self.0.clone()?.downcast().ok()
    }
}

/// Whether there is a value, and nothing of it: it may be a secret.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_anonymous() {
            "Identity(anonymous)"
        } else {
            "Identity(..)"
        })
    }
}
