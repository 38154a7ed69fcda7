//! What the server grants pages, proxies and load balancers: settings of its HTTP side.

use bytes::Bytes;

use super::Builder;
use crate::error::Error;
use crate::id::SessionId;
use crate::wire::forwarded::TrustedProxies;
use crate::wire::intent::{Door, Head};
use crate::wire::origin::Origin;
use crate::wire::script::Script;

/// These settings as the application gave them.
#[derive(Debug, Default)]
pub(super) struct EdgeSettings {
    allowed_origins: Option<Vec<String>>,
    trusted_proxies: Vec<String>,
    session_cookie: Option<String>,
    client_script: Option<Script>,
}

impl Builder {
    /// Restricts signaling to pages of these origins and of the server's own; all others are
    /// answered 403, long-polling and websockets alike. An empty list leaves the server's own.
    /// By default pages of every origin are served.
    ///
    /// An origin is `scheme://host[:port]`, or `null` for pages that have none: local files, and
    /// whatever is loaded into a sandboxed frame, by anybody. The server's own is the one whose
    /// host and port a request is addressed to: by its `Host` header or, through one of the
    /// [`trusted_proxies`](Self::trusted_proxies), by the last `X-Forwarded-Host`.
    ///
    /// Browsers say of which origin a page is that opens a websocket, or that is another server's
    /// and sends or reads something. Requests without an `Origin` are let in: they are the server's
    /// own pages', or no page's. Only where `Sec-Fetch-Site` says that another page causes them,
    /// they are not, as script tags (JSONP) can read what comes.
    ///
    /// A program can claim any origin: this protects users from pages, and nothing from programs.
    /// And a name that somebody else has pointed at the server makes pages of that name its own;
    /// where this matters, let the proxy in front answer to your names only.
    ///
    /// ```
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::builder()
    ///     .allowed_origins(["https://example.org", "http://localhost:5173"])
    ///     .build()?;
    ///
    /// let error = PeerData::builder().allowed_origins(["*"]).build().unwrap_err();
    /// assert_eq!(error.subject(), "allowed_origins");
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let origins = origins.into_iter().map(Into::into);
        self.edge.allowed_origins = Some(origins.collect());
        self
    }

    /// Takes the word of these proxies for the client's address and for the host that it asked
    /// for: IP addresses, or networks such as `10.0.0.0/8`. Default none.
    ///
    /// Of `X-Forwarded-For` the right-most address counts that is not a trusted proxy's own; of
    /// `X-Forwarded-Host`, the last. A trusted proxy must set or remove both headers on every
    /// request: what it passes on as it came, a client may have made up. Where requests do not
    /// come from a trusted address, or the framework does not tell from where, both mean nothing.
    ///
    /// ```
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::builder().trusted_proxies(["127.0.0.1", "fd00::/8"]).build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn trusted_proxies(mut self, proxies: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.edge.trusted_proxies = proxies.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a cookie of that name to the session id with every long-polling answer, for load
    /// balancers that keep a client at one node by it; the reference server always sets `io`.
    /// Default none: nothing here reads it.
    ///
    /// A session id is a credential, so scripts do not see the cookie (`HttpOnly`), and requests
    /// that another site causes do not carry it (`SameSite=Strict`).
    ///
    /// ```
    /// use peer_data_server::PeerData;
    ///
    /// let server = PeerData::builder().session_cookie("io").build()?;
    /// # Ok::<(), peer_data_server::Error>(())
    /// ```
    pub fn session_cookie(mut self, name: impl Into<String>) -> Self {
        self.edge.session_cookie = Some(name.into());
        self
    }

    /// Serves these bytes as `socket.io.js` below [`path`](Self::path), where pages of the
    /// reference server look for the client's script: the file that comes with the npm package
    /// `socket.io-client`, in `dist`. Default none: the answer is 404.
    ///
    /// ```no_run
    /// use peer_data_server::PeerData;
    ///
    /// let script = std::fs::read("node_modules/socket.io-client/dist/socket.io.min.js")?;
    /// let server = PeerData::builder().client_script(script).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_script(mut self, bytes: impl Into<Bytes>) -> Self {
        self.edge.client_script = Some(Script::new(bytes.into()));
        self
    }
}

impl EdgeSettings {
    pub(super) fn check(self) -> Result<Edge, Error> {
        let allowed = self.allowed_origins.map(|origins| {
            let origins = origins.iter().map(|entry| {
                Origin::parse(entry).map_err(|problem| {
                    Error::new("allowed_origins", format!("{entry:?} {problem}"))
                })
            });
            origins.collect()
        });
        let proxies = self.trusted_proxies.iter().map(String::as_str);
        let cookie = self.session_cookie.map(check_cookie);
        Ok(Edge {
            allowed: allowed.transpose()?,
            proxies: TrustedProxies::parse(proxies)
                .map_err(|problem| Error::new("trusted_proxies", problem))?,
            cookie: cookie.transpose()?,
            script: self.client_script,
        })
    }
}

