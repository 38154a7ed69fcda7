//! The page: one document, which asks nothing of any other server.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::wire::reply::Reply;

const DOCUMENT: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

struct Page {
    body: String,
    /// What the browser may do with it: run this script, and talk to where it comes from.
    policy: String,
}

static PAGE: OnceLock<Page> = OnceLock::new();

pub(super) fn answer(method: &str) -> Reply {
    if method != "GET" {
        return Reply::bare(405).with("allow", "GET");
    }
    let page = PAGE.get_or_init(Page::assemble);
    Reply::new(200, "text/html; charset=utf-8", page.body.clone())
        .with("cache-control", "no-store")
        .with("content-security-policy", &*page.policy)
        .with("referrer-policy", "no-referrer")
        .with("x-content-type-options", "nosniff")
}

impl Page {
    fn assemble() -> Self {
        let body = DOCUMENT
            .replace("/* style */", STYLE)
            .replace("/* script */", SCRIPT);
        let (style, script) = (hash(STYLE), hash(SCRIPT));
        let policy = format!(
            "default-src 'none'; script-src {script}; style-src {style}; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        Self { body, policy }
    }
}

/// How a policy names what stands in the document itself (CSP 3, section 2.3.1).
fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    format!("'sha256-{}'", STANDARD.encode(digest))
}
