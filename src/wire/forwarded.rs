//! What proxies say of the requests that they pass on, and which of them are believed.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::intent::{Head, text};

/// The addresses and networks whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks in CIDR.
    ///
    /// # Errors
    ///
    /// The sentence about the first that is neither.
    pub(crate) fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let networks = entries.into_iter().map(|entry| {
            read_network(entry).ok_or_else(|| {
                format!(
                    "{entry:?} is neither an IP address nor a network such as 10.0.0.0/8 or fd00::/8"
                )
            })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// The address of the client: of whoever connected, or, while that is a trusted proxy, of whom
    /// it says that it speaks for. `X-Forwarded-For` is read from its end, where the nearest
    /// proxy writes. Something there that is no address, and be it no text, ends the search: whatever
    /// stands before it, nobody vouches for, so the last address that somebody does vouch for is the
    /// answer. Of a line that a proxy has added to, what the client wrote must not hide the rest.
    pub(crate) fn client_address(&self, head: &Head<'_>) -> Option<IpAddr> {
        let mut address = head.address?.to_canonical();
        if !self.trusts(address) {
            return Some(address);
        }
        let mut lines = Vec::new();
        (head.lines)("x-forwarded-for", &mut |line| lines.push(line));
        let entries = lines.iter().rev().copied().flat_map(entries_from_the_end);
        for entry in entries.map_while(|entry| read_address(text(entry)?)) {
            address = entry;
            if !self.trusts(address) {
                break;
            }
        }
        Some(address)
    }

    /// The host that the client asked for, if the request comes from a trusted proxy that says so.
    /// Where several proxies have added theirs, the last word is that of the one at the other end
    /// of this connection; all before it, a client may have sent itself.
    pub(crate) fn forwarded_host<'a>(&self, head: &Head<'a>) -> Option<&'a str> {
        head.address.filter(|address| self.trusts(*address))?;
        let mut last = None;
        (head.lines)("x-forwarded-host", &mut |line| last = Some(line));
        let entry = entries_from_the_end(last?).next()?;
        text(entry).map(str::trim)
    }

    fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn entries_from_the_end(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.rsplit(|byte| *byte == b',')
}

fn read_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().into(),
        Err(_) => text.parse().ok()?,
    };
    // Addresses are compared as IPv4 where they can be, and so must be networks of such.
    let IpNet::V6(mapped) = network else {
        return Some(network);
    };
    let inner = mapped.addr().to_ipv4_mapped().and_then(|address| {
        let prefix = mapped.prefix_len().checked_sub(96)?;
        Ipv4Net::new(address, prefix).ok()
    });
    Some(inner.map_or(network, IpNet::V4))
}

