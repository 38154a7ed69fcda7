//! GET and POST of a long-polling session, as futures that know no framework.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::PeerData;
use super::batch::Batch;
use super::client::Client;
use super::dispatch::Waits;
use super::drive::{TURN_EVENTS, others_first};
use super::turn::Turn;
use crate::clock;
use crate::ending::CloseReason;
use crate::error::Refused;
use crate::limits::CROSSING_TIME;
use crate::session::{Charged, PollAnswer, PollRefused, Session, Ticket, Wire};
use crate::wire::engine::{Malformed, Packet, Revision};
use crate::wire::intent::Content;
use crate::wire::reply::{Refusal, Reply};
use crate::wire::{jsonp, payload};

/// How to dress an answer for the one who asked.
#[derive(Debug)]
pub(super) struct Dress {
    pub(super) origin: Option<String>,
    pub(super) jsonp: Option<String>,
    /// What to set of a cookie.
    pub(super) cookie: Option<String>,
}

impl Dress {
    pub(super) fn answer(&self, PollAnswer(payload): PollAnswer) -> Reply {
        let reply = match (&self.jsonp, std::str::from_utf8(&payload.body)) {
            (Some(index), Ok(text)) => Reply::new(
                200,
                "text/javascript; charset=UTF-8",
                jsonp::wrap(index, text),
            ),
            _ if payload.binary => Reply::new(200, "application/octet-stream", payload.body),
            _ => Reply::new(200, "text/plain; charset=UTF-8", payload.body),
        };
        self.dress(reply)
    }

    /// An answer within a session is one client's and one moment's.
    fn dress(&self, reply: Reply) -> Reply {
        let reply = match &self.cookie {
            Some(cookie) => reply.with("set-cookie", &**cookie),
            None => reply,
        };
        reply.uncached().allow_origin(self.origin.as_deref())
    }

    /// The application's no, for those who do not speak Engine.IO.
    pub(super) fn forbid(&self, refused: &Refused) -> Reply {
        let message = refused.message().to_owned();
        let reply = Reply::new(refused.status(), "text/plain; charset=utf-8", message);
        let reply = match refused.status() {
            // RFC 9110, 15.5.2: a 401 names a scheme.
            401 => reply.with("www-authenticate", "Bearer"),
            _ => reply,
        };
        reply.allow_origin(self.origin.as_deref())
    }

    pub(super) fn refuse(&self, refusal: impl Into<Refusal>) -> Reply {
        Reply::from(refusal.into()).allow_origin(self.origin.as_deref())
    }
}

impl From<PollRefused> for Refusal {
    fn from(refused: PollRefused) -> Self {
        match refused {
            PollRefused::Gone => Self::SessionUnknown,
            PollRefused::BadRequest => Self::BadRequest,
        }
    }
}

/// A GET that waits for something to say. Dropped before that, it ends the session: the client
/// has cut it, as the protocol has it.
#[derive(Debug)]
pub(crate) struct PollFuture {
    server: PeerData,
    peer: Arc<Client>,
    ticket: Ticket,
    dress: Dress,
}

impl PollFuture {
    pub(super) fn open(server: &PeerData, peer: Arc<Client>, dress: Dress) -> Result<Self, Reply> {
        let opened = peer.with(Session::open_poll);
        // A second poll has ended the session.
        server.settle(&peer);
        match opened {
            Ok(ticket) => Ok(Self {
                server: server.clone(),
                peer,
                ticket,
                dress,
            }),
            Err(refused) => Err(dress.refuse(refused)),
        }
    }
}

impl Future for PollFuture {
    type Output = Reply;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let base64 = self.dress.jsonp.is_some();
        let answer = self
            .peer
            .with(|session| session.poll_answer(self.ticket, base64, cx.waker()));
        answer.map(|answer| match answer {
            Ok(answer) => self.dress.answer(answer),
            Err(refused) => self.dress.refuse(refused),
        })
    }
}

impl Drop for PollFuture {
    fn drop(&mut self) {
        self.peer.with(|session| session.drop_poll(self.ticket));
        self.server.settle(&self.peer);
    }
}

/// A POST of packets.
#[derive(Debug)]
pub(crate) struct Post {
    server: PeerData,
    peer: Arc<Client>,
    revision: Revision,
    content: Content,
    length: Option<u64>,
    dress: Dress,
    /// Until then, giving up means that packets are lost, and the session with them.
    complete: bool,
}

impl Post {
    pub(super) fn new(
        server: &PeerData,
        peer: Arc<Client>,
        content: Content,
        length: Option<u64>,
        dress: Dress,
    ) -> Self {
        let revision = match peer.wire {
            Wire::Engine(revision) => revision,
            Wire::Json => Revision::V4,
        };
        Self {
            server: server.clone(),
            peer,
            revision,
            content,
            length,
            dress,
            complete: false,
        }
    }

