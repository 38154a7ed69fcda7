//! What a client's packets mean: Engine.IO first, Socket.IO inside it.

use std::borrow::Cow;
use std::time::Instant;

use super::assembly::{Assembled, Assembly};
use super::{Event, Incoming, Session, Wire};
use crate::ending::CloseReason;
use crate::wire::engine::{self, Malformed, Packet, Revision};
use crate::wire::json;
use crate::wire::socket::{self, Namespace, Packet as SocketPacket};

impl Session {
    /// One Engine.IO packet, from a websocket or out of a POST.
    pub(crate) fn handle_packet<'a>(
        &mut self,
        packet: Result<Packet<'a>, Malformed>,
        now: Instant,
    ) -> Option<Event<'a>> {
        if self.is_closed() || self.is_away() {
            return None;
        }
        let handled = packet.and_then(|packet| self.handle_known_packet(packet, now));
        handled.unwrap_or_else(|Malformed| {
            self.close(CloseReason::ProtocolError);
            None
        })
    }

    fn handle_known_packet<'a>(
        &mut self,
        packet: Packet<'a>,
        now: Instant,
    ) -> Result<Option<Event<'a>>, Malformed> {
        self.heartbeat.heard(&self.limits, now);
        let client_pings = self.wire == Wire::Engine(Revision::V3);
        match packet {
            Packet::Message(text) => {
                let event = self.handle_message(text);
                self.expect_attachments(now);
                return event;
            }
            Packet::Binary(data) if self.bare => return Ok(Some(Event::BareBinary(data))),
            Packet::Binary(data) => {
                let event = self.handle_attachment(&data);
                self.expect_attachments(now);
                return event;
            }
            Packet::Close => self.close(CloseReason::ClientClosed),
            Packet::Ping(_) if client_pings => self.push(engine::PONG),
            // Each revision has one direction; a ping in the other is an error there.
            Packet::Ping(_) | Packet::Open => return Err(Malformed),
            Packet::Pong(_) => {
                let took = self.heartbeat.answered(&self.limits, now);
                self.observer.metrics.heartbeat(took);
                if let Some(recovery) = &mut self.recovery {
                    recovery.answered();
                }
            }
            Packet::Upgrade | Packet::Noop => {}
        }
        Ok(None)
    }

    fn handle_message<'a>(&mut self, text: &'a str) -> Result<Option<Event<'a>>, Malformed> {
        let Wire::Engine(revision) = self.wire else {
            return Err(Malformed);
        };
        if self.bare {
            return Ok(Some(Event::BareText(text)));
        }
        if self.assembly.is_some() {
            return Err(Malformed);
        }
        match socket::decode(text, self.limits.max_attachments)? {
            SocketPacket::Connect { namespace, data } => {
                self.handle_connect(revision, namespace, data)
            }
            SocketPacket::Disconnect { namespace } => {
                let left = self.presences.find(namespace);
                Ok(left.map(Event::Leave))
            }
            SocketPacket::Event {
                namespace,
                ack,
                attachments,
                data,
            } => {
                let Some(sender) = self.presences.find(namespace) else {
                    // Revision 3 servers look away; later ones end the connection.
                    if revision == Revision::V4 {
                        return Err(Malformed);
                    }
                    return Ok(self.ignore(attachments));
                };
                if let Some(missing @ 1..) = attachments {
                    let assembly = Assembly::of_event(sender, ack, data, missing);
                    self.assembly = Some(Box::new(assembly));
                    return Ok(None);
                }
                Ok(Some(Event::Packet(Incoming {
                    sender,
                    ack: ack.map(Cow::Borrowed),
                    data: Cow::Borrowed(data),
                    attachments: attachments.map(|_| Vec::new()),
                })))
            }
            // The server asks for no acks, so nobody waits for this one.
            SocketPacket::Ack {
                attachments, data, ..
            } if json::is_array(data) => Ok(self.ignore(attachments)),
            SocketPacket::Ack { .. } | SocketPacket::Error => Err(Malformed),
        }
    }

    fn handle_connect<'a>(
        &self,
        revision: Revision,
        namespace: Namespace<'a>,
        data: Option<&'a str>,
    ) -> Result<Option<Event<'a>>, Malformed> {
        if revision == Revision::V4 && data.is_some_and(|data| !json::is_object(data)) {
            return Err(Malformed);
        }
        match (self.presences.find(namespace), revision) {
            (None, _) => {
                // What revision 3 says here is no more than its query, which it has said before.
                let auth = data.filter(|_| revision == Revision::V4);
                Ok(Some(Event::Connect { namespace, auth }))
            }
            (Some(_), Revision::V3) => Ok(None),
            (Some(_), Revision::V4) => Err(Malformed),
        }
    }

    fn expect_attachments(&mut self, now: Instant) {
        let awaited = self.assembly.is_some();
        self.rest_by = awaited.then(|| Box::new(now + self.limits.body_timeout));
    }

    fn ignore(&mut self, attachments: Option<usize>) -> Option<Event<'static>> {
        if let Some(missing @ 1..) = attachments {
            self.assembly = Some(Box::new(Assembly::ignored(missing)));
        }
        None
    }

    fn handle_attachment(&mut self, data: &[u8]) -> Result<Option<Event<'static>>, Malformed> {
        let assembly = self.assembly.as_mut().ok_or(Malformed)?;
        let Some(complete) = assembly.add(data, self.limits.max_message) else {
            return Ok(None);
        };
        self.assembly = None;
        Ok(complete.map(
            |Assembled {
                 sender,
                 ack,
                 data,
                 announced,
                 attachments,
             }| match attachments {
                None => Event::TooLarge {
                    sender,
                    ack,
                    data,
                    announced,
                },
                Some(attachments) => Event::Packet(Incoming {
                    sender,
                    ack: ack.map(Cow::Owned),
                    data: Cow::Owned(data),
                    attachments: Some(attachments),
                }),
            },
        ))
    }
}
