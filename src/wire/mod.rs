//! The protocols, without sockets or clocks.

pub(crate) mod engine;
pub(crate) mod envelope;
pub(crate) mod forwarded;
pub(crate) mod frame;
pub(crate) mod intent;
pub(crate) mod json;
pub(crate) mod jsonp;
pub(crate) mod notice;
pub(crate) mod origin;
pub(crate) mod payload;
pub(crate) mod placeholders;
pub(crate) mod reference;
pub(crate) mod reply;
mod scan;
pub(crate) mod script;
pub(crate) mod segments;
pub(crate) mod socket;
mod splice;
mod text;
