//! All clients of one run, in rooms of one size, and what they say to each other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

use crate::Failure;
use crate::event::{self, Kind, Mark};
use crate::ledger::Ledger;
use crate::options::Options;
use crate::progress;
use crate::server::Server;
use crate::session::Session;

/// How long nothing may happen before what is waited for counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a node may take to learn who is in a room elsewhere.
const ROSTER: Duration = Duration::from_millis(300);

/// How often it is looked whether something has happened.
const LOOK: Duration = Duration::from_millis(2);

/// What a client does about an event that it hears.
type Rule = Rc<dyn Fn(&Crowd, usize, Mark)>;

pub(crate) struct Crowd {
    clients: Vec<Client>,
    per_room: usize,
    pub(crate) ledger: RefCell<Ledger>,
    rule: RefCell<Rule>,
    /// How many are connected.
    present: Cell<usize>,
    /// Why the run cannot go on.
    failure: RefCell<Option<String>>,
}

#[derive(Default)]
struct Client {
    unsaid: RefCell<Vec<String>>,
    /// It has something to say, or is to leave.
    wake: Notify,
    is_leaving: Cell<bool>,
}

impl Crowd {
    /// Connects clients, the first `per_room` of which will share a room, and so on.
    pub(crate) async fn connect(
        options: &Options,
        server: &Server,
        clients: usize,
        per_room: usize,
    ) -> Result<Rc<Self>, Failure> {
        let crowd = Rc::new(Self {
            clients: (0..clients).map(|_| Client::default()).collect(),
            per_room,
            ledger: Ledger::new(clients)?.into(),
            rule: RefCell::new(Rc::new(|_, _, _| {})),
            present: Cell::new(0),
            failure: RefCell::new(None),
        });
        progress::show(&crowd);
        let places = Arc::new(Semaphore::new(options.at_once));
        for client in 0..clients {
            let place = Arc::clone(&places).acquire_owned().await?;
            let (own, target) = (Rc::clone(&crowd), Rc::clone(server.target(client)));
            let wire = options.wire(client);
            let path = server.path(wire).to_owned();
            tokio::task::spawn_local(async move {
                let connecting = Session::connect(&target, wire, &path).await;
                drop(place);
                let done = match connecting {
                    Ok(session) => own.attend(client, session).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    own.fail(format!("client {client}: {error}"));
                }
            });
            crowd.check()?;
        }
        crowd
            .until("connections", || crowd.present.get() == clients)
            .await?;
        Ok(crowd)
    }

    /// How many of how many are connected, and what they have heard.
    pub(crate) fn progress(&self) -> (usize, usize, u64) {
        let heard = self.ledger.borrow().delivered;
        (self.present.get(), self.clients.len(), heard)
    }

    /// What one client does until it leaves.
    async fn attend(&self, client: usize, mut session: Session) -> Result<(), Failure> {
        if let Some(id) = &session.id {
            self.ledger.borrow_mut().know(client, id);
        }
        self.present.set(self.present.get() + 1);
        let own = &self.clients[client];
        while !own.is_leaving.get() {
            let mut hear = |event: &str| self.hear(client, event);
            tokio::select! {
                heard = session.hear(&mut hear) => heard?,
                () = own.wake.notified() => {}
            }
            for event in own.unsaid.take() {
                session.say(&event)?;
            }
        }
        let closed = session.close().await;
        self.present.set(self.present.get() - 1);
        closed
    }

    /// Everybody joins its room: at once, and of any two in a room one hears the other's CONNECT.
    /// Where they come at once at different nodes, either may; so there they come one by one.
    pub(crate) async fn join(&self, server: &Server) -> Result<(), Failure> {
        let nodes = server.nodes();
        if nodes == 1 {
            self.join_at_once();
            return Ok(());
        }
        for place in 0..self.per_room {
            let rooms = (self.clients.len() / self.per_room) as u64;
            self.ledger.borrow_mut().expected += rooms * place as u64;
            for client in (place..self.clients.len()).step_by(self.per_room) {
                self.say(client, Kind::Connect, None);
            }
            self.settle().await?;
            if place < nodes {
                // The node may be new to the room, and asks the others who is there.
                sleep(ROSTER).await;
            }
        }
        Ok(())
    }

    fn join_at_once(&self) {
        let (clients, others) = (self.clients.len() as u64, self.per_room as u64 - 1);
        self.ledger.borrow_mut().expected += clients * others / 2;
        for client in 0..self.clients.len() {
            self.say(client, Kind::Connect, None);
        }
    }

    /// All who are not known by their id say something, so that the others learn it.
    pub(crate) async fn introduce(&self) -> Result<(), Failure> {
        self.settle().await?;
        for client in 0..self.clients.len() {
            let is_known = self.ledger.borrow().id(client).is_some();
            if !is_known {
                self.say(client, Kind::Chat, None);
            }
        }
        self.settle().await
    }

    /// Sends an event, to one client or to all in the room of `from`.
    pub(crate) fn say(&self, from: usize, kind: Kind, to: Option<usize>) {
        let mut ledger = self.ledger.borrow_mut();
        let others = match (kind, to) {
            // Counted where all join.
            (Kind::Connect, _) => 0,
            (_, Some(_)) => 1,
            (_, None) => self.per_room as u64 - 1,
        };
        let (number, sent_at) = ledger.send(from, to, others);
        let mark = Mark {
            kind,
            from,
            to,
            number,
            sent_at,
        };
        let callee = to.and_then(|to| ledger.id(to));
        if to.is_some() && callee.is_none() {
            return self.fail(format!("{to:?} has not been heard of by {from}"));
        }
        let event = event::write(mark, callee, from / self.per_room);
        self.clients[from].unsaid.borrow_mut().push(event);
        self.clients[from].wake.notify_one();
    }

    fn hear(&self, client: usize, event: &str) {
        // What the server says of itself has no mark.
        let Some(mark) = event::mark(event) else {
            return;
        };
        let is_roommate = client / self.per_room == mark.from / self.per_room;
        let caller = event::caller(event).unwrap_or_default();
        self.ledger
            .borrow_mut()
            .hear(client, mark, is_roommate, caller);
        let rule = Rc::clone(&self.rule.borrow());
        rule(self, client, mark);
    }

    /// From now on, this is done about what is heard.
    pub(crate) fn follow(&self, rule: impl Fn(&Self, usize, Mark) + 'static) {
        self.rule.replace(Rc::new(rule));
    }

    /// Returns once all that was sent has arrived, or nothing arrives any more.
    pub(crate) async fn settle(&self) -> Result<(), Failure> {
        loop {
            self.check()?;
            let has_settled = {
                let ledger = self.ledger.borrow();
                ledger.is_even() || ledger.quiet_for() > PATIENCE
            };
            if has_settled {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Everybody leaves.
    pub(crate) async fn leave(&self) -> Result<(), Failure> {
        for client in &self.clients {
            client.is_leaving.set(true);
            client.wake.notify_one();
        }
        self.until("departures", || self.present.get() == 0).await
    }

    async fn until(&self, what: &str, is_done: impl Fn() -> bool) -> Result<(), Failure> {
        let (mut present, mut since) = (self.present.get(), Instant::now());
        while !is_done() {
            self.check()?;
            if present != self.present.get() {
                (present, since) = (self.present.get(), Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(format!("waited in vain for {what}, at {present}").into());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        match &*self.failure.borrow() {
            Some(why) => Err(why.clone().into()),
            None => Ok(()),
        }
    }
}
