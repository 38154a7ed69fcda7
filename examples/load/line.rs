//! What carries the packets of one client.

use std::task::{Context, Poll};

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::Failure;
use crate::options::{Revision, Wire};
use crate::polling::Polling;
use crate::socket::Socket;
use crate::target::Target;

pub(crate) enum Line {
    Socket(Box<Socket>),
    Polling(Box<Polling>),
}

impl Line {
    /// `path` is where signaling is mounted.
    pub(crate) async fn open(target: &Target, wire: Wire, path: &str) -> Result<Self, Failure> {
        let query = |revision, transport| match revision {
            Revision::V3 => format!("{path}?EIO=3&transport={transport}"),
            Revision::V4 => format!("{path}?EIO=4&transport={transport}"),
        };
        Ok(match wire {
            Wire::Json => Self::Socket(Socket::open(target, path).await?.into()),
            Wire::Socket(revision) => {
                let path = query(revision, "websocket");
                Self::Socket(Socket::open(target, &path).await?.into())
            }
            Wire::Polling(revision) => {
                let path = query(revision, "polling");
                Self::Polling(Polling::open(target, path, revision).await?.into())
            }
        })
    }

    /// Sends a packet with the next poll.
    pub(crate) fn say(&mut self, packet: String) -> Result<(), Failure> {
        match self {
            Self::Socket(socket) => socket.say(packet),
            Self::Polling(polling) => {
                polling.say(packet);
                Ok(())
            }
        }
    }

    /// Writes what was said, and appends the packets that have come.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        heard: &mut Vec<Utf8Bytes>,
    ) -> Poll<Result<(), Failure>> {
        match self {
            Self::Socket(socket) => socket.poll(cx, heard),
            Self::Polling(polling) => polling.poll(cx, heard),
        }
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Socket(socket) => socket.close().await,
            Self::Polling(polling) => polling.close().await,
        }
    }
}
