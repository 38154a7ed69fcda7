use super::*;

const LIMITS: FrameLimits = FrameLimits {
    max_message: 100_000,
    max_fragments: 4,
};
const MASK: [u8; 4] = [0x12, 0xa5, 0x00, 0xff];

const FIN: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame as a client sends it; `first` is its first byte.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..65_536 => {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0xff);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// Feeds `bytes` in pieces of `size` and collects what `Debug` says of each message.
fn read_in_pieces(bytes: &[u8], size: usize) -> Result<Vec<String>, FrameError> {
    let mut assembler = Assembler::default();
    let mut said = Vec::new();
    for piece in bytes.chunks(size) {
        let mut piece = piece.to_vec();
        let mut input = piece.as_mut_slice();
        while let Some(message) = assembler.next(&mut input, LIMITS)? {
            said.push(format!("{message:?}"));
        }
        assert!(input.is_empty());
    }
    assert!(assembler.0.is_none(), "the bytes end in the middle");
    Ok(said)
}

/// The error of the whole of `bytes` at once and of its single bytes, which is the same.
fn error(bytes: &[u8]) -> FrameError {
    let whole = read_in_pieces(bytes, bytes.len()).unwrap_err();
    assert_eq!(read_in_pieces(bytes, 1), Err(whole));
    whole
}

fn messages(bytes: &[u8]) -> Vec<String> {
    let whole = read_in_pieces(bytes, bytes.len()).unwrap();
    assert_eq!(read_in_pieces(bytes, 1).unwrap(), whole);
    whole
}

impl Assembler {
    /// Bytes that it holds on the heap for payloads.
    fn held(&self) -> usize {
        self.0.as_ref().map_or(0, |p| {
            p.header.capacity()
                + p.control.capacity()
                + p.delivered.capacity()
                + p.open.as_ref().map_or(0, |open| open.bytes.capacity())
        })
    }

    /// Takes all of `bytes`, which must not complete a message.
    fn swallow(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut input = bytes.as_mut_slice();
        assert_eq!(self.next(&mut input, LIMITS), Ok(None));
    }
}

#[test]
fn is_one_pointer() {
    assert_eq!(size_of::<Assembler>(), size_of::<usize>());
}

#[test]
fn whole_frame_is_lent_from_the_input() {
    let mut bytes = frame(FIN | TEXT, b"a longer text, odd in length.");
    bytes.extend(frame(FIN | BINARY, &[1, 2, 3]));
    let range = bytes.as_ptr_range();
    let mut input = bytes.as_mut_slice();
    let mut assembler = Assembler::default();

    let Ok(Some(Message::Text(text))) = assembler.next(&mut input, LIMITS) else {
        panic!("no text");
    };
    assert_eq!(text, "a longer text, odd in length.");
    assert!(range.contains(&text.as_ptr()));
    assert_eq!(
        assembler.next(&mut input, LIMITS),
        Ok(Some(Message::Binary(&[1, 2, 3])))
    );
    assert_eq!(assembler.next(&mut input, LIMITS), Ok(None));
    assert!(assembler.0.is_none());
}

#[test]
fn frames_may_be_cut_anywhere() {
    let mut bytes = frame(FIN | TEXT, "h\u{e9}llo".as_bytes());
    bytes.extend(frame(FIN | PING, b"p"));
    bytes.extend(frame(BINARY, &[1; 200]));
    bytes.extend(frame(FIN | PONG, b"ignored"));
    bytes.extend(frame(FIN, &vec![2; 70_000]));
    bytes.extend(frame(FIN | TEXT, b""));
    bytes.extend(frame(FIN | CLOSE, &[0x03, 0xe8, b'x']));
    let whole = messages(&bytes);
    assert_eq!(whole[0], format!("{:?}", Message::Text("h\u{e9}llo")));
    assert_eq!(whole[1..3], ["Ping([112])", "Pong"]);
    assert_eq!(
        whole[3],
        format!(
            "{:?}",
            Message::Binary(&[vec![1; 200], vec![2; 70_000]].concat())
        )
    );
    assert_eq!(whole[4..], ["Text(\"\")", "Close(Some(Normal))"]);
    for size in [2, 3, 5, 7, 13, 14, 15, 4096] {
        assert_eq!(read_in_pieces(&bytes, size).unwrap(), whole);
    }
}

#[test]
fn unmasks_every_length_at_every_turn_of_the_mask() {
    for len in 0..40 {
        let payload: Vec<u8> = (0..len).collect();
        let bytes = frame(FIN | BINARY, &payload);
        let expected = format!("{:?}", Message::Binary(&payload));
        for size in 1..=bytes.len() {
            assert_eq!(read_in_pieces(&bytes, size).unwrap(), [expected.as_str()]);
        }
    }
}

