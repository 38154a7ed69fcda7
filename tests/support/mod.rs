//! What all integration tests share: a server on a real socket, and small clients of each wire.
//!
//! A test waits for what it wants to see, never for a time to pass: [`within`] only turns a wait
//! that would not end into a failure.

// Each test file is a crate of its own and uses some of this.
#![allow(dead_code, unused_imports, unused_macros, clippy::unwrap_used)]

mod bystanders;
mod hosts;
mod http;
mod log;
mod nodes;
mod peer;
mod polling;
mod program;
mod socket;

use std::time::Duration;

pub(crate) use bystanders::{Bystanders, QUIET};
pub(crate) use hosts::{Host, Site, application, serve_axum, serve_hyper, signals, signals_below};
#[cfg(feature = "actix")]
pub(crate) use hosts::{run_actix, serve_actix};
pub(crate) use http::{Exchange, Request, Response};
pub(crate) use log::Log;
pub(crate) use nodes::{Node, acquaint, cluster, everywhere, id, quiet_everywhere, room};
pub(crate) use peer::{
    Heard, Peer, ROOM, Wire, all_quiet, event, event_to, everybody, message, pair,
};
pub(crate) use polling::{Packet, Polling, decode, encode, encode_binary, utf16};
pub(crate) use program::Program;
pub(crate) use socket::{Frame, Socket};

/// How long a test waits before it calls a wait endless.
const PATIENCE: Duration = Duration::from_secs(15);

/// The two generations of Engine.IO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    /// Engine.IO 3, Socket.IO protocol 4.
    V3,
    /// Engine.IO 4, Socket.IO protocol 5.
    V4,
}

impl Revision {
    pub(crate) const BOTH: [Self; 2] = [Self::V3, Self::V4];

    /// What `EIO` says.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    pub(crate) fn other(self) -> Self {
        match self {
            Self::V3 => Self::V4,
            Self::V4 => Self::V3,
        }
    }
}

/// What comes of `future`; a failure that names `what` if nothing ever does.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let output = tokio::time::timeout(PATIENCE, future).await;
    output.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Returns once `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Turns scenarios, `async fn(Host)`, into one test on each host.
macro_rules! on_each_host {
    ($($scenario:ident),+ $(,)?) => {
        $crate::support::on_each_host!(@ on_axum Axum $($scenario)+);
        $crate::support::on_each_host!(@ on_hyper Hyper $($scenario)+);
        $crate::support::on_each_host!(@ on_axum_nested AxumNested $($scenario)+);
        #[cfg(feature = "actix")]
        $crate::support::on_each_host!(@ on_actix Actix $($scenario)+);
    };
    (@ $module:ident $host:ident $($scenario:ident)+) => {
        mod $module {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario($crate::support::Host::$host).await;
            })+
        }
    };
}

/// Turns scenarios, `async fn(Host, Revision)`, into a test for each host and revision.
macro_rules! in_each_revision {
    ($($scenario:ident),+ $(,)?) => {
        $crate::support::in_each_revision!(@ v3_on_axum V3 Axum $($scenario)+);
        $crate::support::in_each_revision!(@ v4_on_axum V4 Axum $($scenario)+);
        $crate::support::in_each_revision!(@ v3_on_hyper V3 Hyper $($scenario)+);
        $crate::support::in_each_revision!(@ v4_on_hyper V4 Hyper $($scenario)+);
        $crate::support::in_each_revision!(@ v3_on_axum_nested V3 AxumNested $($scenario)+);
        $crate::support::in_each_revision!(@ v4_on_axum_nested V4 AxumNested $($scenario)+);
        #[cfg(feature = "actix")]
        $crate::support::in_each_revision!(@ v3_on_actix V3 Actix $($scenario)+);
        #[cfg(feature = "actix")]
        $crate::support::in_each_revision!(@ v4_on_actix V4 Actix $($scenario)+);
    };
    (@ $module:ident $revision:ident $host:ident $($scenario:ident)+) => {
        mod $module {
            $(#[tokio::test]
            async fn $scenario() {
                let host = $crate::support::Host::$host;
                super::$scenario(host, $crate::support::Revision::$revision).await;
            })+
        }
    };
}

pub(crate) use in_each_revision;
pub(crate) use on_each_host;
