//! From what a client asks for to what its room hears.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::custom::{CustomEvent, Verdict};
use super::membership::Held;
use super::namespace::TooLarge;
use super::{Dialect, Handshake, Hello, JoinError, Peer, PeerData};
use crate::broker::{BrokerError, Delivery, Mailbox, Undelivered};
use crate::ending::CloseReason;
use crate::error::Code;
use crate::id::{PeerId, RoomId, SessionId};
use crate::identity::Identity;
use crate::session::{Event, Incoming, Presence, Wire};
use crate::signal::Signal;
use crate::wire::engine::{self, Revision};
use crate::wire::envelope::{self, Broken, Called, Envelope, Flaw, Kind};
use crate::wire::{notice, reference, socket};

/// What a good event came to.
struct Done {
    delivered: usize,
    /// Those who were in the room before: for CONNECT only.
    peers: Option<Vec<PeerId>>,
}

impl Done {
    fn delivered(delivered: usize) -> Self {
        Self {
            delivered,
            peers: None,
        }
    }
}

impl PeerData {
    /// Acts on one event of a client.
    pub(super) fn handle(&self, client: &Arc<Client>, event: Event<'_>) {
        match event {
            Event::Connect { namespace, auth } => self.connect(client, namespace, auth),
            Event::Leave(left) => {
                let slow = self.leave(client, left);
                self.close_slow(&slow);
            }
            Event::Packet(incoming) => self.packet(client, incoming),
            Event::Json { sender, text } => {
                let outcome = if self.inner.settings.dialect == Dialect::Signaling {
                    envelope::read_event(text)
                        .and_then(|envelope| self.signal(client, &sender, &envelope, Vec::new()))
                } else {
                    Err(Flaw {
                        code: Code::Refused,
                        message: "there is no signaling on this server",
                        room: None,
                    })
                };
                Self::answer(client, &sender, None, &outcome);
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
    }

    /// Makes a client a peer whose wire does not wait to be asked.
    pub(super) fn connect_unasked(&self, client: &Arc<Client>) {
        if self.inner.settings.dialect != Dialect::EngineEcho {
            self.connect(client, socket::Namespace::MAIN, None);
        }
    }

    /// Makes a client a peer, if it asks for a namespace that there is.
    pub(super) fn connect(
        &self,
        client: &Arc<Client>,
        wanted: socket::Namespace<'_>,
        auth: Option<&str>,
    ) {
        let settings = &self.inner.settings;
        let name = (!wanted.is_main()).then(|| wanted.name());
        let Some(namespace) = settings.namespace(name) else {
            let message = "there is no such namespace";
            self.announce_refused(client, None, None, Code::Refused, message);
            return client.with(|session| session.reject(wanted));
        };
        let exposed = settings.expose_session_ids && client.wire == Wire::Engine(Revision::V3);
        let id = if exposed && name.is_none() {
            Ok(client.sid.exposed())
        } else {
            PeerId::random()
        };
        let Ok(id) = id else {
            return client.close(CloseReason::ProtocolError);
        };
        let presence = Presence {
            id,
            namespace: name.map(|_| Arc::clone(&namespace.name)),
        };
        let Some(peer) = self.attach(client, presence, Identity::anonymous()) else {
            return;
        };
        if let Some(hook) = &namespace.on_connect {
            let unknown = Handshake::default();
            let handshake = client.handshake.as_deref().unwrap_or(&unknown);
            hook(&peer, &Hello { handshake, auth });
        }
    }

    fn packet(&self, client: &Arc<Client>, incoming: Incoming<'_>) {
        let Incoming {
            sender,
            ack,
            data,
            attachments,
        } = incoming;
        if !self.has_signaling(&sender) {
            return match envelope::read_named(&data) {
                Ok(event) => {
                    let ack = ack.as_deref();
                    self.application_event(client, &sender, &event, ack, Ok(attachments));
                }
                Err(Broken) => client.close(CloseReason::ProtocolError),
            };
        }
        let own = sender.id;
        let Ok(called) = envelope::read_packet(&data, attachments.as_ref().map(Vec::len)) else {
            // Not an array with a name: not the protocol.
            return client.close(CloseReason::ProtocolError);
        };
        match called {
            Called::Message(read) => {
                let attachments = attachments.unwrap_or_default();
                if self.inner.settings.reference_compat {
                    self.echo(client, &own, &read, &attachments);
                }
                let outcome =
                    read.and_then(|envelope| self.signal(client, &own, &envelope, attachments));
                Self::answer(client, &own, ack.as_deref(), &outcome);
            }
            Called::Other(event)
                if self.inner.settings.reference_compat && event.name == "ipaddr" =>
            {
                client.with(|session| {
                    for packet in reference::addresses() {
                        session.push(packet);
                    }
                });
            }
            Called::Other(event) => {
                let ack = ack.as_deref();
                self.application_event(client, &sender, &event, ack, Ok(attachments));
            }
        }
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
                Self::answer(client, &sender.id, ack, &outcome);
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

    /// Carries one signaling event to those whom it is for.
    fn signal<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        envelope: &Envelope<'a>,
        attachments: Vec<Bytes>,
    ) -> Result<Done, Flaw<'a>> {
        envelope.check_names(self.inner.settings.limits.max_id)?;
        let max = self.inner.settings.limits.max_message;
        let refuse = |error: BrokerError| match error {
            BrokerError::NoSuchPeer => {
                envelope.flaw(Code::NoSuchPeer, "there is no such peer in that room")
            }
            _ => envelope.flaw(Code::NotInRoom, "you are not in that room"),
        };
        let broker = &self.inner.broker;
        match envelope.kind() {
            Kind::Connect => {
                let signal = envelope.splice(own, attachments, max)?;
                self.join_by(client, own, envelope, &signal)
            }
            Kind::Disconnect => {
                let signal = envelope.splice(own, attachments, max)?;
                let left = self.exit(&Held::new(client), own, envelope.room(), &signal);
                let (_, told) = left.ok_or_else(|| refuse(BrokerError::NotInRoom))?;
                Ok(self.sent(&told))
            }
            Kind::Offer | Kind::Answer | Kind::Candidate => {
                let receiver =
                    self.receiver(own, envelope)
                        .map_err(|refusal| match refusal {
                            Unroutable::Oneself => envelope
                                .flaw(Code::Refused, "an event cannot be addressed to oneself"),
                            Unroutable::Broker(error) => refuse(error),
                        })?;
                let signal = envelope.splice(own, attachments, max)?;
                Ok(Done::delivered(self.deliver_to(&receiver, &signal)))
            }
            Kind::Custom(kind) => {
                let signal = envelope.splice(own, attachments, max)?;
                match self.judge(client, own, kind, envelope.room(), &signal) {
                    Verdict::Relay => {
                        let audience = broker.audience(own, envelope.room()).map_err(refuse)?;
                        Ok(self.sent(&audience.deliver(Some(own), &signal)))
                    }
                    Verdict::Drop => Ok(Done::delivered(0)),
                    Verdict::Refuse(code) => {
                        Err(envelope.flaw(code, "the application refused this event"))
                    }
                }
            }
        }
    }

    fn join_by<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        envelope: &Envelope<'a>,
        signal: &Signal,
    ) -> Result<Done, Flaw<'a>> {
        // Length-checked with the envelope.
        let entered = RoomId::new(envelope.room())
            .map_err(|_| JoinError::NoSuchPeer)
            .and_then(|room| self.enter(&Held::new(client), own, &room, signal));
        let entered = entered.map_err(|error| {
            let (code, message) = match error {
                JoinError::TooManyRooms => (Code::Busy, "you are in too many rooms"),
                JoinError::RoomFull => (Code::RoomFull, "the room is full"),
                _ => (Code::Refused, "you cannot join that room"),
            };
            let presence = Some(Presence::main(*own));
            self.announce_refused(client, presence, Some(envelope.room()), code, message);
            envelope.flaw(code, message)
        })?;
        let done = self.sent(&entered.delivery);
        Ok(Done {
            peers: Some(entered.peers),
            ..done
        })
    }

    fn judge(
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

    /// The one whom an OFFER, ANSWER or CANDIDATE is for.
    fn receiver(&self, own: &PeerId, envelope: &Envelope<'_>) -> Result<Arc<Client>, Unroutable> {
        let callee = envelope.callee().unwrap_or_default();
        let broker = &self.inner.broker;
        let to: Option<PeerId> = callee.parse().ok();
        // A stranger to the room learns that first, whomever he asks for.
        let routed = match &to {
            Some(to) => broker.route(own, to, envelope.room()),
            None => broker
                .audience(own, envelope.room())
                .and(Err(BrokerError::NoSuchPeer)),
        };
        match (routed, to) {
            (Ok(_), Some(to)) if to == *own => Err(Unroutable::Oneself),
            (Err(BrokerError::NoSuchPeer), Some(to)) => {
                let alias = self.by_session_id(&to).ok_or(BrokerError::NoSuchPeer)?;
                if alias == *own {
                    return Err(Unroutable::Oneself);
                }
                Ok(broker.route(own, &alias, envelope.room())?)
            }
            (routed, _) => Ok(routed?),
        }
    }

    /// Revision-3 clients know themselves by their session id, so that is a name for them too.
    fn by_session_id(&self, name: &PeerId) -> Option<PeerId> {
        let sid = SessionId::parse(name.as_str()).ok()?;
        let peer = self.session(&sid)?;
        (peer.wire == Wire::Engine(Revision::V3))
            .then(|| peer.with(|session| session.peer()))
            .flatten()
    }

    fn deliver_to(&self, receiver: &Arc<Client>, signal: &Signal) -> usize {
        match receiver.deliver(signal) {
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
    fn answer(peer: &Client, own: &PeerId, ack: Option<&str>, outcome: &Result<Done, Flaw<'_>>) {
        let body = match outcome {
            Ok(_) if ack.is_none() => return,
            Ok(done) => {
                let peers = done.peers.as_ref().map(|peers| peers.iter().copied());
                notice::ack_ok(own, done.delivered, peers)
            }
            Err(flaw) => notice::ack_error(flaw.code, flaw.message),
        };
        peer.with(|session| {
            if let Err(flaw) = outcome {
                let room = flaw.room.as_ref().map(Cow::as_ref);
                session.push_signal(&notice::error(flaw.code, flaw.message, room));
            }
            if let Some(ack) = ack {
                session.push(socket::ack(ack, &body));
            }
        });
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
