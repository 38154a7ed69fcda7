//! What a bus is asked for, and how much at a time. What real ones make of it is tested beside them.

use std::future::poll_fn;

use super::*;
use crate::cluster::{Edition, Inbox, Item};

/// A bus that takes down how many subjects each subscription was for. It is away until it is let in.
#[derive(Clone, Default)]
struct Observed {
    asked: Arc<Mutex<Vec<usize>>>,
    is_there: Arc<Notify>,
}

impl Bus for Observed {
    type Line = Self;

    async fn connect(&self, _: Gate) -> Result<Connection<Self>, Broken> {
        self.is_there.notified().await;
        // Never said to be gone.
        let (sender, gone) = oneshot::channel();
        std::mem::forget(sender);
        let line = self.clone();
        Ok(Connection { line, gone })
    }
}

impl Line for Observed {
    fn max_parcel(&self) -> usize {
        usize::MAX
    }

    async fn subscribe(&mut self, subjects: Vec<String>) -> Result<(), Broken> {
        lock(&self.asked).push(subjects.len());
        Ok(())
    }

    async fn unsubscribe(&mut self, _: Vec<String>) -> Result<(), Broken> {
        Ok(())
    }

    async fn publish(&mut self, _: Vec<(String, Bytes)>) -> Result<(), Broken> {
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

#[tokio::test]
async fn a_bus_that_comes_back_is_asked_for_few_rooms_at_a_time() {
    const ROOMS: usize = 10 * CLUSTER_RETURN_ROOMS + 1;
    let bus = Observed::default();
    let link = Link::new(bus.clone(), Subjects::default(), usize::MAX);
    let (inbox, inbound) = Inbox::new();
    link.start(NodeId::random().unwrap(), inbound).unwrap();
    for number in 0..ROOMS {
        link.interest(&RoomId::new(&number.to_string()).unwrap(), true);
    }
    let began = Instant::now();
    bus.is_there.notify_one();
    let mut ready = 0;
    while ready < ROOMS {
        poll_fn(|cx| inbox.poll_filled(cx)).await;
        ready += usize::from(matches!(inbox.pop(), Some(Item::Ready(_))));
    }
    let asked = lock(&bus.asked).clone();
    assert_eq!(asked[0], 2, "what is to all, and to this node");
    assert_eq!(asked[1..].iter().sum::<usize>(), ROOMS);
    assert!(
        asked[1..]
            .iter()
            .all(|count| *count <= CLUSTER_RETURN_ROOMS),
        "{asked:?}"
    );
    // Half of each pause is certain.
    assert!(
        began.elapsed() >= CLUSTER_RETURN_PAUSE / 2 * 10,
        "{:?}",
        began.elapsed()
    );
    link.stop().await;
}

/// A bus that has its reasons not to be there.
#[cfg(feature = "tracing")]
struct Reluctant {
    reasons: Mutex<Vec<&'static str>>,
    line: Observed,
}

#[cfg(feature = "tracing")]
impl Bus for Reluctant {
    type Line = Observed;

    async fn connect(&self, gate: Gate) -> Result<Connection<Observed>, Broken> {
        let reason = lock(&self.reasons).pop();
        match reason {
            Some(reason) => Err(Broken::by(reason)),
            None => self.line.connect(gate).await,
        }
    }
}

#[cfg(feature = "tracing")]
#[tokio::test]
async fn why_there_is_no_connection_is_said_once_for_each_reason() {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _said_here = tracing::subscriber::set_default(subscriber);
    let bus = Reluctant {
        reasons: Mutex::new(vec!["password", "password", "refused", "refused"]),
        line: Observed::default(),
    };
    bus.line.is_there.notify_one();
    let link = Link::new(bus, Subjects::default(), usize::MAX);
    let (inbox, inbound) = Inbox::new();
    link.start(NodeId::random().unwrap(), inbound).unwrap();
    poll_fn(|cx| inbox.poll_filled(cx)).await;
    assert_eq!(inbox.pop(), Some(Item::Connected));
    let said = String::from_utf8(lock(&log.0).clone()).unwrap();
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{said}");
    assert!(warnings[0].contains("refused") && warnings[1].contains("password"));
    link.stop().await;
}

/// A bus that goes away once its end is dropped.
struct Leaving {
    gone: Mutex<Option<oneshot::Receiver<()>>>,
    line: Observed,
}

impl Bus for Leaving {
    type Line = Observed;

    async fn connect(&self, gate: Gate) -> Result<Connection<Observed>, Broken> {
        let gone = lock(&self.gone).take();
        match gone {
            Some(gone) => Ok(Connection {
                line: self.line.clone(),
                gone,
            }),
            None => self.line.connect(gate).await,
        }
    }
}

#[tokio::test]
async fn signals_that_wait_when_the_bus_goes_away_are_counted() {
    let (end, gone) = oneshot::channel();
    let bus = Leaving {
        gone: Mutex::new(Some(gone)),
        line: Observed::default(),
    };
    let link = Link::new(bus, Subjects::default(), usize::MAX);
    let (inbox, inbound) = Inbox::new();
    let node = NodeId::random().unwrap();
    link.start(node, inbound).unwrap();
    poll_fn(|cx| inbox.poll_filled(cx)).await;
    assert_eq!(inbox.pop(), Some(Item::Connected));
    // Nothing of this is sent before the bus is gone: nothing else has its turn in between.
    let body = Bytes::from_static(b"said once");
    for parcel in [
        Parcel::Reply { request: 1, body },
        Parcel::Cut { request: 2 },
    ] {
        let parcel = parcel.encode(node, Edition::default());
        link.publish(Target::All, parcel).unwrap();
    }
    drop(end);
    poll_fn(|cx| inbox.poll_filled(cx)).await;
    assert_eq!((inbox.pop(), inbox.take_dropped()), (Some(Item::Lost), 1));
    link.stop().await;
}
