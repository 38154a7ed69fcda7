//! The client's own script, for pages that load it from the server that they will talk to.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;

use super::intent::Head;
use super::reply::Reply;

/// A file of JavaScript and the entity tag that stands for its bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Script {
    bytes: Bytes,
    tag: String,
}

impl Script {
    pub(crate) fn new(bytes: Bytes) -> Self {
        // It tells versions apart; nobody gains anything by a collision.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let tag = format!("\"{:x}-{:016x}\"", bytes.len(), hasher.finish());
        Self { bytes, tag }
    }

    /// The answer to a request for the script, if the application has given one.
    pub(crate) fn answer(script: Option<&Self>, head: &Head<'_>) -> Reply {
        let text = |status, sentence: &'static str| {
            Reply::new(status, "text/plain; charset=utf-8", sentence)
        };
        let reply = match script {
            None => text(
                404,
                "No client script here: give the file of socket.io-client to Builder::client_script, or its path to PEER_DATA_CLIENT_SCRIPT.",
            ),
            Some(_) if !matches!(head.method, "GET" | "HEAD") => {
                text(405, "The script can be had by GET.").with("allow", "GET, HEAD")
            }
            Some(script) => script.serve(head),
        };
        match head.method {
            "HEAD" => reply.without_body(),
            _ => reply,
        }
    }

    fn serve(&self, head: &Head<'_>) -> Reply {
        let reply = if self.is_known(head) {
            Reply::bare(304)
        } else {
            let kind = "application/javascript; charset=utf-8";
            Reply::new(200, kind, self.bytes.clone())
        };
        reply
            .with("cache-control", "public, max-age=0")
            .with("etag", &*self.tag)
    }

    /// Whether the client has these bytes already (RFC 9110, 13.1.2: tags compare weakly).
    fn is_known(&self, head: &Head<'_>) -> bool {
        let mut known = false;
        head.texts("if-none-match", &mut |line| {
            let mut tags = line.split(',').map(str::trim);
            known |=
                tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.tag);
        });
        known
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Script").field(&self.tag).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::intent::Upgrade;

    fn ask(script: Option<&Script>, method: &str, known: &[&str]) -> Reply {
        let head = Head {
            method,
            path: "/socket.io/socket.io.js",
            query: "",
            authority: None,
            address: None,
            upgrade: Upgrade::Header,
            lines: &|name, show| {
                if name == "if-none-match" {
                    known.iter().map(|known| known.as_bytes()).for_each(show);
                }
            },
            each_header: &|_| {},
        };
        Script::answer(script, &head)
    }

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        let found = reply.headers.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| &**value)
    }

    #[test]
    fn it_is_served_with_a_tag() {
        let script = Script::new("let a = 'ä';".into());
        let reply = ask(Some(&script), "GET", &[]);
        assert_eq!(
            (reply.status, &*reply.body),
            (200, "let a = 'ä';".as_bytes())
        );
        let kind = "application/javascript; charset=utf-8";
        assert_eq!(header(&reply, "content-type"), Some(kind));
        assert_eq!(header(&reply, "cache-control"), Some("public, max-age=0"));
        let tag = header(&reply, "etag").unwrap();
        assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'));

        let other = Script::new("let a = 'b';".into());
        assert_ne!(header(&ask(Some(&other), "GET", &[]), "etag"), Some(tag));
    }

    #[test]
    fn who_has_it_is_told_so() {
        let script = Script::new("x".into());
        let tag = &*script.tag;
        let weak = format!("W/{tag}");
        let list = format!("\"other\" , {weak}");
        for known in [&[tag][..], &[&weak], &[&list], &["\"other\"", tag], &["*"]] {
            for method in ["GET", "HEAD"] {
                let reply = ask(Some(&script), method, known);
                assert_eq!((reply.status, reply.body.len()), (304, 0), "{known:?}");
                assert_eq!(header(&reply, "etag"), Some(tag));
                assert_eq!(header(&reply, "cache-control"), Some("public, max-age=0"));
                assert_eq!(header(&reply, "content-length"), None);
            }
        }
        for unknown in ["", "\"other\"", tag.trim_matches('"')] {
            assert_eq!(ask(Some(&script), "GET", &[unknown]).status, 200);
        }
    }

    #[test]
    fn a_head_has_the_length_alone() {
        let script = Script::new("12345".into());
        let (get, head) = (
            ask(Some(&script), "GET", &[]),
            ask(Some(&script), "HEAD", &[]),
        );
        assert_eq!((head.status, head.body.len()), (200, 0));
        let expected = get.with("content-length", "5");
        assert_eq!(head.headers, expected.headers);
    }

    #[test]
    fn without_one_the_answer_says_how() {
        for method in ["GET", "HEAD", "POST"] {
            let reply = ask(None, method, &["*"]);
            assert_eq!(reply.status, 404);
            let kind = "text/plain; charset=utf-8";
            assert_eq!(header(&reply, "content-type"), Some(kind));
            assert_eq!(reply.body.is_empty(), method == "HEAD");
        }
        let body = ask(None, "GET", &[]).body;
        assert!(
            str::from_utf8(&body)
                .unwrap()
                .contains("Builder::client_script")
        );
    }

    #[test]
    fn it_is_read_and_nothing_else() {
        let script = Script::new("x".into());
        for method in ["POST", "PUT", "DELETE", "get"] {
            let reply = ask(Some(&script), method, &["*"]);
            assert_eq!(reply.status, 405);
            assert_eq!(header(&reply, "allow"), Some("GET, HEAD"));
        }
    }
}
