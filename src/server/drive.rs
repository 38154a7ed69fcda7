//! What all stacks do with a websocket, one step at a time: they differ in how bytes are moved.

use std::cell::Cell;
use std::task::{Context, Poll};

use super::Connection;
use super::dispatch::Waits;
use crate::clock;
use crate::session::Look;

/// Bytes that are read of one client before others of its thread have their turn: as much as one read
/// brings at the most.
const TURN_BYTES: usize = 64 << 10;

/// Events of one client that are acted on before others of its thread have their turn. One may have to be
/// given to a full room, which takes half a millisecond; a read brings thousands, and a POST as many as
/// [`max_packets`](crate::Limits::max_packets).
pub(super) const TURN_EVENTS: usize = 256;

/// To be waited for by whoever has acted on so many events: others come first, and the runtime asks the
/// system for news.
pub(super) fn others_first() -> Waits {
    Box::pin(tokio::task::yield_now())
}

thread_local! {
    /// Read into by all connections of a thread: frames are unmasked where they lie, and an idle
    /// connection has no buffer.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the memory that all connections of this thread share.
pub(crate) fn with_scratch<T>(work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let done = work(&mut scratch);
    SCRATCH.set(scratch);
    done
}

/// What whoever drives a connection has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write what can be written: what was handed out, and else what the connection transmits.
    Write,
    /// The connection is over, by the protocol: hand out what it transmits until that is all, and
    /// end the socket.
    Over,
    /// The client is gone, or takes nothing any more: the socket can go.
    Lost,
}

