//! How a client that has lost its connection comes back as the same peer: what it has to show for
//! that, and what it may have missed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::outbox::{Full, View, frames};
use super::state::{Link, State};
use super::{Presence, Seldom, Session, Wire};
use crate::ending::CloseReason;
use crate::id::{PeerId, SessionId};
use crate::identity::Identity;
use crate::observe;
use crate::signal::Signal;
use crate::sync::Budget;
use crate::wire::engine::Outgoing;

/// What a kept signal costs besides its bytes.
const OVERHEAD: usize = 96;

/// How the subprotocol begins by which a plain JSON client comes back.
const RESUME: &str = "resume.";

/// So much of a peer's id tells its offsets from those of another that the client was before.
const TAG: usize = 6;

/// What one peer needs to come back: its secret, and what was said to it and it may have missed.
///
/// All of that has a number, from 1 on. A Socket.IO client is told it with each event, as its offset;
/// one of plain JSON counts its messages.
#[derive(Debug)]
pub(crate) struct Recovery {
    peer: PeerId,
    secret: SessionId,
    /// The last of all that were numbered, and what each costs.
    log: VecDeque<(usize, Said)>,
    cost: usize,
    max: usize,
    /// The number of what is said next.
    next: u64,
    /// The number of what follows the ping that is not answered yet.
    pinged: Option<u64>,
    /// What all logs of a server may take.
    budget: Arc<Budget>,
}

/// What has one number.
#[derive(Clone, Debug)]
enum Said {
    /// An event with its offset, and with its attachments.
    Event(Signal),
    /// One message of plain JSON, or an attachment there.
    Message(Outgoing),
}

impl Said {
    fn size(&self) -> usize {
        match self {
            Self::Event(signal) => signal.size(),
            Self::Message(Outgoing::Text(bytes) | Outgoing::Binary(bytes)) => bytes.len(),
        }
    }
}

impl Recovery {
    /// `max`: bytes that are kept for this peer.
    pub(crate) fn new(peer: PeerId, secret: SessionId, max: usize, budget: Arc<Budget>) -> Self {
        Self {
            peer,
            secret,
            log: VecDeque::new(),
            cost: 0,
            max,
            next: 1,
            pinged: None,
            budget,
        }
    }

    /// What the client shows when it comes back: which peer it was, and that it was that.
    pub(super) fn pid(&self) -> String {
        [self.peer.as_str(), self.secret.as_str()].concat()
    }

    fn tag(&self) -> &str {
        let id = self.peer.as_str();
        id.get(id.len() - TAG..).unwrap_or(id)
    }

    /// Gives a signal its offset, as it is said to a Socket.IO client, and keeps it. `None` if it is
    /// none that is said again.
    fn keep_event(&mut self, signal: &Signal, away: bool) -> Result<Option<Signal>, Full> {
        let offset = format!("{}.{}", self.tag(), self.next);
        let Some(signal) = signal.with_offset(&offset) else {
            return Ok(None);
        };
        self.keep(Said::Event(signal.clone()), away)?;
        Ok(Some(signal))
    }

    /// Numbers what is said and keeps it. `away`: nothing may be forgotten for it, or the client would
    /// miss that.
    fn keep(&mut self, said: Said, away: bool) -> Result<(), Full> {
        let cost = said.size() + OVERHEAD;
        while self.cost.saturating_add(cost) > self.max || !self.budget.take(cost) {
            if away {
                return Err(Full);
            }
            if !self.forget_first() {
                // Not even alone. A client that has missed it cannot come back.
                self.next += 1;
                return Ok(());
            }
        }
        self.next += 1;
        self.cost += cost;
        self.log.push_back((cost, said));
        Ok(())
    }

    fn forget_first(&mut self) -> bool {
        let Some((cost, _)) = self.log.pop_front() else {
            return false;
        };
        self.cost -= cost;
        self.budget.give_back(cost);
        true
    }

    /// Forgets what comes before that number.
    fn forget_before(&mut self, number: u64) {
        while self.first() < number && self.forget_first() {}
        if self.log.is_empty() {
            self.log = VecDeque::new();
        }
    }

    /// The number of the first that is kept; that of the next, if none is.
    fn first(&self) -> u64 {
        self.next - self.log.len() as u64
    }

