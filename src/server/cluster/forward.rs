//! Long-polling without sticky sessions: a request for a session of another node is asked of that
//! node, and answered as if the session were here.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::bodies::Body;
use super::requests::Answer;
use super::{Cluster, PeerData};
use crate::clock;
use crate::cluster::{Malformed, Parcel, Reader, Target, Writer};
use crate::ending::CloseReason;
use crate::id::{NodeId, SessionId};
use crate::limits::{CLUSTER_REQUEST_BYTES, CLUSTER_REQUESTS};
use crate::server::opening::{Later, Opened};
use crate::server::{Task, polling};
use crate::session::Session;
use crate::sync::lock;
use crate::wire::intent::{Head, Upgrade, polled_session};
use crate::wire::reply::{Refusal, Reply};

/// With a POST's head alone: whether its body would be taken (RFC 9110, 10.1.1).
const EXPECT: (&str, &str) = ("expect", "100-continue");

/// It would.
const CONTINUE: u16 = 100;

/// What a question can have for headers.
const HEARD: [&str; 4] = [ASKED[0], ASKED[1], ASKED[2], EXPECT.0];

/// The headers that an answer within a session depends on.
const ASKED: [&str; 3] = ["origin", "content-type", "content-length"];

/// The headers that an answer within a session can have.
const ANSWERED: [&str; 8] = [
    "content-type",
    "set-cookie",
    "cache-control",
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "vary",
    "retry-after",
    "content-length",
];

