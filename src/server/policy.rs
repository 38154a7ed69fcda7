//! Who may connect, who may join, what may be said: the application's word on each.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;

use super::{Builder, Hello, Peer, Verdict};
use crate::error::Refused;
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;

/// What the application decides. Each method allows everything unless it is written otherwise.
///
/// A server may have several policies, added by [`Builder::policy`](crate::Builder::policy) and by
/// the closures [`authorize`](crate::Builder::authorize), [`admit`](crate::Builder::admit) and
/// [`relay`](crate::Builder::relay). All are asked, in the order in which they were added, until
/// one says no. Ready-made ones are in [`policy`](crate::policy).
///
/// ```
/// use peer_data_server::{Hello, Identity, Peer, PeerData, Policy, Refused, RoomId};
///
/// struct User { name: String }
///
/// struct Members;
///
/// impl Policy for Members {
///     async fn authorize(&self, hello: &Hello<'_>) -> Result<Identity, Refused> {
///         match hello.credential("name") {
///             Some(name) => Ok(Identity::new(User { name: name.into_owned() })),
///             None => Err(Refused::unauthorized("tell me your name")),
///         }
///     }
///
///     async fn admit(&self, peer: &Peer, room: &RoomId) -> Result<(), Refused> {
///         let own = peer.identity::<User>().is_some_and(|user| user.name == room.as_str());
///         if own { Ok(()) } else { Err(Refused::forbidden("that is somebody else's room")) }
///     }
/// }
///
/// let server = PeerData::builder().policy(Members).build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
pub trait Policy: Send + Sync + 'static {
    /// Whether a client may be a peer, and who it is.
    ///
    /// It is asked once for each namespace that a client asks for, before the client is known to
    /// anybody: on Socket.IO 3 and 4 when the client asks to connect (that is when its `auth`
    /// comes), on Socket.IO 2 and plain JSON when it opens its session. Of several policies, the
    /// first identity that is not anonymous stands.
    ///
    /// A refusal is told in the way of the wire: Socket.IO clients get a `connect_error` (revision 3:
    /// `error`) with the message and, from revision 4 on, `data.code`; plain JSON clients that are
    /// pages a websocket that closes at once, with 4401 or 4403 and the message, others HTTP 401 or
    /// 403.
    ///
    /// # Cancellation
    ///
    /// Nothing more is read from the client meanwhile. The future is dropped when the client is gone
    /// or the [`connect_timeout`](crate::Limits::connect_timeout) is over, which ends the session; a
    /// client that is a peer already, and has asked for another namespace, is refused as `busy`.
    fn authorize(
        &self,
        hello: &Hello<'_>,
    ) -> impl Future<Output = Result<Identity, Refused>> + Send {
        let _ = hello;
        ready(Ok(Identity::anonymous()))
    }

    /// Whether a peer may join a room. A peer that is in it already is asked about again when it
    /// sends another `CONNECT`.
    ///
    /// The refusal is told by an `ERROR` signal and the ack. For how many may be in a room there is
    /// [`capacity`](Self::capacity), which two who join at the same moment cannot both slip under.
    ///
    /// # Cancellation
    ///
    /// The peer's later events wait in order, unread, until the future is ready. It is dropped when
    /// the peer is gone or the [`admit_timeout`](crate::Limits::admit_timeout) is over, which
    /// refuses the join as `busy`.
    fn admit(
        &self,
        peer: &Peer,
        room: &RoomId,
    ) -> impl Future<Output = Result<(), Refused>> + Send {
        let _ = (peer, room);
        ready(Ok(()))
    }

    /// How many peers a room takes; whoever comes then is told `room_full`. The least of all
    /// policies and of [`max_peers_per_room`](crate::Limits::max_peers_per_room) counts.
    fn capacity(&self, room: &RoomId) -> usize {
        let _ = room;
        usize::MAX
    }

    /// What becomes of an event that is about to be relayed: `OFFER`, `ANSWER`, `CANDIDATE` and the
    /// application's own types, from a member of the room that it names and, where it goes to a
    /// callee, to another member.
    ///
    /// It is called for every such event, in the middle of the sender's message: it must be quick,
    /// and must not block.
    fn relay(&self, peer: &Peer, event: &Relay<'_>) -> Verdict {
        let _ = (peer, event);
        Verdict::Relay
    }
}

