//! As whom a client is connected, and to which namespaces.

use std::sync::Arc;

use crate::id::PeerId;
use crate::identity::Identity;
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
    main: Option<(PeerId, Identity)>,
    /// Bounded by the namespaces that the server has: each is here once.
    others: Vec<(Presence, Identity)>,
}

impl Presences {
    /// The peer that the client is in `/`.
    pub(super) fn main(&self) -> Option<PeerId> {
        self.main.as_ref().map(|(id, _)| *id)
    }

    pub(super) fn add(&mut self, presence: Presence, identity: Identity) {
        match presence.namespace {
            None => self.main = Some((presence.id, identity)),
            Some(_) => self.others.push((presence, identity)),
        }
    }

    pub(super) fn find(&self, namespace: Namespace<'_>) -> Option<Presence> {
        if namespace.is_main() {
            return self.main().map(Presence::main);
        }
        let mut others = self.others.iter().map(|(presence, _)| presence);
        others
            .find(|presence| presence.namespace.as_deref() == Some(namespace.name()))
            .cloned()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Presence> {
        let main = self.main().map(Presence::main);
        let others = self.others.iter().map(|(presence, _)| presence.clone());
        main.into_iter().chain(others)
    }

    /// Who the client is as that peer, if it is connected as that.
    pub(super) fn identity(&self, presence: &Presence) -> Option<&Identity> {
        match &self.main {
            Some((id, identity)) if presence.namespace.is_none() => {
                (*id == presence.id).then_some(identity)
            }
            _ => {
                let mut others = self.others.iter();
                let found = others.find(|(other, _)| other == presence);
                found.map(|(_, identity)| identity)
            }
        }
    }

    /// Whether the client is still connected as that peer.
    pub(super) fn has(&self, presence: &Presence) -> bool {
        self.identity(presence).is_some()
    }

    /// Forgets that peer; returns who it was.
    pub(super) fn remove(&mut self, presence: &Presence) -> Option<Identity> {
        let identity = self.identity(presence)?.clone();
        match presence.namespace {
            None => self.main = None,
            Some(_) => self.others.retain(|(other, _)| other != presence),
        }
        Some(identity)
    }

    /// Forgets them all; returns who they were, the one in `/` first.
    pub(super) fn take(&mut self) -> Vec<(Presence, Identity)> {
        let Self { main, others } = std::mem::take(self);
        let main = main.map(|(id, identity)| (Presence::main(id), identity));
        main.into_iter().chain(others).collect()
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
        presences.add(news.clone(), Identity::new(1_u8));
        assert_eq!(presences.main(), None);
        presences.add(main.clone(), Identity::new(2_u8));
        assert_eq!(presences.find(Namespace::MAIN), Some(main.clone()));
        assert_eq!(presences.find(Namespace::of("/news")), Some(news.clone()));
        assert_eq!(
            presences.find(Namespace::of("/news?x=1")),
            Some(news.clone())
        );
        assert_eq!(presences.find(Namespace::of("/new")), None);

        let of = |identity: &Identity| identity.get::<u8>().map(|number| *number);
        assert_eq!(presences.identity(&news).and_then(of), Some(1));
        let removed = presences.remove(&main);
        assert_eq!(removed.as_ref().and_then(of), Some(2));
        assert!(!presences.has(&main) && presences.has(&news));
        assert!(presences.remove(&main).is_none());
        // Connected anew, it is another peer.
        presences.add(Presence::main(id("x")), Identity::anonymous());
        assert!(!presences.has(&main));
        assert!(presences.remove(&main).is_none());
        let taken = presences.take().into_iter();
        let taken: Vec<_> = taken.map(|(presence, who)| (presence, of(&who))).collect();
        assert_eq!(
            taken,
            [(Presence::main(id("x")), None), (news.clone(), Some(1))]
        );
        assert!(!presences.has(&news));
    }
}
