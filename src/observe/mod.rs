//! What an operator sees of the server: numbers and spans. Without the features `metrics` and
//! `tracing` all of this is empty, and costs nothing.

#[cfg_attr(not(feature = "metrics"), path = "without_bus.rs")]
mod bus;
#[cfg_attr(not(feature = "metrics"), path = "without_metrics.rs")]
mod metrics;
#[cfg_attr(not(feature = "tracing"), path = "without_span.rs")]
mod span;
#[cfg(feature = "metrics")]
mod tally;
#[cfg_attr(not(feature = "inspector"), path = "without_usage.rs")]
mod usage;

pub(crate) use bus::BusMetrics;
pub(crate) use metrics::{Metrics, Stopwatch};
#[cfg(any(feature = "nats", feature = "redis"))]
pub(crate) use span::bus_unreachable;
pub(crate) use span::{
    Span, Tracer, bus_broken, bus_connected, bus_lost, node_conflict, shutdown_begun,
    shutdown_done, turned_away,
};
pub(crate) use usage::Usage;

/// The wire that a session speaks and the transport that carries it, as labels.
pub(crate) type Line = [&'static str; 2];

/// The observer of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observer {
    pub(crate) metrics: Metrics,
    pub(crate) span: Span,
}

/// Declares the values of a label: all that there are, so that each can be there from the start.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name {
            $($(#[$value_doc])* $value,)+
        }

        #[cfg_attr(not(feature = "metrics"), allow(dead_code))]
        impl $name {
            /// Each at the place of its value.
            const TEXTS: &[&str] = &[$($text,)+];
        }
    };
}

label! {
    /// What became of a peer that lost its connection and might have come back.
    Recovery {
        /// It did.
        Recovered = "recovered",
        /// It did not in time.
        Expired = "expired",
        /// More was said to it than is kept.
        Overflowed = "overflowed",
        /// It came back, and had missed what is not kept any more.
        Missed = "missed",
    }
}

label! {
    /// What became of a client on its way in.
    Handshake {
        /// It is a peer.
        Connected = "connected",
        /// The application said no.
        Refused = "refused",
        /// It asked for what the protocol does not have.
        Invalid = "invalid",
        /// Its page is of an origin that is not served.
        ForeignOrigin = "foreign_origin",
        Banned = "banned",
        ServerFull = "server_full",
        AddressFull = "address_full",
        TooLarge = "too_large",
        ShuttingDown = "shutting_down",
    }
}

label! {
    /// What a client has said.
    Said {
        Connect = "connect",
        Disconnect = "disconnect",
        Offer = "offer",
        Answer = "answer",
        Candidate = "candidate",
        /// A signaling event of any other type.
        Custom = "custom",
        /// An event that is not signaling's.
        Application = "application",
    }
}

label! {
    /// What became of a websocket that was to take over from long-polling.
    Upgrade {
        Completed = "completed",
        TimedOut = "timed_out",
        /// It broke, said what it should not, or its session ended.
        Abandoned = "abandoned",
    }
}

label! {
    /// What became of a message between nodes.
    Parcels {
        /// The bus has taken it.
        Published = "published",
        /// The bus was away or full.
        Refused = "refused",
        /// It has come from another node.
        Received = "received",
        /// It has come, and is of no version that this node reads.
        Unreadable = "unreadable",
        /// A signal that came too late, or without anybody knowing who said it, or was dropped at one
        /// end of the bus.
        Lost = "lost",
    }
}

#[cfg(feature = "metrics")]
label! {
    /// What is timed on the way to a call.
    Stage {
        /// From a peer's join, where others were, to the first offer to it or from it there.
        JoinToOffer = "join_to_offer",
        OfferToAnswer = "offer_to_answer",
        /// To the first candidate of the one who has answered.
        AnswerToCandidate = "answer_to_candidate",
    }
}

#[cfg(feature = "metrics")]
label! {
    /// What goes wrong on the way to a call.
    Mishap {
        /// An offer was not answered in time, or one of the two was gone before.
        Unanswered = "unanswered",
        /// Two peers have made each other offers at the same time.
        Glare = "glare",
    }
}
