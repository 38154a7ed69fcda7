//! A single-page application and its signaling on one port, with actix-web.
//!
//! ```text
//! APP_ENV=production cargo run --release --features actix --example static_site_actix
//! ```
//!
//! With `APP_ENV=production` it serves what was built into `build/` of the working directory; each
//! path without a file of its own is answered with `build/index.html`, so that the application can
//! route it itself. Without, it serves signaling alone, beside a development server of the
//! application's. `HOST` (default 127.0.0.1) and `PORT` (default 3000) say where.

use std::error::Error;

use actix_files::{Files, NamedFile};
use actix_web::dev::{ServiceRequest, ServiceResponse, fn_service};
use actix_web::{App, HttpServer, web};
use peer_data_server::{Builder, actix};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let host = std::env::var("HOST").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port: u16 = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 3000,
    };
    let production = std::env::var("APP_ENV").is_ok_and(|name| name == "production");
    let server = Builder::from_env()?.build()?;
    let application = move || {
        App::new()
            // Before the site, which has an answer to everything.
            .configure(actix::mount(server.clone()))
            .configure(|config| {
                if production {
                    site(config);
                }
            })
    };
    let http = HttpServer::new(application)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .shutdown_timeout(2)
        .bind((host, port))?;
    for address in http.addrs() {
        println!("listening on http://{address}");
    }
    http.run().await?;
    Ok(())
}

/// The files of the built application, and its page for every path that is none of them.
fn site(config: &mut web::ServiceConfig) {
    let page = fn_service(|request: ServiceRequest| async {
        let (request, _) = request.into_parts();
        let page = NamedFile::open("build/index.html")?;
        let response = page.into_response(&request);
        Ok(ServiceResponse::new(request, response))
    });
    let files = Files::new("/", "build")
        .index_file("index.html")
        .default_handler(page);
    config.service(files);
}
