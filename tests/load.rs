//! The load generator of `benches/load`, for a moment on each wire: nothing is lost, misdelivered,
//! out of order or under a wrong name. What it says of speed is not looked at.

#![cfg(feature = "tower")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const WIRES: [&str; 5] = ["eio3", "eio4", "json", "polling3", "polling4"];

/// A little of each workload.
const WORKLOADS: [&[&str]; 4] = [
    &["relay", "--pairs", "3", "--window", "4"],
    &["fanout", "--peers", "5"],
    &["call", "--rooms", "2", "--peers", "3"],
    &["idle", "--conns", "4", "--hold", "0", "--talk", "yes"],
];

fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/");
    let program = profile.join("examples").join(name);
    assert!(
        program.exists(),
        "run `cargo build --examples` with the same features first"
    );
    program
}

fn check(server: &str, wire: &str, workload: &[&str]) {
    let run = Command::new(example("load"))
        .args(workload)
        .args(["--wire", wire, "--start"])
        .arg(example(server))
        .args(["--secs", "0.2", "--warmup", "0.1"])
        .output()
        .expect("the load generator");
    let what = format!("{workload:?} on {wire} at {server}: {run:?}");
    assert!(run.status.success(), "{what}");
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    for fault in ["lost", "misdelivered", "reordered", "wrong_callers"] {
        assert_eq!(report[fault], 0, "{what}");
    }
    if workload[0] != "idle" {
        assert!(report["delivered"].as_u64() > Some(0), "{what}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn each_workload_on_each_wire() {
    for wire in WIRES {
        for workload in WORKLOADS {
            check("standalone", wire, workload);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn each_way_to_serve() {
    let relay = WORKLOADS[0];
    for wire in WIRES {
        for server in ["tls", "axum_service", "bench_middleware"] {
            check(server, wire, relay);
        }
        #[cfg(feature = "actix")]
        check("actix_app", wire, relay);
    }
}

/// A run that cannot be made is none that went well.
#[test]
fn a_wrong_call_is_told() {
    for arguments in [
        &["relay"][..],
        &["dance", "--url", "http://127.0.0.1:1"],
        &["relay", "--url", "http://127.0.0.1:1", "--pairs", "0"],
        &["relay", "--url", "http://127.0.0.1:1", "--wire"],
        &["relay", "--start", "/nothing/there"],
        &["table", "/nothing/there"],
    ] {
        let run = Command::new(example("load"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .output()
            .expect("the load generator");
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(run.stdout.is_empty());
        assert!(run.stderr.starts_with(b"load: "), "{run:?}");
    }
}
