//! What lies between a simulated client and the server: requests that are polled when they were
//! woken, sockets whose bytes come in pieces, or not.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};

use crate::server::{Connection, PeerData, Step, Task};
use crate::sync::lock;
use crate::wire::intent::{Head, Mount, Upgrade};
use crate::wire::reply::Reply;
use crate::wire::segments::Segments;

/// Whether somebody who waits has been woken. Nobody is looked at who was not.
#[derive(Debug)]
pub(super) struct Flag(AtomicBool);

impl Flag {
    pub(super) fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }

    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.raise();
    }
}

/// What the server makes of a request.
pub(in crate::server) fn ask(
    server: &PeerData,
    method: &str,
    path: &str,
    query: &str,
    socket: bool,
) -> Task {
    let headers: &[(&str, &str)] = if socket { &UPGRADE } else { &[] };
    task(server, method, path, query, headers)
}

/// What it makes of one for a websocket that offers subprotocols.
pub(super) fn ask_with(server: &PeerData, path: &str, protocols: &str) -> Task {
    let offer = [("sec-websocket-protocol", protocols)];
    task(server, "GET", path, "", &[&UPGRADE[..], &offer].concat())
}

/// A websocket that speaks plain JSON.
pub(crate) fn connect(server: &PeerData) -> Connection {
    let Task::Socket(socket) = ask(server, "GET", "/peer-data", "", true) else {
        panic!("no websocket");
    };
    socket.start().expect("its session was made for it")
}

const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
];

fn task(
    server: &PeerData,
    method: &str,
    path: &str,
    query: &str,
    headers: &[(&str, &str)],
) -> Task {
    let head = Head {
        method,
        path,
        query,
        authority: None,
        address: None,
        upgrade: Upgrade::Header,
        lines: &|name, show| {
            let found = headers.iter().filter(|(other, _)| *other == name);
            found.for_each(|(_, value)| show(value.as_bytes()));
        },
        each_header: &|show| headers.iter().for_each(|(name, value)| show(name, value)),
    };
    server.task(Mount::Paths, &head)
}

/// A request that waits for its answer. Dropped, its client has cut it.
pub(super) struct Request {
    future: Pin<Box<dyn Future<Output = Reply>>>,
    flag: Arc<Flag>,
}

impl Request {
    pub(super) fn new(future: impl Future<Output = Reply> + 'static) -> Self {
        Self {
            future: Box::pin(future),
            flag: Flag::raised(),
        }
    }

    /// The answer, if it is there; asks only if somebody said that it may be.
    pub(super) fn answer(&mut self) -> Option<Reply> {
        if !self.flag.take() {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        match self.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reply) => Some(reply),
            Poll::Pending => None,
        }
    }
}

/// The body of a POST, whose pieces come one by one.
#[derive(Clone)]
pub(super) struct Body(Arc<Mutex<Pieces>>);

struct Pieces {
    coming: VecDeque<Vec<u8>>,
    arrived: usize,
    waker: Option<Waker>,
}

impl Body {
    pub(super) fn new(coming: Vec<Vec<u8>>) -> Self {
        Self(Arc::new(Mutex::new(Pieces {
            coming: coming.into(),
            arrived: 0,
            waker: None,
        })))
    }

