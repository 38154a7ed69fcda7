//! The events that clients send, in the sizes that browsers send, and how they are known again.

use std::fmt::Write as _;

use memchr::memmem;

/// What the JavaScript client calls itself; the server puts the peer's id there instead.
pub(crate) const OWN_NAME: &str = "7f4b1c0e-5a37-4e0f-9d53-1a6b0c2d8e94";

/// How long the session descriptions of a call with sound and picture are.
const OFFER_BYTES: usize = 2_560;
const ANSWER_BYTES: usize = 1_930;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Connect,
    Offer,
    Answer,
    Candidate,
    Chat,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Connect,
        Self::Offer,
        Self::Answer,
        Self::Candidate,
        Self::Chat,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Offer => "OFFER",
            Self::Answer => "ANSWER",
            Self::Candidate => "CANDIDATE",
            Self::Chat => "CHAT",
        }
    }
}

/// What a client writes into each payload, to be found in whatever a server makes of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    /// Clients are known by their numbers.
    pub(crate) from: usize,
    /// None: everybody in the room.
    pub(crate) to: Option<usize>,
    /// Counts what `from` has sent to `to`.
    pub(crate) number: u64,
    /// Nanoseconds since the run began.
    pub(crate) sent_at: u64,
}

/// An event of this kind and size, for the callee of this id or for the whole room.
pub(crate) fn write(mark: Mark, callee: Option<&str>, room: usize) -> String {
    let mut text = String::with_capacity(512);
    let name = mark.kind.name();
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        text,
        r#"{{"type":"{name}","caller":{{"id":"{OWN_NAME}"}},"callee":"#
    );
    let _ = match callee {
        Some(id) => write!(text, r#"{{"id":"{id}"}}"#),
        None => write!(text, "null"),
    };
    let _ = write!(text, r#","room":{{"id":"room-{room}"}},"payload":{{"#);
    match mark.kind {
        Kind::Connect => {}
        Kind::Offer => description(&mut text, "offer", OFFER_BYTES),
        Kind::Answer => description(&mut text, "answer", ANSWER_BYTES),
        Kind::Candidate => text.push_str(
            r#""candidate":"candidate:3885250869 1 udp 2122260223 192.0.2.17 49203 typ host generation 0 ufrag kQ1bZx network-id 1 network-cost 999","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"kQ1bZx","#,
        ),
        Kind::Chat => text.push_str(
            r#""text":"Hello everybody, shall we meet here again tomorrow, at the same time?","#,
        ),
    }
    let to = mark.to.map_or(-1, usize::cast_signed);
    let Mark {
        from,
        number,
        sent_at,
        ..
    } = mark;
    let kind = mark.kind as usize;
    let _ = write!(
        text,
        r#""mark":"~{kind} {from} {to} {number} {sent_at}~"}}}}"#
    );
    text
}

/// A session description of this length, give or take its last line end, with its line ends escaped.
fn description(text: &mut String, kind: &str, length: usize) {
    let end = text.len() + length;
    let _ = write!(
        text,
        r#""type":"{kind}","sdp":"v=0\r\no=- 5127736412840913 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:kQ1b\r\na=ice-pwd:c0x5mWwqY1xnPq2hC7Zs9uLk\r\n"#
    );
    for codec in 96.. {
        let line = format!(
            r"a=rtpmap:{codec} H264/90000\r\na=rtcp-fb:{codec} transport-cc\r\na=fmtp:{codec} packetization-mode=1\r\n"
        );
        if text.len() + line.len() > end {
            break;
        }
        text.push_str(&line);
    }
    // The name of the tool fills it up.
    text.push_str("a=tool:");
    text.extend(std::iter::repeat_n('x', end.saturating_sub(text.len())));
    text.push_str(r#"\r\n","#);
}

/// The mark of an event, if it has one.
pub(crate) fn mark(event: &str) -> Option<Mark> {
    let start = memmem::find(event.as_bytes(), br#""mark":"~"#)? + 9;
    let (mark, _) = event.get(start..)?.split_once('~')?;
    let mut numbers = mark.split(' ').map(str::parse);
    let mut next = || -> Option<i64> { numbers.next()?.ok() };
    let kind = usize::try_from(next()?).ok()?;
    Some(Mark {
        kind: *Kind::ALL.get(kind)?,
        from: next()?.try_into().ok()?,
        to: usize::try_from(next()?).ok(),
        number: next()?.try_into().ok()?,
        sent_at: next()?.try_into().ok()?,
    })
}

/// The caller's id.
pub(crate) fn caller(event: &str) -> Option<&str> {
    let start = memmem::find(event.as_bytes(), br#""caller":{"id":""#)? + 16;
    Some(event.get(start..)?.split_once('"')?.0)
}
