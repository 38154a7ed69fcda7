//! The broker without any socket: rooms in memory, mailboxes that are vectors.
//!
//! ```text
//! cargo run --example broker_only
//! ```

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use peer_data_server::{Broker, Mailbox, PeerId, RoomId, Signal, Undelivered};

/// Keeps what arrives, up to a bound: a mailbox must neither block nor grow without end.
#[derive(Default)]
struct Inbox(Mutex<Vec<Signal>>);

const CAPACITY: usize = 16;

impl Mailbox for Inbox {
    fn deliver(self: &Arc<Self>, signal: &Signal) -> Result<(), Undelivered> {
        let mut signals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if signals.len() == CAPACITY {
            return Err(Undelivered::Full);
        }
        signals.push(signal.clone());
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let broker = Broker::new();
    let kitchen = RoomId::new("kitchen")?;
    let mut guests = Vec::new();
    for name in ["Ann", "Ben", "Cleo"] {
        let (id, inbox) = (PeerId::random()?, Arc::<Inbox>::default());
        broker.attach(id, Arc::clone(&inbox))?;
        let joined = broker.join(&id, &kitchen)?;
        println!("{name} joins; {} in the kitchen", joined.members.len());
        guests.push((name, id, inbox));
    }

    let hello = Signal::new("HELLO", Some(&kitchen), "dinner is ready")?;
    let sent = broker.to_room(&kitchen, Some(&guests[0].1), &hello);
    println!("Ann tells {} others", sent.delivered);

    for departure in broker.detach(&guests[0].1) {
        println!(
            "Ann leaves {}; {} stay",
            departure.room,
            departure.others.len()
        );
    }
    for (name, _, inbox) in &guests {
        let signals = inbox.0.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{name} has {} signal(s)", signals.len());
    }
    Ok(())
}
