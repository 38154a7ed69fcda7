//! Parcels that are too long for a bus, cut into pieces and put together again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::parcel::Parcel;
use crate::id::NodeId;
use crate::limits::{CLUSTER_PIECE_BYTES, CLUSTER_PIECES_BYTES};

/// The next piece of a parcel comes within that time, or never.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pieces of an encoded parcel, if it is too long for one. `of` is a number that this node
/// gives no other parcel.
pub(crate) fn cut(parcel: &Bytes, of: u64) -> Option<impl Iterator<Item = Parcel> + '_> {
    let count = parcel.len().div_ceil(CLUSTER_PIECE_BYTES);
    let piece = move |index: usize| {
        let start = index * CLUSTER_PIECE_BYTES;
        let end = parcel.len().min(start + CLUSTER_PIECE_BYTES);
        Parcel::Piece {
            of,
            // A parcel of 4 billion pieces does not fit into memory.
            index: u32::try_from(index).unwrap_or(u32::MAX),
            is_last: index + 1 == count,
            bytes: parcel.slice(start..end),
        }
    };
    (count > 1).then(|| (0..count).map(piece))
}

/// Parcels of which pieces are missing.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    unfinished: BTreeMap<(NodeId, u64), Unfinished>,
    bytes: usize,
}

#[derive(Debug)]
struct Unfinished {
    next: u32,
    bytes: BytesMut,
    since: Instant,
}

impl Pieces {
    /// Adds a piece. Returns the parcel with its last one, and whether something was lost.
    pub(crate) fn add(
        &mut self,
        from: NodeId,
        of: u64,
        (index, is_last, bytes): (u32, bool, &Bytes),
        now: Instant,
    ) -> (Option<Bytes>, bool) {
        let key = (from, of);
        let expected = self.unfinished.get(&key).map_or(0, |parcel| parcel.next);
        if index != expected {
            // One was lost, and with it all of it; that is counted with its last piece.
            self.forget(&key);
            return (None, is_last);
        }
        let mut lost = false;
        while self.bytes + bytes.len() > CLUSTER_PIECES_BYTES {
            let oldest = self
                .unfinished
                .iter()
                .min_by_key(|(_, parcel)| parcel.since);
            let Some(oldest) = oldest.map(|(key, _)| *key) else {
                return (None, true);
            };
            self.forget(&oldest);
            lost = true;
            if oldest == key {
                return (None, true);
            }
        }
        let parcel = self.unfinished.entry(key).or_insert_with(|| Unfinished {
            next: 0,
            bytes: BytesMut::new(),
            since: now,
        });
        parcel.next += 1;
        parcel.since = now;
        parcel.bytes.extend_from_slice(bytes);
        self.bytes += bytes.len();
        if !is_last {
            return (None, lost);
        }
        let whole = self.unfinished.remove(&key);
        let whole = whole.map(|parcel| parcel.bytes.freeze());
        self.bytes -= whole.as_ref().map_or(0, Bytes::len);
        (whole, lost)
    }

    /// Gives up what nobody goes on with. How many parcels that is.
    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        let late = self.unfinished.iter();
        let late = late.filter(|(_, parcel)| now >= parcel.since + PATIENCE);
        let late: Vec<_> = late.map(|(key, _)| *key).collect();
        for key in &late {
            self.forget(key);
        }
        late.len()
    }

    fn forget(&mut self, key: &(NodeId, u64)) -> bool {
        let parcel = self.unfinished.remove(key);
        self.bytes -= parcel.as_ref().map_or(0, |parcel| parcel.bytes.len());
        parcel.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node() -> NodeId {
        "node".parse().unwrap()
    }

    fn add(pieces: &mut Pieces, piece: &Parcel, now: Instant) -> (Option<Bytes>, bool) {
        let Parcel::Piece {
            of,
            index,
            is_last,
            bytes,
        } = piece
        else {
            panic!("{piece:?}");
        };
        pieces.add(node(), *of, (*index, *is_last, bytes), now)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn pieces_make_the_parcel_again(length in 1..4 * CLUSTER_PIECE_BYTES) {
            let parcel: Bytes = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut pieces = Pieces::default();
            let mut whole = None;
            match cut(&parcel, 1) {
                None => prop_assert!(length <= CLUSTER_PIECE_BYTES),
                Some(cut) => {
                    for piece in cut {
                        prop_assert!(whole.is_none());
                        whole = add(&mut pieces, &piece, Instant::now()).0;
                    }
                    prop_assert_eq!(whole, Some(parcel.clone()));
                }
            }
            prop_assert_eq!((pieces.bytes, pieces.unfinished.len()), (0, 0));
        }
    }

    #[test]
    fn a_lost_piece_loses_its_parcel_and_no_other() {
        let now = Instant::now();
        let parcel = Bytes::from(vec![7; 3 * CLUSTER_PIECE_BYTES]);
        let first: Vec<_> = cut(&parcel, 1).unwrap().collect();
        let second: Vec<_> = cut(&parcel, 2).unwrap().collect();
        let mut pieces = Pieces::default();
        assert_eq!(add(&mut pieces, &first[0], now), (None, false));
        assert_eq!(add(&mut pieces, &second[0], now), (None, false));
        assert_eq!(add(&mut pieces, &first[2], now), (None, true));
        assert_eq!(add(&mut pieces, &second[1], now), (None, false));
        assert_eq!(add(&mut pieces, &second[2], now), (Some(parcel), false));
        assert_eq!(pieces.bytes, 0);
    }

    #[test]
    fn what_is_never_finished_takes_neither_memory_nor_time_without_bound() {
        let now = Instant::now();
        let bytes = Bytes::from(vec![7; CLUSTER_PIECE_BYTES]);
        let mut pieces = Pieces::default();
        let most = CLUSTER_PIECES_BYTES / CLUSTER_PIECE_BYTES;
        for of in 0..2 * most as u64 {
            let at = now + Duration::from_millis(of);
            let (_, lost) = pieces.add(node(), of, (0, false, &bytes), at);
            assert_eq!(lost, of >= most as u64);
            assert!(pieces.bytes <= CLUSTER_PIECES_BYTES);
        }
        assert_eq!(pieces.expire(now), 0);
        assert_eq!(pieces.expire(now + 2 * PATIENCE), most);
        assert_eq!(pieces.bytes, 0);
    }
}