    /// The number of the first that the client has missed, by what it has seen; if all from there on
    /// are kept.
    fn missed_from(&self, seen: Seen<'_>) -> Option<u64> {
        let seen = match seen {
            Seen::Count(number) => number,
            Seen::Offset(offset) => {
                let own = offset.and_then(|text| text.strip_prefix(self.tag())?.strip_prefix('.'));
                match own {
                    // One of the peer that it was before: of this one it has seen nothing.
                    None => 0,
                    Some(number) => number.parse().ok()?,
                }
            }
        };
        // Of what was never said nobody can have seen anything.
        (seen < self.next && seen + 1 >= self.first()).then(|| seen + 1)
    }

    /// A ping goes out after all that was said so far.
    pub(super) fn pings(&mut self) {
        // Before the answer to one comes, another is only sent to who has shown otherwise that it
        // lives. Either answer then says no more than the first.
        self.pinged.get_or_insert(self.next);
    }

    /// Its answer came: what was said before it has arrived, as transports keep the order.
    pub(super) fn answered(&mut self) {
        if let Some(number) = self.pinged.take() {
            self.forget_before(number);
        }
    }

    /// Whether that is the secret, in a time that does not tell how much of it is.
    fn knows(&self, secret: &str) -> bool {
        let own = self.secret.as_str();
        let pairs = own.bytes().zip(secret.bytes());
        own.len() == secret.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        self.budget.give_back(self.cost);
    }
}

/// What a client shows to be a peer again.
#[derive(Clone, Copy)]
pub(crate) struct Claim<'a> {
    pub(crate) peer: PeerId,
    secret: &'a str,
    seen: Seen<'a>,
}

/// How far a client has come.
#[derive(Clone, Copy)]
enum Seen<'a> {
    /// To that event.
    Offset(Option<&'a str>),
    /// So many messages.
    Count(u64),
}

impl<'a> Claim<'a> {
    /// What a Socket.IO client says in its `auth`.
    pub(crate) fn of_auth(pid: &'a str, offset: Option<&'a str>) -> Option<Self> {
        Self::new(pid, Seen::Offset(offset))
    }

    /// What a plain JSON client says among its subprotocols.
    pub(crate) fn of_protocol(protocol: &'a str) -> Option<Self> {
        let (pid, seen) = protocol.strip_prefix(RESUME)?.split_once('.')?;
        Self::new(pid, Seen::Count(seen.parse().ok()?))
    }

    fn new(pid: &'a str, seen: Seen<'a>) -> Option<Self> {
        let (peer, secret) = pid.split_at_checked(pid.len() / 2)?;
        let peer = peer.parse().ok()?;
        Some(Self { peer, secret, seen })
    }
}

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// It is good, and the only one: see [`Session::hand_over`].
    Yes,
    /// It is not, or the peer is not away.
    No,
    /// It is good, but the client has missed what is not kept: it has left.
    Missed,
}

/// A peer on its way to another session.
#[derive(Debug)]
pub(crate) struct Handover {
    presence: Presence,
    recovery: Box<Recovery>,
    credentials_due: Seldom,
}

impl Session {
    /// The client may come back as the peer that it is to be.
    pub(crate) fn recoverable(&mut self, recovery: Recovery) {
        self.recovery = Some(Box::new(recovery));
    }

