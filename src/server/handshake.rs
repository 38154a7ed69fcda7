//! What an application may know of the request that opened a session.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use super::edge::Edge;
use crate::wire::intent::Head;

/// The request that opened a session, as far as the application may go by it.
///
/// A page of any site can have its visitor's browser send requests here, and the browser adds the
/// visitor's cookies and passwords to them by itself. So that no site can act in the name of
/// somebody who is logged in, these are left out unless the request is known to come from a page
/// that may:
///
/// - With an `Origin` header, that must be one of the
///   [`allowed_origins`](crate::Builder::allowed_origins) other than `null`, or the server's own.
/// - Without, `Sec-Fetch-Site` must be `same-origin` or `none` if the browser sends it; it does so
///   over TLS and to localhost.
/// - With neither header, the client is a program, or a browser asking for something that only the
///   server's own pages can read. Cookies are shown, but not if the answer is to be a script
///   (JSONP), which pages of all sites can read.
///
/// Left out are `Cookie`, and `Authorization` in the schemes that browsers fill in themselves:
/// `Basic`, `Digest`, `Negotiate`, `NTLM`. A `Bearer` token is shown: a page that sends it has it.
/// What a proxy adds of its own about a user, such as the subject of a certificate, is not
/// protected so: use it with `allowed_origins` only.
///
/// Headers that are not text are left out too. Its size is bounded by
/// [`max_handshake`](crate::Limits::max_handshake).
#[derive(Default)]
pub struct Handshake {
    query: Box<str>,
    /// Names in lower case.
    headers: Box<[(Box<str>, Box<str>)]>,
    address: Option<IpAddr>,
}

impl Handshake {
    /// Keeps what is shown of a request; nothing of one that is longer than `max` bytes.
    pub(super) fn read(head: &Head<'_>, edge: &Edge, jsonp: bool, max: usize) -> Option<Self> {
        let shows_all = edge.acts_for_its_user(head, jsonp);
        let mut headers = Vec::new();
        let mut bytes = head.query.len();
        (head.each_header)(&mut |name, value| {
            if shows_all || !is_added_by_browsers(name, value) {
                bytes = bytes.saturating_add(name.len() + value.len());
                if bytes <= max {
                    headers.push((name.into(), value.into()));
                }
            }
        });
        (bytes <= max).then(|| Self {
            query: head.query.into(),
            headers: headers.into(),
            address: edge.proxies().client_address(head),
        })
    }

    /// The first value of the header of that name, in whatever case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    /// Each value of the header of that name, in the order in which they came.
    pub fn headers<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        let lines = self.headers.iter();
        lines
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// What stands behind the `?`, as it was sent; empty if there is nothing.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The first parameter of that name in the query, decoded. Bytes that are not UTF-8 are
    /// replaced by `U+FFFD`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut parameters = form_urlencoded::parse(self.query.as_bytes());
        parameters
            .find(|(other, _)| other == name)
            .map(|(_, value)| value)
    }

    /// The origin of the page, as its browser says; programs can say anything.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.header("origin")
    }

    /// The address of the client, which [trusted proxies](crate::Builder::trusted_proxies) speak
    /// for. None where the web framework does not tell who connected.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// Whether a browser sends that header of itself, to show who its user is.
fn is_added_by_browsers(name: &str, value: &str) -> bool {
    match name {
        "cookie" => true,
        "authorization" => {
            let scheme = value.split_whitespace().next().unwrap_or_default();
            let known = ["basic", "digest", "negotiate", "ntlm"];
            known.iter().any(|known| scheme.eq_ignore_ascii_case(known))
        }
        _ => false,
    }
}

