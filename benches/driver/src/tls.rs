//! TLS that trusts one certificate.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};

/// A client for servers of `localhost` with a certificate of their own. TLS 1.3 only.
#[derive(Clone, Debug)]
pub struct TlsClient {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl TlsClient {
    /// Trusts this certificate (DER) and no other.
    pub fn new(certificate: Vec<u8>) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(certificate))
            .map_err(io::Error::other)?;
        let config = |protocol: &[u8]| -> io::Result<Arc<ClientConfig>> {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider);
            let mut config = builder
                .with_protocol_versions(&[&TLS13])
                .map_err(io::Error::other)?
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            Ok(Arc::new(config))
        };
        Ok(Self {
            http1: config(b"http/1.1")?,
            http2: config(b"h2")?,
        })
    }

    pub(crate) fn connection(&self) -> io::Result<ClientConnection> {
        ClientConnection::new(Arc::clone(&self.http1), server_name()?).map_err(io::Error::other)
    }

    pub(crate) fn http2(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http2)
    }
}

pub(crate) fn server_name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("localhost").map_err(io::Error::other)
}
