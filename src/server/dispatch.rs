//! From what a client asks for to what its room hears.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::connect::room_of;
use super::custom::{CustomEvent, Verdict};
use super::membership::Held;
use super::namespace::TooLarge;
use super::observed::said;
use super::policy::Relay;
use super::{Dialect, JoinError, Peer, PeerData};
use crate::broker::{BrokerError, Delivery, Remote, Undelivered};
use crate::clock;
use crate::ending::CloseReason;
use crate::error::{Code, Refused};
use crate::id::{PeerId, RoomId, SessionId};
use crate::session::{Event, Incoming, Presence, Wire};
use crate::signal::Signal;
use crate::wire::engine::{self, Revision};
use crate::wire::envelope::{self, Broken, Called, Envelope, Flaw, Kind, Named};
use crate::wire::{notice, reference, socket};

const NOT_RELAYED: &str = "the application refused this event";

/// Those at this node were given it.
const NOT_ELSEWHERE: &str = "peers at other nodes cannot be reached now";

pub(super) const NO_SUCH_PEER: &str = "there is no such peer in that room";

/// What a good event came to.
pub(super) struct Done {
    pub(super) delivered: usize,
    /// Those who were in the room before: for CONNECT only.
    pub(super) peers: Option<Vec<PeerId>>,
    /// The STUN and TURN servers that it has asked for, as JSON.
    pub(super) ice: Option<String>,
}

impl Done {
    pub(super) fn delivered(delivered: usize) -> Self {
        Self {
            delivered,
            peers: None,
            ice: None,
        }
    }
}

/// How far a good event has come.
pub(super) enum Progress {
    Done(Done),
    /// It is answered later, by somebody else.
    Owed,
    /// It waits for another node, and is answered after that.
    Waits(Waits),
}

impl From<Done> for Progress {
    fn from(done: Done) -> Self {
        Self::Done(done)
    }
}

/// What is left of an event that waits for the application: nothing else of the same client is to
/// be acted on before it is done. It may be dropped once the client is gone.
pub(super) type Waits = Pin<Box<dyn Future<Output = ()> + Send>>;

impl PeerData {
    /// Acts on one event of a client, whose span has been entered.
    #[must_use]
    pub(super) fn handle(&self, client: &Arc<Client>, event: Event<'_>) -> Option<Waits> {
        match event {
            Event::Connect { namespace, auth } => return self.connect(client, namespace, auth),
            Event::Leave(left) => {
                let slow = self.leave(client, left);
                self.close_slow(&slow);
            }
            Event::Packet(incoming) => return self.packet(client, incoming),
            Event::Json { sender, text } => {
                let read = if self.inner.settings.dialect == Dialect::Signaling {
                    envelope::read_event(text)
                } else {
                    Err(Flaw {
                        code: Code::Refused,
                        message: "there is no signaling on this server".into(),
                        room: None,
                    })
                };
                return self.message(client, &sender, None, read, Vec::new());
            }
            Event::TooLarge {
                sender,
                ack,
                data,
                announced,
            } => self.too_large(client, &sender, ack.as_deref(), &data, announced),
            Event::BareText(text) => client.with(|session| session.push(engine::message(text))),
            Event::BareBinary(data) => {
                client.with(|session| session.push_binary(Bytes::copy_from_slice(&data)));
            }
        }
        None
    }

    fn packet(&self, client: &Arc<Client>, incoming: Incoming<'_>) -> Option<Waits> {
        let Incoming {
            sender,
            ack,
            data,
            attachments,
        } = incoming;
        let ack = ack.as_deref();
        let called = if self.has_signaling(&sender) {
            envelope::read_packet(&data, attachments.as_ref().map(Vec::len))
        } else {
            envelope::read_named(&data).map(Called::Other)
        };
        match called {
            Ok(Called::Message(read)) => {
                let attachments = attachments.unwrap_or_default();
                if self.inner.settings.reference_compat {
                    self.echo(client, &sender.id, &read, &attachments);
                }
                return self.message(client, &sender.id, ack, read, attachments);
            }
            Ok(Called::Other(event)) if self.is_asked_for_addresses(&sender, &event) => {
                client.with(|session| {
                    for packet in reference::addresses() {
                        session.push(packet);
                    }
                });
            }
            Ok(Called::Other(event)) => {
                self.application_event(client, &sender, &event, ack, Ok(attachments));
            }
            // Not an array with a name: not the protocol.
            Err(Broken) => client.close(CloseReason::ProtocolError),
        }
        None
    }

