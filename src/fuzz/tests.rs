//! All that has been thought of and found, and some thousands of mutations of it.

use std::fs;
use std::path::Path;

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;

/// Of each seed.
const MUTATIONS: usize = 400;

fn replay(target: &str, run: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut seeds = Vec::new();
    for folder in ["seeds", "findings"] {
        // There may be no findings.
        let entries = fs::read_dir(root.join(folder).join(target));
        for entry in entries.into_iter().flatten() {
            seeds.push(fs::read(entry.unwrap().path()).unwrap());
        }
    }
    assert!(seeds.len() > 3, "{target} has seeds");
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    for seed in &seeds {
        run(seed);
        for _ in 0..MUTATIONS {
            run(&mutation(seed, &seeds, &mut random));
        }
    }
}

/// A seed after a few accidents.
fn mutation(seed: &[u8], seeds: &[Vec<u8>], random: &mut TestRng) -> Vec<u8> {
    let mut below = |end: usize| usize::try_from(random.next_u64()).unwrap_or(0) % end.max(1);
    let mut bytes = seed.to_vec();
    for _ in 0..=below(3) {
        let (from, to) = (below(bytes.len() + 1), below(bytes.len() + 1));
        let part = from.min(to)..from.max(to);
        match below(6) {
            0 => bytes.insert(from, u8::try_from(below(256)).unwrap()),
            1 => {
                bytes.drain(part);
            }
            2 => {
                let twice = bytes[part].to_vec();
                bytes.splice(to..to, twice);
            }
            3 if from < bytes.len() => bytes[from] ^= 1 << below(8),
            4 => {
                let other = &seeds[below(seeds.len())];
                bytes.splice(part, other[below(other.len())..].iter().copied());
            }
            _ => bytes.truncate(from),
        }
    }
    bytes
}

#[test]
fn parcels() {
    replay("parcel", parcel::run);
}

#[test]
fn payloads() {
    replay("payload", payload::run);
}

#[test]
fn socket_packets() {
    replay("socket_packet", socket_packet::run);
}

#[test]
fn frames() {
    replay("frame", frame::run);
}

#[test]
fn envelopes() {
    replay("envelope", envelope::run);
}

#[test]
fn sessions() {
    replay("session", session::run);
}
