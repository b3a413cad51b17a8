//! What a request meets before and after the registry: probes, configured headers, the access log,
//! metrics, and a net under panics.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use oci_core::{BoxError, ErrorCode, RegistryError};
use oci_http::{RegistryBody, RegistryService};
use pin_project_lite::pin_project;

use super::forwarded::{self, TrustedProxies};
use super::guard::InFlight;
use super::listener::Peer;
use super::record::{Counted, Record};
use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::telemetry::{RequestId, X_REQUEST_ID};

pub use super::record::AppBody;

/// Where clients find the certificate of a local authority. They compare its fingerprint with the one that
/// was printed at start: whoever answers in the registry's place could serve another.
pub const AUTHORITY_PATH: &str = "/.well-known/registryd/ca.crt";

/// Answers requests. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: RegistryService,
    options: AppOptions,
}

/// What stands around a registry.
#[derive(Debug)]
#[non_exhaustive]
pub struct AppOptions {
    /// Added to each response of the registry.
    pub headers: HeaderMap,
    /// Whether each request is logged, and has an id for that.
    pub access_log: bool,
    /// What `/readyz` and `/` tell.
    pub health: Arc<Health>,
    /// Where requests are counted, if anywhere.
    pub metrics: Option<Arc<Metrics>>,
    /// The certificate that clients are asked to trust, in PEM: served at [`AUTHORITY_PATH`].
    pub authority: Option<Bytes>,
    /// Whose word on clients counts.
    pub proxies: TrustedProxies,
}

impl AppOptions {
    /// Nothing but the probes.
    pub fn new(health: Arc<Health>) -> Self {
        Self {
            headers: HeaderMap::new(),
            access_log: false,
            health,
            metrics: None,
            authority: None,
            proxies: TrustedProxies::default(),
        }
    }
}

impl App {
    /// An app around a registry.
    pub fn new(registry: RegistryService, options: AppOptions) -> Self {
        Self {
            inner: Arc::new(Inner { registry, options }),
        }
    }

    pub(super) async fn answer<B>(self, mut request: Request<B>, peer: Peer) -> Response<AppBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let trusted = self.inner.options.proxies.trusts(&peer);
        let mut record = self.record(&request, &peer, trusted);
        if trusted {
            let origin = forwarded::origin(request.headers());
            request.extensions_mut().insert(origin);
        }
        let seen = record.as_ref().map(|record| record.counter());
        let request = request.map(|body| Counted::new(body, seen));
        // A fault in one request must not take the connection's other requests with it.
        let routed = AssertUnwindSafe(self.route(request, record.as_deref_mut()));
        let mut response = routed.catch_unwind().await.unwrap_or_else(|_| {
            let id = record.as_ref().and_then(|record| record.id.as_ref());
            let id = id.map_or("-", RequestId::as_str);
            tracing::error!(id, "a request panicked; please report this");
            internal_error()
        });
        if let Some(record) = &mut record {
            record.answered(&response);
            if let Some(id) = &record.id {
                response.headers_mut().insert(X_REQUEST_ID, id.header());
            }
        }
        log_cause(&response, record.as_deref());
        response.map(|body| AppBody::new(body, record))
    }

    /// The record of a request, if anybody will read it.
    fn record<B>(&self, request: &Request<B>, peer: &Peer, trusted: bool) -> Option<Box<Record>> {
        let options = &self.inner.options;
        if !options.access_log && options.metrics.is_none() {
            return None;
        }
        let told = trusted.then(|| options.proxies.client(request.headers()));
        let remote = told
            .flatten()
            .map_or_else(|| peer.to_string(), |ip| ip.to_string());
        let id = options.access_log.then(|| RequestId::of(request.headers()));
        Some(Box::new(Record::new(
            request,
            remote,
            id,
            options.metrics.clone(),
        )))
    }

    async fn route<B>(&self, request: Request<B>, record: Option<&mut Record>) -> Reply
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = match self.inner.registry.try_handle(request) {
            Ok(response) => {
                if let Some(record) = record {
                    record.handled_by(metrics::handler(response.endpoint_kind()));
                }
                let mut response = response.await.unwrap_or_else(|never| match never {});
                for (name, value) in &self.inner.options.headers {
                    // What the registry says itself need not be said twice.
                    if response
                        .headers()
                        .get_all(name)
                        .iter()
                        .all(|said| said != value)
                    {
                        response.headers_mut().append(name, value.clone());
                    }
                }
                return response.map(Either::Left);
            }
            Err(request) => request,
        };
        if let Some(record) = record {
            record.handled_by(metrics::handler(None));
        }
        let path = request.uri().path();
        if let Some(pem) = &self.inner.options.authority
            && path == AUTHORITY_PATH
            && matches!(*request.method(), Method::GET | Method::HEAD)
        {
            return authority(pem.clone());
        }
        let probe = match path {
            // The process runs, and everything it needs was opened before the port was.
            "/livez" | "/startupz" => Some(true),
            "/readyz" => Some(self.inner.options.health.is_ready().await),
            // Load balancers and Helm charts probe `/` without credentials.
            "/" => Some(self.inner.options.health.is_fit()),
            _ => None,
        };
        match probe {
            Some(_) if !matches!(*request.method(), Method::GET | Method::HEAD) => {
                let message = "this path is for probes, which send GET or HEAD";
                json(&RegistryError::new(ErrorCode::Unsupported, message))
            }
            Some(true) if path == "/" => plain(StatusCode::OK, ""),
            Some(true) => plain(StatusCode::OK, "ok\n"),
            Some(false) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the storage does not answer as it should; the log says more\n",
            ),
            None => json(&RegistryError::new(
                ErrorCode::NameUnknown,
                "nothing is served here; the registry's interface begins at /v2/",
            )),
        }
    }
}

/// A response before it is known when it will have been sent.
type Reply = Response<Either<RegistryBody, Full<Bytes>>>;

/// Why a request failed for no fault of the client: what the client is not told.
fn log_cause(response: &Reply, record: Option<&Record>) {
    if !response.status().is_server_error() {
        return;
    }
    let Some(error) = response.extensions().get::<Arc<RegistryError>>() else {
        return;
    };
    let id = record.and_then(|record| record.id.as_ref());
    let id = id.map_or("-", RequestId::as_str);
    let mut causes = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        if !causes.is_empty() {
            causes.push_str(": ");
        }
        causes.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!(id, %error, cause = causes, "a request failed");
}

fn internal_error() -> Reply {
    json(&RegistryError::new(
        ErrorCode::Unknown,
        "the registry failed in a way it should not; its log says more",
    ))
}

fn json(error: &RegistryError) -> Reply {
    let mut reply = small(error.status(), error.to_json().into());
    let kind = HeaderValue::from_static("application/json");
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

fn plain(status: StatusCode, text: &'static str) -> Reply {
    let mut reply = small(status, Bytes::from_static(text.as_bytes()));
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    reply
}

fn authority(pem: Bytes) -> Reply {
    let mut reply = small(StatusCode::OK, pem);
    let value = HeaderValue::from_static("application/x-pem-file");
    reply.headers_mut().insert(CONTENT_TYPE, value);
    reply
}

fn small(status: StatusCode, body: Bytes) -> Reply {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Either::Right(Full::new(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response
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