    /// Reads the body with `next`, piece by piece, and acts on its packets. POSTs of one session
    /// are taken one after the other, in the order in which they came.
    pub(crate) async fn run<E>(
        mut self,
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>>,
    ) -> Reply {
        let must_connect = self.peer.with(|session| session.must_connect());
        let max = self
            .server
            .inner
            .settings
            .limits
            .max_message_of(must_connect);
        if self.length.is_some_and(|length| length > max as u64) {
            self.complete = true;
            return self.dress.refuse(Refusal::TooLarge);
        }
        let turn = Turn::take(Arc::clone(&self.peer)).await;
        let mut body = BytesMut::new();
        let mut packets = 0;
        let mut outcome = self.collect(&mut body, next, max).await;
        if outcome.is_ok() {
            outcome = self.act(&body, &mut packets).await;
        }
        let bytes = body.len();
        self.server.inner.metrics.received(bytes);
        self.peer.note_said(packets, bytes);
        // Its memory need not wait together with the client.
        drop(body);
        match self.charge(packets, bytes) {
            Charged::Free => {}
            Charged::Pause(pause) => self.rest(pause).await,
            Charged::Spent => outcome = Err(Refusal::RateLimited),
        }
        drop(turn);
        self.server.settle(&self.peer);
        self.complete = true;
        match outcome {
            Ok(()) => self.dress.dress(Reply::new(200, "text/html", "ok")),
            Err(refusal) => self.dress.refuse(refusal),
        }
    }

    /// Acts on the packets of a body, which wait for each other, and counts them. What is wrong with
    /// them ends the session; the request itself was taken all the same. Only if they are too many,
    /// none is looked at.
    async fn act(&self, body: &[u8], count: &mut usize) -> Result<(), Refusal> {
        let form;
        let (body, binary) = match self.content {
            Content::Text => (body, false),
            Content::Binary => (body, true),
            Content::Form => {
                let Ok(payload) = jsonp::unwrap_form(body) else {
                    self.peer.close(CloseReason::ProtocolError);
                    return Ok(());
                };
                form = payload;
                (form.as_bytes(), false)
            }
        };
        let max = self.server.inner.settings.limits.max_packets;
        if payload::has_more_than(max, self.revision, body, binary) {
            return Err(Refusal::TooManyPackets);
        }
        let packets = payload::decode(self.revision, body, binary);
        let mut packets = packets.inspect(|_| *count += 1);
        while let Some(mut waits) = self.act_on(&mut packets) {
            let gone = poll_fn(|cx| {
                let usable = self.peer.with(|session| {
                    session.wake_post(cx.waker());
                    session.check_post()
                });
                match usable {
                    // A websocket may have taken over: what came before it still counts.
                    Ok(()) | Err(PollRefused::BadRequest) => {
                        waits.as_mut().poll(cx).map(|()| false)
                    }
                    Err(PollRefused::Gone) => Poll::Ready(true),
                }
            });
            if gone.await {
                break;
            }
        }
        Ok(())
    }

