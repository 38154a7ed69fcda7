//! One client: the packets of its wire, up to the events in them.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::Failure;
use crate::line::Line;
use crate::options::{Revision, Wire};
use crate::polling::field;
use crate::target::Target;

/// How often a client of revision 3 says that it lives; servers wait for 25 s and some more.
const HEARTBEAT: Duration = Duration::from_secs(20);

pub(crate) struct Session {
    wire: Wire,
    line: Line,
    /// Only where it is the client that pings.
    heartbeat: Option<Interval>,
    /// Its id, where the wire says it.
    pub(crate) id: Option<String>,
    is_connected: bool,
    packets: Vec<Utf8Bytes>,
}

impl Session {
    /// Returns once events can be sent.
    pub(crate) async fn connect(target: &Target, wire: Wire, path: &str) -> Result<Self, Failure> {
        let heartbeat = match wire {
            Wire::Socket(Revision::V3) | Wire::Polling(Revision::V3) => {
                let mut heartbeat = interval(HEARTBEAT);
                heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
                heartbeat.reset();
                Some(heartbeat)
            }
            _ => None,
        };
        let mut session = Self {
            wire,
            line: Line::open(target, wire, path).await?,
            heartbeat,
            id: None,
            is_connected: false,
            packets: Vec::new(),
        };
        while !session.is_connected {
            session.hear(&mut |_| {}).await?;
        }
        Ok(session)
    }

    /// Sends an event as soon as something is heard or waited for.
    pub(crate) fn say(&mut self, event: &str) -> Result<(), Failure> {
        match self.wire {
            Wire::Json => self.line.say(event.to_owned()),
            _ => self.line.say(format!("42[\"message\",{event}]")),
        }
    }

    /// Waits until something comes, writes meanwhile, and hands over each event. Can be dropped
    /// and called again.
    pub(crate) async fn hear(&mut self, event: &mut impl FnMut(&str)) -> Result<(), Failure> {
        poll_fn(|cx| self.poll_hear(cx, event)).await
    }

    fn poll_hear(
        &mut self,
        cx: &mut Context<'_>,
        event: &mut impl FnMut(&str),
    ) -> Poll<Result<(), Failure>> {
        if let Some(heartbeat) = &mut self.heartbeat
            && heartbeat.poll_tick(cx).is_ready()
        {
            // Its next tick wakes this task only if it is asked again.
            cx.waker().wake_by_ref();
            self.line.say("2".to_owned())?;
        }
        let mut packets = std::mem::take(&mut self.packets);
        let polled = self.line.poll(cx, &mut packets);
        for packet in packets.drain(..) {
            self.take(&packet, event)?;
        }
        self.packets = packets;
        polled
    }

    fn take(&mut self, packet: &str, event: &mut impl FnMut(&str)) -> Result<(), Failure> {
        let (Wire::Socket(revision) | Wire::Polling(revision)) = self.wire else {
            if self.is_connected {
                event(packet);
            } else {
                self.connected(field(packet, "id"));
            }
            return Ok(());
        };
        if let Some(arguments) = packet.strip_prefix("42[\"message\",") {
            event(arguments.strip_suffix(']').unwrap_or(arguments));
        } else if packet == "2" {
            self.line.say("3".to_owned())?;
        } else if packet.starts_with('0') && revision == Revision::V4 {
            self.line.say("40".to_owned())?;
        } else if let Some(connected) = packet.strip_prefix("40") {
            self.connected(field(connected, "sid"));
        } else if packet == "1" || packet.starts_with("41") || packet.starts_with("44") {
            return Err(format!("ended by the server: {packet}").into());
        }
        Ok(())
    }

    fn connected(&mut self, id: Option<&str>) {
        self.is_connected = true;
        self.id = id.map(str::to_owned);
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.line.close().await
    }
}
