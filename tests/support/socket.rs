//! A websocket client, which knows frames and nothing of what they say.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Revision, Site, within};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Text(String),
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    /// A close frame, with its code if it has one.
    Closed(Option<u16>),
    /// The end of the connection, without a close frame.
    Lost,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// A websocket to that path and query.
    pub(crate) async fn open(address: SocketAddr, target: &str) -> Self {
        let opened = Self::try_open(address, target).await;
        opened.unwrap_or_else(|status| panic!("{target} is answered {status}"))
    }

    /// The same; the status if it is refused.
    pub(crate) async fn try_open(address: SocketAddr, target: &str) -> Result<Self, u16> {
        Self::request(address, target, None).await
    }

    /// The same for a client that offers subprotocols.
    pub(crate) async fn offer(address: SocketAddr, target: &str, protocols: &str) -> Self {
        let opened = Self::request(address, target, Some(protocols)).await;
        opened.unwrap_or_else(|status| panic!("{target} is answered {status}"))
    }

    async fn request(
        address: SocketAddr,
        target: &str,
        protocols: Option<&str>,
    ) -> Result<Self, u16> {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an open connection");
        let url = format!("ws://{address}{target}");
        let mut request = url.into_client_request().expect("a URL");
        if let Some(protocols) = protocols {
            let value = protocols.parse().expect("a header");
            request
                .headers_mut()
                .insert("sec-websocket-protocol", value);
        }
        match within("a websocket", client_async(request, stream)).await {
            Ok((stream, _)) => Ok(Self { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{target}: {error}"),
        }
    }

    /// A session born on this websocket; the open packet is taken and returned.
    pub(crate) async fn engine(site: &Site, revision: Revision) -> (Self, String) {
        let number = revision.number();
        let target = format!("/socket.io/?EIO={number}&transport=websocket");
        let mut socket = Self::open(site.address, &target).await;
        let open = socket.text().await;
        (socket, open)
    }

    /// A session that is connected to `/`, and the answer to that: `40` or `40{"sid":..}`.
    pub(crate) async fn connect(site: &Site, revision: Revision) -> (Self, String) {
        let (mut socket, _) = Self::engine(site, revision).await;
        if revision == Revision::V4 {
            socket.send("40").await;
        }
        let connected = socket.text().await;
        assert!(connected.starts_with("40"), "{connected}");
        (socket, connected)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        self.send_message(Message::binary(data.to_vec())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        within("to be read", self.stream.send(message))
            .await
            .expect("sent");
    }

    pub(crate) async fn send_close(&mut self, code: u16) {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.send_message(Message::Close(Some(frame))).await;
    }

    /// What comes next.
    pub(crate) async fn frame(&mut self) -> Frame {
        match within("a frame", self.stream.next()).await {
            Some(Ok(Message::Text(text))) => Frame::Text(text.to_string()),
            Some(Ok(Message::Binary(data))) => Frame::Binary(data.to_vec()),
            Some(Ok(Message::Ping(_))) => Frame::Ping,
            Some(Ok(Message::Pong(data))) => Frame::Pong(data.to_vec()),
            Some(Ok(Message::Close(frame))) => Frame::Closed(frame.map(|frame| frame.code.into())),
            Some(Ok(Message::Frame(frame))) => panic!("a bare frame: {frame:?}"),
            Some(Err(_)) | None => Frame::Lost,
        }
    }

    /// The next text, and nothing before it.
    pub(crate) async fn text(&mut self) -> String {
        match self.frame().await {
            Frame::Text(text) => text,
            other => panic!("{other:?} instead of text"),
        }
    }

    /// The next binary message, and nothing before it.
    pub(crate) async fn binary(&mut self) -> Vec<u8> {
        match self.frame().await {
            Frame::Binary(data) => data,
            other => panic!("{other:?} instead of bytes"),
        }
    }

    /// Asserts that nothing comes any more but a close frame; its code, if it has one.
    pub(crate) async fn closed(&mut self) -> Option<u16> {
        match self.frame().await {
            Frame::Closed(code) => code,
            other => panic!("{other:?} instead of the end"),
        }
    }

    /// Reads on until the end of the connection, whatever comes before.
    pub(crate) async fn ended(&mut self) {
        while !matches!(self.frame().await, Frame::Closed(_) | Frame::Lost) {}
    }
}