/// Which headers there are, and neither their values, which may be secrets, nor the address.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Handshake")
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::intent::Upgrade;

    const HEADERS: [(&str, &str); 7] = [
        ("host", "site.test"),
        ("cookie", "login=secret-one"),
        ("x-list", "a"),
        ("authorization", "Bearer secret-two"),
        ("cookie", "theme=dark"),
        ("x-list", "b"),
        ("authorization", "BASIC secret-three"),
    ];

    /// The handshake of a request with [`HEADERS`] and another.
    fn handshake(query: &str, other: (&str, &str), jsonp: bool) -> Handshake {
        let headers: Vec<_> = HEADERS.into_iter().chain([other]).collect();
        let head = Head {
            method: "GET",
            path: "/socket.io/",
            query,
            authority: None,
            address: "192.0.2.1".parse().ok(),
            upgrade: Upgrade::Never,
            lines: &|name, show| {
                let found = headers.iter().filter(|(found, _)| *found == name);
                found.for_each(|(_, value)| show(value.as_bytes()));
            },
            each_header: &|show| headers.iter().for_each(|(name, value)| show(name, value)),
        };
        let max = query.len() + 150 + other.0.len() + other.1.len();
        let handshake = Handshake::read(&head, &Edge::default(), jsonp, max);
        handshake.unwrap_or_else(|| panic!("over {max} bytes"))
    }

    #[test]
    fn one_that_is_too_long_is_not_kept() {
        for (value, fits) in [("12345", true), ("123456", false)] {
            let head = Head {
                method: "GET",
                path: "/socket.io/",
                query: "a=b",
                authority: None,
                address: None,
                upgrade: Upgrade::Never,
                lines: &|_, _| {},
                each_header: &|show| show("x", value),
            };
            let read = Handshake::read(&head, &Edge::default(), false, 9);
            assert_eq!(read.is_some(), fits, "{value}");
        }
    }

    fn shown(handshake: &Handshake) -> [Vec<&str>; 2] {
        ["cookie", "authorization"].map(|name| handshake.headers(name).collect())
    }

    impl Handshake {
        pub(in crate::server) fn of_query(query: &str) -> Self {
            handshake(query, ("x", ""), false)
        }
    }

    #[test]
    fn what_browsers_add_is_shown_of_own_pages_only() {
        let all = [
            vec!["login=secret-one", "theme=dark"],
            vec!["Bearer secret-two", "BASIC secret-three"],
        ];
        let hidden = [vec![], vec!["Bearer secret-two"]];
        for (other, jsonp, expected) in [
            (("origin", "http://site.test"), false, &all),
            (("origin", "https://evil.test"), false, &hidden),
            (("sec-fetch-site", "same-origin"), true, &all),
            (("sec-fetch-site", "cross-site"), false, &hidden),
            (("x", ""), false, &all),
            (("x", ""), true, &hidden),
        ] {
            let handshake = handshake("", other, jsonp);
            assert_eq!(shown(&handshake), *expected, "{other:?}");
            assert_eq!(handshake.header("host"), Some("site.test"));
        }
    }

    #[test]
    fn headers_are_found_in_any_case_and_number() {
        let handshake = handshake("", ("origin", "http://site.test"), false);
        assert_eq!(handshake.header("X-List"), Some("a"));
        assert_eq!(handshake.headers("x-LIST").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(handshake.header("x-other"), None);
        assert_eq!(handshake.origin(), Some("http://site.test"));
        let address = handshake.address().unwrap();
        assert_eq!(address.to_string(), "192.0.2.1");
    }

    #[test]
    fn the_first_parameter_counts_decoded() {
        let query = "EIO=4&token=a%26b+c&token=other&%72oom=%ff&empty&";
        let handshake = handshake(query, ("x", ""), false);
        assert_eq!(handshake.query(), query);
        assert_eq!(handshake.parameter("token").as_deref(), Some("a&b c"));
        assert_eq!(handshake.parameter("room").as_deref(), Some("\u{fffd}"));
        assert_eq!(handshake.parameter("empty").as_deref(), Some(""));
        assert_eq!(handshake.parameter("other"), None);
    }

    #[test]
    fn no_secret_is_printed() {
        let handshake = handshake("token=secret", ("x", "secret"), false);
        let printed = format!("{handshake:?}");
        assert!(printed.contains("authorization"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
        assert!(!printed.contains("192.0.2.1"), "{printed}");
    }

    #[test]
    fn it_can_be_shared_between_threads() {
        fn shared<T: Send + Sync + 'static>() {}
        shared::<Handshake>();
    }
}
