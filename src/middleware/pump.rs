//! Moves bytes between a socket and its connection: one task, no buffer while it is idle.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::clock;
use crate::server::{Connection, OpenSocket, Step, with_scratch};
use crate::wire::segments::{SLICES, Segments};

/// Read at a time.
const READ_BYTES: usize = 64 << 10;

/// Written at a time to a stream that takes no vectors. Such a stream is one of many on its
/// connection (HTTP/2) and copies what it is given, for as long as its client does not take it.
const PIECE_BYTES: usize = 16 << 10;

/// How long a client has to take its last frames and the close frame, and to hang up.
const LINGER: Duration = Duration::from_secs(5);

/// Serves a connection on a plain TCP stream until it is over: its own task reads, and whoever has
/// something for the client writes.
///
/// A future made by hand, since this is what is kept for a client that says nothing: an `async`
/// function would hold its arguments twice, and room for the goodbye from the beginning.
pub(super) struct TcpPump {
    state: State,
    _open: OpenSocket,
}

enum State {
    Open(OwnedReadHalf, Connection),
    Closing(Pin<Box<dyn Future<Output = ()> + Send>>),
    Over,
}

impl TcpPump {
    /// `early` came together with the upgrade request.
    pub(super) fn new(
        stream: TcpStream,
        mut early: Vec<u8>,
        mut connection: Connection,
        open: OpenSocket,
    ) -> Self {
        let (reader, writer) = stream.into_split();
        connection.write_to(writer);
        connection.receive(&mut early, clock::now());
        Self {
            state: State::Open(reader, connection),
            _open: open,
        }
    }
}

impl Future for TcpPump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let state = &mut self.get_mut().state;
        loop {
            let end = match state {
                State::Open(reader, connection) => ready!(turn_tcp(reader, connection, cx)),
                State::Closing(goodbye) => {
                    ready!(goodbye.as_mut().poll(cx));
                    End::Lost
                }
                State::Over => return Poll::Ready(()),
            };
            if let (State::Open(reader, mut connection), End::Said) =
                (std::mem::replace(state, State::Over), end)
                && let Some((writer, out)) = connection.take_socket()
                && let Ok(stream) = reader.reunite(writer)
            {
                // On plain TCP nobody else has last words, as TLS does: there is nothing to wait for.
                let may_speak = !connection.has_heard_the_last();
                *state = State::Closing(Box::pin(linger(stream, connection, out, may_speak)));
            }
        }
    }
}

/// Serves a connection on any other stream, which nobody but its own task can write to.
pub(super) async fn pump<S>(mut stream: S, mut connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut unsent = Unsent::default();
    if poll_fn(|cx| turn(&mut stream, &mut connection, &mut unsent, cx)).await == End::Said {
        // Boxed: few connections are closing at a time, and all others need not be as large.
        // TLS and HTTP/2 have last words of their own, in both directions.
        Box::pin(linger(stream, connection, unsent.out, true)).await;
    }
}

/// What has not left yet.
#[derive(Default)]
struct Unsent {
    out: Segments,
    /// The stream may keep some of what it was given: TLS takes what its socket does not.
    kept: bool,
}

/// `may_speak`: there may come something yet.
async fn linger<S>(stream: S, connection: Connection, out: Segments, may_speak: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let goodbye = say_goodbye(stream, connection, out, may_speak);
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// By the protocol: there are last words.
    Said,
    /// By the network.
    Lost,
}

fn turn_tcp(
    reader: &mut OwnedReadHalf,
    connection: &mut Connection,
    cx: &mut Context<'_>,
) -> Poll<End> {
    let mut heard = 0;
    loop {
        let read = |cx: &mut Context<'_>, buffer: &mut Vec<u8>| read(reader, cx, buffer);
        match connection.poll_step(cx, false, connection.is_stuck(), &mut heard, read) {
            Poll::Ready(Step::Write) => {}
            Poll::Ready(Step::Over) => return Poll::Ready(End::Said),
            Poll::Ready(Step::Lost) => return Poll::Ready(End::Lost),
            // Asked last: whoever finds the socket stuck from here on wakes this task.
            Poll::Pending if connection.is_stuck() => ready!(connection.poll_unstuck(cx)),
            Poll::Pending => return Poll::Pending,
        }
        if !connection.flush() {
            connection.lost();
            return Poll::Ready(End::Lost);
        }
    }
}

fn turn<S>(
    stream: &mut S,
    connection: &mut Connection,
    Unsent { out, kept }: &mut Unsent,
    cx: &mut Context<'_>,
) -> Poll<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut blocked, mut heard) = (false, 0);
    loop {
        if *kept && !blocked && !out.has_remaining() {
            match Pin::new(&mut *stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    *kept = false;
                    connection.progressed();
                }
                Poll::Ready(Err(_)) => {
                    connection.lost();
                    return Poll::Ready(End::Lost);
                }
                Poll::Pending => {
                    connection.blocked();
                    blocked = true;
                }
            }
        }
        let read = |cx: &mut Context<'_>, buffer: &mut Vec<u8>| read(stream, cx, buffer);
        let backlog = out.has_remaining();
        match ready!(connection.poll_step(cx, backlog, blocked, &mut heard, read)) {
            Step::Write => {
                if !out.has_remaining() {
                    connection.transmit(out);
                }
                match write(stream, out, cx) {
                    Poll::Ready(Ok(1..)) => {
                        *kept = true;
                        connection.progressed();
                    }
                    Poll::Ready(_) => {
                        connection.lost();
                        return Poll::Ready(End::Lost);
                    }
                    // The socket wakes this task by itself once it takes more.
                    Poll::Pending => {
                        connection.blocked();
                        blocked = true;
                    }
                }
                out.release();
            }
            Step::Over => return Poll::Ready(End::Said),
            Step::Lost => return Poll::Ready(End::Lost),
        }
    }
}

