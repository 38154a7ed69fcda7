//! What comes with the crate for operators and for docs.rs, as far as it can be tried without them.

#![cfg(all(feature = "tower", unix))]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::Program;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The crate's features, but those that no application needs.
fn features() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let (_, rest) = manifest.split_once("\n[features]\n").expect("features");
    let (features, _) = rest.split_once("\n[").expect("an end");
    let names = features.lines().filter_map(|line| line.split_once(" = "));
    let names = names.map(|(name, _)| name.to_owned());
    names
        .filter(|name| !matches!(&**name, "default" | "conformance" | "bench"))
        .collect()
}

#[test]
fn docs_show_every_feature() {
    let manifest = read("Cargo.toml");
    let (_, docs) = manifest
        .split_once("\n[package.metadata.docs.rs]\nfeatures = [")
        .expect("docs.rs");
    let (shown, _) = docs.split_once(']').expect("an end");
    let shown: BTreeSet<_> = shown
        .split(", ")
        .map(|name| name.trim_matches('"').to_owned())
        .collect();
    assert_eq!(shown, features());
    let readme = read("README.md");
    for feature in features() {
        assert!(
            readme.contains(&format!("`{feature}`")),
            "README.md is silent about {feature}"
        );
    }
}

#[test]
fn the_image_is_made_of_what_is_here() {
    let recipe = read("packaging/Dockerfile");
    let mut copied = 0;
    for line in recipe
        .lines()
        .filter(|line| line.starts_with("COPY ") && !line.contains("--from"))
    {
        let mut paths: Vec<_> = line.split_whitespace().skip(1).collect();
        paths.pop();
        for path in paths {
            assert!(root().join(path).exists(), "{path}");
            copied += 1;
        }
    }
    assert!(copied > 5, "the recipe is read as it is written");
    for name in ["packaging/Dockerfile", "packaging/peer-data.service"] {
        let text = read(name);
        let (_, chosen) = text.split_once("--features ").expect("features");
        let chosen = chosen.split_whitespace().next().unwrap_or_default();
        let known = features();
        assert!(
            chosen.split(',').all(|feature| known.contains(feature)),
            "{chosen}"
        );
        assert!(text.contains("--example standalone"));
    }
}

fn healthy(port: u16) -> Output {
    let script = root().join("packaging/healthy");
    let mut command = Command::new(script);
    command
        .env("PORT", port.to_string())
        .output()
        .expect("bash")
}

#[tokio::test]
async fn the_image_can_tell_whether_it_is_healthy() {
    let program = Program::start("standalone", &root(), &[]).await;
    let port = program.address.port();
    let output = tokio::task::spawn_blocking(move || healthy(port))
        .await
        .expect("an answer");
    assert!(output.status.success(), "{output:?}");
    program.stop().await;
    let output = tokio::task::spawn_blocking(move || healthy(port))
        .await
        .expect("an answer");
    assert!(!output.status.success(), "{output:?}");
}

/// systemd's own judgement, where there is one.
#[test]
fn the_unit_is_one() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        println!("skipped: there is no systemd-analyze here");
        return;
    }
    // It looks whether the program is there.
    let folder = std::env::temp_dir().join(format!("peer-data-unit-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let unit = folder.join("peer-data.service");
    let text = read("packaging/peer-data.service").replace("/usr/local/bin/peer-data", "/bin/true");
    fs::write(&unit, text).expect("a unit");
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .expect("an answer");
    fs::remove_dir_all(&folder).expect("no folder");
    let said = String::from_utf8_lossy(&output.stderr);
    let about_it: Vec<_> = said
        .lines()
        .filter(|line| line.contains("peer-data"))
        .collect();
    assert!(output.status.success() && about_it.is_empty(), "{said}");
}
