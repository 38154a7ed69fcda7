//! Every kind of parcel, there and back.

use proptest::prelude::*;

use super::*;

fn node() -> NodeId {
    "node".parse().unwrap()
}

fn peer(letter: &str) -> PeerId {
    letter.repeat(20).parse().unwrap()
}

fn signal() -> Signal {
    Signal::new("CHAT", None, "hello").unwrap()
}

fn each() -> Vec<Parcel> {
    let member = Member {
        id: peer("a"),
        wire: 3,
    };
    let about = |said| Parcel::About {
        room: RoomId::new(">").unwrap(),
        said,
    };
    vec![
        Parcel::Beat {
            greets: true,
            run: u64::MAX,
            has_spoken: false,
        },
        Parcel::Leaving,
        Parcel::Goodbye,
        Parcel::NoSuchPeer {
            room: RoomId::new("r").unwrap(),
            caller: peer("a"),
        },
        Parcel::Outcome {
            request: 7,
            outcome: Outcome::NoSuchPeer,
        },
        Parcel::ToPeer {
            peer: peer("b"),
            signal: signal(),
        },
        Parcel::Disconnect { peer: peer("b") },
        Parcel::Request {
            request: 1,
            body: Bytes::from_static(b"GET"),
        },
        Parcel::Reply {
            request: 1,
            body: Bytes::from_static(b"200"),
        },
        Parcel::Cut { request: 1 },
        Parcel::Piece {
            of: 300,
            index: 2,
            is_last: true,
            bytes: Bytes::from_static(b"part"),
        },
        about(About::Join {
            before: 0,
            position: 128,
            member,
            asks: 300,
            signal: Some(signal()),
        }),
        about(About::Leave {
            before: 128,
            position: 129,
            peer: peer("a"),
            signal: None,
        }),
        about(About::Roster {
            position: 9,
            members: vec![member; 3],
            asks: 7,
            answers: 1 << 40,
            silent: true,
        }),
        about(About::Ask {
            asks: 9,
            only: Some(node()),
        }),
        about(About::Position { position: 1 << 40 }),
        about(About::Said {
            at: 5,
            caller: peer("a"),
            signal: signal(),
        }),
        about(About::Direct {
            at: 5,
            caller: peer("a"),
            callee: peer("b"),
            request: 1,
            signal: signal(),
        }),
        about(About::Announced {
            except: Some(peer("c")),
            signal: signal(),
        }),
        about(About::Close),
    ]
}

fn shown(parcel: &Parcel) -> String {
    format!("{parcel:?}")
}

#[test]
fn every_parcel_comes_back_as_it_was() {
    for parcel in each() {
        let bytes = parcel.encode(node(), Edition::default());
        let (from, read) = Parcel::decode(bytes).unwrap();
        assert_eq!((from, shown(&read)), (node(), shown(&parcel)));
    }
}

#[test]
fn a_parcel_that_ends_too_early_is_malformed_wherever_it_ends() {
    for parcel in each() {
        let bytes = parcel.encode(node(), Edition::default());
        for end in 0..bytes.len() {
            let cut = Parcel::decode(bytes.slice(..end));
            assert_eq!(cut.err(), Some(Unreadable::Malformed), "{parcel:?} {end}");
        }
    }
}

#[test]
fn the_next_version_is_read_as_far_as_it_can_be() {
    for parcel in each() {
        let next = Edition {
            written: VERSION + 1,
            readable: VERSION,
        };
        let bytes = parcel.encode(node(), next);
        assert!(bytes.ends_with(b"later"));
        let (_, read) = Parcel::decode(bytes).unwrap();
        assert_eq!(shown(&read), shown(&parcel));
    }
    let breaking = Edition {
        written: VERSION + 1,
        readable: VERSION + 1,
    };
    let older = Edition {
        written: OLDEST - 1,
        readable: OLDEST - 1,
    };
    for edition in [breaking, older] {
        let bytes = Parcel::Goodbye.encode(node(), edition);
        assert_eq!(Parcel::decode(bytes).err(), Some(Unreadable::Version));
    }
}

#[test]
fn a_signal_costs_little_more_than_its_text() {
    let said = Parcel::About {
        room: RoomId::new("kitchen").unwrap(),
        said: About::Said {
            at: 1_000_000,
            caller: peer("a"),
            signal: signal(),
        },
    };
    let length = said.encode(node(), Edition::default()).len();
    assert_eq!(length - signal().packet().len(), 44);
}

proptest! {
    #[test]
    fn no_bytes_are_trouble(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
        let _ = Parcel::decode(bytes.into());
        for parcel in each() {
            let mut bytes = parcel.encode(node(), Edition::default()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Parcel::decode(bytes.into());
        }
    }
}
