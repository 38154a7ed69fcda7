//! From a request to a websocket: whether it can be one, the answer, and the connection behind it.

use http::{Request, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use super::pump::{TcpPump, pump};
use super::service::unavailable;
use crate::server::{Connection, OpenSocket, SocketTask};
use crate::wire::intent::Upgrade;
use crate::wire::reply::Reply;

/// How this request could become a websocket.
pub(super) fn offered<B>(request: &Request<B>) -> Upgrade {
    match request.version() {
        Version::HTTP_11 => Upgrade::Header,
        Version::HTTP_2 if is_extended_connect(request) => Upgrade::Connect,
        _ => Upgrade::Never,
    }
}

/// Whether it is a CONNECT for a websocket (RFC 8441, 4).
fn is_extended_connect<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<hyper::ext::Protocol>();
    request.method() == http::Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

/// Answers 101, or 200 to a CONNECT, and spawns the task that pumps the connection once it is upgraded.
pub(super) fn start(upgrade: OnUpgrade, socket: SocketTask) -> Reply {
    let Ok(runtime) = Handle::try_current() else {
        return unavailable();
    };
    let reply = socket.handshake.reply();
    let open = socket.hold_open();
    runtime.spawn(async move {
        // An error means that the client is gone, or that the stack offers no upgrades.
        if let Ok(upgraded) = upgrade.await
            && let Some(connection) = socket.start()
        {
            serve(upgraded, connection, open);
        }
    });
    reply
}

/// Spawns a task of its own, so that nothing is kept of what the upgrade needed.
fn serve(upgraded: Upgraded, connection: Connection, open: OpenSocket) {
    match plain_tcp(upgraded) {
        Ok((stream, early)) => {
            // Signals are small and come one by one: waiting for more to send with them costs
            // 40 ms each. A socket that cannot be told is only slower.
            let _ = stream.set_nodelay(true);
            tokio::spawn(TcpPump::new(stream, early, connection, open));
        }
        Err(upgraded) => {
            tokio::spawn(async move {
                pump(TokioIo::new(upgraded), connection).await;
                drop(open);
            });
        }
    }
}

/// The TCP stream itself and what has been read from it already, where nothing else lies between:
/// bytes then go to and from the socket without a lock or a second buffer.
fn plain_tcp(upgraded: Upgraded) -> Result<(TcpStream, Vec<u8>), Upgraded> {
    match hyper_util::server::conn::auto::upgrade::downcast::<TokioIo<TcpStream>>(upgraded) {
        // Copied, so that hyper's read buffer, 16 KB, can go.
        Ok(parts) => Ok((parts.io.into_inner(), parts.read_buf.to_vec())),
        Err(upgraded) => {
            let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
            Ok((parts.io.into_inner(), parts.read_buf.to_vec()))
        }
    }
}
