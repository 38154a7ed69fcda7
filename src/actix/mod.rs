//! The server as a part of an actix-web 4 application.

mod request;
mod socket;

use std::fmt::Write as _;

use actix_web::dev::HttpServiceFactory;
use actix_web::web::{self, Payload, ServiceConfig};
use actix_web::{HttpRequest, Scope};

use crate::server::PeerData;
use crate::wire::intent::Mount;

/// Mounts the server at its own paths, `/socket.io` and `/peer-data` if nothing else was built, and
/// all below them.
#[must_use = "it is for `App::configure`"]
pub fn mount(server: PeerData) -> impl FnOnce(&mut ServiceConfig) {
    move |config| {
        let paths = server.paths();
        config.service(socket_io(&paths.engine, server.clone()));
        config.service(plain_json(&paths.json, server.clone()));
    }
}

/// Socket.IO at a path and all below it, whatever path the server was built with.
#[must_use = "it is for `App::service`"]
pub fn socket_io(path: &str, server: PeerData) -> impl HttpServiceFactory + use<> {
    service(path, server, Mount::Engine)
}

/// Plain JSON at a path and all below it, whatever path the server was built with.
#[must_use = "it is for `App::service`"]
pub fn plain_json(path: &str, server: PeerData) -> impl HttpServiceFactory + use<> {
    service(path, server, Mount::Json)
}

fn service(path: &str, server: PeerData, mount: Mount) -> Scope {
    web::scope(&literal(path.trim_end_matches('/'))).default_service(web::to(
        move |request: HttpRequest, payload: Payload| {
            request::answer(request::read(&server, mount, &request), payload)
        },
    ))
}

/// The pattern that matches a path and nothing else: in actix's patterns braces and a final
/// asterisk are more than characters.
fn literal(path: &str) -> String {
    if !path.contains('{') && !path.ends_with('*') {
        return path.to_owned();
    }
    // A variable whose value is the path. Within it only a brace would count, and the expression
    // has none.
    let mut pattern = "/{path:".to_owned();
    for c in path.trim_start_matches('/').chars() {
        if c.is_ascii_punctuation() {
            // Writing to a string cannot fail.
            let _ = write!(pattern, r"\x{:02x}", u32::from(c));
        } else {
            pattern.push(c);
        }
    }
    pattern.push('}');
    pattern
}
