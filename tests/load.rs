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
mod support;
#[allow(dead_code)]
#[path = "../examples/load/table.rs"]
mod table;

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use event::{Kind, Mark, OWN_NAME, caller, mark, write};
use serde_json::Value;
use support::Program;

type Failure = Box<dyn Error>;

const WIRES: [&str; 6] = ["eio3", "eio4", "json", "polling3", "polling4", "all"];

/// A little of each workload.
const WORKLOADS: [&[&str]; 4] = [
    &[
        "relay", "--pairs", "3", "--window", "4", "--secs", "0.2", "--warmup", "0.1",
    ],
    &["fanout", "--peers", "5", "--secs", "0.2", "--warmup", "0.1"],
    &["call", "--rooms", "2", "--peers", "3"],
    &["idle", "--conns", "4", "--hold", "0", "--talk", "yes"],
];

/// A server that did not have its turn in the fifth of a second that is measured is tried again.
fn check(server: &str, wire: &str, workload: &[&str]) -> Value {
    let mut report = run(server, wire, workload);
    for _ in 0..3 {
        if workload[0] == "idle" || report["delivered"].as_u64() > Some(0) {
            return report;
        }
        report = run(server, wire, workload);
    }
    panic!("{workload:?} on {wire} at {server} delivers nothing: {report}");
}

fn run(server: &str, wire: &str, workload: &[&str]) -> Value {
    let run = Command::new(Program::path("load"))
        .args(workload)
        .args(["--wire", wire, "--start"])
        .arg(Program::path(server))
        .args(["--output", "json"])
        .output()
        .expect("the load generator");
    let what = format!("{workload:?} on {wire} at {server}: {run:?}");
    assert!(run.status.success(), "{what}");
    let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
    for fault in ["lost", "misdelivered", "reordered", "wrong_callers"] {
        assert_eq!(report[fault], 0, "{what}");
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
        let run = Command::new(Program::path("load"))
            .args(["call", "--rooms", "2", "--peers", "3", "--wire", "all"])
            .args(["--max-p99", bound, "--start"])
            .arg(Program::path("standalone"))
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
        &["call", "--url", "http://127.0.0.1:1", "--rounds", "2"],
        &["idle", "--url", "http://127.0.0.1:1", "--pairs", "2"],
        &["table", "/nothing/there"],
    ] {
        let run = Command::new(Program::path("load"))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .args(arguments)
            .output()
            .expect("the load generator");
        assert_eq!(run.status.code(), Some(2), "{arguments:?}");
        assert!(run.stdout.is_empty());
        assert!(run.stderr.starts_with(b"load: "), "{run:?}");
    }
}

/// A run against a server that is there already.
async fn load_at(url: &str, arguments: &[&str], variables: &[(&str, &Path)]) -> Output {
    let run = tokio::process::Command::new(Program::path("load"))
        .args(arguments)
        .args(["--url", url, "--output", "json"])
        .envs(variables.iter().copied())
        .output();
    run.await.expect("the load generator")
}

/// Of a server whose processes are not known there is less to say, over either version of IP.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_server_that_runs_already() {
    let mut hosts = vec!["127.0.0.1"];
    // Not every machine has the other.
    if TcpListener::bind("[::1]:0").is_ok() {
        hosts.push("::1");
    }
    for host in hosts {
        let server = Program::start("standalone", Path::new("."), &[("HOST", host)]).await;
        let url = format!("http://{}", server.address);
        for workload in WORKLOADS {
            let run = load_at(&url, workload, &[]).await;
            assert!(run.status.success(), "{workload:?} at {url}: {run:?}");
            let report: Value = serde_json::from_slice(&run.stdout).expect("JSON");
            let is_known = |figure: &str| !report[figure].is_null();
            assert!(is_known("own_cpu_s") || is_known("connecting_s"), "{run:?}");
            assert!(
                !is_known("server_cpu_s") && !is_known("rss_kb_after"),
                "{run:?}"
            );
        }
    }
}

/// Trusted are those who are named, all of them, or else those whom the system trusts.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn whom_it_trusts() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("load_trusts");
    fs::create_dir_all(&folder).unwrap();
    let [own, other] = [(); 2].map(|()| {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        rcgen::generate_simple_self_signed(names).unwrap()
    });
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let own_cert = file("cert.pem", own.cert.pem());
    file("key.pem", own.signing_key.serialize_pem());
    let other_cert = file("other.pem", other.cert.pem());
    let both = file("both.pem", other.cert.pem() + &own.cert.pem());
    let none = file("none.pem", "nothing".to_owned());
    let variables = [("TLS_CERT", "cert.pem"), ("TLS_KEY", "key.pem")];
    let server = Program::start("tls", &folder, &variables).await;
    let url = format!("https://{}", server.address);
    for (ca, system, reaches) in [
        (None, &own_cert, true),
        (None, &other_cert, false),
        (None, &none, false),
        (Some(&own_cert), &none, true),
        (Some(&both), &none, true),
        (Some(&other_cert), &own_cert, false),
        (Some(&none), &own_cert, false),
    ] {
        let mut arguments = WORKLOADS[2].to_vec();
        if let Some(ca) = ca {
            arguments.extend(["--ca", ca.to_str().unwrap()]);
        }
        let run = load_at(&url, &arguments, &[("SSL_CERT_FILE", system)]).await;
        let status = if reaches { 0 } else { 2 };
        assert_eq!(
            run.status.code(),
            Some(status),
            "{ca:?}, {system:?}: {run:?}"
        );
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