/// What is asked of another node.
struct Question {
    method: String,
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Question {
    fn of(head: &Head<'_>) -> Self {
        let headers = ASKED.iter();
        let headers = headers.filter_map(|name| Some((*name, head.header(name)?.to_owned())));
        Self {
            method: head.method.to_owned(),
            query: head.query.to_owned(),
            headers: headers.collect(),
            body: Bytes::new(),
        }
    }

    /// The same, before its body.
    fn expecting(&self) -> Self {
        let mut headers = self.headers.clone();
        headers.push((EXPECT.0, EXPECT.1.to_owned()));
        Self {
            method: self.method.clone(),
            query: self.query.clone(),
            headers,
            body: Bytes::new(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(other, _)| *other == name);
        found.map(|(_, value)| &**value)
    }

    fn write(&self) -> Bytes {
        let mut out = Writer::default();
        out.bytes(self.method.as_bytes());
        out.bytes(self.query.as_bytes());
        write_headers(&self.headers, &mut out);
        out.bytes(&self.body);
        out.0.into()
    }

    fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        Ok(Self {
            method: from.text()?,
            query: from.text()?,
            headers: read_headers(&HEARD, &mut from)?,
            body: from.bytes()?,
        })
    }
}

fn write_reply(reply: &Reply) -> Bytes {
    let mut out = Writer::default();
    out.number(reply.status.into());
    write_headers(&reply.headers, &mut out);
    out.bytes(&reply.body);
    out.0.into()
}

fn read_reply(bytes: Bytes) -> Result<Reply, Malformed> {
    let mut from = Reader::new(bytes);
    Ok(Reply {
        status: u16::try_from(from.number()?).map_err(|_| Malformed)?,
        headers: read_headers(&ANSWERED, &mut from)?,
        body: from.bytes()?,
    })
}

fn write_headers(headers: &[(&'static str, String)], out: &mut Writer) {
    out.length(headers.len());
    for (name, value) in headers {
        out.bytes(name.as_bytes());
        out.bytes(value.as_bytes());
    }
}

/// Those that are known; a later version may have others.
fn read_headers(
    known: &[&'static str],
    from: &mut Reader,
) -> Result<Vec<(&'static str, String)>, Malformed> {
    let count = from.count(2)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let (name, value) = (from.text()?, from.text()?);
        if let Some(name) = known.iter().find(|known| **known == name) {
            headers.push((*name, value));
        }
    }
    Ok(headers)
}

impl PeerData {
    /// What there is to do for a request within a session of another node; none if it is not one.
    pub(in crate::server) fn forwarded(&self, head: &Head<'_>) -> Option<Task> {
        let cluster = self.cluster()?;
        let sid = polled_session(head.query)?;
        let node = sid.node();
        if node == cluster.node || !cluster.knows(node) {
            return None;
        }
        let asking = Asking {
            server: self.clone(),
            sid,
            question: Question::of(head),
        };
        match head.method {
            "GET" => Some(Task::Later(Later::new(async move {
                Opened::Answer(asking.answer(Asks::Whoever).await)
            }))),
            "POST" => Some(Task::Post(Post::Elsewhere(asking))),
            _ => None,
        }
    }
}

/// A POST of packets, to a session here or at another node.
#[derive(Debug)]
pub(crate) enum Post {
    Here(polling::Post),
    Elsewhere(Asking),
}

impl Post {
    /// Reads the body with `next`, piece by piece, and has its packets acted on.
    pub(crate) async fn run<E>(
        self,
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>>,
    ) -> Reply {
        match self {
            Self::Here(post) => post.run(next).await,
            Self::Elsewhere(asking) => asking.post(next).await,
        }
    }
}

/// For whom a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// A session whose node has said that it knows it.
    Owner,
    /// Anybody's that names a node.
    Whoever,
}

/// A request that is to be asked of another node.
pub(crate) struct Asking {
    server: PeerData,
    sid: SessionId,
    question: Question,
}

impl Asking {
    async fn post<E>(
        mut self,
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>>,
    ) -> Reply {
        let body = self.collect(next);
        let patience = self.server.inner.settings.limits.body_timeout;
        let asks;
        (self.question.body, asks) = match tokio::time::timeout(patience, body).await {
            Ok(Ok(collected)) => collected,
            Ok(Err(reply)) => return reply,
            Err(_) => return self.refuse(Refusal::BodyTimeout),
        };
        self.answer(asks).await
    }

    /// All of the body, and whether its session is known. The session's node is asked about it first, if
    /// it is long.
    async fn collect<E>(
        &self,
        mut next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, E>>>,
    ) -> Result<(Bytes, Asks), Reply> {
        let max = self.server.inner.settings.limits.max_message;
        let length = self.question.header("content-length");
        if length.is_some_and(|length| length.parse().is_ok_and(|length: u64| length > max as u64))
        {
            return Err(self.refuse(Refusal::TooLarge));
        }
        let cluster = self.server.cluster();
        let cluster = cluster.ok_or_else(|| self.refuse(Refusal::SessionUnknown))?;
        let mut body = Body::new(&cluster.bodies, self.sid);
        loop {
            let piece = match poll_fn(&mut next).await {
                None if body.is_known() => return Ok((body.take(), Asks::Owner)),
                None => return Ok((body.take(), Asks::Whoever)),
                Some(Ok(piece)) if body.len().saturating_add(piece.len()) <= max => piece,
                Some(Ok(_)) => return Err(self.refuse(Refusal::TooLarge)),
                Some(Err(_)) => return Err(self.refuse(Refusal::BadRequest)),
            };
            while !body.push(&piece) {
                if body.is_known() {
                    return Err(self.refuse(Refusal::Unavailable));
                }
                let reply = self
                    .ask(self.question.expecting().write(), Asks::Whoever)
                    .await;
                if reply.status != CONTINUE {
                    return Err(reply);
                }
                if !body.note_known() {
                    return Err(self.refuse(Refusal::Unavailable));
                }
            }
        }
    }

    async fn answer(mut self, asks: Asks) -> Reply {
        let question = self.question.write();
        // Its memory need not wait together with the client.
        self.question.body = Bytes::new();
        self.ask(question, asks).await
    }

    /// Asks, and waits for the answer. Dropped before, it tells the other node that its client has
    /// cut the request.
    async fn ask(&self, question: Bytes, asks: Asks) -> Reply {
        let Some(cluster) = self.server.cluster() else {
            return self.refuse(Refusal::SessionUnknown);
        };
        let counted = match asks {
            Asks::Owner => 0,
            Asks::Whoever => question.len(),
        };
        let Some(_room) = cluster.questions.reserve(counted) else {
            return self.refuse(Refusal::Unavailable);
        };
        let limits = &self.server.inner.settings.limits;
        // The longest that a session can be silent, and some more.
        let patience = limits.ping_interval + limits.ping_timeout + Duration::from_secs(15);
        let (node, number) = (self.sid.node(), cluster.number());
        let until = clock::now() + patience;
        let expected = lock(&cluster.requests).expect(number, node, until);
        let Some(answered) = expected else {
            return self.refuse(Refusal::Unavailable);
        };
        let mut open = Open {
            cluster,
            node,
            number,
            asked: false,
        };
        let parcel = Parcel::Request {
            request: number,
            body: question,
        };
        let published = cluster.publish(Target::Node(node), &parcel);
        drop(parcel);
        if published.is_err() {
            return self.refuse(Refusal::Unavailable);
        }
        open.asked = true;
        let reply = match answered.await {
            Ok(Answer::Reply(bytes)) => read_reply(bytes).ok(),
            Ok(Answer::Outcome(_)) | Err(_) => None,
        };
        if let Some(reply) = reply {
            open.asked = false;
            return reply;
        }
        self.refuse(Refusal::SessionUnknown)
    }

    fn refuse(&self, refusal: Refusal) -> Reply {
        Reply::from(refusal).allow_origin(self.question.header("origin"))
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking")
            .field("node", &self.sid.node())
            .finish_non_exhaustive()
    }
}

/// A request whose answer is waited for.
struct Open<'a> {
    cluster: &'a Cluster,
    node: NodeId,
    number: u64,
    asked: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.cluster.requests).forget(self.number);
        if self.asked {
            let request = self.number;
            // If the bus is away, the session has ended with that, or ends once the bus is back.
            let _ = self
                .cluster
                .publish(Target::Node(self.node), &Parcel::Cut { request });
        }
    }
}

