//! Tells peers of STUN and TURN servers, and gives them new credentials in time.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::PeerData;
use super::client::Client;
use crate::clock;
use crate::ice::IceServers;
use crate::id::PeerId;
use crate::session::{Session, Wire};
use crate::wire::notice;

impl PeerData {
    /// The servers for that peer as a JSON array, if there are any to tell of. Its session is to be
    /// told by [`note_minted`](Self::note_minted).
    pub(super) fn mint(&self, peer: &PeerId) -> Option<String> {
        let servers = self.inner.settings.ice.as_ref()?;
        Some(servers.mint(peer.as_str(), SystemTime::now()))
    }

    /// What a client hears together with its id, where its wire has a place for that.
    pub(super) fn mint_for(&self, client: &Client, peer: &PeerId) -> Option<String> {
        if client.wire == Wire::Json {
            self.mint(peer)
        } else {
            None
        }
    }

    /// What was minted has been given to the client. Once its session is free again, it is to
    /// [wait for others](Self::await_refresh).
    pub(super) fn note_minted(&self, session: &mut Session, now: Instant) {
        let servers = self.inner.settings.ice.as_ref();
        let after = servers.and_then(IceServers::refresh_after);
        session.gave_credentials(after.map(|after| now + after));
    }

    /// Has a client looked at when it needs new credentials, however long its heartbeat takes.
    pub(super) fn await_refresh(&self, client: &Client) {
        self.schedule(client, client.with(|session| session.poll_timeout()));
    }

    /// Whether events of that type ask this server for something.
    pub(super) fn is_ice_request(&self, kind: &str) -> bool {
        self.inner.settings.ice.is_some() && kind == notice::ICE_SERVERS
    }

    /// Tells a peer that has asked in a room; what it was told.
    pub(super) fn tell_ice(
        &self,
        client: &Arc<Client>,
        own: &PeerId,
        room: &str,
    ) -> Option<String> {
        let json = self.mint(own)?;
        client.with(|session| {
            session.push_signal(&notice::ice_servers(&json, Some(room)));
            self.note_minted(session, clock::now());
        });
        self.await_refresh(client);
        Some(json)
    }

    /// Gives a peer new credentials if it needs them. Nobody has asked, so it is of no room.
    pub(super) fn refresh_ice(&self, session: &mut Session, now: Instant) {
        if session.needs_credentials(now)
            && let Some(json) = session.peer().and_then(|peer| self.mint(&peer))
        {
            session.push_signal(&notice::ice_servers(&json, None));
            self.note_minted(session, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ice::TurnSecret;
    use crate::id::SessionId;
    use crate::identity::Identity;
    use crate::server::client::Arrival;
    use crate::session::{Link, Presence};
    use crate::wire::segments::Segments;

    /// A plain JSON client that has just become a peer of a server with these.
    fn peer_of(servers: IceServers) -> (PeerData, Arc<Client>, Link) {
        let server = PeerData::builder().ice_servers(servers).build().unwrap();
        let (session, link) = Session::json(&server.inner.settings.limits, clock::now());
        let client = Client::new(SessionId::random().unwrap(), session, Arrival::default());
        let presence = Presence::main(PeerId::random().unwrap());
        server.attach(&client, presence, Identity::anonymous());
        (server, client, link)
    }

    /// What the client of a session is told until nothing more waits.
    fn told(client: &Client, link: Link) -> String {
        let mut out = Segments::default();
        client.with(|session| session.poll_transmit(link, usize::MAX, &mut out));
        let mut bytes = Vec::new();
        out.copy_to(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn credentials_are_made_anew_when_half_their_life_is_over() {
        let secret = TurnSecret::new("s");
        let servers = IceServers::new().turn(["turn:turn.test"], &secret);
        let now = clock::now();
        let (server, client, link) = peer_of(servers);
        assert!(told(&client, link).contains(r#""iceServers":[{"urls":["turn:turn.test"]"#));

        let refresh = |seconds| {
            let now = now + Duration::from_secs(seconds);
            client.with(|session| server.refresh_ice(session, now));
            told(&client, link)
        };
        assert_eq!(refresh(149), "");
        let event = r#"{"type":"ICE_SERVERS","caller":null,"callee":null,"room":null,"#;
        assert!(refresh(151).contains(event));
        assert_eq!(refresh(151), "", "once");
        assert_eq!(refresh(300), "");
        assert!(refresh(302).contains(event));
    }

    #[test]
    fn nobody_is_bothered_who_was_given_nothing_that_ends() {
        let servers = IceServers::new().stun(["stun:stun.test"]);
        let now = clock::now();
        let (server, client, link) = peer_of(servers);
        assert!(told(&client, link).contains("stun:stun.test"));
        let late = now + Duration::from_secs(1_000_000);
        client.with(|session| server.refresh_ice(session, late));
        assert_eq!(told(&client, link), "");
    }
}