    /// So many pieces more are there.
    pub(super) fn arrive(&self, count: usize) {
        let waker = {
            let mut pieces = lock(&self.0);
            pieces.arrived += count;
            pieces.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, ()>>> {
        let mut pieces = lock(&self.0);
        if pieces.coming.is_empty() {
            return Poll::Ready(None);
        }
        if pieces.arrived == 0 {
            pieces.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        pieces.arrived -= 1;
        Poll::Ready(pieces.coming.pop_front().map(|piece| Ok(piece.into())))
    }
}

/// One websocket, both ways.
pub(in crate::server) struct Socket {
    /// None once the server has let go of it.
    connection: Option<Connection>,
    flag: Arc<Flag>,
    out: Segments,
    /// On the way to the server.
    up: VecDeque<Vec<u8>>,
    /// On the way to the client.
    down: Vec<u8>,
    /// The client takes nothing for a while.
    pub(super) stalled: bool,
    blocked: bool,
    hung_up: bool,
}

impl Socket {
    pub(in crate::server) fn new(task: Task) -> Option<Self> {
        let Task::Socket(socket) = task else {
            return None;
        };
        Some(Self {
            connection: Some(socket.start()?),
            flag: Flag::raised(),
            out: Segments::default(),
            up: VecDeque::new(),
            down: Vec::new(),
            stalled: false,
            blocked: false,
            hung_up: false,
        })
    }

    pub(in crate::server) fn send(&mut self, pieces: Vec<Vec<u8>>) {
        self.up.extend(pieces);
        self.flag.raise();
    }

    /// The client is gone; what it has sent may still be on its way.
    pub(in crate::server) fn hang_up(&mut self) {
        self.hung_up = true;
        self.flag.raise();
    }

    pub(super) fn resume(&mut self) {
        self.stalled = false;
        self.blocked = false;
        self.flag.raise();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.connection.is_none()
    }

    /// What the server's task would do, if it was woken; at most so many reads. Returns whether it
    /// was.
    pub(in crate::server) fn turn(&mut self, mut reads: usize) -> bool {
        if !self.flag.take() {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        let mut cx = Context::from_waker(&waker);
        let mut heard = 0;
        while let Some(connection) = &mut self.connection {
            let (up, hung_up) = (&mut self.up, self.hung_up);
            let read = |_: &mut Context<'_>, buffer: &mut Vec<u8>| {
                if reads == 0 {
                    return Poll::Pending;
                }
                match up.pop_front() {
                    Some(piece) => {
                        reads -= 1;
                        if buffer.len() < piece.len() {
                            buffer.resize(piece.len(), 0);
                        }
                        buffer[..piece.len()].copy_from_slice(&piece);
                        Poll::Ready(piece.len())
                    }
                    None if hung_up => Poll::Ready(0),
                    None => Poll::Pending,
                }
            };
            let backlog = self.out.has_remaining();
            match connection.poll_step(&mut cx, backlog, self.blocked, &mut heard, read) {
                Poll::Pending => break,
                Poll::Ready(Step::Write) if self.stalled => self.blocked = true,
                Poll::Ready(Step::Write) => {
                    if !self.out.has_remaining() {
                        connection.transmit(&mut self.out);
                    }
                    self.write();
                }
                Poll::Ready(Step::Over) => {
                    while connection.transmit(&mut self.out) {}
                    self.connection = None;
                    self.write();
                }
                Poll::Ready(Step::Lost) => self.connection = None,
            }
        }
        if !self.up.is_empty() {
            // There is more to read.
            self.flag.raise();
        }
        true
    }

    fn write(&mut self) {
        while self.out.has_remaining() {
            let chunk = self.out.chunk();
            self.down.extend_from_slice(chunk);
            let length = chunk.len();
            self.out.advance(length);
        }
    }

    /// The next frame that has arrived at the client: its first byte and its payload.
    pub(in crate::server) fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, short, ..] = self.down[..] else {
            return None;
        };
        let (head, length) = match short {
            126 => (
                4,
                usize::from(u16::from_be_bytes(self.down.get(2..4)?.try_into().ok()?)),
            ),
            127 => panic!("nobody says so much here"),
            short => (2, usize::from(short)),
        };
        if self.down.len() < head + length {
            return None;
        }
        let payload = self.down[head..head + length].to_vec();
        self.down.drain(..head + length);
        Some((first, payload))
    }
}

/// The bit of a frame's second byte that says that a mask follows (RFC 6455, section 5.2).
const MASKED: u8 = 0b1000_0000;

/// The length that says that two bytes of length follow.
const EXTENDED: u8 = 126;

/// A frame of a client.
pub(in crate::server) fn frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length) if length < 126 => bytes.push(MASKED | length),
        _ => {
            bytes.push(MASKED | EXTENDED);
            bytes.extend(u16::try_from(payload.len()).unwrap().to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}
