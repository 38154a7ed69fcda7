//! Binary events: the text first, then its attachments one by one.

use bytes::Bytes;

use super::Presence;

/// An event whose attachments are still coming.
#[derive(Debug)]
pub(crate) struct Assembly {
    event: Option<Held>,
    missing: usize,
}

/// What has come of an event that somebody wants.
#[derive(Debug)]
struct Held {
    sender: Presence,
    ack: Option<String>,
    data: String,
    announced: usize,
    attachments: Vec<Bytes>,
    bytes: usize,
    too_large: bool,
}

/// A binary event with all its attachments.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    /// As whom the client began it.
    pub(crate) sender: Presence,
    pub(crate) ack: Option<String>,
    pub(crate) data: String,
    /// How many attachments the text announced.
    pub(crate) announced: usize,
    /// `None` if text and attachments together were over the maximum.
    pub(crate) attachments: Option<Vec<Bytes>>,
}

impl Assembly {
    /// An event that will be acted upon; `missing` is not zero.
    pub(crate) fn of_event(
        sender: Presence,
        ack: Option<&str>,
        data: &str,
        missing: usize,
    ) -> Self {
        Self {
            event: Some(Held {
                sender,
                ack: ack.map(str::to_owned),
                data: data.to_owned(),
                announced: missing,
                attachments: Vec::new(),
                bytes: data.len(),
                too_large: false,
            }),
            missing,
        }
    }

    /// A packet that nobody wants, but whose attachments come all the same.
    pub(crate) fn ignored(missing: usize) -> Self {
        Self {
            event: None,
            missing,
        }
    }

    /// Takes the next attachment. `Some` once it was the last; the inner `None` is an ignored one.
    #[allow(clippy::option_option)] // complete or not, wanted or not
    pub(crate) fn add(&mut self, data: &[u8], max_message: usize) -> Option<Option<Assembled>> {
        self.missing = self.missing.saturating_sub(1);
        if let Some(held) = &mut self.event {
            held.bytes = held.bytes.saturating_add(data.len());
            if held.bytes > max_message {
                held.too_large = true;
                held.attachments = Vec::new();
            } else {
                held.attachments.push(Bytes::copy_from_slice(data));
            }
        }
        (self.missing == 0).then(|| self.event.take().map(Held::finish))
    }
}

impl Held {
    fn finish(self) -> Assembled {
        Assembled {
            sender: self.sender,
            ack: self.ack,
            data: self.data,
            announced: self.announced,
            attachments: (!self.too_large).then_some(self.attachments),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Presence {
        Presence::main("zVM8wOtnweVu5FYeAAAA".parse().unwrap())
    }

    #[test]
    fn is_complete_with_its_last_attachment() {
        let mut assembly = Assembly::of_event(sender(), Some("7"), "[]", 2);
        assert_eq!(assembly.add(b"a", 100), None);
        let assembled = assembly.add(b"bc", 100).flatten().unwrap();
        assert_eq!(assembled.ack.as_deref(), Some("7"));
        assert_eq!(assembled.attachments.unwrap(), [&b"a"[..], b"bc"]);
    }

    #[test]
    fn holds_no_more_than_one_message_may_have() {
        let mut assembly = Assembly::of_event(sender(), None, "[]", 3);
        assert_eq!(assembly.add(&[0; 60], 100), None);
        assert_eq!(assembly.add(&[0; 60], 100), None);
        assert_eq!(assembly.event.as_ref().unwrap().attachments.len(), 0);
        let assembled = assembly.add(&[0; 1], 100).flatten().unwrap();
        assert_eq!(assembled.attachments, None);
    }

    #[test]
    fn an_ignored_packet_swallows_its_attachments() {
        let mut assembly = Assembly::ignored(2);
        assert_eq!(assembly.add(b"a", 100), None);
        assert_eq!(assembly.add(b"b", 100), Some(None));
    }
}
