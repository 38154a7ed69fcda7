//! The server as a tower layer and service, for axum and any other hyper 1 stack.

mod address;
mod body;
mod future;
#[cfg(feature = "inspector")]
mod inspector;
mod layer;
mod probe;
mod pump;
mod service;
mod upgrade;

pub use address::ClientAddress;
pub use body::ResponseBody;
pub use future::ResponseFuture;
#[cfg(feature = "inspector")]
pub use inspector::InspectorFuture;
pub use layer::PeerDataLayer;
pub use service::{NotFound, PeerDataService};