    /// Acts on packets until there is something to wait for.
    fn act_on<'a>(
        &self,
        packets: &mut impl Iterator<Item = Result<Packet<'a>, Malformed>>,
    ) -> Option<Waits> {
        let now = clock::now();
        let _batch = Batch::open();
        let _in_session = self.peer.span.enter();
        let mut left = TURN_EVENTS;
        packets.find_map(|packet| {
            if matches!(packet, Ok(Packet::Close))
                && self.peer.with(|session| session.is_between_polls())
            {
                return Some(end_once_asked(Arc::clone(&self.peer)));
            }
            let event = self.peer.with(|session| session.handle_packet(packet, now));
            let waits = event.and_then(|event| self.server.handle(&self.peer, event));
            left -= 1;
            waits.or_else(|| (left == 0).then(others_first))
        })
    }

    async fn collect<E>(
        &self,
        body: &mut BytesMut,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>>,
        max: usize,
    ) -> Result<(), Refusal> {
        let patience = self.server.inner.settings.limits.body_timeout;
        // Made when there is something to wait for: most bodies come together with their head.
        let mut timer = pin!(None);
        loop {
            let piece = poll_fn(|cx| {
                let usable = self.peer.with(|session| {
                    session.wake_post(cx.waker());
                    session.check_post()
                });
                if let Err(refused) = usable {
                    return Poll::Ready(Err(Refusal::from(refused)));
                }
                if let Poll::Ready(piece) = next(cx) {
                    return Poll::Ready(Ok(piece));
                }
                if timer.is_none() {
                    timer.set(Some(tokio::time::sleep(patience)));
                }
                if let Some(timer) = timer.as_mut().as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                self.peer.close(CloseReason::BodyTimeout);
                Poll::Ready(Err(Refusal::BodyTimeout))
            });
            match piece.await? {
                None => return Ok(()),
                Some(Ok(piece)) if body.len().saturating_add(piece.len()) <= max => {
                    body.extend_from_slice(&piece);
                }
                Some(Ok(_)) => return Err(Refusal::TooLarge),
                Some(Err(_)) => {
                    self.peer.close(CloseReason::TransportLost);
                    return Err(Refusal::BadRequest);
                }
            }
        }
    }
    /// What the client has said, against its rates.
    fn charge(&self, events: usize, bytes: usize) -> Charged {
        if !self.server.inner.settings.limits.has_rates() {
            return Charged::Free;
        }
        let now = clock::now();
        self.peer.with(|session| session.charge(events, bytes, now))
    }

    /// Keeps the client, and all that it has sent meanwhile, waiting.
    async fn rest(&self, pause: Duration) {
        let mut timer = pin!(tokio::time::sleep(pause));
        poll_fn(|cx| {
            let over = self.peer.with(|session| {
                session.wake_post(cx.waker());
                // Nor is there anybody to keep waiting in an absence: who comes back needs the turn.
                matches!(session.check_post(), Err(PollRefused::Gone))
            });
            if over {
                return Poll::Ready(());
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }
}

/// Ends a session whose client has closed it, once the GET that may be on its way has come.
fn end_once_asked(peer: Arc<Client>) -> Waits {
    /// Whoever gives up waiting ends the session as well.
    struct End(Arc<Client>);

    impl Drop for End {
        fn drop(&mut self) {
            self.0.close(CloseReason::ClientClosed);
        }
    }

    let end = End(peer);
    Box::pin(async move {
        // Woken as whoever reads the POST is: by all that happens to the session.
        let asked = poll_fn(|_| {
            if end.0.with(|session| session.is_between_polls()) {
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(CROSSING_TIME, asked).await;
    })
}

impl Drop for Post {
    fn drop(&mut self) {
        if !self.complete {
            self.peer.close(CloseReason::TransportLost);
            self.server.settle(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::server::Task;
    use crate::server::simulation::ask;

    fn request(server: &PeerData, method: &str, rest: &str) -> Task {
        let query = format!("EIO=4&transport=polling{rest}");
        ask(server, method, "/socket.io/", &query, false)
    }

    /// A session, and what its requests have in their queries besides.
    fn open(server: &PeerData) -> String {
        let Task::Answer(opened) = request(server, "GET", "") else {
            panic!("no session");
        };
        let opened = String::from_utf8(opened.body.to_vec()).unwrap();
        format!("&sid={}", opened.split('"').nth(3).unwrap())
    }

    fn close(server: &PeerData, sid: &str) -> impl Future<Output = Reply> + use<> {
        let Task::Post(post) = request(server, "POST", sid) else {
            panic!("no POST");
        };
        let mut body = Some(Bytes::from_static(b"1"));
        post.run(move |_| Poll::Ready(body.take().map(Ok::<_, ()>)))
    }

    fn is_gone(server: &PeerData, sid: &str) -> bool {
        matches!(request(server, "GET", sid), Task::Answer(reply) if reply.status == 400)
    }

    fn text(reply: &Reply) -> &str {
        str::from_utf8(&reply.body).unwrap()
    }

    /// Both are sent at once, and it is for chance which of them is looked at first.
    #[tokio::test]
    async fn a_get_that_comes_just_after_the_close_is_told_of_it() {
        let server = PeerData::new();
        let sid = open(&server);
        let mut closing = pin!(close(&server, &sid));
        assert!(
            closing
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        let Task::Poll(get) = request(&server, "GET", &sid) else {
            panic!("no GET");
        };
        let (closed, told) = tokio::join!(closing, get);
        assert_eq!((closed.status, text(&closed)), (200, "ok"));
        assert_eq!((told.status, text(&told)), (200, "6"));
        assert!(is_gone(&server, &sid));
    }

    #[tokio::test]
    async fn no_get_is_waited_for_beyond_its_time() {
        let server = PeerData::new();
        let sid = open(&server);
        assert_eq!(text(&close(&server, &sid).await), "ok");
        assert!(is_gone(&server, &sid));
    }

    #[tokio::test]
    async fn a_post_that_is_cut_closes_all_the_same() {
        let server = PeerData::new();
        let sid = open(&server);
        let mut closing = Box::pin(close(&server, &sid));
        assert!(
            closing
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        drop(closing);
        assert!(is_gone(&server, &sid));
    }
}
