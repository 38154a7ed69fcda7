//! What fuzzers run, with what must be true of it: one function for each target, over bytes of any
//! kind. Unit tests run the same over all that has been found, and over mutations of it.

pub mod envelope;
pub mod frame;
pub mod parcel;
pub mod payload;
pub mod session;
pub mod socket_packet;

#[cfg(test)]
mod tests;