/// Requests of other nodes that are dealt with here.
#[derive(Debug, Default)]
pub(super) struct Serving {
    tasks: HashMap<(NodeId, u64), Served>,
    bytes: usize,
}

#[derive(Debug)]
struct Served {
    /// Of the session, if it was understood.
    sid: Option<SessionId>,
    task: AbortHandle,
    bytes: usize,
}

impl Serving {
    fn has_room(&self, bytes: usize) -> bool {
        self.tasks.len() < CLUSTER_REQUESTS && self.bytes + bytes <= CLUSTER_REQUEST_BYTES
    }

    fn begin(&mut self, from: NodeId, number: u64, served: Served) {
        self.bytes += served.bytes;
        let before = self.tasks.insert((from, number), served);
        self.bytes -= before.map_or(0, |served| served.bytes);
    }

    fn end(&mut self, from: NodeId, number: u64) {
        let ended = self.tasks.remove(&(from, number));
        self.bytes -= ended.map_or(0, |served| served.bytes);
    }

    /// The client has cut its request.
    pub(super) fn cut(&mut self, from: NodeId, number: u64) {
        if let Some(served) = self.tasks.remove(&(from, number)) {
            self.bytes -= served.bytes;
            served.task.abort();
        }
    }

    /// Its clients have nobody to be answered by.
    pub(super) fn node_gone(&mut self, node: NodeId) {
        let requests = self.tasks.keys().copied();
        let its_own = requests.filter(|(from, _)| *from == node);
        for (from, number) in its_own.collect::<Vec<_>>() {
            self.cut(from, number);
        }
    }

    /// The sessions whose requests come by way of a node.
    fn of(&self, node: NodeId) -> Vec<SessionId> {
        let served = self.tasks.iter();
        let served = served.filter(|((from, _), _)| *from == node);
        served.filter_map(|(_, served)| served.sid).collect()
    }

    /// Nobody can be answered.
    pub(super) fn give_up(&mut self) {
        self.bytes = 0;
        for (_, served) in self.tasks.drain() {
            served.task.abort();
        }
    }
}

