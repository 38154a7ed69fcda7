//! A session that stays on long-polling: one connection for its GETs, one for its POSTs, as browsers
//! have it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::Failure;
use crate::options::Revision;
use crate::target::Target;

/// What ends packets in a payload of revision 4.
const SEPARATOR: char = '\x1e';

type Http = SendRequest<Full<Bytes>>;

/// A request on its way; the connection comes back with the answer.
type Exchange = Pin<Box<dyn Future<Output = Result<(Http, Bytes), Failure>>>>;

pub(crate) struct Polling {
    revision: Revision,
    authority: Rc<str>,
    /// Path and query; the session's id is added once it is known.
    path: String,
    get: Exchange,
    poster: Option<Http>,
    post: Option<Exchange>,
    /// Waits for the POST before it.
    unsent: Vec<String>,
}

impl Polling {
    pub(crate) async fn open(
        target: &Target,
        path: String,
        revision: Revision,
    ) -> Result<Self, Failure> {
        let authority: Rc<str> = target.authority.as_str().into();
        let getter = connect(target).await?;
        let request = request(Method::GET, &authority, &path, String::new())?;
        Ok(Self {
            revision,
            authority,
            path,
            get: exchange(getter, request),
            poster: Some(connect(target).await?),
            post: None,
            unsent: Vec::new(),
        })
    }

    /// What the server calls the session: known before anything is said.
    fn name(&mut self, sid: &str) {
        self.path.push_str("&sid=");
        self.path.push_str(sid);
    }

    /// Sends a packet with the next POST, together with others.
    pub(crate) fn say(&mut self, packet: String) {
        self.unsent.push(packet);
    }

    /// Posts what was said, and appends the packets of an answer.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        heard: &mut Vec<Utf8Bytes>,
    ) -> Poll<Result<(), Failure>> {
        loop {
            if let Some(post) = &mut self.post {
                if let Poll::Ready(answer) = post.as_mut().poll(cx)? {
                    self.poster = Some(answer.0);
                    self.post = None;
                    continue;
                }
            } else if !self.unsent.is_empty()
                && let Some(poster) = self.poster.take()
            {
                let body = self.encode();
                let request = request(Method::POST, &self.authority, &self.path, body)?;
                self.post = Some(exchange(poster, request));
                continue;
            }
            return match self.get.as_mut().poll(cx)? {
                Poll::Pending => Poll::Pending,
                Poll::Ready((getter, body)) => {
                    self.decode(&body, heard)?;
                    // The first answer names the session, which the next request needs.
                    if let Some(open) = heard.iter().find(|packet| packet.starts_with('0')) {
                        let sid = field(open, "sid").ok_or("an open packet without sid")?;
                        let sid = sid.to_owned();
                        self.name(&sid);
                    }
                    let request = request(Method::GET, &self.authority, &self.path, String::new())?;
                    self.get = exchange(getter, request);
                    Poll::Ready(Ok(()))
                }
            };
        }
    }

    /// One payload of all that was said. It is ASCII, so that bytes are UTF-16 units.
    fn encode(&mut self) -> String {
        let packets = std::mem::take(&mut self.unsent);
        match self.revision {
            Revision::V3 => {
                let framed = packets
                    .iter()
                    .map(|packet| format!("{}:{packet}", packet.len()));
                framed.collect::<Vec<_>>().concat()
            }
            Revision::V4 => packets.join(SEPARATOR.encode_utf8(&mut [0; 4])),
        }
    }

    /// Takes a payload apart; the server sends back what was said, which is ASCII.
    fn decode(&self, body: &Bytes, heard: &mut Vec<Utf8Bytes>) -> Result<(), Failure> {
        let mut text = str::from_utf8(body)?;
        match self.revision {
            Revision::V3 => {
                while !text.is_empty() {
                    let (length, rest) = text.split_once(':').ok_or("a packet without length")?;
                    let length = length.parse()?;
                    let packet = rest.get(..length).ok_or("a packet cut short")?;
                    heard.push(packet.into());
                    text = &rest[length..];
                }
            }
            Revision::V4 => heard.extend(text.split(SEPARATOR).map(Utf8Bytes::from)),
        }
        Ok(())
    }

    /// Ends the session.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        if let Some(post) = self.post.take() {
            self.poster = Some(post.await?.0);
        }
        let Some(poster) = self.poster.take() else {
            return Ok(());
        };
        self.unsent = vec!["1".to_owned()];
        let body = self.encode();
        let request = request(Method::POST, &self.authority, &self.path, body)?;
        exchange(poster, request).await?;
        // It is answered with what was left, or not at all if it came too late.
        let _ = self.get.await;
        Ok(())
    }
}

/// A text member of an object, which is known to have nothing escaped.
pub(crate) fn field<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = object.split_once(&format!("\"{name}\":\""))?;
    Some(rest.split_once('"')?.0)
}

async fn connect(target: &Target) -> Result<Http, Failure> {
    let stream = TokioIo::new(target.connect().await?);
    let (sender, connection) = handshake(stream).await?;
    // It ends with its sender, and errors reach the requests.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

fn request(
    method: Method,
    authority: &str,
    path: &str,
    body: String,
) -> Result<Request<Full<Bytes>>, Failure> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", authority)
        .header("content-type", "text/plain;charset=UTF-8")
        .body(Full::from(body))?;
    Ok(request)
}

fn exchange(mut http: Http, request: Request<Full<Bytes>>) -> Exchange {
    Box::pin(async move {
        http.ready().await?;
        let response = http.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            Ok((http, body))
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
        }
    })
}
