//! One client of this server: its session, and the mailbox that the broker knows.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::Waker;
use std::time::Instant;
use std::{fmt, mem};

use super::Handshake;
use super::batch;
use super::intake::Seat;
use super::outlet::Outlet;
use super::recovery::Lineage;
use super::sweeper::Slot;
use super::turn::Turns;
use crate::broker::{Mailbox, Undelivered};
use crate::clock;
use crate::ending::CloseReason;
use crate::error::Refused;
use crate::id::SessionId;
use crate::identity::Identity;
use crate::observe::{Span, Usage};
use crate::session::{Full, Link, Presence, Session, Wakes, Wire};
use crate::signal::Signal;
use crate::sync::lock;

/// What a client comes with.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The request that opened the session, if a hook wants to know of it.
    pub(super) handshake: Option<Arc<Handshake>>,
    /// Where it comes from, as far as anybody knows.
    pub(super) address: Option<IpAddr>,
    pub(super) seat: Option<Seat>,
    /// What the application says, where it has been asked already.
    pub(super) verdict: Result<Identity, Refused>,
}

impl Arrival {
    pub(super) fn take_verdict(&mut self) -> Result<Identity, Refused> {
        mem::replace(&mut self.verdict, Ok(Identity::anonymous()))
    }
}

impl Default for Arrival {
    fn default() -> Self {
        Self {
            handshake: None,
            address: None,
            seat: None,
            verdict: Ok(Identity::anonymous()),
        }
    }
}

/// A client, connected as a peer or not yet.
pub(crate) struct Client {
    pub(super) sid: SessionId,
    pub(super) wire: Wire,
    pub(super) slot: Slot,
    /// The request that opened the session, for as long as a hook may want to know of it.
    handshake: Mutex<Option<Arc<Handshake>>>,
    /// Where the client comes from, as far as anybody knows.
    pub(super) address: Option<IpAddr>,
    pub(super) since: Instant,
    pub(super) span: Span,
    /// Its place among the server's clients, until its end is reported.
    seat: Mutex<Option<Seat>>,
    session: Mutex<Session>,
    membership: Mutex<()>,
    /// Where its peer may come back with another client.
    lineage: OnceLock<Arc<Lineage>>,
    /// Where a websocket on a plain TCP stream is written to.
    outlet: OnceLock<Outlet>,
    /// Held by whoever acts on what the client said: one POST after the other, and nobody reports
    /// the peer's departure before its last signal is out.
    pub(super) turns: Turns,
}

impl Client {
    pub(super) fn new(sid: SessionId, session: Session, arrival: Arrival) -> Arc<Self> {
        let Arrival {
            handshake,
            address,
            seat,
            ..
        } = arrival;
        Arc::new(Self {
            sid,
            wire: session.wire(),
            slot: Slot::none(),
            handshake: Mutex::new(handshake),
            address,
            since: clock::now(),
            span: session.span().clone(),
            seat: Mutex::new(seat),
            session: Mutex::new(session),
            membership: Mutex::default(),
            lineage: OnceLock::new(),
            outlet: OnceLock::new(),
            turns: Turns::default(),
        })
    }

    /// The request that opened the session, if it is still there.
    pub(super) fn handshake(&self) -> Option<Arc<Handshake>> {
        lock(&self.handshake).clone()
    }

    /// Gives the memory back that the request takes: no hook will ask for it again.
    pub(super) fn forget_handshake(&self) {
        lock(&self.handshake).take();
    }

    /// The client has become a peer: others may begin their handshakes.
    pub(super) fn connected(&self) {
        if let Some(seat) = &mut *lock(&self.seat) {
            seat.connected();
        }
    }

    /// The client's end is reported: others may have its place, whoever still holds this.
    pub(super) fn leave_seat(&self) {
        drop(lock(&self.seat).take());
    }

    /// Makes one step of the session, then wakes those whom the step concerns.
    pub(super) fn with<T>(&self, step: impl FnOnce(&mut Session) -> T) -> T {
        let (outcome, wakes) = self.step(step);
        wakes.wake();
        outcome
    }

    /// Makes one step of the session; the caller wakes those whom the step concerns.
    pub(super) fn step<T>(&self, step: impl FnOnce(&mut Session) -> T) -> (T, Wakes) {
        let mut session = lock(&self.session);
        let outcome = step(&mut session);
        (outcome, session.take_wakes())
    }

