//! What nodes say to each other, as bytes.
//!
//! A parcel is `P`, the version of who wrote it, the oldest version that can read it, the node that
//! it is from, its kind, and what that kind has. Whoever reads it passes over what follows after
//! that, so a later version may add to a kind at its end. What older nodes cannot read at all is
//! first read by one release, and written by the next only: so each release can run beside the one
//! before.

use bytes::Bytes;

use super::carried;
use super::codec::{Malformed, Reader, Writer};
use crate::id::{NODE_CHARS, NodeId, PeerId, RoomId};
use crate::signal::Signal;

const MARK: u8 = b'P';

/// What this release writes, and the most that it can read.
const VERSION: u8 = 1;

/// The oldest release whose parcels this one reads.
const OLDEST: u8 = 1;

/// The versions that a parcel claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edition {
    /// Of the one who writes.
    pub(crate) written: u8,
    /// Of the oldest who can read it.
    pub(crate) readable: u8,
}

impl Default for Edition {
    fn default() -> Self {
        Self {
            written: VERSION,
            readable: OLDEST,
        }
    }
}

/// Why a parcel is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is of a version that this one does not know, or no longer.
    Version,
    Malformed,
}

impl From<Malformed> for Unreadable {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// A peer in a room, as other nodes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: PeerId,
    /// Which protocol its client speaks, as a number; an unknown one is none of ours.
    pub(crate) wire: u8,
}

/// What became of a signal for one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    NoSuchPeer,
}

/// One message between nodes.
///
/// Of each room each node keeps a log of its own members' joins and departures. An entry has a
/// `position`, which only grows, and names the one `before` it, so that a gap shows. What members
/// say carries the position `at` which they say it: who has not heard all of the log up to there
/// waits with it.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    /// The node lives; sent every few seconds. `greets`: answer the same.
    Beat {
        greets: bool,
        /// Differs between nodes that have come to the same id by chance.
        run: u64,
        /// Whether it has ever said anything about a room.
        has_spoken: bool,
    },
    /// The node is about to go. What its clients' polls wait for is to be answered as it is by now:
    /// they can wait at other nodes.
    Leaving,
    /// The node is going, and its peers with it.
    Goodbye,
    About {
        room: RoomId,
        said: About,
    },
    /// The sender of a signal is to be told that there is no such peer: nobody waits for it.
    NoSuchPeer {
        room: RoomId,
        caller: PeerId,
    },
    /// The answer to [`About::Direct`] of that number.
    Outcome {
        request: u64,
        outcome: Outcome,
    },
    /// The application's own, for a peer whatever its rooms.
    ToPeer {
        peer: PeerId,
        signal: Signal,
    },
    /// The application disconnects a peer.
    Disconnect {
        peer: PeerId,
    },
    /// A client of the receiver's has asked another node, and this is what.
    Request {
        request: u64,
        body: Bytes,
    },
    /// What it is answered.
    Reply {
        request: u64,
        body: Bytes,
    },
    /// It does not wait for the answer any more.
    Cut {
        request: u64,
    },
    /// A part of a parcel that is too long for one.
    Piece {
        of: u64,
        index: u32,
        is_last: bool,
        bytes: Bytes,
    },
}

/// Of one room.
#[derive(Clone, Debug)]
pub(crate) enum About {
    Join {
        before: u64,
        position: u64,
        member: Member,
        /// The node is new to the room, and wants to know who else is in it: the ticket that an
        /// answer is to carry. 0: it does not ask.
        asks: u64,
        /// What the peer has said with it.
        signal: Option<Signal>,
    },
    Leave {
        before: u64,
        position: u64,
        peer: PeerId,
        signal: Option<Signal>,
    },
    /// All members that the node has in the room.
    Roster {
        position: u64,
        members: Vec<Member>,
        asks: u64,
        /// The ticket of the question that this answers; 0: nobody has asked. What was asked by a
        /// node that has left the room since, and come again, is not its question any more.
        answers: u64,
        /// Whoever knew nobody of them yet need not announce them: they have just been told of the
        /// newcomers there.
        silent: bool,
    },
    /// The nodes with members in the room, or that one only, are to say which.
    Ask { asks: u64, only: Option<NodeId> },
    /// How far the node's log has come.
    Position { position: u64 },
    /// For everybody in the room.
    Said {
        at: u64,
        caller: PeerId,
        signal: Signal,
    },
    /// For one member. A request other than 0 is answered in any case, else only if there is no
    /// such member.
    Direct {
        at: u64,
        caller: PeerId,
        callee: PeerId,
        request: u64,
        signal: Signal,
    },
    /// The application's own, for everybody in the room.
    Announced {
        except: Option<PeerId>,
        signal: Signal,
    },
    /// The application empties the room.
    Close,
}

