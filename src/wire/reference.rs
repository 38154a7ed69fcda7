//! What only the JavaScript reference says: the echo of each event, and the server's addresses.

use std::net::IpAddr;

use bytes::Bytes;

use crate::signal::{Signal, quote};

const LOG: &[u8] = br#"["log","SERVER_LOG","#;

/// `signal` as the reference echoes it to its sender: `["log","SERVER_LOG",{…}]`.
pub(crate) fn server_log(signal: &Signal) -> Signal {
    let packet = signal.packet();
    let event = signal.json();
    // `42` or `45N-`, as the signal has it.
    let head = packet
        .split(|byte| *byte == b'[')
        .next()
        .unwrap_or_default();
    let text = [head, LOG, &event, b"]"].concat();
    let start = head.len() + LOG.len();
    #[allow(clippy::cast_possible_truncation)] // a few bytes more than the signal, which fits
    let span = start as u32..(start + event.len()) as u32;
    signal.recast(text.into(), span)
}

/// One `["ipaddr","192.0.2.2"]` for each IPv4 address of this machine but the loopback's, and those of
/// interfaces that are down, which Node does not list.
pub(crate) fn addresses() -> Vec<Bytes> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter(if_addrs::Interface::is_oper_up)
        .map(|interface| interface.ip())
        .filter(|address| matches!(address, IpAddr::V4(v4) if !v4.is_loopback()))
        .map(|address| format!(r#"42["ipaddr",{}]"#, quote(&address.to_string())).into())
        .collect()
}
