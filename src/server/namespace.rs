//! Socket.IO beside signaling: namespaces, and the application's own events in them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::client::Client;
use super::{Hello, Peer, PeerData};
use crate::error::Code;
use crate::observe::Said;
use crate::session::Presence;
use crate::signal::{Arguments, Signal};
use crate::wire::envelope::Named;
use crate::wire::notice;

/// A namespace of Socket.IO and what the application does in it.
///
/// Signaling is in `/` only. A client may connect to further namespaces over the same connection,
/// and is another peer in each: one that is in no rooms, and that the application speaks to by the
/// [`Peer`] that its hooks are given.
///
/// ```
/// use peer_data_server::{Arguments, Namespace, PeerData, Signal};
///
/// let server = PeerData::builder()
///     .namespace(Namespace::new("/lobby").on_connect(|peer, _| {
///         if let Ok(welcome) = Arguments::new(&["welcome"]).and_then(|a| Signal::event("news", &a)) {
///             peer.send(&welcome);
///         }
///     }))
///     .build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
#[must_use = "a namespace does nothing until a builder has it"]
pub struct Namespace {
    pub(super) name: Arc<str>,
    pub(super) on_connect: Option<ConnectHook>,
    pub(super) on_event: Option<EventHook>,
}

type ConnectHook = Box<dyn Fn(&Peer, &Hello<'_>) + Send + Sync>;
type EventHook = Box<dyn Fn(&Peer, AppEvent<'_>) + Send + Sync>;

impl Namespace {
    /// A namespace of that name: a slash and up to 255 further bytes without comma, question mark
    /// or control characters. It is checked by [`Builder::build`](crate::Builder::build).
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            on_connect: None,
            on_event: None,
        }
    }

    /// Is called for each client that has connected to the namespace, before anything that it says
    /// there is looked at. It must not block.
    pub fn on_connect(mut self, hook: impl Fn(&Peer, &Hello<'_>) + Send + Sync + 'static) -> Self {
        self.on_connect = Some(Box::new(hook));
        self
    }

    /// Is called for each event in the namespace; in `/`, for each that is not called `message`,
    /// which is signaling's. Without it events are ignored, and counted:
    /// [`PeerData::ignored_events`](crate::PeerData::ignored_events).
    ///
    /// It runs in the middle of the sender's message, in the order in which its events came, and
    /// must not block; what takes time belongs into a task, to which the [`Peer`] and the [`Ack`]
    /// can be moved.
    pub fn on_event(mut self, hook: impl Fn(&Peer, AppEvent<'_>) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(hook));
        self
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An event that is not signaling's: what a client said by `emit(name, ...arguments)`.
#[derive(Debug)]
#[non_exhaustive]
pub struct AppEvent<'a> {
    /// Its name. U+FFFD in place of one with half a surrogate pair.
    pub name: &'a str,
    /// Its arguments and attachments.
    pub arguments: Arguments,
    /// The answer that the client waits for, if it does.
    pub ack: Option<Ack>,
}

/// The answer to one event. Dropped without being sent, it leaves the client waiting.
pub struct Ack {
    peer: Peer,
    number: Box<str>,
}

impl Ack {
    /// Answers, now or later. A client that is gone hears nothing; one whose outbox is full is
    /// disconnected.
    pub fn send(self, arguments: &Arguments) {
        self.peer.send(&Signal::ack(&self.number, arguments));
    }
}

impl PeerData {
    /// Events that were ignored since the start because no hook asks for them.
    #[must_use]
    pub fn ignored_events(&self) -> u64 {
        self.inner.ignored.load(Ordering::Relaxed)
    }

    /// Hands an event that is not signaling's to the application. `attachments` is `Err` if they
    /// were more than a message may have.
    pub(super) fn application_event(
        &self,
        client: &Arc<Client>,
        sender: &Presence,
        event: &Named<'_>,
        ack: Option<&str>,
        attachments: Result<Option<Vec<Bytes>>, TooLarge>,
    ) {
        self.inner.metrics.event(Said::Application);
        let namespace = self.inner.settings.namespace(sender.namespace.as_deref());
        let Some(hook) = namespace.and_then(|namespace| namespace.on_event.as_ref()) else {
            self.inner.ignored.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let peer = Peer::new(self, client, sender.clone());
        let ack = ack.map(|number| Ack {
            peer: peer.clone(),
            number: number.into(),
        });
        let arguments = match attachments {
            Ok(attachments) => event
                .tail
                .and_then(|tail| Arguments::received(tail, attachments))
                .ok_or((Code::Malformed, UNFIT)),
            Err(TooLarge) => Err((Code::TooLarge, TooLarge::MESSAGE)),
        };
        match arguments {
            Ok(arguments) => hook(
                &peer,
                AppEvent {
                    name: &event.name,
                    arguments,
                    ack,
                },
            ),
            Err((code, message)) => {
                self.note_refused_event(client, code);
                peer.send(&notice::error(code, message, None));
                if let Some(ack) = ack {
                    ack.send(&Arguments::of_json(&notice::ack_error(code, message)));
                }
            }
        }
    }
}

const UNFIT: &str =
    "arguments must not be nested deeper than 128 levels, and their placeholders must fit";

/// The attachments of an event were dropped.
pub(super) struct TooLarge;

impl TooLarge {
    pub(super) const MESSAGE: &str = "the event with its attachments exceeds the maximum message";
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ack")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
