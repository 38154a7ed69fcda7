//! What nodes say to each other: what is read of any bytes is said again in the same way, and pieces
//! are put together within their bound.

use std::time::Instant;

use bytes::Bytes;

use crate::cluster::{Edition, Parcel, Pieces};

/// One parcel, which may be a piece of another.
pub fn run(data: &[u8]) {
    let Ok((from, parcel)) = Parcel::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let said = parcel.encode(from, Edition::default());
    let Ok((again, heard)) = Parcel::decode(said.clone()) else {
        panic!("{parcel:?} is read and cannot be said");
    };
    assert_eq!(again, from);
    assert_eq!(heard.encode(again, Edition::default()), said);
    if let Parcel::Piece {
        of,
        index,
        is_last,
        bytes,
    } = &parcel
    {
        let mut pieces = Pieces::default();
        let (whole, _) = pieces.add(from, *of, (*index, *is_last, bytes), Instant::now());
        assert!(whole.is_none_or(|whole| *index == 0 && *is_last && whole == *bytes));
    }
}