fn check_cookie(name: String) -> Result<String, Error> {
    let problem = |problem: &str| {
        let problem = format!("{name:?} {problem}");
        Err(Error::new("session_cookie", problem))
    };
    // A token: RFC 6265, 4.1.1 and RFC 9110, 5.6.2.
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return problem("is not the name of a cookie: letters, digits and dashes will do");
    }
    if name.starts_with("__") {
        return problem("begins as names do that browsers take only with more attributes");
    }
    Ok(name)
}

/// These settings, checked.
#[derive(Debug, Default)]
pub(super) struct Edge {
    /// None: all.
    allowed: Option<Vec<Origin>>,
    proxies: TrustedProxies,
    cookie: Option<String>,
    pub(super) script: Option<Script>,
}

impl Edge {
    /// Whether the page behind a request, if any, is served at that door.
    pub(super) fn admits(&self, door: Door, head: &Head<'_>) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let Some(origin) = head.header("origin") else {
            let site = head.header("sec-fetch-site");
            let foreign = matches!(site, Some("same-site" | "cross-site"));
            // The client's script is for script tags, and tells nobody anything.
            return door == Door::Script || !foreign;
        };
        Origin::parse(origin)
            .is_ok_and(|origin| allowed.contains(&origin) || self.is_own(&origin, head))
    }

    /// Whether what browsers add to requests by themselves, such as cookies, can be taken for the
    /// word of a user, and not for that of some page which the user happens to look at.
    ///
    /// Pages of allowed origins and of the server's own may act for their users. Not `null`, even
    /// where it is allowed: every page can make a frame of that origin. A request without an
    /// origin is one that its page cannot read, or the own page's, or a program's. Browsers of
    /// today say which with `Sec-Fetch-Site`, on safe connections at least. Where they say
    /// nothing, only a script tag could let another site's page read the answer: JSONP.
    pub(super) fn acts_for_its_user(&self, head: &Head<'_>, jsonp: bool) -> bool {
        let Some(origin) = head.header("origin") else {
            return match head.header("sec-fetch-site") {
                Some(site) => matches!(site, "same-origin" | "none"),
                None => !jsonp,
            };
        };
        match Origin::parse(origin) {
            Err(_) | Ok(Origin::Null) => false,
            Ok(origin) => {
                let allowed = self.allowed.iter().flatten();
                allowed.into_iter().any(|allowed| *allowed == origin) || self.is_own(&origin, head)
            }
        }
    }

    /// The server has no name of its own: what requests are addressed to is it.
    fn is_own(&self, origin: &Origin, head: &Head<'_>) -> bool {
        let asked = head.header("host").or(head.authority);
        let forwarded = self.proxies.forwarded_host(head);
        let mut hosts = asked.into_iter().chain(forwarded);
        hosts.any(|host| origin.is_at(host))
    }

    pub(super) fn proxies(&self) -> &TrustedProxies {
        &self.proxies
    }

    /// The value of the Set-Cookie header for a session, if it is to have one.
    pub(super) fn cookie(&self, sid: &SessionId) -> Option<String> {
        let name = self.cookie.as_ref()?;
        let sid = sid.as_str();
        Some(format!("{name}={sid}; Path=/; HttpOnly; SameSite=Strict"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PeerData;
    use crate::wire::intent::Upgrade;

    fn edge(settings: impl FnOnce(Builder) -> Builder) -> Edge {
        settings(PeerData::builder()).edge.check().unwrap()
    }

    /// Calls `see` with the head of a request that has those headers.
    fn ask<T>(headers: &[(&str, &str)], see: impl FnOnce(&Head<'_>) -> T) -> T {
        see(&Head {
            method: "GET",
            path: "/socket.io/",
            query: "",
            authority: Some("authority.test"),
            address: "10.0.0.1".parse().ok(),
            upgrade: Upgrade::Never,
            lines: &|name, show| {
                let found = headers.iter().filter(|(found, _)| *found == name);
                found.for_each(|(_, value)| show(value.as_bytes()));
            },
            each_header: &|_| {},
        })
    }

    #[test]
    fn everybody_is_admitted_by_default() {
        let edge = edge(|builder| builder);
        for origin in ["https://o.test", "null", "nonsense", ""] {
            assert!(ask(&[("origin", origin)], |head| edge
                .admits(Door::Engine, head)));
        }
    }

    #[test]
    fn a_list_admits_its_own_and_the_servers() {
        let edge = edge(|builder| builder.allowed_origins(["HTTPS://O.test:443"]));
        let admits = |headers: &[_]| ask(headers, |head| edge.admits(Door::Engine, head));
        assert!(admits(&[]));
        assert!(admits(&[("origin", "https://o.test")]));
        assert!(admits(&[
            ("origin", "http://site.test"),
            ("host", "site.test")
        ]));
        assert!(admits(&[("origin", "http://authority.test")]));
        for (site, expected) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            let headers = [("sec-fetch-site", site)];
            assert_eq!(admits(&headers), expected, "{site}");
            assert!(ask(&headers, |head| edge.admits(Door::Script, head)));
        }
        for (origin, host) in [
            ("http://o.test", "site.test"),
            ("https://o.test:8443", "site.test"),
            ("null", "site.test"),
            ("", "site.test"),
            ("nonsense", "nonsense"),
            ("https://o.test, https://o.test", "site.test"),
            // Where there is a Host header, it is what counts.
            ("http://authority.test", "site.test"),
            ("http://site.test:81", "site.test"),
        ] {
            let headers = [("origin", origin), ("host", host)];
            assert!(!admits(&headers), "{origin} at {host}");
        }
    }

    #[test]
    fn null_is_admitted_by_its_name() {
        let edge = edge(|builder| builder.allowed_origins(["null"]));
        ask(&[("origin", "null")], |head| {
            assert!(edge.admits(Door::Engine, head));
            assert!(!edge.acts_for_its_user(head, false), "anybody can be it");
        });
    }

    #[test]
    fn an_empty_list_admits_the_servers_own_alone() {
        let edge = edge(|builder| builder.allowed_origins([""; 0]));
        let admits = |origin| {
            ask(&[("origin", origin)], |head| {
                edge.admits(Door::Engine, head)
            })
        };
        assert!(admits("https://authority.test"));
        assert!(!admits("https://o.test"));
    }

    #[test]
    fn the_forwarded_host_is_the_servers_own_if_the_proxy_is_trusted() {
        let headers = [
            ("origin", "https://site.test"),
            ("host", "127.0.0.1:3000"),
            ("x-forwarded-host", "site.test"),
        ];
        let strict = |builder: Builder| builder.allowed_origins([""; 0]);
        for (proxy, expected) in [("10.0.0.0/8", true), ("10.0.0.2", false)] {
            let edge = edge(|builder| strict(builder).trusted_proxies([proxy]));
            ask(&headers, |head| {
                assert_eq!(edge.admits(Door::Engine, head), expected, "{proxy}");
                assert_eq!(edge.acts_for_its_user(head, false), expected, "{proxy}");
            });
        }
    }

    #[test]
    fn other_sites_pages_do_not_act_for_their_users() {
        let edge = edge(|builder| builder.allowed_origins(["https://o.test"]));
        let open = self::edge(|builder| builder);
        let acts = |edge: &Edge, headers: &[_], jsonp| {
            ask(headers, |head| edge.acts_for_its_user(head, jsonp))
        };
        for jsonp in [false, true] {
            assert!(acts(&edge, &[("origin", "https://o.test")], jsonp));
            assert!(acts(&edge, &[("origin", "https://authority.test")], jsonp));
            for origin in ["https://evil.test", "null", "", "nonsense"] {
                assert!(!acts(&edge, &[("origin", origin)], jsonp), "{origin}");
                assert!(!acts(&open, &[("origin", origin)], jsonp), "{origin}");
            }
            // An origin says more than what kind of request it is.
            let both = [
                ("origin", "https://evil.test"),
                ("sec-fetch-site", "same-origin"),
            ];
            assert!(!acts(&edge, &both, jsonp));
            for (site, expected) in [
                ("same-origin", true),
                ("none", true),
                ("same-site", false),
                ("cross-site", false),
                ("", false),
                ("Same-Origin", false),
            ] {
                let found = acts(&edge, &[("sec-fetch-site", site)], jsonp);
                assert_eq!(found, expected, "{site}");
            }
            assert_eq!(acts(&edge, &[], jsonp), !jsonp);
        }
    }

    #[test]
    fn a_bad_setting_is_named() {
        let subject = |settings: fn(Builder) -> Builder| {
            let error = settings(PeerData::builder()).build().unwrap_err();
            error.subject().to_owned()
        };
        for origin in ["*", "o.test", "https://o.test/"] {
            let list = ["https://o.test", origin];
            let error = PeerData::builder().allowed_origins(list).build();
            let error = error.unwrap_err();
            assert_eq!(error.subject(), "allowed_origins");
            assert!(error.to_string().contains(&format!("{origin:?}")));
        }
        assert_eq!(
            subject(|builder| builder.trusted_proxies(["::1", "proxy.test"])),
            "trusted_proxies"
        );
        for name in ["", "a b", "a=b", "a;b", "ä", "a\r\nb", "__Host-io"] {
            let error = PeerData::builder().session_cookie(name).build();
            assert_eq!(error.unwrap_err().subject(), "session_cookie", "{name:?}");
        }
    }

    #[test]
    fn the_cookie_is_the_references() {
        let sid = SessionId::random().unwrap();
        let edge = edge(|builder| builder.session_cookie("io"));
        let expected = format!("io={}; Path=/; HttpOnly; SameSite=Strict", sid.as_str());
        assert_eq!(edge.cookie(&sid), Some(expected));
        assert_eq!(Edge::default().cookie(&sid), None);
    }
}