/// Enough for the names and numbers of most parcels, so that they are written without being moved.
const HEAD_BYTES: usize = 128;

/// Where a parcel says of which kind it is: after its mark, its versions and its node.
const KIND_AT: usize = 3 + NODE_CHARS;

const BEAT: u8 = 1;
const GOODBYE: u8 = 2;
const NO_SUCH_PEER: u8 = 3;
const OUTCOME: u8 = 4;
const TO_PEER: u8 = 5;
const DISCONNECT: u8 = 6;
const REQUEST: u8 = 7;
const REPLY: u8 = 8;
const CUT: u8 = 9;
const PIECE: u8 = 10;
const LEAVING: u8 = 11;
const JOIN: u8 = 32;
const LEAVE: u8 = 33;
const ROSTER: u8 = 34;
const ASK: u8 = 35;
const POSITION: u8 = 36;
const SAID: u8 = 37;
const DIRECT: u8 = 38;
const ANNOUNCED: u8 = 39;
const CLOSE: u8 = 40;

impl Parcel {
    pub(crate) fn encode(&self, from: NodeId, edition: Edition) -> Bytes {
        let mut out = Writer(Vec::with_capacity(HEAD_BYTES + self.payload()));
        out.byte(MARK);
        out.byte(edition.written);
        out.byte(edition.readable);
        out.raw(from.as_bytes());
        self.write(&mut out);
        if edition.written > VERSION {
            // Stands for what a later version might add.
            out.raw(b"later");
        }
        out.0.into()
    }

    /// Whether a parcel, as the bus has it, says what nobody says again: a signal, or what a poll asks
    /// and is answered. Of who is in a room others hear in time, however much is lost.
    pub(crate) fn is_said_once(bytes: &[u8]) -> bool {
        let kind = bytes.get(KIND_AT);
        let once = [
            TO_PEER, DISCONNECT, REQUEST, REPLY, PIECE, SAID, DIRECT, ANNOUNCED, CLOSE,
        ];
        kind.is_some_and(|kind| once.contains(kind))
    }

    /// Who it is from, and what it says.
    pub(crate) fn decode(bytes: Bytes) -> Result<(NodeId, Self), Unreadable> {
        let mut from = Reader::new(bytes);
        if from.byte()? != MARK {
            return Err(Unreadable::Malformed);
        }
        let (written, readable) = (from.byte()?, from.byte()?);
        if written < OLDEST || readable > VERSION {
            return Err(Unreadable::Version);
        }
        let node = read_node(&mut from)?;
        Ok((node, Self::read(&mut from)?))
    }

