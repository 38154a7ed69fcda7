//! Clients that show a token.

use std::borrow::Cow;
use std::fmt;

use crate::error::Refused;
use crate::identity::Identity;
use crate::server::{Hello, Policy};

/// How a subprotocol begins that carries a token.
const SUBPROTOCOL: &str = "bearer.";

/// Lets in who shows a good token, wherever its wire has a place for one.
///
/// The token is taken from the first of these that has one:
///
/// 1. the header `Authorization: Bearer …` (RFC 6750, 2.1), which programs can send and pages cannot;
/// 2. `auth.token` of socket.io-client 3 and 4;
/// 3. the parameter `token` of the query, the only place that socket.io-client 2 has. Addresses
///    end up in the logs of proxies: let such a token be short-lived;
/// 4. a websocket subprotocol that begins with `bearer.`, for plain JSON:
///    `new WebSocket(url, ['peer-data', 'bearer.' + token])`. The first subprotocol is the one that
///    the server agrees to, so let that be another.
///
/// A client without one is refused with `unauthorized`.
///
/// The closure checks the token: it looks it up, or checks a signature as the example `auth` does
/// for JSON Web Tokens. Compare secrets in constant time, or by their hashes.
///
/// ```
/// use peer_data_server::policy::BearerToken;
/// use peer_data_server::{Identity, PeerData, Refused};
/// # async fn session_of(token: &str) -> Option<u64> { (token == "sesame").then_some(7) }
///
/// let server = PeerData::builder()
///     .policy(BearerToken::new(|token: String| async move {
///         let session = session_of(&token).await;
///         session.map(Identity::new).ok_or_else(|| Refused::unauthorized("that token is not valid"))
///     }))
///     .build()?;
/// # Ok::<(), peer_data_server::Error>(())
/// ```
pub struct BearerToken<V> {
    verify: V,
}

impl<V, F> BearerToken<V>
where
    V: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Identity, Refused>> + Send + 'static,
{
    /// Tokens that `verify` finds good are good; it says whose they are.
    pub fn new(verify: V) -> Self {
        Self { verify }
    }
}

impl<V, F> Policy for BearerToken<V>
where
    V: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Identity, Refused>> + Send + 'static,
{
    fn authorize(
        &self,
        hello: &Hello<'_>,
    ) -> impl Future<Output = Result<Identity, Refused>> + Send {
        let decision = token(hello).map(|token| (self.verify)(token.into_owned()));
        async move {
            match decision {
                Some(decision) => decision.await,
                None => Err(Refused::unauthorized("a token is needed")),
            }
        }
    }
}

fn token<'a>(hello: &Hello<'a>) -> Option<Cow<'a, str>> {
    let header = hello.handshake().header("authorization");
    let header = header.and_then(|value| {
        let (scheme, token) = value.trim().split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| Cow::Borrowed(token.trim()))
    });
    header
        .or_else(|| hello.credential("token"))
        .or_else(|| {
            let mut protocols = hello.protocols();
            protocols
                .find_map(|protocol| protocol.strip_prefix(SUBPROTOCOL))
                .map(Cow::Borrowed)
        })
        .filter(|token| !token.is_empty())
}

impl<V> fmt::Debug for BearerToken<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerToken").finish_non_exhaustive()
    }
}