/// An event that is about to be relayed.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Relay<'a> {
    /// Its `type`, 1 to 256 bytes.
    pub kind: &'a str,
    /// The id of its room, of which the caller is a member.
    pub room: &'a str,
    /// Who sends it.
    pub caller: PeerId,
    /// Whom it goes to; none, if to all others in the room.
    pub callee: Option<PeerId>,
    /// Its payload as the sender wrote it: one JSON value, well-formed and otherwise not looked at.
    /// None if there is none.
    pub payload: Option<&'a str>,
}

impl Builder {
    /// Adds a policy: who may connect, who may join, what may be said.
    pub fn policy(mut self, policy: impl Policy) -> Self {
        self.policies.push(policy, Wants::ALL);
        self
    }

    /// Asks the application whether a client may be a peer, and who it is: see
    /// [`Policy::authorize`].
    ///
    /// The closure looks at the [`Hello`] and returns a future that owns what it needs of it.
    ///
    /// ```
    /// use peer_data_server::{Identity, PeerData, Refused};
    /// # async fn user_of(token: &str) -> Option<String> { (token == "sesame").then(|| "Ann".to_owned()) }
    ///
    /// let server = PeerData::builder()
    ///     .authorize(|hello| {
    ///         let token = hello.credential("token").unwrap_or_default().into_owned();
    ///         async move {
    ///             let user = user_of(&token).await;
    ///             user.map(Identity::new).ok_or_else(|| Refused::unauthorized("that token is not valid"))
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn authorize<F>(mut self, hook: impl Fn(&Hello<'_>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Identity, Refused>> + Send + 'static,
    {
        self.policies.push(Authorize(hook), Wants::AUTHORIZE);
        self
    }

    /// Asks the application whether a peer may join a room: see [`Policy::admit`].
    ///
    /// ```
    /// use peer_data_server::{PeerData, Refused};
    ///
    /// let server = PeerData::builder()
    ///     .admit(|_peer, room| {
    ///         let public = room.as_str().starts_with("public-");
    ///         async move {
    ///             if public { Ok(()) } else { Err(Refused::forbidden("by invitation only")) }
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn admit<F>(mut self, hook: impl Fn(&Peer, &RoomId) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Refused>> + Send + 'static,
    {
        self.policies.push(Admit(hook), Wants::ADMIT);
        self
    }

    /// Asks the application what becomes of each event that is about to be relayed: see
    /// [`Policy::relay`].
    ///
    /// ```
    /// use peer_data_server::{Code, PeerData, Verdict};
    ///
    /// let server = PeerData::builder()
    ///     .relay(|_peer, event| match event.payload {
    ///         Some(payload) if payload.len() > 20_000 => Verdict::Refuse(Code::TooLarge),
    ///         _ => Verdict::Relay,
    ///     })
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn relay(
        mut self,
        hook: impl Fn(&Peer, &Relay<'_>) -> Verdict + Send + Sync + 'static,
    ) -> Self {
        self.policies.push(RelayHook(hook), Wants::RELAY);
        self
    }
}

/// All policies of a server.
#[derive(Default)]
pub(super) struct Policies {
    all: Vec<Entry>,
}

/// One policy, and what it wants to be asked.
struct Entry {
    policy: Box<dyn Erased>,
    wants: Wants,
}

/// What a policy has a say in. Whoever has none is not asked: a server without an `authorize` has
/// nothing to wait for.
#[derive(Clone, Copy)]
struct Wants {
    authorize: bool,
    admit: bool,
    relay: bool,
}

impl Wants {
    const NOTHING: Self = Self {
        authorize: false,
        admit: false,
        relay: false,
    };
    const AUTHORIZE: Self = Self {
        authorize: true,
        ..Self::NOTHING
    };
    const ADMIT: Self = Self {
        admit: true,
        ..Self::NOTHING
    };
    const RELAY: Self = Self {
        relay: true,
        ..Self::NOTHING
    };
    /// Of a policy that is a type of its own nobody knows which methods it has.
    const ALL: Self = Self {
        authorize: true,
        admit: true,
        relay: true,
    };
}

impl Policies {
    fn push(&mut self, policy: impl Policy, wants: Wants) {
        let policy = Box::new(policy);
        self.all.push(Entry { policy, wants });
    }

    pub(super) fn authorizes(&self) -> bool {
        self.all.iter().any(|entry| entry.wants.authorize)
    }

    pub(super) fn admits(&self) -> bool {
        self.all.iter().any(|entry| entry.wants.admit)
    }

    pub(super) fn relays(&self) -> bool {
        self.all.iter().any(|entry| entry.wants.relay)
    }

    pub(super) async fn authorize(&self, hello: &Hello<'_>) -> Result<Identity, Refused> {
        let mut found = Identity::anonymous();
        for entry in self.all.iter().filter(|entry| entry.wants.authorize) {
            let identity = entry.policy.authorize(hello).await?;
            if found.is_anonymous() {
                found = identity;
            }
        }
        Ok(found)
    }

    pub(super) async fn admit(&self, peer: &Peer, room: &RoomId) -> Result<(), Refused> {
        for entry in self.all.iter().filter(|entry| entry.wants.admit) {
            entry.policy.admit(peer, room).await?;
        }
        Ok(())
    }

    pub(super) fn capacity(&self, room: &RoomId) -> usize {
        let capacities = self.all.iter().map(|entry| entry.policy.capacity(room));
        capacities.min().unwrap_or(usize::MAX)
    }

    /// The first verdict that is not to relay.
    pub(super) fn relay(&self, peer: &Peer, event: &Relay<'_>) -> Verdict {
        let asked = self.all.iter().filter(|entry| entry.wants.relay);
        let mut verdicts = asked.map(|entry| entry.policy.relay(peer, event));
        verdicts
            .find(|verdict| *verdict != Verdict::Relay)
            .unwrap_or(Verdict::Relay)
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("count", &self.all.len())
            .finish_non_exhaustive()
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`Policy`] without types of its own, so that servers need none either.
trait Erased: Send + Sync {
    fn authorize<'a>(&'a self, hello: &'a Hello<'_>) -> BoxFuture<'a, Result<Identity, Refused>>;
    fn admit<'a>(&'a self, peer: &'a Peer, room: &'a RoomId) -> BoxFuture<'a, Result<(), Refused>>;
    fn capacity(&self, room: &RoomId) -> usize;
    fn relay(&self, peer: &Peer, event: &Relay<'_>) -> Verdict;
}

impl<P: Policy> Erased for P {
    fn authorize<'a>(&'a self, hello: &'a Hello<'_>) -> BoxFuture<'a, Result<Identity, Refused>> {
        Box::pin(Policy::authorize(self, hello))
    }

    fn admit<'a>(&'a self, peer: &'a Peer, room: &'a RoomId) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(Policy::admit(self, peer, room))
    }

