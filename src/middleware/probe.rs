//! Asks a finished application whether signaling can still be reached through it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Extensions, Request, Response};
use tower::Service;

use crate::error::Error;
use crate::server::PeerData;

/// Travels in the extensions of a request, which no client can write, and is noted by the service
/// that answers it. A middleware that drops extensions is found out too: it would take the
/// upgrades of websockets with them.
#[derive(Clone)]
struct Probe {
    server: PeerData,
    answered: Arc<AtomicBool>,
}

/// Notes that `server` answers a request, if that is a probe for it.
pub(super) fn note(extensions: &Extensions, server: &PeerData) {
    if let Some(probe) = extensions.get::<Probe>() {
        // Only handles of one server share their settings.
        if std::ptr::eq(probe.server.paths(), server.paths()) {
            probe.answered.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether both paths of the server lead to it. The requests are bare: signaling refuses them on
/// the spot, so that no session is made.
pub(super) async fn verify<S, R>(server: &PeerData, app: &mut S) -> Result<(), Error>
where
    S: Service<Request<String>, Response = Response<R>>,
{
    let paths = server.paths();
    for (setting, path) in [
        ("path", format!("{}/", paths.engine)),
        ("json_path", paths.json.clone()),
    ] {
        let probe = Probe {
            server: server.clone(),
            answered: Arc::default(),
        };
        let request = Request::get(&*path).extension(probe.clone());
        let request = request
            .body(String::new())
            .map_err(|error| Error::new(setting, format!("{path} cannot be asked for: {error}")))?;
        let answer = match poll_fn(|cx| app.poll_ready(cx)).await {
            Ok(()) => app.call(request).await,
            Err(error) => Err(error),
        };
        if !probe.answered.load(Ordering::Relaxed) {
            let answer = match answer {
                Ok(response) => response.status().as_u16().to_string(),
                Err(_) => "by an error".to_owned(),
            };
            let problem = format!(
                "{path} does not lead to signaling but is answered {answer}, because a route, a \
                 fallback or a middleware stands before it: add PeerDataLayer after them, wrap \
                 the finished application in it, or route the server's own paths"
            );
            return Err(Error::new(setting, problem));
        }
    }
    Ok(())
}
