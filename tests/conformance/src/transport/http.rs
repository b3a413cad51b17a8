//! Requests over TCP, to this registry or any other.

use std::{fmt, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use http::{Request, Uri, uri};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use super::{Response, Transport, TransportError, collect};
use crate::payload::{Body, Payload};

/// Which HTTP to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 without TLS, with prior knowledge.
    Http2,
}

/// Speaks HTTP to a base URL.
pub struct HttpTransport {
    client: Client<HttpConnector, Body>,
    base: Uri,
    address: SocketAddr,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTransport")
            .field("base", &self.base)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl HttpTransport {
    /// A transport to `base`, e.g. `http://127.0.0.1:5000`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the URL: another scheme than `http`, no host, a path, or a host
    /// name that does not resolve.
    pub async fn new(base: &str, protocol: Protocol) -> Result<Self, TransportError> {
        let wrong = |what: String| TransportError::new("reading the base URL", what);
        let uri: Uri = base
            .parse()
            .map_err(|error| wrong(format!("{base:?}: {error}")))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong(format!(
                "{base:?}: only http:// URLs are supported; put a plain listener on loopback"
            )));
        }
        let host = uri
            .host()
            .ok_or_else(|| wrong(format!("{base:?} names no host")))?;
        if !matches!(uri.path(), "" | "/") {
            return Err(wrong(format!(
                "{base:?}: the API is served at the root, drop the path"
            )));
        }
        let bare_host = host.trim_start_matches('[').trim_end_matches(']');
        let address = tokio::net::lookup_host((bare_host, uri.port_u16().unwrap_or(80)))
            .await
            .map_err(|error| TransportError::new("resolving the host of the base URL", error))?
            .next()
            .ok_or_else(|| wrong(format!("{host:?} has no address")))?;
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(2))
            .http2_only(protocol == Protocol::Http2)
            .http1_max_headers(300)
            .retry_canceled_requests(false)
            .build(HttpConnector::new());
        Ok(Self {
            client,
            base: uri,
            address,
        })
    }

    /// The address behind the base URL, for cases that write their own bytes.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Payload>) -> Result<Response, TransportError> {
        let (mut head, payload) = request.into_parts();
        if head.uri.authority().is_none() {
            let mut parts = uri::Parts::default();
            parts.scheme = self.base.scheme().cloned();
            parts.authority = self.base.authority().cloned();
            parts.path_and_query = head.uri.path_and_query().cloned();
            head.uri = Uri::from_parts(parts)
                .map_err(|error| TransportError::new("building the request URI", error))?;
        }
        let request = Request::from_parts(head, Body::from(payload));
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| TransportError::new("sending the request", error))?;
        collect(response).await
    }
}