fn write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    out: &mut Segments,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = out.chunks_vectored(&mut slices);
    let stream = Pin::new(stream);
    let written = if stream.is_write_vectored() {
        stream.poll_write_vectored(cx, &slices[..filled])
    } else {
        with_scratch(|scratch| {
            scratch.resize(READ_BYTES, 0);
            let length = gather(&slices[..filled], &mut scratch[..PIECE_BYTES]);
            stream.poll_write(cx, &scratch[..length])
        })
    };
    if let Poll::Ready(Ok(count)) = &written {
        out.advance(*count);
    }
    written
}

/// Copies as much as there is room for; returns how much that was.
fn gather(slices: &[IoSlice<'_>], mut room: &mut [u8]) -> usize {
    let before = room.len();
    for slice in slices {
        // Writing to a slice of bytes takes what fits, and never fails.
        let _ = std::io::Write::write(&mut room, slice);
    }
    before - room.len()
}

/// Fills the buffer from its beginning; how far. 0: there will be nothing more.
fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    buffer: &mut Vec<u8>,
) -> Poll<usize> {
    buffer.resize(READ_BYTES, 0);
    let mut buffer = ReadBuf::new(buffer);
    let result = ready!(Pin::new(stream).poll_read(cx, &mut buffer));
    Poll::Ready(result.map_or(0, |()| buffer.filled().len()))
}

/// Writes what is left and the close frame, and waits for a client that may speak to hang up: a
/// connection that is dropped with unread bytes is reset, and its last words may be lost with it.
async fn say_goodbye<S>(
    mut stream: S,
    mut connection: Connection,
    mut out: Segments,
    may_speak: bool,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let more = connection.transmit(&mut out);
        if stream.write_all_buf(&mut out).await.is_err() {
            return;
        }
        if !more {
            break;
        }
    }
    drop(connection);
    if stream.shutdown().await.is_err() || !may_speak {
        return;
    }
    let mut ignored = vec![0; 4 << 10];
    while let Ok(1..) = stream.read(&mut ignored).await {}
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::DuplexStream;

    use super::*;
    use crate::id::PeerId;
    use crate::server::PeerData;
    use crate::server::simulation::connect;
    use crate::signal::Signal;

    /// Takes whatever it is given, and writes as much of it as it can when it is given something or
    /// flushed: as TLS does.
    struct Greedy {
        inner: DuplexStream,
        held: Vec<u8>,
    }

    impl Greedy {
        fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            while !self.held.is_empty() {
                let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held))?;
                self.held.drain(..written);
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncRead for Greedy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(cx, buffer)
        }
    }

    impl AsyncWrite for Greedy {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held.extend_from_slice(bytes);
            if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
                return Poll::Ready(Err(error));
            }
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_drain(cx)
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    #[tokio::test]
    async fn what_a_stream_has_taken_leaves_without_more_to_say() {
        let server = PeerData::new();
        let (mut client, inner) = tokio::io::duplex(1_000);
        let stream = Greedy {
            inner,
            held: Vec::new(),
        };
        let pumping = tokio::spawn(pump(stream, connect(&server)));
        let mut ready = vec![0; 2];
        client.read_exact(&mut ready).await.unwrap();
        let length = usize::from(ready[1]);
        let mut ready = vec![0; length];
        client.read_exact(&mut ready).await.unwrap();
        let ready: serde_json::Value = serde_json::from_slice(&ready).unwrap();
        let id: PeerId = ready["payload"]["id"].as_str().unwrap().parse().unwrap();

        let signal = Signal::new("NEWS", None, &"x".repeat(50_000)).unwrap();
        assert_eq!(server.to_peer(&id, &signal).delivered, 1);
        // A header of four bytes, and long before the next ping.
        let mut news = vec![0; signal.json().len() + 4];
        let read = client.read_exact(&mut news);
        let in_time = tokio::time::timeout(Duration::from_secs(15), read).await;
        in_time.expect("all of it").unwrap();
        assert!(news.ends_with(&signal.json()));
        drop(client);
        pumping.await.unwrap();
    }

    /// What a silent peer holds of the adapter, in one task. It has no room of its own for reading,
    /// for writing or for the goodbye: those are the thread's, or boxed when their time comes.
    #[test]
    fn what_is_it_made_of() {
        let parts = [
            ("reading half of the socket", size_of::<OwnedReadHalf>()),
            ("connection", size_of::<Connection>()),
            ("count of open sockets", size_of::<OpenSocket>()),
        ];
        let task = size_of::<TcpPump>();
        println!("task of a websocket on plain TCP: {task} bytes");
        for (part, size) in parts {
            println!("  {part}: {size}");
        }
        let sum: usize = parts.iter().map(|(_, size)| size).sum();
        assert!(task <= sum + size_of::<usize>(), "{task} and not {sum}");
    }
}
