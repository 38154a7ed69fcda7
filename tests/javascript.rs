//! The real JavaScript clients and a real browser against the examples, as `tests/run` calls them.
//!
//! They need Node, npm packages, Chromium and the built examples, so plain `cargo test` only names
//! them; `tests/run` installs all that and runs them with `--ignored`.

use std::path::Path;
use std::process::Command;

fn npm(script: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js");
    let status = Command::new("npm")
        .args(["run", script])
        .current_dir(folder)
        .status()
        .expect("npm should be installed");
    assert!(status.success(), "npm run {script} failed");
}

#[test]
#[ignore = "needs Node and npm packages: run tests/run"]
fn real_clients() {
    npm("test");
}

#[test]
#[ignore = "needs Node, npm packages and Chromium: run tests/run"]
fn real_browser() {
    npm("test:browser");
}
