//! What a request meets before and after the registry: the probe path, configured headers, the access
//! log, and a net under panics.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use oci_core::{BoxError, ErrorCode, RegistryError};
use oci_http::{RegistryBody, RegistryService};
use pin_project_lite::pin_project;

use super::guard::InFlight;
use super::listener::Peer;

/// Where clients find the certificate of a local authority. They compare its fingerprint with the one that
/// was printed at start: whoever answers in the registry's place could serve another.
pub const AUTHORITY_PATH: &str = "/.well-known/registryd/ca.crt";
const PEM: &str = "application/x-pem-file";

/// The body of every response.
pub type AppBody = Either<RegistryBody, Full<Bytes>>;

/// Answers requests. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    registry: RegistryService,
    headers: HeaderMap,
    access_log: bool,
    /// The certificate that clients are asked to trust, in PEM.
    authority: Option<Bytes>,
}

impl App {
    /// An app around a registry. `headers` are added to each of its responses.
    pub fn new(registry: RegistryService, headers: HeaderMap, access_log: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                registry,
                headers,
                access_log,
                authority: None,
            }),
        }
    }

    /// Serves this certificate, in PEM, at [`AUTHORITY_PATH`].
    pub fn authority(mut self, pem: String) -> Self {
        Arc::make_mut(&mut self.inner).authority = Some(pem.into());
        self
    }

    pub(super) async fn answer<B>(self, request: Request<B>, peer: Peer) -> Response<AppBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let agent = request.headers().get(USER_AGENT).cloned();
        // A fault in one request must not take the connection's other requests with it.
        let answered = AssertUnwindSafe(self.route(request)).catch_unwind().await;
        let response = answered.unwrap_or_else(|_| {
            tracing::error!(%method, ?path, "a request panicked; please report this");
            internal_error()
        });
        if self.inner.access_log {
            let probe = path == "/" || path == "/v2/" && response.status().is_success();
            log(
                probe,
                &Line {
                    method: &method,
                    path: &path,
                    status: response.status(),
                    length: response.headers().get(CONTENT_LENGTH),
                    agent: agent.as_ref(),
                    peer: &peer,
                    started,
                },
            );
        }
        response
    }

    async fn route<B>(&self, request: Request<B>) -> Response<AppBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = match self.inner.registry.try_handle(request) {
            Ok(response) => {
                let mut response = response.await.unwrap_or_else(|never| match never {});
                for (name, value) in &self.inner.headers {
                    response.headers_mut().append(name, value.clone());
                }
                return response.map(Either::Left);
            }
            Err(request) => request,
        };
        // Load balancers and Helm charts probe `/` without credentials.
        if request.uri().path() == "/" && matches!(*request.method(), Method::GET | Method::HEAD) {
            return small(StatusCode::OK, CACHE_CONTROL, "no-cache", Bytes::new());
        }
        if let Some(pem) = &self.inner.authority
            && request.uri().path() == AUTHORITY_PATH
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return small(StatusCode::OK, CONTENT_TYPE, PEM, pem.clone());
        }
        let error = RegistryError::new(
            ErrorCode::NameUnknown,
            "nothing is served here; the registry's interface begins at /v2/",
        );
        json(&error)
    }
}

fn internal_error() -> Response<AppBody> {
    json(&RegistryError::new(
        ErrorCode::Unknown,
        "the registry failed in a way it should not; its log says more",
    ))
}

fn json(error: &RegistryError) -> Response<AppBody> {
    small(
        error.status(),
        CONTENT_TYPE,
        "application/json",
        error.to_json().into(),
    )
}

fn small(
    status: StatusCode,
    name: HeaderName,
    value: &'static str,
    body: Bytes,
) -> Response<AppBody> {
    let mut response = Response::new(Either::Right(Full::new(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

struct Line<'a> {
    method: &'a Method,
    path: &'a str,
    status: StatusCode,
    length: Option<&'a HeaderValue>,
    agent: Option<&'a HeaderValue>,
    peer: &'a Peer,
    started: Instant,
}

/// One line per request, written when its headers are ready. Text of the client is escaped.
fn log(probe: bool, line: &Line<'_>) {
    let Line {
        method,
        path,
        status,
        length,
        agent,
        peer,
        started,
    } = *line;
    let status = status.as_u16();
    let bytes = length
        .and_then(|length| length.to_str().ok())
        .unwrap_or("-");
    let agent = agent
        .map(|agent| String::from_utf8_lossy(agent.as_bytes()))
        .unwrap_or_default();
    let took = started.elapsed();
    // Probes come every few seconds and say nothing.
    if probe {
        tracing::debug!(%method, ?path, status, bytes, ?agent, %peer, ?took, "request");
    } else {
        tracing::info!(%method, ?path, status, bytes, ?agent, %peer, ?took, "request");
    }
}

pin_project! {
    /// A response body that keeps its request in flight until it is sent.
    #[derive(Debug)]
    pub(super) struct Sending<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
    }
}

impl<B> Sending<B> {
    pub(super) fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, in_flight }
    }
}

impl<B: Body> Body for Sending<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