/// An entry of `X-Forwarded-For`: an address, in brackets or not, with a port or not.
fn read_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => IpAddr::V6(bare.parse().ok()?),
        None => match text.parse() {
            Ok(address) => address,
            Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::intent::Upgrade;

    fn proxies(entries: &[&str]) -> TrustedProxies {
        TrustedProxies::parse(entries.iter().copied()).unwrap()
    }

    /// Calls `see` with the head of a request from `from` with those lines of one header.
    fn with_head<T>(
        from: &str,
        header: &str,
        lines: &[&str],
        see: impl FnOnce(&Head<'_>) -> T,
    ) -> T {
        see(&Head {
            method: "GET",
            path: "/",
            query: "",
            authority: None,
            address: from.parse().ok(),
            upgrade: Upgrade::Never,
            lines: &|name, show| {
                if name == header {
                    lines.iter().map(|line| line.as_bytes()).for_each(show);
                }
            },
            each_header: &|_| {},
        })
    }

    fn client(trusted: &[&str], from: &str, lines: &[&str]) -> Option<String> {
        let trusted = proxies(trusted);
        let address = with_head(from, "x-forwarded-for", lines, |head| {
            trusted.client_address(head)
        });
        address.map(|address| address.to_string())
    }

    fn host(from: &str, lines: &[&str]) -> Option<String> {
        let trusted = proxies(&["10.0.0.1"]);
        with_head(from, "x-forwarded-host", lines, |head| {
            trusted.forwarded_host(head).map(str::to_owned)
        })
    }

    #[test]
    fn who_is_not_trusted_is_the_client() {
        let said = &["203.0.113.9"];
        for trusted in [&[][..], &["10.0.0.0/8"], &["::/0"]] {
            let found = client(trusted, "192.0.2.1", said);
            assert_eq!(found.as_deref(), Some("192.0.2.1"), "{trusted:?}");
        }
        assert_eq!(client(&["0.0.0.0/0"], "unknown", said), None);
    }

    #[test]
    fn the_right_most_stranger_is_the_client() {
        let trusted = &["10.0.0.0/8", "2001:db8::1"];
        for (lines, expected) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1,203.0.113.9,10.0.0.2"], "203.0.113.9"),
            (
                &["198.51.100.1", "203.0.113.9 , 2001:db8::1"],
                "203.0.113.9",
            ),
            (&["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
            (&["203.0.113.9:4711"], "203.0.113.9"),
            (&["2001:db8::9"], "2001:db8::9"),
            (&["[2001:db8::9]"], "2001:db8::9"),
            (&["[2001:db8::9]:4711, [2001:db8::1]:5"], "2001:db8::9"),
            (&["::ffff:203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
            // Everybody is trusted: the one farthest away.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1"),
        ] {
            let found = client(trusted, "10.0.0.1", lines);
            assert_eq!(found.as_deref(), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        let trusted = &["10.0.0.0/8"];
        for nonsense in [
            "",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.9:x",
            "[203.0.113.9]",
            "2001:db8::9]",
            "\"203.0.113.9\"",
            "for=203.0.113.9",
            "\u{ff}",
        ] {
            for (line, expected) in [
                (format!("203.0.113.9, {nonsense}"), "10.0.0.1"),
                (format!("203.0.113.9, {nonsense}, 10.0.0.2"), "10.0.0.2"),
                (format!("{nonsense}, 203.0.113.9"), "203.0.113.9"),
            ] {
                let found = client(trusted, "10.0.0.1", &[&line]);
                assert_eq!(found.as_deref(), Some(expected), "{line}");
            }
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        for trusted in ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1"] {
            for from in ["10.0.0.1", "::ffff:10.0.0.1"] {
                let found = client(&[trusted], from, &["::ffff:192.0.2.1"]);
                assert_eq!(found.as_deref(), Some("192.0.2.1"), "{trusted} {from}");
            }
        }
        assert_eq!(
            client(&[], "::ffff:192.0.2.1", &[]).as_deref(),
            Some("192.0.2.1")
        );
    }

    #[test]
    fn the_nearest_proxy_has_the_last_word_on_the_host() {
        for (lines, expected) in [
            (&["example.org"][..], "example.org"),
            (&["evil.test, example.org:8443"], "example.org:8443"),
            (&["evil.test", " example.org "], "example.org"),
            (&["example.org,"], ""),
            (&["\u{ff}, example.org"], "example.org"),
        ] {
            assert_eq!(host("10.0.0.1", lines).as_deref(), Some(expected));
            assert_eq!(host("::ffff:10.0.0.1", lines).as_deref(), Some(expected));
            for stranger in ["10.0.0.2", "unknown"] {
                assert_eq!(host(stranger, lines), None);
            }
        }
        assert_eq!(host("10.0.0.1", &[]), None);
    }

    #[test]
    fn what_is_no_network_is_named() {
        for entry in ["", "10.0.0.0/33", "10.0.0", "example.org", "::1/129", "*"] {
            let problem = TrustedProxies::parse(["::1", entry]).unwrap_err();
            assert!(problem.contains(&format!("{entry:?}")), "{problem}");
        }
    }

    proptest! {
        /// The answer is somebody that the proxies vouch for, whatever a client sends ahead.
        #[test]
        fn a_client_cannot_choose_its_address(forged: String, real: u32) {
            let real = Ipv4Addr::from(real);
            prop_assume!(real.octets()[0] != 10);
            let line = format!("{forged},{real}, 10.0.0.2");
            let found = client(&["10.0.0.0/8"], "10.0.0.1", &[&forged, &line]);
            prop_assert_eq!(found, Some(real.to_string()));
        }
    }
}
