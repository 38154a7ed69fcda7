//! A websocket of one client.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream as _};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::Failure;
use crate::target::{Stream, Target};

/// Ten thousand clients are to fit into memory.
const READ_BUFFER: usize = 4 << 10;

pub(crate) struct Socket {
    stream: WebSocketStream<Box<dyn Stream>>,
    is_flushed: bool,
}

impl Socket {
    pub(crate) async fn open(target: &Target, path: &str) -> Result<Self, Failure> {
        let stream = target.connect().await?;
        let url = format!("ws://{}{path}", target.authority);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        Ok(Self {
            stream,
            is_flushed: true,
        })
    }

    /// Sends a text with the next poll, together with others.
    pub(crate) fn say(&mut self, text: String) -> Result<(), Failure> {
        self.is_flushed = false;
        Pin::new(&mut self.stream).start_send(Message::text(text))?;
        Ok(())
    }

    /// Writes what was said, and appends all texts that have come.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        heard: &mut Vec<Utf8Bytes>,
    ) -> Poll<Result<(), Failure>> {
        let mut stream = Pin::new(&mut self.stream);
        if !self.is_flushed && stream.as_mut().poll_flush(cx)?.is_ready() {
            self.is_flushed = true;
        }
        while let Poll::Ready(message) = stream.as_mut().poll_next(cx)? {
            match message {
                Some(Message::Text(text)) => heard.push(text),
                Some(Message::Close(close)) => {
                    return Poll::Ready(Err(format!("closed by the server: {close:?}").into()));
                }
                Some(_) => {}
                None => return Poll::Ready(Err("closed by the server".into())),
            }
        }
        if heard.is_empty() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Says goodbye; what still comes is not read.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        Ok(self.stream.close(None).await?)
    }
}