    fn is_asked_for_addresses(&self, sender: &Presence, event: &Named<'_>) -> bool {
        self.inner.settings.reference_compat && self.has_signaling(sender) && event.name == "ipaddr"
    }

    fn has_signaling(&self, sender: &Presence) -> bool {
        self.inner.settings.dialect == Dialect::Signaling && sender.namespace.is_none()
    }

    /// Answers an event whose attachments were dropped, by the same rules as any other.
    fn too_large(
        &self,
        client: &Arc<Client>,
        sender: &Presence,
        ack: Option<&str>,
        data: &str,
        announced: usize,
    ) {
        let called = if self.has_signaling(sender) {
            envelope::read_packet(data, Some(announced))
        } else {
            envelope::read_named(data).map(Called::Other)
        };
        match called {
            Err(Broken) => client.close(CloseReason::ProtocolError),
            Ok(Called::Other(event)) => {
                self.application_event(client, sender, &event, ack, Err(TooLarge));
            }
            Ok(Called::Message(read)) => {
                let message = TooLarge::MESSAGE;
                let outcome = read.and_then(|event| Err(event.flaw(Code::TooLarge, message)));
                self.answer(client, &sender.id, ack, &outcome);
            }
        }
    }

    /// The reference's debugging aid: each event goes back to its sender, as a `log`.
    fn echo(
        &self,
        peer: &Arc<Client>,
        own: &PeerId,
        read: &Result<Envelope<'_>, Flaw<'_>>,
        attachments: &[Bytes],
    ) {
        let max = self.inner.settings.limits.max_message;
        let Ok(envelope) = read else { return };
        if let Ok(signal) = envelope.splice(own, attachments.to_vec(), max) {
            let echo = reference::server_log(&signal);
            peer.with(|session| session.push_signal(&echo));
        }
    }

    /// Acts on one signaling event, and tells its sender what became of it.
    fn message(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        ack: Option<&str>,
        read: Result<Envelope<'_>, Flaw<'_>>,
        attachments: Vec<Bytes>,
    ) -> Option<Waits> {
        if let Ok(event) = &read {
            self.inner.metrics.event(said(event.kind()));
        }
        let read = read.and_then(|event| {
            event.check_names(self.inner.settings.limits.max_id)?;
            Ok(event)
        });
        let outcome = match read {
            Ok(ref event)
                if *event.kind() == Kind::Connect && self.inner.settings.policies.admits() =>
            {
                match self.admit(client, own, ack, event, attachments) {
                    Ok(waits) => return Some(waits),
                    Err(flaw) => Err(flaw),
                }
            }
            Ok(ref event) => match self.signal(client, own, ack, event, attachments) {
                Ok(Progress::Waits(waits)) => return Some(waits),
                Ok(Progress::Owed) => return None,
                Ok(Progress::Done(done)) => Ok(done),
                Err(flaw) => Err(flaw),
            },
            Err(flaw) => Err(flaw),
        };
        self.answer(client, own, ack, &outcome);
        None
    }

