//! As whom a client is connected, and to which namespaces.

use std::sync::Arc;

use crate::id::PeerId;
use crate::wire::socket::Namespace;

/// A client's connection to one namespace: the peer that it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) id: PeerId,
    /// `None` for `/`, the only one that most servers have.
    pub(crate) namespace: Option<Arc<str>>,
}

impl Presence {
    pub(crate) fn main(id: PeerId) -> Self {
        Self {
            id,
            namespace: None,
        }
    }
}

/// Every namespace that a client is connected to.
#[derive(Debug, Default)]
pub(super) struct Presences {
    main: Option<PeerId>,
    /// Bounded by the namespaces that the server has: each is here once.
    others: Vec<Presence>,
}

impl Presences {
    /// The peer that the client is in `/`.
    pub(super) fn main(&self) -> Option<PeerId> {
        self.main
    }

    pub(super) fn add(&mut self, presence: Presence) {
        match presence.namespace {
            None => self.main = Some(presence.id),
            Some(_) => self.others.push(presence),
        }
    }

    pub(super) fn find(&self, namespace: Namespace<'_>) -> Option<Presence> {
        if namespace.is_main() {
            return self.main.map(Presence::main);
        }
        let mut others = self.others.iter();
        others
            .find(|presence| presence.namespace.as_deref() == Some(namespace.name()))
            .cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Presence> {
        let main = self.main.map(Presence::main);
        main.into_iter().chain(self.others.iter().cloned())
    }

    /// Whether the client is still connected as that peer.
    pub(super) fn has(&self, presence: &Presence) -> bool {
        match presence.namespace {
            None => self.main == Some(presence.id),
            Some(_) => self.others.contains(presence),
        }
    }

    pub(super) fn remove(&mut self, presence: &Presence) {
        match presence.namespace {
            None => self.main = None,
            Some(_) => self.others.retain(|other| other != presence),
        }
    }

    /// Forgets them all; returns the one in `/`.
    pub(super) fn take(&mut self) -> Option<PeerId> {
        std::mem::take(self).main
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: &str) -> PeerId {
        letter.repeat(20).parse().unwrap()
    }

    #[test]
    fn each_namespace_has_its_own_peer() {
        let mut presences = Presences::default();
        let main = Presence::main(id("m"));
        let news = Presence {
            id: id("n"),
            namespace: Some("/news".into()),
        };
        presences.add(news.clone());
        assert_eq!(presences.main(), None);
        presences.add(main.clone());
        assert_eq!(presences.find(Namespace::MAIN), Some(main.clone()));
        assert_eq!(presences.find(Namespace::of("/news")), Some(news.clone()));
        assert_eq!(
            presences.find(Namespace::of("/news?x=1")),
            Some(news.clone())
        );
        assert_eq!(presences.find(Namespace::of("/new")), None);

        presences.remove(&main);
        assert!(!presences.has(&main) && presences.has(&news));
        // Connected anew, it is another peer.
        presences.add(Presence::main(id("x")));
        assert!(!presences.has(&main));
        assert_eq!(presences.take(), Some(id("x")));
        assert!(!presences.has(&news));
    }
}
