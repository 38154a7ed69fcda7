//! Who is in a room, as one moment saw it.

use std::fmt;
use std::sync::Arc;

use super::{Delivery, Mailbox, Undelivered};
use crate::id::PeerId;
use crate::signal::Signal;

/// The members of a room at one moment, oldest first. Cloning is cheap; joins and departures that
/// come later do not show.
pub struct Members<M>(Arc<Vec<Member<M>>>);

pub(super) struct Member<M> {
    pub(super) id: PeerId,
    pub(super) mailbox: Arc<M>,
}

impl<M> Members<M> {
    pub(crate) fn none() -> Self {
        Self(Arc::default())
    }

    pub(super) fn push(&mut self, id: PeerId, mailbox: Arc<M>) {
        Arc::make_mut(&mut self.0).push(Member { id, mailbox });
    }

    pub(super) fn remove(&mut self, id: &PeerId) {
        if let Some(at) = self.0.iter().position(|member| member.id == *id) {
            let members = Arc::make_mut(&mut self.0);
            members.remove(at);
            if members.capacity() > 16 && members.len() * 4 < members.capacity() {
                members.shrink_to(members.len() * 2);
            }
        }
    }

    pub(super) fn replace(&mut self, id: &PeerId, mailbox: &Arc<M>) {
        if let Some(at) = self.0.iter().position(|member| member.id == *id) {
            Arc::make_mut(&mut self.0)[at].mailbox = Arc::clone(mailbox);
        }
    }

    /// How many they are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each with its mailbox, oldest member first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Arc<M>)> + '_ {
        self.0.iter().map(|member| (member.id, &member.mailbox))
    }

    /// Their ids, oldest member first.
    pub fn ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.0.iter().map(|member| member.id)
    }
}

impl<M: Mailbox> Members<M> {
    /// Leaves `signal` in the mailbox of each of them but `except`.
    #[must_use]
    pub fn deliver(&self, except: Option<&PeerId>, signal: &Signal) -> Delivery {
        let mut delivery = Delivery::default();
        for member in self.0.iter() {
            if except != Some(&member.id) {
                delivery.note(member.id, member.mailbox.deliver(signal));
            }
        }
        delivery
    }
}

impl Delivery {
    pub(super) fn note(&mut self, to: PeerId, outcome: Result<(), Undelivered>) {
        match outcome {
            Ok(()) => self.delivered += 1,
            Err(Undelivered::Full) => self.full.push(to),
            Err(Undelivered::Closed) => {}
        }
    }
}

// Not derived: a mailbox need not be `Clone` or `Debug` itself.
impl<M> Clone for Members<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Clone for Member<M> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            mailbox: Arc::clone(&self.mailbox),
        }
    }
}

impl<M> fmt::Debug for Members<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}