impl PeerData {
    /// Deals with a request of a client of ours that has come to another node.
    pub(super) fn serve(&self, from: NodeId, number: u64, body: Bytes) {
        let Some(cluster) = self.cluster() else {
            return;
        };
        let (Ok(question), Ok(runtime)) = (Question::read(body), Handle::try_current()) else {
            return self.reply(cluster, (from, number), None, &Refusal::BadRequest.into());
        };
        let sid = polled_session(&question.query);
        let bytes = question.body.len();
        let mut serving = lock(&cluster.serving);
        if !serving.has_room(bytes) {
            drop(serving);
            return self.reply(cluster, (from, number), sid, &Refusal::Unavailable.into());
        }
        let server = self.clone();
        let task = runtime.spawn(async move {
            let answer = server.answer_here(question).await;
            if let Some(cluster) = server.cluster() {
                lock(&cluster.serving).end(from, number);
                server.reply(cluster, (from, number), sid, &answer);
            }
        });
        // Entered before the task can end: it needs the lock for that.
        let task = task.abort_handle();
        serving.begin(from, number, Served { sid, task, bytes });
    }

    async fn answer_here(&self, question: Question) -> Reply {
        let headers = &question.headers;
        let task = {
            let head = Head {
                method: &question.method,
                path: "",
                query: &question.query,
                authority: None,
                address: None,
                upgrade: Upgrade::Never,
                lines: &|name, show| {
                    let values = headers.iter().filter(|(other, _)| *other == name);
                    values.for_each(|(_, value)| show(value.as_bytes()));
                },
                each_header: &|show| {
                    let lines = headers.iter();
                    lines.for_each(|(name, value)| show(name, value));
                },
            };
            if question.header(EXPECT.0).is_some() {
                let refused = self.refuses_post(&head);
                return refused.unwrap_or_else(|| Reply::new(CONTINUE, "text/plain", ""));
            }
            self.task_within(&head)
        };
        match task {
            Task::Poll(poll) => poll.await,
            Task::Post(Post::Here(post)) => {
                let mut body = Some(question.body).filter(|body| !body.is_empty());
                let next = |_: &mut Context<'_>| Poll::Ready(body.take().map(Ok::<_, ()>));
                post.run(next).await
            }
            Task::Answer(reply) => reply,
            // Nothing else comes of a request within a session that polls.
            _ => Refusal::BadRequest.into(),
        }
    }

    /// A node is about to leave: polls that wait there are answered, so that their clients send the
    /// next ones elsewhere.
    pub(super) fn let_polls_go(&self, cluster: &Cluster, node: NodeId) {
        let sids = lock(&cluster.serving).of(node);
        for client in sids.iter().filter_map(|sid| self.session(sid)) {
            client.with(Session::let_poll_go);
        }
    }

    /// Answers a request of another node. If the bus does not take it, what it says is lost, and what
    /// its client says next would be too: the session has no connection any more, and ends with it.
    fn reply(
        &self,
        cluster: &Cluster,
        (to, request): (NodeId, u64),
        sid: Option<SessionId>,
        answer: &Reply,
    ) {
        let parcel = Parcel::Reply {
            request,
            body: write_reply(answer),
        };
        if cluster.publish(Target::Node(to), &parcel).is_err()
            && let Some(client) = sid.and_then(|sid| self.session(&sid))
        {
            self.close(&client, CloseReason::TransportLost);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_come_back_as_they_were() {
        let question = Question {
            method: "POST".to_owned(),
            query: "EIO=4&transport=polling&sid=x".to_owned(),
            headers: vec![("origin", "https://example.com".to_owned())],
            body: Bytes::from_static(b"40"),
        };
        let read = Question::read(question.write()).unwrap();
        assert_eq!(
            (read.method, read.query, read.headers, read.body),
            (
                question.method,
                question.query,
                question.headers,
                question.body
            )
        );
        let reply = Reply::new(200, "text/plain", "1")
            .allow_origin(Some("https://example.com"))
            .uncached();
        assert_eq!(read_reply(write_reply(&reply)), Ok(reply));
    }

    #[test]
    fn headers_that_nobody_knows_are_passed_over() {
        let mut out = Writer::default();
        write_headers(
            &[("x-later", "1".to_owned()), ("vary", "2".to_owned())],
            &mut out,
        );
        let mut from = Reader::new(out.0.into());
        let headers = read_headers(&ANSWERED, &mut from);
        assert_eq!(headers, Ok(vec![("vary", "2".to_owned())]));
    }
}
