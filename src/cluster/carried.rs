//! A signal on its way to another node.

use std::sync::Arc;

use super::codec::{Malformed, Reader, Writer};
use crate::signal::{Attachments, Signal};

/// The plain JSON form is a part of the packet.
const WITHIN: u8 = 0;
/// It follows.
const APART: u8 = 1;

pub(super) fn write(signal: &Signal, out: &mut Writer) {
    if let Some(span) = signal.json_within() {
        out.byte(WITHIN);
        out.number(span.start.into());
        out.number(span.end.into());
    } else {
        out.byte(APART);
        out.bytes(&signal.json());
    }
    out.bytes(signal.packet());
    let Some(attachments) = signal.attachments() else {
        return out.length(0);
    };
    out.length(attachments.parts.len());
    for part in &attachments.parts {
        out.bytes(part);
    }
    out.length(attachments.placeholders.len());
    for number in &attachments.placeholders {
        out.number((*number).into());
    }
}

/// The text of what is read is text: clients close the connection for anything else.
pub(super) fn read(from: &mut Reader) -> Result<Signal, Malformed> {
    let (span, json) = match from.byte()? {
        WITHIN => (Some((from.length()?, from.length()?)), None),
        APART => (None, Some(from.bytes()?)),
        _ => return Err(Malformed),
    };
    let packet = from.bytes()?;
    let text = std::str::from_utf8(&packet).map_err(|_| Malformed)?;
    let span = match span {
        None => None,
        Some((start, end)) => {
            let object = text.get(start..end).ok_or(Malformed)?;
            if !(object.starts_with('{') && object.ends_with('}')) {
                return Err(Malformed);
            }
            let position = |at| u32::try_from(at).map_err(|_| Malformed);
            Some(position(start)?..position(end)?)
        }
    };
    if let Some(json) = &json {
        std::str::from_utf8(json).map_err(|_| Malformed)?;
    }
    let attachments = read_attachments(from)?.map(Arc::new);
    match (span, json) {
        (Some(span), _) => Ok(Signal::from_parts(packet, span, attachments)),
        (None, Some(json)) => Ok(Signal::from_forms(packet, json, attachments)),
        (None, None) => Err(Malformed),
    }
}

fn read_attachments(from: &mut Reader) -> Result<Option<Attachments>, Malformed> {
    let count = from.count(1)?;
    if count == 0 {
        return Ok(None);
    }
    let parts: Vec<_> = (0..count).map(|_| from.bytes()).collect::<Result<_, _>>()?;
    let count = from.count(1)?;
    let placeholder = |_| {
        let number = from.length()?;
        let number = (number < parts.len()).then_some(number).ok_or(Malformed)?;
        u32::try_from(number).map_err(|_| Malformed)
    };
    let placeholders = (0..count).map(placeholder).collect::<Result<_, _>>()?;
    Ok(Some(Attachments {
        parts,
        placeholders,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{PeerId, RoomId};
    use crate::signal::{Arguments, Placeholder};
    use crate::wire::notice;

    fn there_and_back(signal: &Signal) -> Signal {
        let mut writer = Writer::default();
        write(signal, &mut writer);
        let mut reader = Reader::new(writer.0.into());
        let read = read(&mut reader).unwrap();
        assert_eq!(reader.left(), 0);
        read
    }

    #[test]
    fn every_kind_of_signal_comes_back_as_it_was() {
        let room = RoomId::new("r\u{e9}").unwrap();
        let peer: PeerId = "zVM8wOtnweVu5FYeAAAA".parse().unwrap();
        let arguments = Arguments::new(&(Placeholder(1), "x", Placeholder(0)))
            .unwrap()
            .with_attachments(vec![vec![1, 2].into(), vec![].into()])
            .unwrap();
        for signal in [
            Signal::new("MOTD", Some(&room), "\u{1f600}").unwrap(),
            notice::departure(&peer, &room),
            Signal::event("news", &Arguments::none()).unwrap(),
            Signal::event("file", &arguments).unwrap(),
        ] {
            let read = there_and_back(&signal);
            assert_eq!(read.packet(), signal.packet());
            assert_eq!(read.json(), signal.json());
            assert_eq!(read.attachments(), signal.attachments());
        }
    }

    #[test]
    fn what_clients_would_choke_on_is_not_read() {
        let read_raw = |fill: &dyn Fn(&mut Writer)| {
            let mut writer = Writer::default();
            fill(&mut writer);
            read(&mut Reader::new(writer.0.into())).is_ok()
        };
        let within = |start: u64, end: u64, packet: &'static [u8]| {
            read_raw(&move |out: &mut Writer| {
                out.byte(WITHIN);
                out.number(start);
                out.number(end);
                out.bytes(packet);
                out.length(0);
            })
        };
        assert!(within(1, 3, b"x{}"));
        assert!(!within(0, 3, b"x{}"));
        assert!(!within(1, 4, b"x{}"));
        assert!(!within(2, 1, b"x{}"));
        assert!(!within(1, 3, b"\xff{}"));
        assert!(!within(u64::MAX, u64::MAX, b"x{}"));
        let placeholder = |number: u64| {
            read_raw(&move |out: &mut Writer| {
                out.byte(APART);
                out.bytes(b"{}");
                out.bytes(b"x");
                out.length(1);
                out.bytes(b"y");
                out.length(1);
                out.number(number);
            })
        };
        assert!(placeholder(0));
        assert!(!placeholder(1));
    }
}