#[test]
fn lengths_at_the_bounds_of_their_forms() {
    for len in [0, 1, 125, 126, 127, 65_535, 65_536] {
        let payload = vec![0x5a; len];
        assert_eq!(
            messages(&frame(FIN | BINARY, &payload)),
            [format!("{:?}", Message::Binary(&payload))]
        );
    }
}

#[test]
fn control_frame_is_final_and_small() {
    assert_eq!(messages(&frame(FIN | PONG, &[0; 125])), ["Pong"]);
    for opcode in [CLOSE, PING, PONG] {
        assert_eq!(error(&frame(opcode, b"")), FrameError::Protocol);
        assert_eq!(error(&frame(FIN | opcode, &[0; 126])), FrameError::Protocol);
    }
}

#[test]
fn reserved_bits_and_opcodes_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(error(&frame(FIN | bit | TEXT, b"a")), FrameError::Protocol);
        assert_eq!(error(&frame(FIN | bit | PING, b"")), FrameError::Protocol);
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(error(&frame(FIN | opcode, b"")), FrameError::Protocol);
    }
}

#[test]
fn unmasked_frame_is_refused() {
    assert_eq!(error(&[FIN | TEXT, 1, b'a']), FrameError::Protocol);
    assert_eq!(error(&[FIN | PING, 0]), FrameError::Protocol);
}

#[test]
fn longer_form_of_a_length_than_needed_is_refused() {
    let with_length = |length: &[u8]| [&[FIN | BINARY], length, &MASK].concat();
    assert_eq!(error(&with_length(&[0xfe, 0, 125])), FrameError::Protocol);
    assert_eq!(
        error(&with_length(&[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff])),
        FrameError::Protocol
    );
    assert_eq!(
        error(&with_length(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0])),
        FrameError::Protocol
    );
}

#[test]
fn too_large_is_known_from_the_header() {
    let header = |first: u8, length: u64| {
        let mut bytes = vec![first, 0xff];
        bytes.extend(length.to_be_bytes());
        bytes.extend(MASK);
        bytes
    };
    for length in [100_001, u64::from(u32::MAX) + 1, 1 << 63, u64::MAX] {
        assert_eq!(error(&header(FIN | TEXT, length)), FrameError::TooLarge);
        assert_eq!(error(&header(BINARY, length)), FrameError::TooLarge);
    }
    let mut fragments = frame(BINARY, &vec![0; 30_000]);
    fragments.extend(header(CONTINUATION, 70_001));
    assert_eq!(error(&fragments), FrameError::TooLarge);

    let mut fits = frame(BINARY, &vec![0; 30_000]);
    fits.extend(frame(FIN, &vec![0; 70_000]));
    assert_eq!(messages(&fits).len(), 1);
}

#[test]
fn limit_does_not_count_control_frames() {
    let limits = FrameLimits {
        max_message: 3,
        max_fragments: 2,
    };
    let mut bytes = frame(BINARY, &[1]);
    bytes.extend(frame(FIN | PING, &[0; 100]));
    bytes.extend(frame(FIN, &[2, 3]));
    let mut input = bytes.as_mut_slice();
    let mut assembler = Assembler::default();
    assert_eq!(
        assembler.next(&mut input, limits),
        Ok(Some(Message::Ping(&[0; 100])))
    );
    assert_eq!(
        assembler.next(&mut input, limits),
        Ok(Some(Message::Binary(&[1, 2, 3])))
    );
}

#[test]
fn empty_fragments_count() {
    let fragments = |count: usize| {
        let mut bytes = frame(TEXT, b"");
        bytes.extend(frame(CONTINUATION, b"").repeat(count - 2));
        bytes.extend(frame(FIN, b""));
        bytes
    };
    assert_eq!(messages(&fragments(4)), ["Text(\"\")"]);
    assert_eq!(error(&fragments(5)), FrameError::TooManyFragments);
    // The count is one message's.
    assert_eq!(messages(&fragments(4).repeat(3)).len(), 3);
}

#[test]
fn messages_are_not_interleaved() {
    for first in [TEXT, BINARY, FIN | TEXT, FIN | BINARY] {
        let mut bytes = frame(TEXT, b"a");
        bytes.extend(frame(first, b"b"));
        assert_eq!(error(&bytes), FrameError::Protocol);
    }
    for first in [CONTINUATION, FIN | CONTINUATION] {
        assert_eq!(error(&frame(first, b"b")), FrameError::Protocol);
        let mut after_whole = frame(FIN | TEXT, b"a");
        after_whole.extend(frame(first, b"b"));
        assert_eq!(error(&after_whole), FrameError::Protocol);
    }
}

