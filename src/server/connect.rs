//! How a client becomes a peer, and a peer a member: what the application is asked before.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Client;
use super::dispatch::{Progress, Waits};
use super::{Dialect, Handshake, Hello, Keep, Namespace, Peer, PeerData};
use crate::clock;
use crate::ending::CloseReason;
use crate::error::{Code, Refused};
use crate::id::{PeerId, RoomId};
use crate::identity::Identity;
use crate::observe;
use crate::session::{Presence, Session, Wire};
use crate::wire::engine::Revision;
use crate::wire::envelope::{Envelope, Flaw};
use crate::wire::socket;

impl PeerData {
    /// Makes a client a peer whose wire does not wait to be asked, if the application has agreed.
    pub(super) fn connect_unasked(&self, client: &Arc<Client>, verdict: Result<Identity, Refused>) {
        if self.inner.settings.dialect == Dialect::EngineEcho {
            return;
        }
        if let Some(main) = self.inner.settings.namespace(None) {
            self.conclude(client, main, None, verdict);
        }
    }

    /// Makes a client a peer, if it asks for a namespace that there is, and the application agrees.
    pub(super) fn connect(
        &self,
        client: &Arc<Client>,
        wanted: socket::Namespace<'_>,
        auth: Option<&str>,
    ) -> Option<Waits> {
        let settings = &self.inner.settings;
        let name = (!wanted.is_main()).then(|| wanted.name());
        let Some(namespace) = settings.namespace(name) else {
            let why = Refused::forbidden("there is no such namespace");
            self.announce_refused(client, None, None, &why);
            client.with(|session| session.reject(wanted));
            return None;
        };
        if !settings.policies.authorizes() {
            self.conclude(client, namespace, auth, Ok(Identity::anonymous()));
            return None;
        }
        let Some(handshake) = client.handshake() else {
            // It has left before; what it said of itself then is not kept.
            let refused = Refused::forbidden("open a new session to connect again");
            self.conclude(client, namespace, auth, Err(refused));
            return None;
        };
        let server = self.clone();
        let client = Arc::clone(client);
        let name = Arc::clone(&namespace.name);
        let auth: Option<Box<str>> = auth.map(Into::into);
        let span = client.span.clone();
        Some(Box::pin(span.around(async move {
            let settings = &server.inner.settings;
            let Some(namespace) = settings.namespace(Some(&name)) else {
                return;
            };
            let hello = Hello::new(&handshake, auth.as_deref(), Some(&name));
            let verdict = if client.with(|session| session.must_connect()) {
                // Its session ends if that takes too long.
                settings.policies.authorize(&hello).await
            } else {
                let _unread = Unread::while_deciding(&client);
                server.authorize(&hello).await
            };
            server.conclude(&client, namespace, auth.as_deref(), verdict);
        })))
    }

    /// Has the application say who a client is, in time.
    pub(super) async fn authorize(&self, hello: &Hello<'_>) -> Result<Identity, Refused> {
        let settings = &self.inner.settings;
        let decision = settings.policies.authorize(hello);
        let decision = tokio::time::timeout(settings.limits.connect_timeout, decision).await;
        decision.unwrap_or_else(|_| Err(undecided()))
    }

