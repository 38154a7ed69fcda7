//! STUN and TURN servers, which take more than one variable to say.

use std::time::Duration;

use crate::error::Error;
use crate::ice::{IceServers, TurnSecret};

/// What several variables say of STUN and TURN servers together.
#[derive(Debug, Default)]
pub(in crate::server) struct TurnVariables {
    pub(super) stun: Vec<String>,
    pub(super) urls: Vec<String>,
    pub(super) secret: Option<TurnSecret>,
    pub(super) lifetime: Option<Duration>,
}

impl TurnVariables {
    /// `servers`, and those of the environment behind them.
    pub(in crate::server) fn added_to(
        self,
        servers: Option<IceServers>,
    ) -> Result<Option<IceServers>, Error> {
        let Self {
            stun,
            urls,
            secret,
            lifetime,
        } = self;
        if urls.is_empty() != secret.is_none() {
            let problem = "PEER_DATA_TURN_URLS needs PEER_DATA_TURN_SECRET, and that the former";
            return Err(Error::new("ice_servers", problem.to_owned()));
        }
        let mut all = servers.clone().unwrap_or_default();
        if let Some(lifetime) = lifetime {
            all = all.lifetime(lifetime);
        }
        if stun.is_empty() && urls.is_empty() {
            return Ok(servers.map(|_| all));
        }
        if !stun.is_empty() {
            all = all.stun(stun);
        }
        if let Some(secret) = secret {
            all = all.turn(urls, &secret);
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::server::Builder;

    fn read_all(variables: &[(&str, &str)]) -> Result<Builder, Error> {
        let lookup = |asked: &str| {
            let mut variables = variables.iter();
            let found = variables.find(|(name, _)| *name == asked);
            found.map(|(_, value)| Ok((*value).to_owned()))
        };
        Builder::default().with_variables(lookup)
    }

    #[test]
    fn turn_servers_are_made_of_several_variables() {
        let file = std::env::temp_dir().join(format!("turn-secret-{}", std::process::id()));
        fs::write(&file, "north\n").unwrap();
        let stun = ("PEER_DATA_STUN_URLS", "stun:a.test, stun:b.test");
        let turn = ("PEER_DATA_TURN_URLS", "turn:c.test,turns:c.test");
        let lifetime = ("PEER_DATA_TURN_LIFETIME_MS", "60000");
        let path = file.to_str().unwrap();
        for secret in [
            ("PEER_DATA_TURN_SECRET", "north"),
            ("PEER_DATA_TURN_SECRET_FILE", path),
        ] {
            let builder = read_all(&[stun, turn, secret, lifetime]).unwrap();
            let servers = builder.turn.added_to(None).unwrap().unwrap();
            let expected = IceServers::new()
                .stun(["stun:a.test", "stun:b.test"])
                .turn(["turn:c.test", "turns:c.test"], &TurnSecret::new("north"))
                .lifetime(Duration::from_secs(60));
            let now = std::time::UNIX_EPOCH;
            assert_eq!(servers.mint("ann", now), expected.mint("ann", now));
        }
        fs::remove_file(&file).unwrap();
        let gone = read_all(&[("PEER_DATA_TURN_SECRET_FILE", path)]).unwrap_err();
        assert_eq!(gone.subject(), "PEER_DATA_TURN_SECRET_FILE");
    }

    #[test]
    fn half_of_a_turn_server_is_refused_and_its_secret_is_not_shown() {
        for variables in [
            [("PEER_DATA_TURN_URLS", "turn:c.test")].as_slice(),
            &[("PEER_DATA_TURN_SECRET", "hush")],
            &[
                ("PEER_DATA_TURN_URLS", "c.test"),
                ("PEER_DATA_TURN_SECRET", "hush"),
            ],
        ] {
            let builder = read_all(variables).unwrap();
            assert!(!format!("{:?}", builder.turn).contains("hush"));
            let error = builder.build().unwrap_err();
            assert_eq!(error.subject(), variables[0].0);
            assert!(!error.to_string().contains("hush"), "{error}");
        }
    }
}
