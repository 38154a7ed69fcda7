//! What nodes say of one room, as bytes.

use super::{read_node, read_optional, read_peer, write_optional};
use crate::cluster::carried;
use crate::cluster::codec::{Malformed, Reader, Writer};
use crate::id::{ID_CHARS, NodeId, PeerId, RoomId};
use crate::signal::Signal;

/// A peer in a room, as other nodes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: PeerId,
    /// Which protocol its client speaks, as a number; an unknown one is none of ours.
    pub(crate) wire: u8,
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

const JOIN: u8 = 32;
const LEAVE: u8 = 33;
const ROSTER: u8 = 34;
const ASK: u8 = 35;
const POSITION: u8 = 36;
const SAID: u8 = 37;
const DIRECT: u8 = 38;
const ANNOUNCED: u8 = 39;
const CLOSE: u8 = 40;

impl About {
    /// Whether what is of that kind is said by nobody again: see [`Parcel`](super::Parcel).
    pub(super) fn is_said_once(kind: u8) -> bool {
        [SAID, DIRECT, ANNOUNCED, CLOSE].contains(&kind)
    }

    /// About how many bytes it carries besides names and numbers.
    pub(super) fn payload(&self) -> usize {
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

    pub(super) fn write(&self, room: &RoomId, out: &mut Writer) {
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

    pub(super) fn read(kind: u8, from: &mut Reader) -> Result<Self, Malformed> {
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
const MEMBER_BYTES: usize = ID_CHARS + 1;

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
