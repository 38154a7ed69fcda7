//! The writing side of a websocket on a plain TCP stream: whoever has something for the client
//! writes it, without a turn of the client's own task in between.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use super::client::Client;
use super::connection::TRANSMIT_BUDGET;
use crate::session::{Link, Transmit};
use crate::sync::lock;
use crate::wire::segments::{SLICES, Segments};

/// So many bytes are copied together before they are written: for the system, to collect the pieces
/// of a vectored write is dearer than that.
const GATHERED: usize = 16 << 10;

/// How often one flush asks for more, so that nobody is held up for good by those who speak to the
/// same receiver at the same time.
const ROUNDS: usize = 8;

thread_local! {
    static GATHER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };

    /// What is written in one go mostly is written whole: its bookkeeping need not be made anew.
    static SPARE: Cell<Segments> = Cell::default();
}

/// Where the frames of one websocket leave.
///
/// Frames are taken from the session and written under one lock, so that they leave in the order in
/// which they were queued, whoever writes them. Writing never waits: what the socket does not take
/// stays here, and the outlet is *stuck* until the client's own task finds that the socket takes
/// more.
#[derive(Debug)]
pub(super) struct Outlet {
    link: Link,
    open: Mutex<Option<Open>>,
    stuck: AtomicBool,
}

#[derive(Debug)]
struct Open {
    socket: OwnedWriteHalf,
    /// Handed out by the session, and not written. Most outlets are never stuck.
    rest: Option<Box<Segments>>,
}

/// Who writes.
enum Writer {
    /// The client's task, which looks again by itself.
    Task { pong: Option<Bytes> },
    /// Whoever has something for the client.
    Other,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing is left to write.
    All,
    /// As often as it was to; more may have been queued meanwhile, which is the task's.
    Enough,
    /// The socket takes nothing more for now.
    Stuck,
    /// The session is over: its last words are the task's.
    Over,
    /// The socket is.
    Broken,
}

impl Outlet {
    pub(super) fn new(link: Link, socket: OwnedWriteHalf) -> Self {
        Self {
            link,
            open: Mutex::new(Some(Open { socket, rest: None })),
            stuck: AtomicBool::new(false),
        }
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }

    /// Writes what waits for the client, for whoever is not the client's task and has found that the
    /// outlet is not stuck. The task is woken if it becomes that.
    pub(super) fn flush(&self, client: &Client) {
        if self.write(client, Writer::Other) == Flushed::Enough {
            client.wake();
        }
    }

    /// Writes what waits for the client, `pong` first. For the client's task, which looks again
    /// before it waits.
    pub(super) fn flush_own(&self, client: &Client, pong: Option<Bytes>) -> Flushed {
        self.write(client, Writer::Task { pong })
    }

    fn write(&self, client: &Client, writer: Writer) -> Flushed {
        let mut open = lock(&self.open);
        let (pong, rounds) = match writer {
            // Found out while the lock was waited for: the task has been told, and its client's time to
            // take something must not begin anew with what the socket took since.
            Writer::Other if self.is_stuck() => return Flushed::Stuck,
            Writer::Other => (None, ROUNDS),
            Writer::Task { pong } => (pong, 1),
        };
        let Some(Open { socket, rest }) = open.as_mut() else {
            return Flushed::Over;
        };
        let mut out = rest.take().map_or_else(|| SPARE.take(), |rest| *rest);
        if let Some(pong) = pong {
            out.push_frame(pong);
        }
        let mut rounds = 0..rounds;
        let flushed = loop {
            if !out.has_remaining() {
                if rounds.next().is_none() {
                    break Flushed::Enough;
                }
                let transmit = client
                    .with(|session| session.poll_transmit(self.link, TRANSMIT_BUDGET, &mut out));
                if let Transmit::Close(_) = transmit {
                    break Flushed::Over;
                }
                if !out.has_remaining() {
                    break Flushed::All;
                }
            }
            match write(socket, &mut out) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Flushed::Stuck,
                Ok(0) | Err(_) => break Flushed::Broken,
            }
        };
        if out.has_remaining() {
            *rest = Some(Box::new(out));
        } else {
            SPARE.set(out);
        }
        match flushed {
            Flushed::All | Flushed::Enough | Flushed::Over => {}
            Flushed::Stuck | Flushed::Broken => {
                self.stuck.store(true, Ordering::Release);
                drop(open);
                // A task that does not wait for the socket yet is told so; it looks at `stuck` once
                // its waker is with the session.
                client.stick(self.link);
            }
        }
        flushed
    }

    /// Ready once the socket takes more, or is broken. To be asked by the client's task alone: the
    /// socket knows one waker.
    pub(super) fn poll_unstuck(&self, cx: &mut Context<'_>) -> Poll<()> {
        let open = lock(&self.open);
        if let Some(Open { socket, .. }) = open.as_ref()
            && socket.as_ref().poll_write_ready(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.stuck.store(false, Ordering::Release);
        Poll::Ready(())
    }

    /// Ends it for everybody; what was left.
    pub(super) fn close(&self) -> Option<(OwnedWriteHalf, Segments)> {
        let open = lock(&self.open).take();
        open.map(|Open { socket, rest }| {
            (socket, rest.map_or_else(Segments::default, |rest| *rest))
        })
    }
}

