//! A page that shows what is going on, and the JSON that it is drawn from.

mod api;
mod list;
mod page;

use std::fmt;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::identity::Identity;
use crate::server::{Naming, PeerData};
use crate::wire::reply::Reply;

/// Shows what is going on in a server: rooms and peers, how the calls between them stand, what was
/// refused and ended last, and how much there was to do in the last minutes. It is a page for a
/// browser, and the JSON that the page is drawn from. A peer can be disconnected there, and a room
/// be closed.
///
/// It is a tower service for the application to mount where it likes, within a prefix that is
/// stripped, as `nest_service` of axum does; for actix see `actix::inspector`. **It asks nobody who
/// he is**: guard it as you guard whatever is for operators only. The page itself holds nothing
/// secret: where its JSON is answered 401, it asks for a token and shows that as
/// `Authorization: Bearer …`. So a guard may let by who asks for exactly the page, whose path is empty
/// or `/` once the prefix is stripped; it must not go by what the paths of the JSON begin with, as
/// routers take more than one spelling.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```ignore")]
/// use axum::Router;
/// use peer_data_server::{Inspector, PeerData, PeerDataLayer};
///
/// struct User { name: String }
///
/// let server = PeerData::new();
/// let inspector = Inspector::new(&server)
///     .name(|identity| identity.get::<User>().map(|user| user.name.clone()));
/// let app: Router = Router::new()
///     // With a middleware of yours around it.
///     .nest_service("/inspector", inspector)
///     .layer(PeerDataLayer::from(server));
/// ```
///
/// # JSON
///
/// | request | answer |
/// |---|---|
/// | `GET api/overview` | counts of now; `samples` of the last five minutes, one each 2 s; the last 100 `refusals` and `endings` |
/// | `GET api/rooms` | a page of the rooms that have a member at this node |
/// | `GET api/peers` | a page of the peers at this node |
/// | `GET api/room?name=…` | one room: its members here, at most 200, and how their calls stand, at most 200, those that are not negotiated first; `pairs_total` of them there could be, `pairs_begun` have an offer that is known |
/// | `POST api/disconnect?peer=…` | as [`PeerData::disconnect`] |
/// | `POST api/close?room=…` | as [`PeerData::close_room`] |
///
/// Pages take `search` (a part of the room's name; of the peer's id, name or address), `sort` (the
/// name of a member of the answer), `order` (`asc` or `desc`), `page` (from 0) and `size` (1 to 200,
/// default 50). A POST has a header `x-peer-data-inspector`, whatever its value: no page of another
/// origin can send that unless it is allowed to. Times are in seconds, sizes in bytes; counts of a
/// peer are since its session began, and what ends in `_per_s` is of the last 2 s: of a room it is
/// the sum of its members', of whoever has just come it is not there yet.
///
/// # Costs
///
/// From [`new`](Self::new) on the server keeps who has offered to whom, at most 20 kB a peer, and a
/// few hundred kilobytes for all; and while somebody looks at lists, what each session has counted,
/// about 100 bytes. Lists are made on a thread where they hold nobody up: of 10,000
/// rooms in milliseconds. Without the feature `inspector`, or as long as none is made, nothing is
/// kept.
///
/// Of peers at other nodes of a cluster it knows how many are in a room, and no more: look at them at
/// their own node.
#[derive(Clone)]
pub struct Inspector {
    shared: Arc<Shared>,
}

struct Shared {
    server: PeerData,
    naming: Option<Box<Naming>>,
}

/// A request, as far as it matters here.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// Below the prefix: `/`, `/api/rooms`.
    pub(crate) path: String,
    pub(crate) query: String,
    /// It has the header that no stranger's page can send.
    pub(crate) is_marked: bool,
}

/// The header of requests that change something.
pub(crate) const MARK: &str = "x-peer-data-inspector";

impl Inspector {
    /// One for that server. It keeps the server alive.
    ///
    /// Made in a tokio runtime, it shows the minutes from now on, else from the first request on.
    #[must_use]
    pub fn new(server: &PeerData) -> Self {
        server.keep_inspecting();
        let shared = Shared {
            server: server.clone(),
            naming: None,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What to call those whom the application has authorized. By default nothing: an [`Identity`]
    /// may hold secrets, and is never looked into. It must not block.
    #[must_use]
    pub fn name(self, name: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static) -> Self {
        let shared = Shared {
            server: self.shared.server.clone(),
            naming: Some(Box::new(name)),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, ask: Ask) -> Reply {
        let shared = Arc::clone(&self.shared);
        shared.server.keep_inspecting();
        if matches!(&*ask.path, "" | "/") {
            return page::answer(&ask.method);
        }
        let answer = move || api::answer(&shared, &ask);
        match Handle::try_current() {
            // Lists may be long.
            Ok(runtime) => {
                let answered = runtime.spawn_blocking(answer).await;
                answered.unwrap_or_else(|_| Reply::bare(500))
            }
            Err(_) => answer(),
        }
    }
}

impl fmt::Debug for Inspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inspector")
            .field("server", &self.shared.server)
            .finish_non_exhaustive()
    }
}