    /// About how many bytes it carries besides names and numbers.
    fn payload(&self) -> usize {
        match self {
            Self::About { said, .. } => said.payload(),
            Self::ToPeer { signal, .. } => signal.size(),
            Self::Request { body: bytes, .. }
            | Self::Reply { body: bytes, .. }
            | Self::Piece { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Beat {
                greets,
                run,
                has_spoken,
            } => {
                out.byte(BEAT);
                out.byte((*greets).into());
                out.number(*run);
                out.byte((*has_spoken).into());
            }
            Self::Leaving => out.byte(LEAVING),
            Self::Goodbye => out.byte(GOODBYE),
            Self::NoSuchPeer { room, caller } => {
                out.byte(NO_SUCH_PEER);
                out.bytes(room.as_str().as_bytes());
                out.raw(caller.as_bytes());
            }
            Self::Outcome { request, outcome } => {
                out.byte(OUTCOME);
                out.number(*request);
                out.byte(match outcome {
                    Outcome::Delivered => 0,
                    Outcome::NoSuchPeer => 1,
                });
            }
            Self::ToPeer { peer, signal } => {
                out.byte(TO_PEER);
                out.raw(peer.as_bytes());
                carried::write(signal, out);
            }
            Self::Disconnect { peer } => {
                out.byte(DISCONNECT);
                out.raw(peer.as_bytes());
            }
            Self::Request { request, body } => {
                out.byte(REQUEST);
                out.number(*request);
                out.bytes(body);
            }
            Self::Reply { request, body } => {
                out.byte(REPLY);
                out.number(*request);
                out.bytes(body);
            }
            Self::Cut { request } => {
                out.byte(CUT);
                out.number(*request);
            }
            Self::Piece {
                of,
                index,
                is_last,
                bytes,
            } => {
                out.byte(PIECE);
                out.number(*of);
                out.number((*index).into());
                out.byte((*is_last).into());
                out.bytes(bytes);
            }
            Self::About { room, said } => said.write(room, out),
        }
    }

    fn read(from: &mut Reader) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            BEAT => Self::Beat {
                greets: from.flag()?,
                run: from.number()?,
                has_spoken: from.flag()?,
            },
            LEAVING => Self::Leaving,
            GOODBYE => Self::Goodbye,
            NO_SUCH_PEER => Self::NoSuchPeer {
                room: read_room(from)?,
                caller: read_peer(from)?,
            },
            OUTCOME => Self::Outcome {
                request: from.number()?,
                outcome: match from.byte()? {
                    0 => Outcome::Delivered,
                    1 => Outcome::NoSuchPeer,
                    _ => return Err(Malformed),
                },
            },
            TO_PEER => Self::ToPeer {
                peer: read_peer(from)?,
                signal: carried::read(from)?,
            },
            DISCONNECT => Self::Disconnect {
                peer: read_peer(from)?,
            },
            REQUEST => Self::Request {
                request: from.number()?,
                body: from.bytes()?,
            },
            REPLY => Self::Reply {
                request: from.number()?,
                body: from.bytes()?,
            },
            CUT => Self::Cut {
                request: from.number()?,
            },
            PIECE => Self::Piece {
                of: from.number()?,
                index: from.number()?.try_into().map_err(|_| Malformed)?,
                is_last: from.flag()?,
                bytes: from.bytes()?,
            },
            kind => {
                let room = read_room(from)?;
                let said = About::read(kind, from)?;
                Self::About { room, said }
            }
        })
    }
}

impl About {
    /// About how many bytes it carries besides names and numbers.
    fn payload(&self) -> usize {
        match self {
            Self::Join { signal, .. } | Self::Leave { signal, .. } => {
                signal.as_ref().map_or(0, Signal::size)
            }
            Self::Said { signal, .. }
            | Self::Direct { signal, .. }
            | Self::Announced { signal, .. } => signal.size(),
            Self::Roster { members, .. } => members.len() * MEMBER_BYTES,
            Self::Ask { .. } | Self::Position { .. } | Self::Close => 0,
        }
    }

    fn write(&self, room: &RoomId, out: &mut Writer) {
        let mut begin = |kind| {
            out.byte(kind);
            out.bytes(room.as_str().as_bytes());
        };
        match self {
            Self::Join {
                before,
                position,
                member,
                asks,
                signal,
            } => {
                begin(JOIN);
                out.number(*before);
                out.number(*position);
                write_member(member, out);
                out.number(*asks);
                write_optional(signal.as_ref(), out, carried::write);
            }
            Self::Leave {
                before,
                position,
                peer,
                signal,
            } => {
                begin(LEAVE);
                out.number(*before);
                out.number(*position);
                out.raw(peer.as_bytes());
                write_optional(signal.as_ref(), out, carried::write);
            }
            Self::Roster {
                position,
                members,
                asks,
                answers,
                silent,
            } => {
                begin(ROSTER);
                out.number(*position);
                out.number(*asks);
                out.number(*answers);
                out.byte((*silent).into());
                out.length(members.len());
                for member in members {
                    write_member(member, out);
                }
            }
            Self::Ask { asks, only } => {
                begin(ASK);
                out.number(*asks);
                write_optional(only.as_ref(), out, |node, out| out.raw(node.as_bytes()));
            }
            Self::Position { position } => {
                begin(POSITION);
                out.number(*position);
            }
            Self::Said { at, caller, signal } => {
                begin(SAID);
                out.number(*at);
                out.raw(caller.as_bytes());
                carried::write(signal, out);
            }
            Self::Direct {
                at,
                caller,
                callee,
                request,
                signal,
            } => {
                begin(DIRECT);
                out.number(*at);
                out.raw(caller.as_bytes());
                out.raw(callee.as_bytes());
                out.number(*request);
                carried::write(signal, out);
            }
            Self::Announced { except, signal } => {
                begin(ANNOUNCED);
                write_optional(except.as_ref(), out, |peer, out| out.raw(peer.as_bytes()));
                carried::write(signal, out);
            }
            Self::Close => begin(CLOSE),
        }
    }

