//! Who may come in: how many sessions and handshakes there are, of the server and of each address,
//! and which addresses are banned.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::shutdown::Drain;
use crate::broker::{Shards, shrink};
use crate::limits::Limits;
use crate::sync::lock;

/// Bans that are kept at a time; a table that anybody's address could get into must have an end.
const MAX_BANS: usize = 10_000;

/// A ban for longer than a year is one for a year.
const MAX_BAN: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Whom an address stands for: itself; if it is of IPv6, all of its /64, which is what one
/// household is given; if it is IPv4 in the guise of IPv6, the IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressKey(IpAddr);

impl AddressKey {
    pub(super) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }

    /// The address, or the first of its network.
    pub(super) fn address(self) -> IpAddr {
        self.0
    }
}

/// Why nobody more comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The server has all the sessions, or all the handshakes, that it takes.
    Server,
    /// The address has.
    Address,
    /// The server is being shut down.
    Ending,
}

/// How many are open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Open {
    sessions: usize,
    /// Of these, how many are no peers yet.
    handshakes: usize,
}

/// The doorkeeper of a server.
#[derive(Debug)]
pub(super) struct Intake {
    max: Open,
    /// 0: any number.
    max_per_address: Open,
    sessions: AtomicUsize,
    handshakes: AtomicUsize,
    /// Only addresses that have something open, and only if that is limited.
    addresses: Shards<AddressKey, Open>,
    pub(super) drain: Drain,
    bans: Mutex<HashMap<AddressKey, Instant>>,
    /// Whether there may be a ban: most servers have none, and need not look.
    has_bans: AtomicBool,
}

impl Intake {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            max: Open {
                sessions: limits.max_sessions,
                handshakes: limits.max_handshakes,
            },
            max_per_address: Open {
                sessions: limits.max_sessions_per_address,
                handshakes: limits.max_handshakes_per_address,
            },
            sessions: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            addresses: Shards::new(),
            drain: Drain::default(),
            bans: Mutex::default(),
            has_bans: AtomicBool::new(false),
        })
    }

    /// A seat for a client that begins its handshake; it is free again once the seat is dropped.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Seat, Full> {
        if !self.drain.enter() {
            return Err(Full::Ending);
        }
        if !take(&self.sessions, self.max.sessions) {
            self.drain.closed();
            return Err(Full::Server);
        }
        // From here on, dropping the seat gives back what was taken.
        let mut seat = Seat {
            intake: Arc::clone(self),
            address: None,
            connecting: false,
        };
        if !take(&self.handshakes, self.max.handshakes) {
            return Err(Full::Server);
        }
        seat.connecting = true;
        if self.max_per_address != Open::default()
            && let Some(key) = address.map(AddressKey::of)
        {
            self.enter_from(key)?;
            seat.address = Some(key);
        }
        Ok(seat)
    }

    fn enter_from(&self, key: AddressKey) -> Result<(), Full> {
        let mut addresses = self.addresses.lock(&key);
        let open = addresses.get(&key).copied().unwrap_or_default();
        let fits = |count: usize, max: usize| max == 0 || count < max;
        if !fits(open.sessions, self.max_per_address.sessions)
            || !fits(open.handshakes, self.max_per_address.handshakes)
        {
            return Err(Full::Address);
        }
        let entered = Open {
            sessions: open.sessions + 1,
            handshakes: open.handshakes + 1,
        };
        addresses.insert(key, entered);
        Ok(())
    }

    /// Notes that a client of that address has gone, or is no longer in its handshake.
    fn leave(&self, key: AddressKey, sessions: usize, handshakes: usize) {
        let mut addresses = self.addresses.lock(&key);
        let Some(open) = addresses.get_mut(&key) else {
            return;
        };
        open.sessions = open.sessions.saturating_sub(sessions);
        open.handshakes = open.handshakes.saturating_sub(handshakes);
        if *open == Open::default() {
            addresses.remove(&key);
            shrink(&mut addresses);
        }
    }

    /// Lets nobody in from that address for so long. Once the table is full, the ban that would
    /// end first makes room.
    pub(super) fn ban(&self, address: IpAddr, duration: Duration, now: Instant) {
        let key = AddressKey::of(address);
        let mut bans = lock(&self.bans);
        if bans.len() >= MAX_BANS && !bans.contains_key(&key) {
            bans.retain(|_, until| *until > now);
            let first = bans.iter().min_by_key(|(_, until)| **until);
            if bans.len() >= MAX_BANS
                && let Some(first) = first.map(|(key, _)| *key)
            {
                bans.remove(&first);
            }
        }
        bans.insert(key, now + duration.min(MAX_BAN));
        self.has_bans.store(true, Ordering::Release);
    }

    /// Whether there was a ban to lift.
    pub(super) fn unban(&self, address: IpAddr, now: Instant) -> bool {
        let mut bans = lock(&self.bans);
        let ban = bans.remove(&AddressKey::of(address));
        self.forget_ended(&mut bans, now);
        ban.is_some_and(|until| until > now)
    }

    /// The addresses that are banned, and for how long still, in no order. Of an IPv6 network, its
    /// first address.
    pub(super) fn bans(&self, now: Instant) -> Vec<(IpAddr, Duration)> {
        let mut bans = lock(&self.bans);
        self.forget_ended(&mut bans, now);
        let bans = bans.iter();
        bans.map(|(key, until)| (key.address(), until.saturating_duration_since(now)))
            .collect()
    }

    /// Whether nobody may come in from that address. A client whose address nobody knows may.
    pub(super) fn is_banned(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let Some(address) = address.filter(|_| self.has_bans()) else {
            return false;
        };
        let mut bans = lock(&self.bans);
        let key = AddressKey::of(address);
        match bans.get(&key) {
            None => false,
            Some(until) if *until > now => true,
            Some(_) => {
                bans.remove(&key);
                self.forget_ended(&mut bans, now);
                false
            }
        }
    }

    /// Whether it is worth finding out where a request comes from.
    pub(super) fn has_bans(&self) -> bool {
        self.has_bans.load(Ordering::Acquire)
    }

    fn forget_ended(&self, bans: &mut HashMap<AddressKey, Instant>, now: Instant) {
        bans.retain(|_, until| *until > now);
        if bans.is_empty() {
            *bans = HashMap::new();
            self.has_bans.store(false, Ordering::Release);
        }
    }
}

