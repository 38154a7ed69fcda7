//! Where the server is, and streams to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::Failure;

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) struct Target {
    address: SocketAddr,
    /// Host and port, as requests name them.
    pub(crate) authority: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Target {
    /// `ca` has the certificates to trust where the URL begins with `https`; else those of the system
    /// are.
    pub(crate) async fn new(url: &str, ca: Option<&Path>) -> Result<Self, Failure> {
        let uri: Uri = url.parse()?;
        let host = uri.host().ok_or("a URL without a host")?;
        // Only where a port may follow it, an address of IPv6 is in brackets.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let is_secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let mut addresses = lookup_host((name, port)).await?;
        let tls = if is_secure {
            let mut config = ClientConfig::builder()
                .with_root_certificates(roots(ca)?)
                .with_no_client_auth();
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = ServerName::try_from(name.to_owned())?;
            Some((TlsConnector::from(Arc::new(config)), name))
        } else {
            None
        };
        Ok(Self {
            address: addresses.next().ok_or("a host without an address")?,
            authority: format!("{host}:{port}"),
            tls,
        })
    }

    pub(crate) async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
        })
    }
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    let Some(ca) = ca else {
        // One that is of no use must not take the others' away.
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            return Err("the system trusts nobody: https needs --ca".into());
        }
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err(format!("{}: no certificate", ca.display()).into());
    }
    Ok(roots)
}
