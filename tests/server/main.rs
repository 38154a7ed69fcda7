//! A server in this process, and clients on real sockets: what it does on each wire, in each stack.
//!
//! One program, since each would be linked anew with all that a server needs. What counts or sets
//! something of its whole process, or runs the examples, is beside this folder.

mod actix;
mod advisories;
mod application;
mod axum_routes;
mod client_script;
mod cluster;
mod cluster_faults;
mod cluster_polling;
mod events;
mod handle;
mod handshake;
mod hooks;
mod hostile_events;
mod hostile_frames;
mod hostile_sessions;
mod http2;
mod ice;
mod inspector;
mod lifecycle;
mod limits;
mod metrics;
mod middleware_around;
mod mounting;
mod origins;
mod payloads;
mod plain_json;
mod policy;
mod polling;
mod proxies_and_cookies;
mod ready_policies;
mod recovery;
mod recovery_json;
mod refusals;
mod rooms;
mod shadowing;
mod shutdown;
mod signals;
mod socket_io;
mod upgrade;
mod websocket;

#[path = "../support/mod.rs"]
mod support;
