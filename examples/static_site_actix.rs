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
use std::io;
use std::path::Path;

use actix_files::{NamedFile, PathBufWrap};
use actix_web::{App, HttpRequest, HttpServer, web};
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
                    let site = web::resource("/{path:.*}")
                        .route(web::get().to(site))
                        .route(web::head().to(site));
                    config.service(site);
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

/// A file of the built application, or its page for every other path. `actix_files::Files` would refuse
/// some of these, such as those with a segment that begins with a dot.
async fn site(request: HttpRequest) -> io::Result<NamedFile> {
    let build = Path::new("build");
    match PathBufWrap::parse_req_path(&request, true).map(|path| build.join(path)) {
        Ok(file) if file.is_file() => NamedFile::open(file),
        _ => NamedFile::open(build.join("index.html")),
    }
}