    /// Lets a client in, or tells it why not.
    fn conclude(
        &self,
        client: &Arc<Client>,
        namespace: &Namespace,
        auth: Option<&str>,
        verdict: Result<Identity, Refused>,
    ) {
        let is_main = &*namespace.name == "/";
        let identity = match verdict {
            Ok(identity) => identity,
            Err(refused) => {
                if is_main {
                    self.note_handshake(observe::Handshake::Refused);
                }
                self.announce_refused(client, None, None, &refused);
                let name = (!is_main).then_some(&*namespace.name);
                return client.with(|session| session.refuse(name, &refused));
            }
        };
        let settings = &self.inner.settings;
        if is_main && self.resume(client, auth, &identity).is_some() {
            if settings.keep_handshakes == Keep::UntilConnected {
                client.forget_handshake();
            }
            return;
        }
        let exposed = settings.expose_session_ids && client.wire == Wire::Engine(Revision::V3);
        let id = if exposed && is_main {
            Some(client.sid.exposed())
        } else {
            self.new_peer_id()
        };
        let Some(id) = id else {
            return client.close(CloseReason::ProtocolError);
        };
        let presence = Presence {
            id,
            namespace: (!is_main).then(|| Arc::clone(&namespace.name)),
        };
        let Some(peer) = self.attach(client, presence, identity) else {
            return;
        };
        if let Some(hook) = &namespace.on_connect {
            let unknown = Handshake::default();
            let handshake = client.handshake();
            let handshake = handshake.as_deref().unwrap_or(&unknown);
            hook(&peer, &Hello::new(handshake, auth, Some(&namespace.name)));
        }
        if settings.keep_handshakes == Keep::UntilConnected {
            client.forget_handshake();
        }
    }

    /// Has the application decide whether a peer may join the room that its event names, and lets it
    /// join then.
    pub(super) fn admit<'a>(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        ack: Option<&str>,
        event: &Envelope<'a>,
        attachments: Vec<Bytes>,
    ) -> Result<Waits, Flaw<'a>> {
        let limits = &self.inner.settings.limits;
        let signal = event.splice(own, attachments, limits.max_message)?;
        let room = room_of(event)?;
        let patience = limits.admit_timeout;
        let presence = Presence::main(*own);
        let peer = Peer::new(self, client, presence.clone());
        let client = Arc::clone(client);
        let ack: Option<Box<str>> = ack.map(Into::into);
        let span = client.span.clone();
        Ok(Box::pin(span.around(async move {
            let server = peer.server();
            let unread = Unread::while_deciding(&client);
            let decision = server.inner.settings.policies.admit(&peer, &room);
            let decision = tokio::time::timeout(patience, decision).await;
            drop(unread);
            // It may have left meanwhile, and even be another peer by now.
            if !client.is_connected(&presence) {
                return;
            }
            let decision = decision.unwrap_or_else(|_| Err(undecided()));
            let outcome = match decision {
                Ok(()) => {
                    let (own, ack) = (&presence.id, ack.as_deref());
                    let joined = server.join_by(&client, own, &room, &signal);
                    let joined =
                        joined.map(|done| server.answer_join(&client, own, ack, &room, done));
                    match joined {
                        Ok(Progress::Done(done)) => Ok(done),
                        Ok(Progress::Owed) => return,
                        Ok(Progress::Waits(waits)) => return waits.await,
                        Err((code, message)) => Err((code, Cow::Borrowed(message))),
                    }
                }
                Err(why) => {
                    server.announce_refused(&client, Some(presence.clone()), Some(&room), &why);
                    Err((why.code(), Cow::Owned(why.message().to_owned())))
                }
            };
            let outcome = outcome.map_err(|(code, message)| Flaw {
                code,
                message,
                room: Some(Cow::Borrowed(room.as_str())),
            });
            server.answer(&client, &presence.id, ack.as_deref(), &outcome);
        })))
    }
}

/// What a client hears about which the application could not decide.
fn undecided() -> Refused {
    Refused::new(Code::Busy, "the application did not decide in time")
}

/// A client that is not read while the application decides about what it has asked for: its
/// heartbeats wait with all else that it says.
struct Unread<'a>(&'a Client);

impl<'a> Unread<'a> {
    fn while_deciding(client: &'a Client) -> Self {
        client.with(Session::leave_unread);
        Self(client)
    }
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        self.0.with(|session| session.read_again(clock::now()));
    }
}

/// The room that an event names.
pub(super) fn room_of<'a>(event: &Envelope<'a>) -> Result<RoomId, Flaw<'a>> {
    let room = RoomId::new(event.room());
    // Length-checked with the envelope.
    room.map_err(|_| event.flaw(Code::Malformed, "that is not the id of a room"))
}
