//! The real JavaScript clients and a real browser against the examples, as `tests/run` calls them.
//!
//! They need Node, npm packages, Chromium, nginx, NATS, Redis, coturn and the built examples, so plain `cargo test` only
//! names them; `tests/run` installs all that and runs them with `--ignored`.

use std::path::Path;
use std::process::Command;

fn npm(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    let status = Command::new("npm")
        .arg("run")
        .args(arguments)
        .current_dir(folder)
        .status()
        .expect("npm should be installed");
    assert!(status.success(), "npm run {} failed", arguments.join(" "));
}

/// One test for each way to mount the crate, with the same clients and scenarios.
macro_rules! real_clients {
    ($($suite:ident)*) => {
        mod real_clients {
            $(
                #[test]
                #[ignore = "needs Node and npm packages: run tests/run"]
                fn $suite() {
                    super::npm(&["test", "--", stringify!($suite)]);
                }
            )*
        }
    };
}

real_clients!(axum_layer axum_service hyper_bare actix_app standalone nginx trust cluster_nats cluster_redis);

#[test]
#[ignore = "needs Node, npm packages, Chromium, nginx, NATS, Redis and coturn: run tests/run"]
fn real_browser() {
    npm(&["test:browser"]);
}
