// Where the README's links lead from here: its own are to files beside it, and of two definitions of a
// link the first counts.
//! [mount]: guide::mount
//! [authorize]: guide::authorize
//! [scale]: guide::scale
//! [observe]: guide::observe
//! [migrate]: guide::migrate
//! [troubleshoot]: guide::troubleshoot
//! [ARCHITECTURE.md]: https://docs.rs/crate/peer-data-server/latest/source/ARCHITECTURE.md
//! [SECURITY.md]: https://docs.rs/crate/peer-data-server/latest/source/SECURITY.md
//! [PERFORMANCE.md]: https://docs.rs/crate/peer-data-server/latest/source/PERFORMANCE.md
//! [sizing]: https://docs.rs/crate/peer-data-server/latest/source/PERFORMANCE.md
#![doc = include_str!("../README.md")]
// On docs.rs each item says which feature it comes with.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Each adapter reaches a part of the server; without one, the broker can still be used alone.
#![cfg_attr(
    not(all(feature = "tower", feature = "actix")),
    allow(dead_code, unused_imports)
)]

#[cfg(feature = "actix")]
pub mod actix;
#[cfg(feature = "axum")]
pub mod axum;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod broker;
mod clock;
mod cluster;
mod ending;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(any(doc, doctest))]
pub mod guide;
mod ice;
mod id;
mod identity;
#[cfg(feature = "inspector")]
mod inspector;
mod limits;
#[cfg(feature = "tower")]
mod middleware;
mod observe;
pub mod policy;
mod server;
mod session;
mod signal;
mod sync;
mod wire;

pub use broker::{
    Broker, BrokerError, Delivery, Departure, Joined, Mailbox, Members, Remote, Undelivered,
};
pub use cluster::{
    Backoff, BoxFuture, ClusterAdapter, ClusterError, Inbound, MemoryBus, MemoryNode, Subjects,
    Target,
};
#[cfg(feature = "nats")]
pub use cluster::{Nats, NatsOptions};
#[cfg(feature = "redis")]
pub use cluster::{Redis, RedisOptions};
pub use ending::CloseReason;
pub use error::{Code, Error, Refused};
pub use ice::{IceServers, TurnSecret};
pub use id::{InvalidId, NodeId, PeerId, RoomId};
pub use identity::Identity;
#[cfg(feature = "inspector")]
pub use inspector::Inspector;
pub use limits::Limits;
#[cfg(all(feature = "inspector", feature = "tower"))]
pub use middleware::InspectorFuture;
#[cfg(feature = "tower")]
pub use middleware::{
    ClientAddress, NotFound, PeerDataLayer, PeerDataService, ResponseBody, ResponseFuture,
};
pub use server::{
    Ack, AppEvent, Builder, ClusterStatus, CustomEvent, Handshake, Hello, JoinError, Lifecycle,
    LifecycleEvent, Namespace, Peer, PeerData, Policy, Relay, Variable, Verdict, Wire,
};
pub use session::Transport;
pub use signal::{Arguments, Placeholder, Signal};