    /// Carries one signaling event to those whom it is for.
    fn signal<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        ack: Option<&str>,
        envelope: &Envelope<'a>,
        attachments: Vec<Bytes>,
    ) -> Result<Progress, Flaw<'a>> {
        let max = self.inner.settings.limits.max_message;
        let refuse = |error: BrokerError| match error {
            BrokerError::NoSuchPeer => envelope.flaw(Code::NoSuchPeer, NO_SUCH_PEER),
            _ => envelope.flaw(Code::NotInRoom, "you are not in that room"),
        };
        let broker = &self.inner.broker;
        match envelope.kind() {
            Kind::Connect => {
                let signal = envelope.splice(own, attachments, max)?;
                let room = room_of(envelope)?;
                let joined = self.join_by(client, own, &room, &signal);
                let joined = joined.map_err(|(code, message)| envelope.flaw(code, message))?;
                Ok(self.answer_join(client, own, ack, &room, joined))
            }
            Kind::Disconnect => {
                let signal = envelope.splice(own, attachments, max)?;
                let left = self.exit(&Held::new(client), own, envelope.room(), &signal);
                let (_, told) = left.ok_or_else(|| refuse(BrokerError::NotInRoom))?;
                Ok(self.sent(&told).into())
            }
            Kind::Offer | Kind::Answer | Kind::Candidate => {
                let (callee, receiver) =
                    self.receiver(own, envelope)
                        .map_err(|refusal| match refusal {
                            Unroutable::Oneself => envelope
                                .flaw(Code::Refused, "an event cannot be addressed to oneself"),
                            Unroutable::Broker(error) => refuse(error),
                        })?;
                if self.judge(client, own, envelope, Some(callee))? == Verdict::Drop {
                    return Ok(Done::delivered(0).into());
                }
                let signal = envelope.splice(own, attachments, max)?;
                let room = envelope.room();
                let what = said(envelope.kind());
                // Of what a peer at another node answers, this one hears nothing but what it delivers.
                if receiver.is_some() {
                    self.inner.calls.said(what, own, &callee, room);
                    self.inner.inspection.said(what, own, &callee, room);
                }
                match receiver {
                    Some(receiver) => {
                        Ok(Done::delivered(self.deliver_to(&receiver, signal)).into())
                    }
                    None => self.signal_elsewhere(client, own, ack, envelope, callee, signal),
                }
            }
            Kind::Custom(kind) if self.is_ice_request(kind) => {
                if !broker.is_member(own, envelope.room()) {
                    return Err(refuse(BrokerError::NotInRoom));
                }
                let mut done = Done::delivered(0);
                done.ice = self.tell_ice(client, own, envelope.room());
                Ok(done.into())
            }
            Kind::Custom(kind) => {
                let signal = envelope.splice(own, attachments, max)?;
                match self.judge_custom(client, own, kind, envelope.room(), &signal) {
                    Verdict::Relay => {
                        let audience = broker.audience(own, envelope.room()).map_err(refuse)?;
                        if self.judge(client, own, envelope, None)? == Verdict::Drop {
                            return Ok(Done::delivered(0).into());
                        }
                        let mut done = self.sent(&audience.deliver(Some(own), &signal));
                        let (count, remote) = self.say_elsewhere(own, envelope.room(), &signal);
                        if matches!(remote, Remote::Full | Remote::Down) {
                            return Err(envelope.flaw(Code::Busy, NOT_ELSEWHERE));
                        }
                        done.delivered += count;
                        Ok(done.into())
                    }
                    Verdict::Drop => Ok(Done::delivered(0).into()),
                    Verdict::Refuse(code) => Err(envelope.flaw(code, NOT_RELAYED)),
                }
            }
        }
    }

    /// Puts a peer into a room and tells the others there; or why not. It is to be told of those at
    /// other nodes by [`answer_join`](Self::answer_join), or by
    /// [`end_joining`](Self::end_joining) of nobody.
    pub(super) fn join_by(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        room: &RoomId,
        signal: &Signal,
    ) -> Result<Done, (Code, &'static str)> {
        let capacity = self.capacity(room);
        let entered = self.enter(&Held::new(client), own, room, capacity, signal);
        let entered = entered.map_err(|error| {
            let (code, message) = match error {
                JoinError::TooManyRooms => (Code::Busy, "you are in too many rooms"),
                JoinError::TooManyMemberships => {
                    (Code::Busy, "the server has no more places in rooms")
                }
                JoinError::RoomFull => (Code::RoomFull, "the room is full"),
                _ => (Code::Refused, "you cannot join that room"),
            };
            let why = Refused::new(code, message);
            self.announce_refused(client, Some(Presence::main(*own)), Some(room), &why);
            (code, message)
        })?;
        let done = self.sent(&entered.delivery);
        Ok(Done {
            peers: Some(entered.peers),
            ..done
        })
    }

    /// The application's say on an event of a type of its own.
    fn judge_custom(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        kind: &str,
        room: &str,
        signal: &Signal,
    ) -> Verdict {
        let Some(hook) = &self.inner.settings.custom else {
            return Verdict::Relay;
        };
        let peer = Peer::new(self, client, Presence::main(*own));
        let event = CustomEvent {
            kind,
            room,
            is_member: self.inner.broker.is_member(own, room),
            signal,
        };
        hook.judge(&peer, &event)
    }

    /// The policies' say on an event that is about to be relayed.
    fn judge<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        envelope: &Envelope<'a>,
        callee: Option<PeerId>,
    ) -> Result<Verdict, Flaw<'a>> {
        let policies = &self.inner.settings.policies;
        if !policies.relays() {
            return Ok(Verdict::Relay);
        }
        let peer = Peer::new(self, client, Presence::main(*own));
        let event = Relay {
            kind: envelope.kind().name(),
            room: envelope.room(),
            caller: *own,
            callee,
            payload: envelope.payload(),
        };
        match policies.relay(&peer, &event) {
            Verdict::Refuse(code) => Err(envelope.flaw(code, NOT_RELAYED)),
            verdict => Ok(verdict),
        }
    }

    /// The one whom an OFFER, ANSWER or CANDIDATE is for; without a client, if that may be at another
    /// node.
    #[inline]
    fn receiver(
        &self,
        own: &PeerId,
        envelope: &Envelope<'_>,
    ) -> Result<(PeerId, Option<Arc<Client>>), Unroutable> {
        let callee = envelope.callee().unwrap_or_default();
        let broker = &self.inner.broker;
        let Ok(to) = callee.parse() else {
            // A stranger to the room learns that first, whomever he asks for.
            broker.audience(own, envelope.room())?;
            return Err(BrokerError::NoSuchPeer.into());
        };
        let route = |to: PeerId| match broker.route(own, &to, envelope.room())? {
            _ if to == *own => Err(Unroutable::Oneself),
            receiver => Ok((to, Some(receiver))),
        };
        match route(to) {
            Err(Unroutable::Broker(BrokerError::NoSuchPeer)) => {
                if self.may_be_elsewhere(&to) {
                    return Ok((to, None));
                }
                let alias = self.by_session_id(&to).ok_or(BrokerError::NoSuchPeer)?;
                route(alias)
            }
            routed => routed,
        }
    }

    /// Revision-3 clients know themselves by their session id, so that is a name for them too.
    pub(super) fn by_session_id(&self, name: &PeerId) -> Option<PeerId> {
        let sid = SessionId::parse(name.as_str()).ok()?;
        let peer = self.session(&sid)?;
        (peer.wire == Wire::Engine(Revision::V3))
            .then(|| peer.with(|session| session.peer()))
            .flatten()
    }

    fn deliver_to(&self, receiver: &Arc<Client>, signal: Signal) -> usize {
        match receiver.deliver_only(signal) {
            Ok(()) => 1,
            Err(Undelivered::Full) => {
                self.close(receiver, CloseReason::SlowConsumer);
                0
            }
            Err(Undelivered::Closed) => 0,
        }
    }

    fn sent(&self, delivery: &Delivery) -> Done {
        self.close_slow(&delivery.full);
        Done::delivered(delivery.delivered)
    }

    /// Tells the sender what became of its event, as far as it asked.
    pub(super) fn answer(
        &self,
        peer: &Client,
        own: &PeerId,
        ack: Option<&str>,
        outcome: &Result<Done, Flaw<'_>>,
    ) {
        // Who has come into a room is about to need them.
        let minted = match outcome {
            Ok(done) if ack.is_some() && done.peers.is_some() => self.mint(own),
            _ => None,
        };
        let body = match outcome {
            Ok(_) if ack.is_none() => return,
            Ok(done) => {
                let peers = done.peers.as_ref().map(|peers| peers.iter().copied());
                let ice = minted.as_deref().or(done.ice.as_deref());
                notice::ack_ok(own, done.delivered, peers, ice)
            }
            Err(flaw) => {
                self.note_refused_event(peer, flaw.code);
                notice::ack_error(flaw.code, &flaw.message)
            }
        };
        peer.with(|session| {
            if let Err(flaw) = outcome {
                let room = flaw.room.as_ref().map(Cow::as_ref);
                session.push_signal(&notice::error(flaw.code, &flaw.message, room));
            }
            if let Some(ack) = ack {
                session.push(socket::ack(ack, &body));
            }
            if minted.is_some() {
                self.note_minted(session, clock::now());
            }
        });
        if minted.is_some() {
            self.await_refresh(peer);
        }
    }
}

enum Unroutable {
    Oneself,
    Broker(BrokerError),
}

impl From<BrokerError> for Unroutable {
    fn from(error: BrokerError) -> Self {
        Self::Broker(error)
    }
}