/// Takes one of `max`, if there is one left.
fn take(count: &AtomicUsize, max: usize) -> bool {
    let one_more = |count| (count < max).then_some(count + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        .is_ok()
}

/// One client's place among the sessions and, until it is a peer, among the handshakes.
#[derive(Debug)]
pub(super) struct Seat {
    intake: Arc<Intake>,
    /// If there is a limit for each address.
    address: Option<AddressKey>,
    connecting: bool,
}

impl Seat {
    /// The client has become a peer.
    pub(super) fn connected(&mut self) {
        if std::mem::take(&mut self.connecting) {
            self.intake.handshakes.fetch_sub(1, Ordering::Relaxed);
            if let Some(key) = self.address {
                self.intake.leave(key, 0, 1);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connected();
        self.intake.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Some(key) = self.address {
            self.intake.leave(key, 1, 0);
        }
        self.intake.drain.closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn intake(change: impl FnOnce(&mut Limits)) -> Arc<Intake> {
        let mut limits = Limits::default();
        change(&mut limits);
        Intake::new(&limits)
    }

    /// Sessions and handshakes that are open, and addresses that have some.
    fn open(intake: &Intake) -> [usize; 3] {
        [
            intake.sessions.load(Ordering::Relaxed),
            intake.handshakes.load(Ordering::Relaxed),
            intake.addresses.len(),
        ]
    }

    #[test]
    fn an_address_stands_for_its_household() {
        let same = |a, b| AddressKey::of(address(a)) == AddressKey::of(address(b));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        let first = AddressKey::of(address("2001:db8::7")).address();
        assert_eq!(first, address("2001:db8::"));
    }

    #[test]
    fn the_server_takes_so_many_and_no_more() {
        let intake = intake(|limits| {
            limits.max_sessions = 3;
            limits.max_handshakes = 2;
        });
        let mut first = intake.enter(None).unwrap();
        let second = intake.enter(None).unwrap();
        assert_eq!(intake.enter(None).unwrap_err(), Full::Server);
        first.connected();
        first.connected();
        let third = intake.enter(None).unwrap();
        assert_eq!(open(&intake), [3, 2, 0]);
        drop(second);
        let fourth = intake.enter(None).unwrap();
        drop(first);
        drop((third, fourth));
        assert_eq!(open(&intake), [0, 0, 0]);
    }

    #[test]
    fn a_refused_client_leaves_nothing_behind() {
        let intake = intake(|limits| {
            limits.max_sessions_per_address = 2;
            limits.max_handshakes_per_address = 1;
        });
        let [ann, ben] = ["192.0.2.1", "192.0.2.2"].map(|text| Some(address(text)));
        let mut one = intake.enter(ann).unwrap();
        assert_eq!(intake.enter(ann).unwrap_err(), Full::Address);
        assert_eq!(open(&intake), [1, 1, 1]);
        one.connected();
        let mut two = intake.enter(ann).unwrap();
        two.connected();
        assert_eq!(intake.enter(ann).unwrap_err(), Full::Address);
        let other = intake.enter(ben).unwrap();
        // Whom nobody knows, nobody counts.
        let unknown = [(); 5].map(|()| intake.enter(None).unwrap());
        assert_eq!(open(&intake), [8, 6, 2]);
        drop((one, two));
        assert_eq!(open(&intake)[2], 1);
        drop((other, unknown));
        assert_eq!(open(&intake), [0, 0, 0]);
    }

    #[test]
    fn one_limit_of_an_address_goes_without_the_other() {
        let handshakes = intake(|limits| limits.max_handshakes_per_address = 1);
        let ann = Some(address("192.0.2.1"));
        let mut seats = Vec::new();
        for _ in 0..100 {
            let mut seat = handshakes.enter(ann).unwrap();
            seat.connected();
            seats.push(seat);
        }
        let sessions = intake(|limits| limits.max_sessions_per_address = 2);
        let two = [(); 2].map(|()| sessions.enter(ann).unwrap());
        assert!(sessions.enter(ann).is_err());
        drop(two);
        assert!(sessions.enter(ann).is_ok());
    }

    #[test]
    fn addresses_are_not_counted_where_they_are_not_limited() {
        let intake = intake(|_| {});
        let _seat = intake.enter(Some(address("192.0.2.1"))).unwrap();
        assert_eq!(open(&intake), [1, 1, 0]);
    }

    #[test]
    fn the_count_is_true_whoever_comes_and_goes_at_once() {
        let intake = intake(|limits| {
            limits.max_sessions = 5;
            limits.max_sessions_per_address = 4;
        });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let intake = &intake;
                let address = address(["192.0.2.1", "192.0.2.2"][thread % 2]);
                scope.spawn(move || {
                    for _ in 0..1_000 {
                        if let Ok(mut seat) = intake.enter(Some(address)) {
                            assert!(open(intake)[0] <= 5);
                            seat.connected();
                        }
                    }
                });
            }
        });
        assert_eq!(open(&intake), [0, 0, 0]);
    }

    #[test]
    fn a_ban_holds_for_its_time_and_its_household() {
        let (intake, now) = (intake(|_| {}), Instant::now());
        let banned = |text: &str, now| intake.is_banned(Some(address(text)), now);
        assert!(!banned("2001:db8::1", now));
        intake.ban(address("2001:db8::1"), 10 * SECOND, now);
        assert!(banned("2001:db8::2", now) && !banned("2001:db8:0:1::2", now));
        assert!(!intake.is_banned(None, now));
        assert!(banned("2001:db8::1", now + 9 * SECOND));
        let left = intake.bans(now + 4 * SECOND);
        assert_eq!(left, [(address("2001:db8::"), 6 * SECOND)]);
        assert!(!banned("2001:db8::1", now + 10 * SECOND));
        assert!(!intake.has_bans(), "nobody has to look any more");
    }

    #[test]
    fn a_ban_can_be_lifted_and_renewed() {
        let (intake, now) = (intake(|_| {}), Instant::now());
        let ann = address("192.0.2.1");
        intake.ban(ann, SECOND, now);
        intake.ban(ann, Duration::MAX, now);
        let [(_, left)] = intake.bans(now)[..] else {
            panic!("not one ban");
        };
        assert_eq!(left, MAX_BAN);
        assert!(intake.unban(ann, now) && !intake.unban(ann, now));
        assert!(!intake.is_banned(Some(ann), now) && !intake.has_bans());
        intake.ban(ann, SECOND, now);
        assert!(!intake.unban(ann, now + SECOND), "it was over already");
    }

    #[test]
    fn the_ban_that_ends_first_makes_room() {
        let (intake, now) = (intake(|_| {}), Instant::now());
        let nth = |n: u32| IpAddr::from((0x0a00_0000 + n).to_be_bytes());
        for n in 0..10_000 {
            intake.ban(nth(n), SECOND * (n + 2), now);
        }
        intake.ban(nth(10_000), SECOND, now);
        let bans = intake.bans(now);
        assert_eq!(bans.len(), MAX_BANS);
        assert!(!intake.is_banned(Some(nth(0)), now) && intake.is_banned(Some(nth(1)), now));
        assert!(intake.is_banned(Some(nth(10_000)), now));
        // Where some have ended, none is lifted before its time.
        let later = now + 5_000 * SECOND;
        intake.ban(nth(20_000), SECOND, later);
        assert!(intake.is_banned(Some(nth(9_999)), later));
        assert!(intake.bans(later).len() < 6_000);
    }
}