    /// Whether the connection is lost and the client may come back.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, State::Away { .. })
    }

    /// Keeps the session for a client that has lost its connection, rather than to end it.
    pub(super) fn hold(&mut self, reason: CloseReason) -> bool {
        let lost = matches!(
            reason,
            CloseReason::ClientClosed
                | CloseReason::TransportLost
                | CloseReason::HeartbeatTimeout
                | CloseReason::Stalled
        );
        if !lost || self.is_away() || self.recovery.is_none() {
            return false;
        }
        // What of it counts is kept in the log.
        self.outbox.clear();
        self.stalled_by = None;
        self.state = State::Away {
            reason,
            last: self.state.carrier(),
            until: None,
            claimed: false,
        };
        self.stirred = true;
        true
    }

    /// Until when the client may come back, once it is known that it has gone: sessions have no
    /// clock of their own.
    pub(crate) fn begin_absence(&mut self, now: Instant) -> Option<Instant> {
        match &mut self.state {
            State::Away {
                until: until @ None,
                ..
            } => {
                *until = Some(now + self.limits.recovery);
                *until
            }
            _ => None,
        }
    }

    /// Ends an absence that takes too long.
    pub(super) fn check_absence(&mut self, now: Instant) {
        let _ = self.begin_absence(now);
        if let State::Away {
            reason,
            until: Some(until),
            ..
        } = self.state
            && until <= now
        {
            self.observer.metrics.recovery(observe::Recovery::Expired);
            self.close(reason);
        }
    }

    /// The client has left for good, and does not come back.
    pub(crate) fn renounce(&mut self, link: Link) {
        if self.state.carries(link) {
            self.recovery = None;
        }
    }

    /// Keeps a signal for the case that the client misses it; what a Socket.IO client is told instead.
    pub(super) fn keep(&mut self, signal: &Signal) -> Result<Option<Signal>, Full> {
        let away = self.is_away();
        let Some(recovery) = &mut self.recovery else {
            return Ok(None);
        };
        if self.wire != Wire::Json {
            return recovery.keep_event(signal, away);
        }
        let mut kept = Ok(());
        frames(signal.json(), signal.attachments(), View::Json, |frame| {
            if kept.is_ok() {
                kept = recovery.keep(Said::Message(frame), away);
            }
        });
        kept.map(|()| None)
    }

    /// The same for what is no signal. A Socket.IO client tells such from events, and does not hear it
    /// again; one of plain JSON counts all.
    pub(super) fn keep_packet(&mut self, packet: &Outgoing) -> Result<(), Full> {
        let away = self.is_away();
        match &mut self.recovery {
            Some(recovery) if self.wire == Wire::Json => {
                recovery.keep(Said::Message(packet.clone()), away)
            }
            _ => Ok(()),
        }
    }

    /// Looks at a claim. One that is good is the only one, until it is [given up](Self::unclaim).
    pub(crate) fn claim(&mut self, claim: &Claim<'_>) -> Claimed {
        let (State::Away { claimed, .. }, Some(recovery)) = (&mut self.state, &self.recovery)
        else {
            return Claimed::No;
        };
        if *claimed || !recovery.knows(claim.secret) {
            return Claimed::No;
        }
        if recovery.missed_from(claim.seen).is_none() {
            self.observer.metrics.recovery(observe::Recovery::Missed);
            return Claimed::Missed;
        }
        *claimed = true;
        Claimed::Yes
    }

    /// Whoever has claimed the peer does not take it.
    pub(crate) fn unclaim(&mut self) {
        if let State::Away { claimed, .. } = &mut self.state {
            *claimed = false;
        }
    }

    /// Gives the peer away that was claimed, and ends. `None` if it has ended before.
    pub(crate) fn hand_over(&mut self) -> Option<Handover> {
        let State::Away { reason, .. } = self.state else {
            return None;
        };
        let presence = Presence::main(self.peer()?);
        let credentials_due = self.credentials_due.take();
        let recovery = self.recovery.take()?;
        self.leave(&presence);
        self.close(reason);
        Some(Handover {
            presence,
            recovery,
            credentials_due,
        })
    }

    /// Makes the client the peer that it was, and tells it so, and what it has missed. `ice` as in
    /// [`accept`](Self::accept).
    pub(crate) fn recover(
        &mut self,
        handover: Handover,
        claim: &Claim<'_>,
        identity: Identity,
        ice: Option<&str>,
    ) {
        let Handover {
            presence,
            mut recovery,
            credentials_due,
        } = handover;
        recovery.pinged = None;
        recovery.forget_before(recovery.missed_from(claim.seen).unwrap_or_default());
        let missed: Vec<_> = recovery.log.iter().map(|(_, said)| said.clone()).collect();
        self.recovery = Some(recovery);
        self.credentials_due = credentials_due;
        self.welcome(presence, identity, ice, true);
        for said in missed {
            // Bounded by the log that it comes from, and by what waits for others.
            let pushed = match said {
                Said::Message(frame) => self.outbox.push(frame, usize::MAX),
                Said::Event(signal) => {
                    let (text, parts) = (signal.packet().clone(), signal.attachments());
                    let view = View::Packets;
                    self.outbox.push_signal(text, parts, view, usize::MAX)
                }
            };
            if pushed.is_err() {
                return self.close(CloseReason::SlowConsumer);
            }
        }
        self.observer.metrics.recovery(observe::Recovery::Recovered);
    }

    /// What the client shows for being that peer, when it comes back; if it may.
    pub(super) fn pid(&self, presence: &Presence) -> Option<String> {
        let recovery = self.recovery.as_ref()?;
        presence.namespace.is_none().then(|| recovery.pid())
    }
}

#[cfg(test)]
mod tests;
