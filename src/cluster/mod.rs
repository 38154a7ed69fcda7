//! Many nodes as one: the contract with whatever carries parcels between them.

mod backoff;
mod carried;
mod codec;
mod inbound;
#[cfg(any(feature = "nats", feature = "redis"))]
mod link;
mod memory;
#[cfg(feature = "nats")]
mod nats;
mod nodes;
mod parcel;
mod pieces;
#[cfg(feature = "redis")]
mod redis;
mod roster;
mod subject;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;

pub use backoff::Backoff;
pub(crate) use backoff::jitter;
pub(crate) use codec::{Malformed, Reader, Writer};
pub use inbound::Inbound;
pub(crate) use inbound::{Inbox, Item};
pub use memory::{MemoryBus, MemoryNode};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsOptions};
pub(crate) use nodes::{Acquaintance, Nodes};
pub(crate) use parcel::{About, Edition, Member, Outcome, Parcel};
pub(crate) use pieces::{Pieces, cut};
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisOptions};
pub(crate) use roster::{Effect, Roster, Stamps};
pub use subject::Subjects;
pub(crate) use url::adapter;

use crate::id::{NodeId, RoomId};

/// A future on the heap, as the methods of [`ClusterAdapter`] return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries parcels between the nodes of one application: a bus.
///
/// A node speaks to one other node, to all nodes with a member of a room, or to all nodes. The bus
/// knows nothing of what is in a parcel; the server makes and reads them, keeps the rosters, and
/// mends what was lost. All the server needs is this:
///
/// - **Order.** Parcels that one node publishes to one [`Target`] arrive at each receiver in the
///   order in which they were published, or not at all. Between targets there need be no order,
///   but a bus that has one should keep it: what overtakes is held back until the rest is there.
/// - **At most once.** A parcel may be lost, but is never handed in twice.
/// - **Not to oneself.** A node may be handed its own parcels; it drops them.
/// - **Interest.** Parcels to [`Target::Room`] come to nodes that have said
///   [`interest`](Self::interest) in that room, and to no others. Each node always hears
///   [`Target::All`] and what is to itself, from [`start`](Self::start) on.
/// - **Loss is told.** When it may have missed parcels, the adapter says so: by
///   [`Inbound::lost`] and [`Inbound::connected`] about the connection, by [`Inbound::ready`] for
///   each subscription that is in effect again, by [`Inbound::missed`] about an overflow. What is
///   lost without anybody's knowing is found within a minute or so by comparing rosters.
///
/// # Reconnecting
///
/// The adapter reconnects by itself, for as long as it takes, with [`Backoff`] between attempts.
/// While it is away, [`publish`](Self::publish) fails with [`ClusterError::Down`]: parcels are not
/// kept for later, since what is in them is mended by other means. Once it is back it subscribes
/// anew to what is to this node and to all, says [`Inbound::connected`], then subscribes to the
/// rooms that it has interest in, not all in one burst, and says [`Inbound::ready`] for each.
///
/// # Subjects
///
/// [`Subjects`] names the subject, or channel, of each target. Ids of rooms are never used as they
/// are.
///
/// The bus is trusted: whoever can publish on it can speak as any peer.
pub trait ClusterAdapter: Send + Sync + 'static {
    /// Begins to carry parcels. Called once, within a tokio runtime.
    ///
    /// It returns when its work goes on by itself in the background; it does not wait for the bus,
    /// which may be down for now. Parcels for `node` and what becomes of the connection go into
    /// `inbound`.
    ///
    /// # Errors
    ///
    /// When it can never work, as with [`ClusterError::Misconfigured`].
    fn start(&self, node: NodeId, inbound: Inbound) -> BoxFuture<'_, Result<(), ClusterError>>;

    /// Hands one parcel to the bus, or says why not. It never blocks: it is called with locks held,
    /// in the middle of somebody's message.
    ///
    /// What waits to be sent is bounded in bytes. `Ok` means that it was queued.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Full`], [`ClusterError::Down`], [`ClusterError::TooLarge`].
    fn publish(&self, to: Target<'_>, parcel: Bytes) -> Result<(), ClusterError>;

    /// Subscribes to a room, or no longer. It never blocks. The server says each once in turns, so
    /// there is nothing to count.
    ///
    /// Once the subscription is in effect (the bus has confirmed it, or will treat all that this
    /// node publishes from now on after it), the adapter says [`Inbound::ready`]. Before
    /// [`start`](Self::start) and while the bus is down it takes note and subscribes later.
    fn interest(&self, room: &RoomId, wanted: bool);

    /// Sends what is queued, as far as that is possible within a second or two, and disconnects.
    /// Nothing else is called after it.
    ///
    /// # Cancellation
    ///
    /// Dropped before it is done, it leaves the rest to the adapter's own drop.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// Whom a parcel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target<'a> {
    /// One node.
    Node(NodeId),
    /// Every node that has interest in the room.
    Room(&'a RoomId),
    /// Every node of the application.
    All,
}

/// Why the bus does not take a parcel, or cannot work at all.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterError {
    /// What waits to be sent is as much as may wait.
    Full,
    /// There is no connection.
    Down,
    /// The bus takes no parcel of that size. The server cuts what it sends into pieces of at most
    /// 256 KiB and a header, so a bus should take that much.
    TooLarge,
    /// The adapter can never work as it is set up. The text says why.
    Misconfigured(String),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too much waits to be sent to other nodes"),
            Self::Down => f.write_str("there is no connection to the bus"),
            Self::TooLarge => f.write_str("the bus takes no parcel of that size"),
            Self::Misconfigured(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for ClusterError {}
