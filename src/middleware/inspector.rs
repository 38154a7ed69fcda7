//! The inspector as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::Service;

use super::body::ResponseBody;
use super::service::response;
use crate::inspector::{Ask, Inspector, MARK};

impl<B> Service<Request<B>> for Inspector {
    type Response = Response<ResponseBody<String>>;
    type Error = Infallible;
    type Future = InspectorFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> InspectorFuture {
        let inspector = self.clone();
        let ask = Ask {
            method: request.method().as_str().to_owned(),
            path: request.uri().path().to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            is_marked: request.headers().contains_key(MARK),
        };
        InspectorFuture(Box::pin(async move {
            Ok(response(inspector.answer(ask).await))
        }))
    }
}

type Answered = Result<Response<ResponseBody<String>>, Infallible>;

/// Response future of [`Inspector`].
pub struct InspectorFuture(Pin<Box<dyn Future<Output = Answered> + Send>>);

impl Future for InspectorFuture {
    type Output = Answered;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answered> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for InspectorFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InspectorFuture").finish_non_exhaustive()
    }
}
