//! The response that is on its way.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::Response;
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::service::response;
use super::upgrade::start;
use crate::server::{Later, Opened, PollFuture, Post};
use crate::wire::reply::Reply;

pin_project! {
    /// Response future of [`PeerDataService`](super::PeerDataService).
    pub struct ResponseFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F> {
        Inner { #[pin] future: F },
        Answer { reply: Option<Reply> },
        Later { #[pin] later: Later, upgrade: Option<OnUpgrade> },
        Poll { #[pin] poll: PollFuture },
        Post { #[pin] post: PostFuture },
    }
}

type PostFuture = Pin<Box<dyn Future<Output = Reply> + Send>>;

impl<F> ResponseFuture<F> {
    fn new(kind: Kind<F>) -> Self {
        Self { kind }
    }

    pub(super) fn inner(future: F) -> Self {
        Self::new(Kind::Inner { future })
    }

    pub(super) fn answer(reply: Reply) -> Self {
        let reply = Some(reply);
        Self::new(Kind::Answer { reply })
    }

    /// `upgrade`: what the connection becomes if the answer is a websocket.
    pub(super) fn later(later: Later, upgrade: OnUpgrade) -> Self {
        let upgrade = Some(upgrade);
        Self::new(Kind::Later { later, upgrade })
    }

    pub(super) fn poll(poll: PollFuture) -> Self {
        Self::new(Kind::Poll { poll })
    }

    pub(super) fn post<B>(post: Post, body: B) -> Self
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Send,
    {
        let mut body = Box::pin(body);
        let next = move |cx: &mut Context<'_>| {
            loop {
                let Some(frame) = ready!(body.as_mut().poll_frame(cx)) else {
                    return Poll::Ready(None);
                };
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(mut data)) => {
                        let length = data.remaining();
                        return Poll::Ready(Some(Ok(data.copy_to_bytes(length))));
                    }
                    // Trailers say nothing to us.
                    Ok(Err(_)) => {}
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
        };
        let post = Box::pin(post.run(next));
        Self::new(Kind::Post { post })
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<ResponseBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = match self.project().kind.project() {
            KindProjection::Inner { future } => {
                return future
                    .poll(cx)
                    .map_ok(|response| response.map(ResponseBody::inner));
            }
            KindProjection::Answer { reply } => match reply.take() {
                Some(reply) => reply,
                // Polled again after it was ready: there is nothing more.
                None => return Poll::Pending,
            },
            KindProjection::Later { later, upgrade } => {
                match (ready!(later.poll(cx)), upgrade.take()) {
                    (Opened::Answer(reply), _) => reply,
                    (Opened::Socket(socket), Some(upgrade)) => start(upgrade, socket),
                    (Opened::Socket(_), None) => return Poll::Pending,
                }
            }
            KindProjection::Poll { poll } => ready!(poll.poll(cx)),
            KindProjection::Post { post } => ready!(post.poll(cx)),
        };
        Poll::Ready(Ok(response(reply)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