    fn read(kind: u8, from: &mut Reader) -> Result<Self, Malformed> {
        Ok(match kind {
            JOIN => Self::Join {
                before: from.number()?,
                position: from.number()?,
                member: read_member(from)?,
                asks: from.number()?,
                signal: read_optional(from, carried::read)?,
            },
            LEAVE => Self::Leave {
                before: from.number()?,
                position: from.number()?,
                peer: read_peer(from)?,
                signal: read_optional(from, carried::read)?,
            },
            ROSTER => {
                let position = from.number()?;
                let (asks, answers) = (from.number()?, from.number()?);
                let silent = from.flag()?;
                let count = from.count(MEMBER_BYTES)?;
                let members = (0..count).map(|_| read_member(from));
                Self::Roster {
                    position,
                    members: members.collect::<Result<_, _>>()?,
                    asks,
                    answers,
                    silent,
                }
            }
            ASK => Self::Ask {
                asks: from.number()?,
                only: read_optional(from, read_node)?,
            },
            POSITION => Self::Position {
                position: from.number()?,
            },
            SAID => Self::Said {
                at: from.number()?,
                caller: read_peer(from)?,
                signal: carried::read(from)?,
            },
            DIRECT => Self::Direct {
                at: from.number()?,
                caller: read_peer(from)?,
                callee: read_peer(from)?,
                request: from.number()?,
                signal: carried::read(from)?,
            },
            ANNOUNCED => Self::Announced {
                except: read_optional(from, read_peer)?,
                signal: carried::read(from)?,
            },
            CLOSE => Self::Close,
            _ => return Err(Malformed),
        })
    }
}

/// Of a member on the wire: its id and a byte.
const MEMBER_BYTES: usize = 21;

fn write_member(member: &Member, out: &mut Writer) {
    out.raw(member.id.as_bytes());
    out.byte(member.wire);
}

fn read_member(from: &mut Reader) -> Result<Member, Malformed> {
    Ok(Member {
        id: read_peer(from)?,
        wire: from.byte()?,
    })
}

fn write_optional<T>(value: Option<&T>, out: &mut Writer, write: impl FnOnce(&T, &mut Writer)) {
    out.byte(value.is_some().into());
    if let Some(value) = value {
        write(value, out);
    }
}

fn read_optional<T>(
    from: &mut Reader,
    read: impl FnOnce(&mut Reader) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if from.flag()? {
        read(from).map(Some)
    } else {
        Ok(None)
    }
}

fn read_peer(from: &mut Reader) -> Result<PeerId, Malformed> {
    read_id::<20, _>(from)
}

fn read_node(from: &mut Reader) -> Result<NodeId, Malformed> {
    read_id::<4, _>(from)
}

fn read_id<const CHARS: usize, T: std::str::FromStr>(from: &mut Reader) -> Result<T, Malformed> {
    let chars: [u8; CHARS] = from.array()?;
    let text = std::str::from_utf8(&chars).map_err(|_| Malformed)?;
    text.parse().map_err(|_| Malformed)
}

fn read_room(from: &mut Reader) -> Result<RoomId, Malformed> {
    RoomId::new(&from.text()?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests;