    fn capacity(&self, room: &RoomId) -> usize {
        Policy::capacity(self, room)
    }

    fn relay(&self, peer: &Peer, event: &Relay<'_>) -> Verdict {
        Policy::relay(self, peer, event)
    }
}

struct Authorize<H>(H);
struct Admit<H>(H);
struct RelayHook<H>(H);

impl<H, F> Policy for Authorize<H>
where
    H: Fn(&Hello<'_>) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Identity, Refused>> + Send + 'static,
{
    fn authorize(
        &self,
        hello: &Hello<'_>,
    ) -> impl Future<Output = Result<Identity, Refused>> + Send {
        (self.0)(hello)
    }
}

impl<H, F> Policy for Admit<H>
where
    H: Fn(&Peer, &RoomId) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Refused>> + Send + 'static,
{
    fn admit(
        &self,
        peer: &Peer,
        room: &RoomId,
    ) -> impl Future<Output = Result<(), Refused>> + Send {
        (self.0)(peer, room)
    }
}

impl<H> Policy for RelayHook<H>
where
    H: Fn(&Peer, &Relay<'_>) -> Verdict + Send + Sync + 'static,
{
    fn relay(&self, peer: &Peer, event: &Relay<'_>) -> Verdict {
        (self.0)(peer, event)
    }
}
