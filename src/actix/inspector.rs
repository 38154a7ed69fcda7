//! The inspector as a part of an actix application.

use actix_web::dev::HttpServiceFactory;
use actix_web::{HttpRequest, web};

use super::{literal, request};
use crate::inspector::{Ask, Inspector, MARK};

/// The inspector at a path and all below it. The path is taken as it is, not as a pattern.
///
/// ```
/// use actix_web::App;
/// use peer_data_server::{Inspector, PeerData, actix};
///
/// let server = PeerData::new();
/// let inspector = Inspector::new(&server);
/// // In a scope with a guard of yours.
/// let app = App::new()
///     .configure(actix::mount(server))
///     .service(actix::inspector("/inspector", inspector));
/// ```
#[must_use = "it is for `App::service`"]
pub fn inspector(path: &str, inspector: Inspector) -> impl HttpServiceFactory + use<> {
    let scope = web::scope(&literal(path.trim_end_matches('/')));
    scope.default_service(web::to(move |request: HttpRequest| {
        let inspector = inspector.clone();
        async move {
            // actix matches decoded paths; a guard may have looked at the path as it was sent.
            let below = request.match_info().unprocessed();
            let is_as_sent = request.path().ends_with(below);
            let ask = Ask {
                method: request.method().as_str().to_owned(),
                path: if is_as_sent { below } else { "/?" }.to_owned(),
                query: request.query_string().to_owned(),
                is_marked: request.headers().contains_key(MARK),
            };
            request::whole(inspector.answer(ask).await)
        }
    }))
}
