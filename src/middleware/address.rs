//! The other end of a request's connection.

use std::net::{IpAddr, SocketAddr};

use http::Extensions;

/// Tells signaling where a request came from: put it into the request's extensions.
///
/// It is the address of the connection's other end, be it the client or a proxy, and whoever
/// accepts connections knows it:
///
/// ```
/// use std::convert::Infallible;
/// use std::net::SocketAddr;
///
/// use http::{Request, Response};
/// use peer_data_server::{ClientAddress, PeerData, PeerDataService, ResponseBody};
/// use tower::Service;
///
/// /// Answers a request of a connection that was accepted from `address`.
/// async fn answer(
///     mut service: PeerDataService,
///     address: SocketAddr,
///     mut request: Request<hyper::body::Incoming>,
/// ) -> Result<Response<ResponseBody<String>>, Infallible> {
///     request.extensions_mut().insert(ClientAddress(address));
///     service.call(request).await
/// }
/// ```
///
/// In axum, with this crate's feature `axum`, `into_make_service_with_connect_info::<SocketAddr>()`
/// does the same; where both are there, this one counts. Without either, signaling works all the
/// same and knows no addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub SocketAddr);

/// The address of a request, as far as anybody has left it there.
pub(super) fn client_address(extensions: &Extensions) -> Option<IpAddr> {
    let own = extensions.get().map(|ClientAddress(address)| *address);
    let address = own.or_else(|| connect_info(extensions))?;
    // On a socket for both families, IPv4 clients come in the guise of IPv6.
    Some(address.ip().to_canonical())
}

#[cfg(feature = "axum")]
fn connect_info(extensions: &Extensions) -> Option<SocketAddr> {
    let info = extensions.get();
    info.map(|axum::extract::ConnectInfo(address)| *address)
}

#[cfg(not(feature = "axum"))]
fn connect_info(_: &Extensions) -> Option<SocketAddr> {
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_has_to_know_it() {
        assert_eq!(client_address(&Extensions::new()), None);
    }

    #[test]
    fn the_applications_word_counts() {
        let mut extensions = Extensions::new();
        extensions.insert(ClientAddress(address("[2001:db8::1]:9")));
        assert_eq!(
            client_address(&extensions),
            Some("2001:db8::1".parse().unwrap())
        );
    }

    #[test]
    fn a_mapped_address_is_what_it_stands_for() {
        let mut extensions = Extensions::new();
        extensions.insert(ClientAddress(address("[::ffff:192.0.2.7]:9")));
        assert_eq!(
            client_address(&extensions),
            Some("192.0.2.7".parse().unwrap())
        );
    }

    #[cfg(feature = "axum")]
    #[test]
    fn axums_word_counts_where_there_is_no_other() {
        let mut extensions = Extensions::new();
        extensions.insert(axum::extract::ConnectInfo(address("192.0.2.1:9")));
        assert_eq!(
            client_address(&extensions),
            Some("192.0.2.1".parse().unwrap())
        );
        extensions.insert(ClientAddress(address("192.0.2.2:9")));
        assert_eq!(
            client_address(&extensions),
            Some("192.0.2.2".parse().unwrap())
        );
    }
}
