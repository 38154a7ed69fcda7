//! One request that was routed here, and its answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::uri::Authority;
use actix_web::http::{ConnectionType, StatusCode, Version};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_core::Stream;

use super::socket::SocketBody;
use crate::server::{Opened, PeerData, Task};
use crate::wire::intent::{Head, Mount, Upgrade};
use crate::wire::reply::{Refusal, Reply};

/// Does what a request wants. Dropped before that, it means that the client has cut it.
pub(super) async fn answer(task: Task, mut payload: Payload) -> HttpResponse {
    let task = match task {
        Task::Later(later) => match later.await {
            Opened::Answer(reply) => Task::Answer(reply),
            Opened::Socket(socket) => Task::Socket(socket),
        },
        task => task,
    };
    let reply = match task {
        // Said of paths only, and these were matched by the router.
        Task::Elsewhere | Task::Later(_) => Refusal::BadRequest.into(),
        Task::Answer(reply) => reply,
        Task::Poll(poll) => poll.await,
        Task::Post(post) => post.run(|cx| Pin::new(&mut payload).poll_next(cx)).await,
        Task::Socket(socket) => {
            let reply = socket.handshake.reply();
            return response(reply, |_| BoxBody::new(SocketBody::new(socket, payload)));
        }
    };
    let unsent = Unsent::announced_by(&reply);
    response(reply, |body| {
        unsent.map_or_else(|| BoxBody::new(body), BoxBody::new)
    })
}

/// The body that a HEAD is not sent. actix says the length of the body that it is given, whatever
/// the headers say.
struct Unsent(u64);

impl Unsent {
    fn announced_by(reply: &Reply) -> Option<Self> {
        let mut headers = reply.headers.iter();
        let (_, length) = headers.find(|(name, _)| *name == "content-length")?;
        length.parse().ok().map(Self)
    }
}

impl MessageBody for Unsent {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

pub(super) fn read(server: &PeerData, mount: Mount, request: &HttpRequest) -> Task {
    let uri = request.uri();
    let head = Head {
        method: request.method().as_str(),
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        authority: uri.authority().map(Authority::as_str),
        address: request.peer_addr().map(|address| address.ip()),
        upgrade: offered(request),
        lines: &|name, show| {
            let lines = request.headers().get_all(name);
            lines.map(HeaderValue::as_bytes).for_each(show);
        },
        each_header: &|show| {
            for (name, value) in request.headers() {
                if let Ok(value) = value.to_str() {
                    show(name.as_str(), value);
                }
            }
        },
    };
    server.task(mount, &head)
}

/// How this request could become a websocket. actix hands over what follows it as it is only where a
/// header says `websocket` and nothing else, and no body is announced: else the frames of a websocket
/// would be taken for that body, or leave as chunks of one.
fn offered(request: &HttpRequest) -> Upgrade {
    let headers = request.headers();
    let mut protocols = headers.get_all(header::UPGRADE);
    let alone = protocols.any(|name| {
        let name = name.as_bytes().trim_ascii();
        name.eq_ignore_ascii_case(b"websocket")
    });
    let length = headers.get(header::CONTENT_LENGTH);
    let body = headers.contains_key(header::TRANSFER_ENCODING)
        || length.is_some_and(|length| length.as_bytes().trim_ascii() != b"0");
    match request.version() {
        Version::HTTP_11 if alone && !body => Upgrade::Header,
        _ => Upgrade::Never,
    }
}

/// An answer that is there as a whole.
#[cfg(feature = "inspector")]
pub(super) fn whole(reply: Reply) -> HttpResponse {
    response(reply, BoxBody::new)
}

fn response(reply: Reply, body: impl FnOnce(Bytes) -> BoxBody) -> HttpResponse {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::with_body(status, body(reply.body));
    if status == StatusCode::SWITCHING_PROTOCOLS {
        // Else actix takes the payload for the rest of a request that nobody has read.
        let head = response.head_mut();
        head.set_connection_type(ConnectionType::Upgrade);
    }
    for (name, value) in reply.headers {
        // Whatever of a client's is repeated was a header's value before.
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .append(HeaderName::from_static(name), value);
        }
    }
    response
}
