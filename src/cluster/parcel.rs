//! What nodes say to each other, as bytes.
//!
//! A parcel is `P`, the version of who wrote it, the oldest version that can read it, the node that
//! it is from, its kind, and what that kind has. Whoever reads it passes over what follows after
//! that, so a later version may add to a kind at its end. What older nodes cannot read at all is
//! first read by one release, and written by the next only: so each release can run beside the one
//! before.

mod about;

use bytes::Bytes;

pub(crate) use about::{About, Member};

use super::carried;
use super::codec::{Malformed, Reader, Writer};
use crate::id::{ID_CHARS, NODE_CHARS, NodeId, PeerId, RoomId};
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
// From 32 on it is about a room: see `about`.

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
        let once = [TO_PEER, DISCONNECT, REQUEST, REPLY, PIECE];
        let kind = bytes.get(KIND_AT);
        kind.is_some_and(|kind| once.contains(kind) || About::is_said_once(*kind))
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
    read_id::<ID_CHARS, _>(from)
}

fn read_node(from: &mut Reader) -> Result<NodeId, Malformed> {
    read_id::<NODE_CHARS, _>(from)
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