    /// So much of it was read, for whoever inspects it.
    pub(super) fn note_said(&self, events: usize, bytes: usize) {
        if Usage::IS_KEPT {
            self.with(|session| session.note_said(events, bytes));
        }
    }

    /// See [`Held`](super::membership::Held), which is how to take it.
    pub(super) fn membership(&self) -> MutexGuard<'_, ()> {
        let shared = self.lineage.get().map(|lineage| &lineage.membership);
        lock(shared.unwrap_or(&self.membership))
    }

    pub(super) fn lineage(&self) -> &Arc<Lineage> {
        self.lineage.get_or_init(Arc::default)
    }

    pub(super) fn known_lineage(&self) -> Option<&Arc<Lineage>> {
        self.lineage.get()
    }

    /// Makes the client one that follows the other. False if it has been a peer by itself.
    pub(super) fn succeeds(&self, other: &Self) -> bool {
        let lineage = other.lineage();
        Arc::ptr_eq(self.lineage.get_or_init(|| Arc::clone(lineage)), lineage)
    }

    /// The client that is what this one was, if it has come back as another: else this one.
    pub(super) fn latest(self: &Arc<Self>) -> Arc<Self> {
        let latest = self.lineage.get().and_then(|lineage| lineage.latest());
        latest.unwrap_or_else(|| Arc::clone(self))
    }

    /// Whether the client is still connected as that peer.
    pub(super) fn is_connected(&self, presence: &Presence) -> bool {
        lock(&self.session).is_connected(presence)
    }

    pub(super) fn close(&self, reason: CloseReason) {
        self.with(|session| session.close(reason));
    }

    /// From here on whoever has something for the client may write it there. Given back if there is
    /// such a place already; a session has no more than one websocket that carries it.
    pub(super) fn write_through(&self, outlet: Outlet) -> Result<(), Outlet> {
        self.outlet.set(outlet)
    }

    pub(super) fn outlet(&self) -> Option<&Outlet> {
        self.outlet.get()
    }

    /// Sees to it that what waits for the client gets to it: writes it, or wakes whoever does.
    pub(super) fn serve(&self) {
        match self.outlet() {
            Some(outlet) if !outlet.is_stuck() => {
                outlet.flush(self);
            }
            _ => self.wake(),
        }
    }

    /// Wakes whoever carries packets to the client, if it is asleep.
    pub(super) fn wake(&self) {
        let carrier = lock(&self.session).take_carrier();
        carrier.into_iter().for_each(Waker::wake);
    }

    /// The client's websocket takes nothing more for now.
    pub(super) fn stick(&self, link: Link) {
        let carrier = lock(&self.session).stick(link);
        carrier.into_iter().for_each(Waker::wake);
    }
}

impl Client {
    /// As [`deliver`](Mailbox::deliver), a signal that is for nobody else.
    pub(super) fn deliver_only(self: &Arc<Self>, signal: Signal) -> Result<(), Undelivered> {
        self.put(|session| session.enqueue_only(signal))
    }

    fn put(
        self: &Arc<Self>,
        enqueue: impl FnOnce(&mut Session) -> Result<bool, Full>,
    ) -> Result<(), Undelivered> {
        let mut session = lock(&self.session);
        if session.is_closed() {
            drop(session);
            let latest = self.latest();
            if Arc::ptr_eq(&latest, self) {
                return Err(Undelivered::Closed);
            }
            return latest.put(enqueue);
        }
        let promised = enqueue(&mut session).map_err(|Full| Undelivered::Full)?;
        if promised && batch::is_wide() {
            let carrier = session.take_carrier();
            drop(session);
            carrier.into_iter().for_each(batch::wake);
        } else if promised {
            drop(session);
            batch::note(self);
        }
        Ok(())
    }
}

impl Mailbox for Client {
    fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered> {
        self.put(|session| session.enqueue(signal))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a silent peer holds of the server, besides its places in tables.
    #[test]
    fn what_is_it_made_of() {
        let (client, session) = (size_of::<Client>(), size_of::<Session>());
        println!("client: {client} bytes, of which its session: {session}");
        println!("  whose turn it is: {}", size_of::<Turns>());
        println!("  where it is written to: {}", size_of::<Outlet>());
        assert!(client < 2 * session);
    }
}