#[test]
fn text_is_utf8_as_a_whole() {
    let euro = "\u{20ac}".as_bytes();
    let mut bytes = frame(TEXT, &euro[..1]);
    bytes.extend(frame(CONTINUATION, &euro[1..2]));
    bytes.extend(frame(FIN, &euro[2..]));
    assert_eq!(messages(&bytes), ["Text(\"\u{20ac}\")"]);

    assert_eq!(error(&frame(FIN | TEXT, b"a\xff")), FrameError::InvalidUtf8);
    assert_eq!(
        error(&frame(FIN | TEXT, &euro[..2])),
        FrameError::InvalidUtf8
    );
    // A surrogate, an overlong form.
    for invalid in [&b"\xed\xa0\x80"[..], b"\xc0\x80"] {
        assert_eq!(error(&frame(FIN | TEXT, invalid)), FrameError::InvalidUtf8);
    }
    let mut unfinished = frame(TEXT, &euro[..2]);
    unfinished.extend(frame(FIN, b""));
    assert_eq!(error(&unfinished), FrameError::InvalidUtf8);
    assert_eq!(messages(&frame(FIN | BINARY, b"\xff")), ["Binary([255])"]);
}

#[test]
fn text_fails_with_the_fragment_that_spoils_it() {
    assert_eq!(error(&frame(TEXT, b"a\xff")), FrameError::InvalidUtf8);
    let mut across = frame(TEXT, b"a\xe2\x82");
    across.extend(frame(CONTINUATION, b"z"));
    assert_eq!(error(&across), FrameError::InvalidUtf8);
}

#[test]
fn close_says_nothing_or_a_code_and_a_reason() {
    let close =
        |code: u16, reason: &[u8]| frame(FIN | CLOSE, &[&code.to_be_bytes()[..], reason].concat());
    assert_eq!(messages(&frame(FIN | CLOSE, b"")), ["Close(None)"]);
    assert_eq!(error(&frame(FIN | CLOSE, &[3])), FrameError::Protocol);
    for code in [1000, 1001, 1003, 1007, 1011, 1013, 3000, 4999] {
        let expected = Message::Close(Some(CloseCode::from(code)));
        assert_eq!(
            messages(&close(code, "\u{20ac}".as_bytes())),
            [format!("{expected:?}")]
        );
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        assert_eq!(error(&close(code, b"")), FrameError::Protocol, "{code}");
    }
    assert_eq!(error(&close(1000, b"\xff")), FrameError::InvalidUtf8);
}

#[test]
fn errors_have_their_close_codes() {
    let codes = [
        FrameError::Protocol,
        FrameError::InvalidUtf8,
        FrameError::TooLarge,
        FrameError::TooManyFragments,
    ]
    .map(|error| u16::from(error.close_code()));
    assert_eq!(codes, [1002, 1007, 1009, 1008]);
}

#[test]
fn memory_follows_what_arrived_not_what_is_announced() {
    let bytes = frame(FIN | BINARY, &vec![0; 90_000]);
    let (header, payload) = bytes.split_at(MAX_HEADER);
    let mut assembler = Assembler::default();
    assembler.swallow(header);
    assert_eq!(assembler.held(), 0);
    let mut arrived = 0;
    for piece in payload[..payload.len() - 1].chunks(1_000) {
        arrived += piece.len();
        assembler.swallow(piece);
        assert!(assembler.held() >= arrived);
        assert!(assembler.held() <= (2 * arrived).min(90_000));
    }

    let mut last = [bytes[bytes.len() - 1]];
    let mut input = &mut last[..];
    let delivered = assembler.next(&mut input, LIMITS);
    assert_eq!(delivered, Ok(Some(Message::Binary(&vec![0; 90_000]))));
    assert_eq!(assembler.next(&mut input, LIMITS), Ok(None));
    assert!(assembler.0.is_none());
}

#[test]
fn fragments_hold_no_more_than_twice_what_arrived() {
    let mut assembler = Assembler::default();
    assembler.swallow(&frame(BINARY, &vec![0; 40_000]));
    assert_eq!(assembler.held(), 40_000);
    assembler.swallow(&frame(CONTINUATION, &vec![0; 10_000]));
    assert!((50_000..=80_000).contains(&assembler.held()));
    assembler.swallow(&frame(CONTINUATION, &vec![0; 40_000]));
    assert!((90_000..=100_000).contains(&assembler.held()));
}

#[test]
fn delivered_memory_goes_while_the_next_message_is_read() {
    let mut assembler = Assembler::default();
    let bytes = frame(FIN | BINARY, &vec![0; 50_000]);
    assembler.swallow(&bytes[..40_000]);
    let mut rest = [&bytes[40_000..], &frame(FIN | TEXT, b"next")[..8]].concat();
    let mut input = rest.as_mut_slice();
    assert!(matches!(
        assembler.next(&mut input, LIMITS),
        Ok(Some(Message::Binary(_)))
    ));
    assert_eq!(assembler.next(&mut input, LIMITS), Ok(None));
    assert!((1..=4).contains(&assembler.held()), "{}", assembler.held());
}

#[test]
fn nothing_to_read_takes_no_memory() {
    let mut assembler = Assembler::default();
    assembler.swallow(b"");
    assert!(assembler.0.is_none());
}
