//! What is queued for a client, and who sees to it.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;

use super::outbox::{Full, View};
use super::{Session, Wire};
use crate::ending::CloseReason;
use crate::signal::Signal;
use crate::sync::Budget;
use crate::wire::engine::Outgoing;

/// Who sees to what is queued next, so that nobody is woken, and nothing written, for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attended {
    /// Whoever queues something.
    Nobody,
    /// Somebody who has queued something and will come once its own work is done.
    Sender,
    /// The task of the websocket: it is at work, and looks again before it waits.
    Task,
    /// The same task, once the socket takes more.
    Stuck,
}

/// Those to wake once the session's lock is released.
#[derive(Debug, Default)]
pub(crate) struct Wakes([Option<Waker>; 3]);

impl Wakes {
    pub(crate) fn wake(self) {
        self.into_iter().for_each(Waker::wake);
    }

    /// For whoever has to wait with it.
    pub(crate) fn into_iter(self) -> impl Iterator<Item = Waker> {
        self.0.into_iter().flatten()
    }
}

impl Session {
    /// From now on what waits for the client is counted with what waits for others.
    pub(crate) fn share(&mut self, budget: Arc<Budget>) {
        self.outbox.share(budget);
    }

    /// Queues one packet of the session's own; one too many ends a client that does not read.
    pub(crate) fn push(&mut self, text: Bytes) {
        self.push_packet(Outgoing::Text(text));
    }

    /// Queues a binary message, as [`push`](Self::push) does a packet.
    pub(crate) fn push_binary(&mut self, data: Bytes) {
        self.push_packet(Outgoing::Binary(data));
    }

    fn push_packet(&mut self, packet: Outgoing) {
        if self.is_closed() {
            return;
        }
        if self.keep_packet(&packet).is_err() {
            return self.close(CloseReason::SlowConsumer);
        }
        if !self.is_away() {
            self.post(packet);
        }
    }

    pub(super) fn post(&mut self, packet: Outgoing) {
        let pushed = self.outbox.push(packet, self.limits.max_outbox);
        self.observer.metrics.waiting(self.outbox.cost());
        self.stirred = true;
        if pushed.is_err() {
            self.close(CloseReason::SlowConsumer);
        }
    }

    /// Queues a signal of the session's own, as [`push`](Self::push) does a packet.
    pub(crate) fn push_signal(&mut self, signal: &Signal) {
        if self.is_closed() {
            return;
        }
        let queued = self.queue(signal);
        self.stirred = true;
        if queued.is_err() {
            self.close(CloseReason::SlowConsumer);
        }
    }

    /// Queues a signal. True asks the caller to see to it once its own work is done: to write what
    /// waits, or to wake the [`carrier`](Self::take_carrier).
    pub(crate) fn enqueue(&mut self, signal: &Signal) -> Result<bool, Full> {
        self.queue(signal)?;
        Ok(!self.is_away() && self.promises())
    }

    /// The same for a signal that nobody else is to have: its text need not be made one to share.
    pub(crate) fn enqueue_only(&mut self, signal: Signal) -> Result<bool, Full> {
        if self.wire == Wire::Json || signal.attachments().is_some() || self.recovery.is_some() {
            return self.enqueue(&signal);
        }
        let packet = Outgoing::Text(signal.into_packet());
        self.outbox.push(packet, self.limits.max_outbox)?;
        self.note_queued();
        Ok(self.promises())
    }

    /// Whether whoever has queued something has to see to it.
    fn promises(&mut self) -> bool {
        let asked = self.attended == Attended::Nobody;
        if asked {
            self.attended = Attended::Sender;
        }
        asked
    }

    fn queue(&mut self, signal: &Signal) -> Result<(), Full> {
        let kept = self.keep(signal)?;
        if self.is_away() {
            self.note_queued();
            return Ok(());
        }
        let signal = kept.as_ref().unwrap_or(signal);
        let (view, text) = match self.wire {
            Wire::Engine(_) => (View::Packets, signal.packet().clone()),
            Wire::Json => (View::Json, signal.json()),
        };
        self.outbox
            .push_signal(text, signal.attachments(), view, self.limits.max_outbox)?;
        self.note_queued();
        Ok(())
    }

    /// Whoever must be woken for what was queued; nobody, if the carrier looks again by itself.
    pub(crate) fn take_carrier(&mut self) -> Option<Waker> {
        match self.attended {
            Attended::Task | Attended::Stuck => None,
            Attended::Nobody | Attended::Sender => {
                self.attended = Attended::Nobody;
                self.carrier.take()
            }
        }
    }

    /// Those who must look at the session again after the step just made. The carrier's own steps
    /// do not wake it.
    pub(crate) fn take_wakes(&mut self) -> Wakes {
        if !std::mem::take(&mut self.stirred) {
            return Wakes::default();
        }
        let carrier = match self.attended {
            Attended::Task => None,
            _ => self.carrier.take(),
        };
        Wakes([carrier, self.probe.take(), self.post.take()])
    }
}
