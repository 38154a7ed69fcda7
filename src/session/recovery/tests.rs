use proptest::prelude::*;

use super::*;

fn recovery(max: usize, budget: &Arc<Budget>) -> Recovery {
    let secret = SessionId::random().unwrap();
    Recovery::new(PeerId::random().unwrap(), secret, max, Arc::clone(budget))
}

fn signal(number: usize) -> Signal {
    Signal::new("N", None, &number).unwrap()
}

fn offset(said: &Said) -> String {
    let Said::Event(signal) = said else {
        panic!("{said:?} has no offset");
    };
    let packet = std::str::from_utf8(signal.packet()).unwrap();
    let (_, offset) = packet.trim_end_matches("\"]").rsplit_once('"').unwrap();
    offset.to_owned()
}

#[test]
fn acks_and_other_namespaces_are_not_kept() {
    let budget = Arc::new(Budget::new(usize::MAX));
    let mut recovery = recovery(usize::MAX, &budget);
    let said = signal(1);
    for packet in [
        "430[1]",
        "461-0[1]",
        "42/chat,[\"x\"]",
        "451-/chat,[\"x\"]",
        "450",
        "",
    ] {
        let other = said.with_packet(packet.into());
        assert!(
            recovery.keep_event(&other, false).unwrap().is_none(),
            "{packet}"
        );
    }
    assert_eq!((recovery.next, recovery.log.len()), (1, 0));
    assert!(recovery.keep_event(&said, false).unwrap().is_some());
}

#[test]
fn only_the_whole_secret_is_the_secret() {
    let budget = Arc::new(Budget::new(0));
    let recovery = recovery(0, &budget);
    let pid = recovery.pid();
    let claim = Claim::of_auth(&pid, None).unwrap();
    assert_eq!(claim.peer, recovery.peer);
    assert!(recovery.knows(claim.secret));
    assert!(!recovery.knows(""));
    assert!(!recovery.knows(&claim.secret[1..]));
    assert!(!recovery.knows(recovery.peer.as_str()));
    assert!(
        !format!("{recovery:?}").contains(claim.secret),
        "it is not logged"
    );
}

proptest! {
    /// Whatever is said, answered and forgotten, a client that may come back hears exactly what
    /// follows what it has seen; and memory is within its bounds, and given back.
    #[test]
    fn what_is_missed_is_what_follows(
        steps in prop::collection::vec(0..10_u8, 0..60),
        max in 0..4_000_usize,
        total in 0..4_000_usize,
        seen in 0..70_u64,
    ) {
        let budget = Arc::new(Budget::new(total));
        let mut recovery = recovery(max, &budget);
        let mut said = Vec::new();
        for step in steps {
            match step {
                0 => recovery.pings(),
                1 => recovery.answered(),
                _ => said.push(recovery.keep_event(&signal(said.len()), false).unwrap().unwrap()),
            }
            prop_assert!(recovery.cost <= max.min(total));
            prop_assert_eq!(budget.used(), recovery.cost);
        }
        let tag = recovery.tag().to_owned();
        let from = recovery.missed_from(Seen::Offset(Some(&format!("{tag}.{seen}"))));
        let all = said.len() as u64;
        prop_assert_eq!(from.is_some(), seen <= all && seen + 1 >= recovery.first());
        if let Some(from) = from {
            recovery.forget_before(from);
            let kept: Vec<_> = recovery.log.iter().map(|(_, said)| offset(said)).collect();
            let follow: Vec<_> = (seen + 1..=all).map(|n| format!("{tag}.{n}")).collect();
            prop_assert_eq!(kept, follow);
        }
        // While it is away, all is kept or it is said that it is not.
        let before = recovery.log.len();
        let mut kept = 0;
        while kept < 100 && recovery.keep_event(&signal(kept), true).is_ok() {
            kept += 1;
        }
        prop_assert_eq!(recovery.log.len(), before + kept);
        drop(recovery);
        prop_assert_eq!(budget.used(), 0);
    }

    #[test]
    fn no_offset_is_too_strange(offset in ".{0,40}", after_tag in "[0-9.+-]{0,25}") {
        let budget = Arc::new(Budget::new(0));
        let recovery = recovery(0, &budget);
        prop_assert_eq!(recovery.missed_from(Seen::Offset(Some(&offset))), Some(1));
        let own = format!("{}.{after_tag}", recovery.tag());
        let from = recovery.missed_from(Seen::Offset(Some(&own)));
        prop_assert!(from.is_none_or(|from| from == 1));
    }
}

#[test]
fn nobody_has_seen_more_than_there_was() {
    let budget = Arc::new(Budget::new(usize::MAX));
    let mut recovery = recovery(usize::MAX, &budget);
    for number in 0..3 {
        let message = Outgoing::Text(number.to_string().into());
        recovery.keep(Said::Message(message), false).unwrap();
    }
    let last = format!("{}.{}", recovery.tag(), u64::MAX);
    assert_eq!(recovery.missed_from(Seen::Offset(Some(&last))), None);
    assert_eq!(recovery.missed_from(Seen::Count(u64::MAX)), None);
    assert_eq!(recovery.missed_from(Seen::Count(4)), None);
    assert_eq!(recovery.missed_from(Seen::Count(3)), Some(4));
    assert_eq!(recovery.missed_from(Seen::Count(0)), Some(1));
    recovery.pings();
    let message = Outgoing::Binary("later".into());
    recovery.keep(Said::Message(message), false).unwrap();
    recovery.pings();
    recovery.answered();
    assert_eq!(
        recovery.missed_from(Seen::Count(2)),
        None,
        "it was there before the first ping"
    );
    assert_eq!(recovery.missed_from(Seen::Count(3)), Some(4));
}

#[test]
fn a_claim_among_subprotocols_is_read_whole_or_not_at_all() {
    let pid = "zVM8wOtnweVu5FYeAAAAsecretsecretsecret01";
    let good = format!("resume.{pid}.12");
    let claim = Claim::of_protocol(&good).unwrap();
    assert_eq!((claim.peer.as_str(), claim.secret), pid.split_at(20));
    assert!(matches!(claim.seen, Seen::Count(12)));
    for bad in [
        "",
        "peer-data",
        "resume.",
        &format!("resume.{pid}"),
        &format!("resume.{pid}."),
        &format!("resume.{pid}.-1"),
        &format!("resume.{pid}.99999999999999999999"),
        &format!("resume.{pid}.1.2"),
        &format!("{pid}.1"),
        "resume..1",
        "resume.short.1",
    ] {
        assert!(Claim::of_protocol(bad).is_none(), "{bad}");
    }
}
