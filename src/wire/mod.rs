//! The protocols, without sockets or clocks.
