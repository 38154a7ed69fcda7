//! The load generator, `examples/load`. Its ledger finds every fault, as the tests beside it say;
//! and for a moment on each wire nothing is lost, misdelivered, out of order or under a wrong name.
//! What it says of speed is not looked at.

#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used)]

// Examples are not tested: these parts of one bring their tests here.
#[path = "../examples/load/event.rs"]
mod event;
#[allow(dead_code)]
#[path = "../examples/load/ledger.rs"]
mod ledger;
#[allow(dead_code)]
#[path = "../examples/load/table.rs"]
mod table;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use event::{Kind, Mark, OWN_NAME, caller, mark, write};
use serde_json::Value;

type Failure = Box<dyn Error>;

const WIRES: [&str; 6] = ["eio3", "eio4", "json", "polling3", "polling4", "all"];

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

fn check(server: &str, wire: &str, workload: &[&str]) -> Value {
    let run = Command::new(example("load"))
        .args(workload)
        .args(["--wire", wire, "--start"])
        .arg(example(server))
        .args(["--secs", "0.2", "--warmup", "0.1", "--output", "json"])
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
    report
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

/// What a thousand clients took is there for the next thousand, or has been given back; the
/// first rounds fill what is kept for good.
#[cfg(target_os = "linux")]
#[test]
fn resident_memory_does_not_grow_from_round_to_round() {
    let report = check(
        "standalone",
        "json",
        &[
            "idle", "--conns", "1000", "--hold", "0", "--talk", "yes", "--rounds", "10",
        ],
    );
    let after: Vec<_> = report["rss_kb_after"]
        .as_array()
        .unwrap()
        .iter()
        .map(|size| size.as_u64().unwrap())
        .collect();
    assert_eq!(after.len(), 10);
    // Pages that threads happen to hold just then differ by a hundredth or two.
    assert!(after[9] <= after[1] + after[1] / 20, "{after:?}");
}

/// What people and their pipelines look at.
#[cfg(target_os = "linux")]
#[test]
fn a_summary_and_a_bound_for_pipelines() {
    for (bound, passes) in [("60000", true), ("0.000001", false)] {
        let run = Command::new(example("load"))
            .args(["call", "--rooms", "2", "--peers", "3", "--wire", "all"])
            .args(["--max-p99", bound, "--start"])
            .arg(example("standalone"))
            .output()
            .expect("the load generator");
        assert_eq!(run.status.code(), Some(i32::from(!passes)), "{run:?}");
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(text.starts_with("call on all, 2 rooms of 3\n"), "{text}");
        let has = |words: &[&str]| {
            let mut lines = text
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>());
            lines.any(|line| line.starts_with(words))
        };
        assert!(
            has(&["lost", "0"]) && has(&["cpu", "per", "delivery"]) && has(&["p99"]),
            "{text}"
        );
        assert_eq!(text.contains("over the bound"), !passes, "{text}");
        assert!(
            run.stderr.is_empty(),
            "no progress where nobody watches: {:?}",
            run.stderr
        );
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
        &["relay", "--url", "http://127.0.0.1:1", "--output", "prose"],
        &["call", "--url", "http://127.0.0.1:1", "--max-p99", "-1"],
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

#[test]
fn events_are_known_again() {
    for kind in Kind::ALL {
        for (to, callee) in [(Some(2), Some("ben")), (None, None)] {
            let sent = Mark {
                kind,
                from: 1,
                to,
                number: 3,
                sent_at: 4_000_000_000,
            };
            let event = write(sent, callee, 5);
            assert_eq!(mark(&event), Some(sent));
            assert_eq!(caller(&event), Some(OWN_NAME));
            let value: serde_json::Value = serde_json::from_str(&event).unwrap();
            assert_eq!(value["type"], kind.name());
            assert_eq!(value["callee"]["id"].as_str(), callee);
            assert_eq!(value["room"]["id"], "room-5");
        }
    }
    assert_eq!(mark(r#"{"type":"DISCONNECT","caller":{"id":"x"}}"#), None);
}

#[test]
fn events_are_of_the_size_of_real_ones() {
    let size = |kind| {
        let sent = Mark {
            kind,
            from: 0,
            to: Some(1),
            number: 0,
            sent_at: 0,
        };
        write(sent, Some("HjuA7FgHpBJ6BFMPAAAo"), 0).len()
    };
    assert_eq!(size(Kind::Candidate), 363);
    assert_eq!(size(Kind::Offer), 2_732);
    assert!((2_000..2_300).contains(&size(Kind::Answer)));
}