impl Connection {
    /// Goes on until there is something to write or the connection has ended.
    ///
    /// `read` fills the buffer from its beginning, resizing it as it likes, and says how far; 0
    /// means that nothing will come any more. With a `backlog`, bytes that were handed out are still
    /// to be written; a `blocked` socket takes none, and wakes its task by itself once it does. `heard`
    /// are the bytes read since the task was woken: there is more to read in time, but others come first.
    pub(crate) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        backlog: bool,
        blocked: bool,
        heard: &mut usize,
        mut read: impl FnMut(&mut Context<'_>, &mut Vec<u8>) -> Poll<usize>,
    ) -> Poll<Step> {
        loop {
            let (carries, waiting, congested) = match self.look(cx.waker(), blocked) {
                Look::Open {
                    carries,
                    waiting,
                    congested,
                } => (carries, waiting, congested),
                Look::Over => {
                    // Whatever this connection was still waiting for, others must not wait for it.
                    let stalled = self.is_stalled();
                    self.lost();
                    return Poll::Ready(if stalled { Step::Lost } else { Step::Over });
                }
            };
            if !blocked && (backlog || waiting) {
                return Poll::Ready(Step::Write);
            }
            // Not while the client does not take its own mail.
            if self.is_readable() && !congested {
                if *heard >= TURN_BYTES {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let count = with_scratch(|scratch| {
                    let count = read(cx, scratch);
                    if let Poll::Ready(count) = count
                        && let Some(bytes @ [_, ..]) = scratch.get_mut(..count)
                    {
                        self.receive(bytes, clock::now());
                    }
                    count
                });
                match count {
                    Poll::Ready(count @ 1..) => *heard += count,
                    Poll::Ready(0) => {
                        self.lost();
                        return Poll::Ready(Step::Lost);
                    }
                    Poll::Pending => {
                        if carries || self.heard_out() {
                            return Poll::Pending;
                        }
                    }
                }
            } else if self.poll_waiting(cx, clock::now()).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use bytes::Bytes;

    use super::*;
    use crate::server::simulation::{ask, connect};
    use crate::server::{PeerData, Task, Verdict};
    use crate::wire::segments::Segments;

    const CHAT: &str = r#"{"type":"CHAT","room":{"id":"r"},"payload":0}"#;

    /// A server that counts what it acts on.
    fn counting() -> (PeerData, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let server = PeerData::builder().on_custom(move |_, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            Verdict::Drop
        });
        (server.build().unwrap(), count)
    }

    /// So many frames as clients send them.
    fn frames(count: usize) -> Vec<u8> {
        frame(CHAT).repeat(count)
    }

    /// With a mask that changes nothing.
    fn frame(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[0x81, 0x80 | length, 0, 0, 0, 0], text.as_bytes()].concat()
    }

    /// The id of a new session on long-polling.
    fn session(server: &PeerData) -> String {
        let query = "EIO=3&transport=polling";
        let Task::Answer(opened) = ask(server, "GET", "/socket.io/", query, false) else {
            panic!("no session");
        };
        let handshake = String::from_utf8(opened.body.to_vec()).unwrap();
        handshake.split('"').nth(3).unwrap().to_owned()
    }

    /// Whether somebody who waits has been woken.
    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Steps until the task would wait; whether it has been woken by then.
    fn run(connection: &mut Connection, mut read: impl FnMut(&mut Vec<u8>) -> Poll<usize>) -> bool {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let (mut heard, mut out) = (0, Segments::default());
        while let Poll::Ready(step) =
            connection.poll_step(&mut cx, false, false, &mut heard, |_, buffer| read(buffer))
        {
            assert_eq!(step, Step::Write);
            connection.transmit(&mut out);
        }
        woken.0.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_read_of_many_events_lets_others_come_in_between() {
        let (server, count) = counting();
        let mut connection = connect(&server);
        let mut bytes = Some(frames(2 * TURN_EVENTS + 1));
        let mut read = |buffer: &mut Vec<u8>| match bytes.take() {
            Some(bytes) => {
                *buffer = bytes;
                Poll::Ready(buffer.len())
            }
            None => Poll::Pending,
        };
        for acted_on in [TURN_EVENTS, 2 * TURN_EVENTS, 2 * TURN_EVENTS + 1] {
            run(&mut connection, &mut read);
            assert_eq!(count.load(Ordering::SeqCst), acted_on);
        }
    }

    #[tokio::test]
    async fn a_socket_that_never_runs_dry_lets_others_come_in_between() {
        let (server, count) = counting();
        let mut connection = connect(&server);
        let bytes = frames(TURN_EVENTS / 4);
        let mut reads = 0;
        for turn in 1..=3 {
            let is_woken = run(&mut connection, |buffer| {
                reads += 1;
                buffer.clone_from(&bytes);
                Poll::Ready(buffer.len())
            });
            assert!(
                is_woken,
                "there is more to read, of which nobody else would tell"
            );
            assert_eq!(reads, turn * TURN_BYTES.div_ceil(bytes.len()));
            assert_eq!(count.load(Ordering::SeqCst), reads * TURN_EVENTS / 4);
        }
    }

    #[tokio::test]
    async fn a_post_of_many_packets_lets_others_come_in_between() {
        let (server, count) = counting();
        let query = format!("EIO=3&transport=polling&sid={}", session(&server));
        let Task::Post(post) = ask(&server, "POST", "/socket.io/", &query, false) else {
            panic!("no POST");
        };
        let packet = format!(r#"42["message",{CHAT}]"#);
        let packets = format!("{}:{packet}", packet.len()).repeat(2 * TURN_EVENTS + 1);
        let mut body = Some(Bytes::from(packets));
        let mut post = pin!(post.run(|_| Poll::Ready(body.take().map(Ok::<_, ()>))));
        let mut cx = Context::from_waker(Waker::noop());
        for acted_on in [TURN_EVENTS, 2 * TURN_EVENTS] {
            assert!(post.as_mut().poll(&mut cx).is_pending());
            assert_eq!(count.load(Ordering::SeqCst), acted_on);
        }
        let reply = poll_fn(|cx| post.as_mut().poll(cx)).await;
        assert_eq!(reply.status, 200);
        assert_eq!(count.load(Ordering::SeqCst), 2 * TURN_EVENTS + 1);
    }

    /// What is sent before a GET may be heard of after it, by a thread that has not asked the system since.
    #[tokio::test]
    async fn a_get_beside_an_upgrade_waits_until_the_system_has_been_asked() {
        let server = PeerData::new();
        let sid = session(&server);
        let ask = |transport: &str| {
            let query = format!("EIO=3&transport={transport}&sid={sid}");
            ask(
                &server,
                "GET",
                "/socket.io/",
                &query,
                transport == "websocket",
            )
        };
        let Task::Socket(probe) = ask("websocket") else {
            panic!("no websocket");
        };
        let mut connection = probe.start().unwrap();
        let says = |connection: &mut Connection, text: &str| {
            let mut bytes = (!text.is_empty()).then(|| frame(text));
            run(connection, |buffer| match bytes.take() {
                Some(bytes) => {
                    *buffer = bytes;
                    Poll::Ready(buffer.len())
                }
                None => Poll::Pending,
            });
        };
        says(&mut connection, "2probe");
        let Task::Poll(get) = ask("polling") else {
            panic!("no GET");
        };
        let mut get = pin!(get);
        let mut cx = Context::from_waker(Waker::noop());
        says(&mut connection, "");
        assert!(get.as_mut().poll(&mut cx).is_pending());
        says(&mut connection, "5");
        assert_eq!(get.await.status, 400);
    }
}
