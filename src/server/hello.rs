//! What a client says of itself when it connects.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::Handshake;
use crate::error::Error;
use crate::signal;

/// What a client said of itself when it connected.
#[derive(Debug)]
pub struct Hello<'a> {
    handshake: &'a Handshake,
    auth: Option<&'a str>,
    namespace: &'a str,
}

impl<'a> Hello<'a> {
    /// `namespace`: none for `/`.
    pub(super) fn new(
        handshake: &'a Handshake,
        auth: Option<&'a str>,
        namespace: Option<&'a str>,
    ) -> Self {
        Self {
            handshake,
            auth,
            namespace: namespace.unwrap_or("/"),
        }
    }

    /// The request that opened its session: headers, query, address.
    #[must_use]
    pub fn handshake(&self) -> &'a Handshake {
        self.handshake
    }

    /// The namespace that it asks for: `/`, unless the server has others.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// The `auth` of a socket.io-client 3 or 4 as JSON: always an object, `{}` if there was none.
    #[must_use]
    pub fn auth_json(&self) -> &'a str {
        self.auth.unwrap_or("{}")
    }

    /// The same, read.
    ///
    /// # Errors
    ///
    /// When it is not a `T`.
    pub fn auth<T: DeserializeOwned>(&self) -> Result<T, Error> {
        signal::read("auth", self.auth_json())
    }

    /// What the client says under that name, in whichever way its wire has for it: the string in its
    /// `auth` (socket.io-client 3 and 4: `io(url, {auth: {token}})`), else the parameter of the
    /// query (socket.io-client 2: `io(url, {query: {token}})`; plain JSON: `/peer-data?token=…`).
    ///
    /// ```
    /// use peer_data_server::{Identity, PeerData, Refused};
    ///
    /// let server = PeerData::builder()
    ///     .authorize(|hello| {
    ///         let known = hello.credential("token").is_some_and(|token| token == "sesame");
    ///         async move {
    ///             if known { Ok(Identity::anonymous()) } else { Err(Refused::unauthorized("who are you?")) }
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    #[must_use]
    pub fn credential(&self, name: &str) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Text(String),
            Other(IgnoredAny),
        }
        let mut auth: HashMap<String, Said> = self.auth().unwrap_or_default();
        match auth.remove(name) {
            Some(Said::Text(text)) => Some(Cow::Owned(text)),
            // A client that says something else under that name does not mean its query.
            Some(Said::Other(_)) => None,
            None => self.handshake.parameter(name),
        }
    }

    /// The websocket subprotocols that the client offers, for plain JSON the one thing beside the
    /// query that a page can choose: `new WebSocket(url, ['peer-data', 'bearer.' + token])`. The
    /// first is the one that the server agrees to, so let that be no secret.
    pub fn protocols(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let lines = self.handshake.headers("sec-websocket-protocol");
        lines.flat_map(|line| line.split(',')).map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_said_by_auth_or_else_by_the_query() {
        let handshake = Handshake::of_query("token=q%20x&other=o");
        let credential = |auth, name: &str| {
            let hello = Hello::new(&handshake, auth, None);
            hello.credential(name).map(Cow::into_owned)
        };
        assert_eq!(credential(None, "token").as_deref(), Some("q x"));
        let auth = Some(r#"{"token":"a","n":1,"other":null}"#);
        assert_eq!(credential(auth, "token").as_deref(), Some("a"));
        assert_eq!(credential(auth, "n"), None);
        assert_eq!(credential(auth, "other"), None);
        assert_eq!(credential(auth, "none"), None);
    }
}