fn write(socket: &OwnedWriteHalf, out: &mut Segments) -> io::Result<usize> {
    let written = if out.bytes() <= GATHERED {
        let mut gathered = GATHER.take();
        out.copy_to(&mut gathered);
        let written = send(socket.as_ref(), &gathered);
        gathered.clear();
        GATHER.set(gathered);
        written?
    } else {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = out.chunks_vectored(&mut slices);
        socket.try_write_vectored(&slices[..filled])?
    };
    out.advance(written);
    Ok(written)
}

/// As [`TcpStream::try_write`], which first asks whether the socket was seen to be ready: memory that
/// was seldom used of late, since it is the receiver's. So the system is asked, and the runtime only
/// told of it if the socket takes nothing.
#[cfg(target_os = "linux")]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    use rustix::net::{SendFlags, send};

    send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        .or_else(|_| socket.try_write(bytes))
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    socket.try_write(bytes)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::super::client::Arrival;
    use super::*;
    use crate::broker::Mailbox;
    use crate::clock;
    use crate::id::SessionId;
    use crate::limits::Limits;
    use crate::session::Session;
    use crate::signal::Signal;

    #[tokio::test]
    async fn a_stuck_outlet_is_its_tasks_even_once_the_socket_takes_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (_reader, writer) = listener.accept().await.unwrap().0.into_split();
        let (session, link) = Session::json(&Arc::new(Limits::default()), clock::now());
        let client = Client::new(SessionId::random().unwrap(), session, Arrival::default());
        let outlet = Outlet::new(link, writer);
        let signal = Signal::new("NEWS", None, &"x".repeat(9_000)).unwrap();
        let mut sent = 0;
        while !outlet.is_stuck() {
            client.deliver(&signal).unwrap();
            outlet.flush(&client);
            sent += 1;
        }

        // Frames of four bytes more than their text.
        let frame = signal.json().len() + 4;
        let rest = || {
            let open = lock(&outlet.open);
            open.as_ref().unwrap().rest.as_ref().unwrap().bytes()
        };
        let left = rest();
        far.read_exact(&mut vec![0; sent * frame - left])
            .await
            .unwrap();
        client.deliver(&signal).unwrap();
        outlet.flush(&client);
        assert!(outlet.is_stuck());
        assert_eq!(rest(), left, "nobody but the task writes");

        poll_fn(|cx| outlet.poll_unstuck(cx)).await;
        while outlet.flush_own(&client, None) == Flushed::Enough {}
        let mut last = vec![0; left + frame];
        far.read_exact(&mut last).await.unwrap();
        assert!(last.ends_with(&signal.json()));
        drop(outlet.close());
        assert_eq!(far.read(&mut last).await.unwrap(), 0, "nothing twice");
    }
}
