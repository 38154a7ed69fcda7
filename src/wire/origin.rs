//! Origins of pages (RFC 6454), in the one spelling that they are compared in.

use std::net::Ipv6Addr;

/// Where the page behind a request is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// What browsers call a page that is to have none of its own: a file, a sandboxed frame.
    Null,
    Page {
        scheme: String,
        host: String,
        /// None: the scheme's own.
        port: Option<u16>,
    },
}

impl Origin {
    /// Reads `scheme://host[:port]`, or `null`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, to follow the text in a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let (scheme, authority) = text
            .split_once("://")
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or("is not an origin: write scheme://host[:port], such as https://example.org")?;
        let scheme = scheme.to_ascii_lowercase();
        if authority.contains(['/', '?', '#']) {
            return Err("goes on after the host: an origin has no path, not even a slash");
        }
        let (host, port) = read_authority(authority, &scheme).ok_or(
            "does not name one host: write it as browsers do, without wildcards and in ASCII",
        )?;
        Ok(Self::Page { scheme, host, port })
    }

    /// Whether a page of this origin came from `authority`, host and port as a Host header has
    /// them. Which scheme a request came by is nothing that it says of itself, so that of the page
    /// is taken for both.
    pub(crate) fn is_at(&self, authority: &str) -> bool {
        match self {
            Self::Null => false,
            Self::Page { scheme, host, port } => read_authority(authority.trim(), scheme)
                .is_some_and(|(named, at)| named == *host && at == *port),
        }
    }
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    let others = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(others)
}

/// Host and port; no port where it is the one that the scheme implies.
fn read_authority(text: &str, scheme: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.rsplit_once(':') {
        // The colon may be one of an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => (host, Some(read_port(port)?)),
        _ => (text, None),
    };
    let implied = match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    };
    Some((read_host(host)?, port.filter(|_| port != implied)))
}

fn read_port(text: &str) -> Option<u16> {
    // A number's own parser would take a sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

fn read_host(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix('[') {
        // One address has many spellings, the type has one.
        let address: Ipv6Addr = rest.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let host = !text.is_empty() && text.chars().all(named);
    host.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap_or_else(|problem| panic!("{text} {problem}"))
    }

    #[test]
    fn one_origin_has_several_spellings() {
        for (one, other) in [
            ("https://example.org", "HTTPS://Example.ORG:443"),
            ("http://example.org", "http://example.org:80"),
            ("http://example.org:8080", "http://EXAMPLE.org:08080"),
            ("http://[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000"),
            ("http://[2001:db8::a]", "http://[2001:DB8:0::A]:80"),
            ("capacitor://localhost", "Capacitor://LOCALHOST"),
        ] {
            assert_eq!(origin(one), origin(other));
        }
    }

    #[test]
    fn scheme_host_and_port_tell_origins_apart() {
        let one = origin("https://example.org");
        for other in [
            "http://example.org",
            "https://example.org:80",
            "https://www.example.org",
            "https://example.org.",
            "https://example.orgs",
            "capacitor://example.org",
            "null",
        ] {
            assert_ne!(one, origin(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_origin_is_told_what_to_write() {
        for (text, part) in [
            ("*", "scheme://host"),
            ("", "scheme://host"),
            ("example.org", "scheme://host"),
            ("NULL", "scheme://host"),
            ("://example.org", "scheme://host"),
            ("1http://example.org", "scheme://host"),
            ("https:/example.org", "scheme://host"),
            ("https://example.org/", "no path"),
            ("https://example.org/path", "no path"),
            ("https://example.org?x", "no path"),
            ("https://example.org#x", "no path"),
            ("https://", "one host"),
            ("https://*.example.org", "one host"),
            ("https://user@example.org", "one host"),
            ("https://example.org:", "one host"),
            ("https://example.org:+80", "one host"),
            ("https://example.org:65536", "one host"),
            ("https://a:b:80", "one host"),
            ("https://::1", "one host"),
            ("https://[::1", "one host"),
            ("https://[]", "one host"),
            ("https://[::1]x", "one host"),
            ("https://bücher.example", "one host"),
            ("https://a,https://b", "no path"),
            ("https://a b", "one host"),
            ("https://exa%6dple.org", "one host"),
        ] {
            let problem = Origin::parse(text).unwrap_err();
            assert!(problem.contains(part), "{text} {problem}");
        }
    }

    #[test]
    fn a_page_is_at_the_host_that_it_was_loaded_from() {
        for (page, host) in [
            ("https://example.org", "example.org"),
            ("https://example.org", "EXAMPLE.org:443"),
            ("http://example.org", "example.org:80"),
            ("http://example.org:3000", " example.org:3000 "),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
        ] {
            assert!(origin(page).is_at(host), "{page} {host}");
        }
        for (page, host) in [
            ("https://example.org", "example.org:80"),
            ("https://example.org:80", "example.org"),
            ("https://example.org", "example.org.evil.test"),
            ("https://example.org", "example.org, evil.test"),
            ("https://example.org", "user@example.org"),
            ("https://example.org", ""),
            ("null", "null"),
            ("null", ""),
        ] {
            assert!(!origin(page).is_at(host), "{page} {host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_asked_about(text: String, host: String) {
            if let Ok(origin) = Origin::parse(&text) {
                let _ = origin.is_at(&host);
            }
        }

        #[test]
        fn case_and_implied_ports_make_no_difference(
            host in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,3}",
            port in any::<u16>(),
        ) {
            for (scheme, implied) in [("http", 80), ("https", 443)] {
                let bare = origin(&format!("{scheme}://{host}"));
                let spelled = format!("{scheme}://{host}:{port}").to_ascii_uppercase();
                prop_assert_eq!(bare == origin(&spelled), port == implied);
                let own = format!("{host}:{port}");
                prop_assert!(origin(&spelled).is_at(&own));
                prop_assert_eq!(origin(&spelled).is_at(&host), port == implied);
            }
        }
    }
}
