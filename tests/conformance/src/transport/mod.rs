//! How requests reach the registry.

mod http;
mod in_process;
pub(crate) mod raw;

use std::{fmt, pin::pin};

use ::http::{HeaderMap, Request, StatusCode, Version};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http_body::Body as HttpBody;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

pub use self::{
    http::{HttpTransport, Protocol},
    in_process::{InProcess, serve_in_process},
};
use crate::payload::{BoxError, Payload};

/// The largest response body that is collected. Larger ones are only hashed.
pub const MAX_COLLECTED_BODY: u64 = 16 * 1024 * 1024;

/// Sends one request and returns the whole answer.
///
/// Object safe: the suite holds an `Arc<dyn Transport>`. Implementations do not follow redirects,
/// do not retry, and send the headers they are given without adding any of their own except
/// `Host` and framing.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends `request`. A response is what the registry said, whatever its status; an error means
    /// that there was no complete response.
    ///
    /// Dropping the future abandons the request as a client that goes away would.
    async fn send(&self, request: Request<Payload>) -> Result<Response, TransportError>;
}

/// A complete response.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// The protocol version the response came over.
    pub version: Version,
    /// The headers, without hop-by-hop changes.
    pub headers: HeaderMap,
    /// The body, or its first [`MAX_COLLECTED_BODY`] bytes.
    pub body: Bytes,
    /// The length of the whole body in bytes.
    pub length: u64,
    /// The sha256 digest of the whole body, `sha256:hex`.
    pub digest: String,
}

/// Why there was no complete response.
#[derive(Debug)]
pub struct TransportError {
    doing: &'static str,
    source: BoxError,
}

impl TransportError {
    /// An error met while `doing` something, e.g. "sending the request".
    pub fn new(doing: &'static str, source: impl Into<BoxError>) -> Self {
        Self {
            doing,
            source: source.into(),
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no complete response: {}", self.doing)?;
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self.source.as_ref());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl std::error::Error for TransportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Reads a response to its end: bytes up to the cap, then only length and digest.
async fn collect<B>(response: ::http::Response<B>) -> Result<Response, TransportError>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut collected = BytesMut::new();
    let mut hasher = Sha256::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| TransportError::new("reading the response", error))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        hasher.update(&data);
        length += data.len() as u64;
        if length <= MAX_COLLECTED_BODY {
            collected.extend_from_slice(&data);
        }
    }
    Ok(Response {
        status: head.status,
        version: head.version,
        headers: head.headers,
        body: collected.freeze(),
        length,
        digest: format!("sha256:{}", hex::encode(hasher.finalize())),
    })
}
