//! The registry as a tower service.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use oci_core::memory::MemoryStore;
use oci_core::{BoxError, ErrorCode, Identity, Registry, RegistryError};
use tower_service::Service;

use crate::access::Gate;
use crate::builder::{Redirects, RegistryServiceBuilder};
use crate::drain::Drain;
use crate::endpoint::{Endpoint, EndpointError};
use crate::handlers::{self, Exchange};
use crate::request::RequestBody;
use crate::response::{Failure, Links, RegistryBody, Reply};

/// A registry as a [`tower_service::Service`]. Cloning is cheap and shares everything.
///
/// It works in any server for [`http`] types: hyper, axum, warp, tonic. It is always ready, never fails,
/// and never spawns a task: the work of a request is done while its [`ResponseFuture`] is polled, and
/// a blob is read while its body is.
///
/// It expects to see the full path, `/v2/…`. What is outside of that gets 404; to keep a host's own
/// routes and 404s use [`try_handle`](Self::try_handle) or [`RegistryLayer`](crate::RegistryLayer).
///
/// The extensions of a response hold, for the logs of the host, the [`Identity`] that asked and, if the
/// response is an error, an `Arc<`[`RegistryError`]`>`, whose sources are never told to clients.
#[derive(Clone)]
pub struct RegistryService {
    shared: Arc<Shared>,
}

impl RegistryService {
    /// Serves `registry` at `/v2/`, open to everybody.
    pub fn new(registry: Registry) -> Self {
        Self::from_shared(Shared {
            registry,
            gate: Gate::default(),
            links: Links::default(),
            redirects: None,
            prefix: String::new(),
            drain: Drain::default(),
        })
    }

    /// Serves a new, empty registry that is gone when the last clone of the service is.
    pub fn in_memory() -> Self {
        Self::new(Registry::new(MemoryStore::new()))
    }

    /// Options: who may do what, and where the registry is mounted.
    pub fn builder(registry: Registry) -> RegistryServiceBuilder {
        RegistryServiceBuilder::new(registry)
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The registry that is served, for use beside HTTP.
    pub fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// Answers a request to the registry API, and gives any other back.
    ///
    /// Which it is, only the path decides: whether it is `/v2`, or below it, behind the
    /// [`base_path`](RegistryServiceBuilder::base_path) if there is one.
    ///
    /// ```
    /// use http::{Request, Response};
    /// use oci_http::{RegistryBody, RegistryService};
    ///
    /// async fn host(registry: RegistryService, request: Request<RegistryBody>) -> Response<RegistryBody> {
    ///     match registry.try_handle(request) {
    ///         Ok(response) => response.await.unwrap_or_else(|never| match never {}),
    ///         // A route of the host, or its own 404.
    ///         Err(request) => Response::new(RegistryBody::default()),
    ///     }
    /// }
    /// ```
    #[expect(
        clippy::result_large_err,
        reason = "it is no error but the request itself, which the caller goes on with"
    )]
    pub fn try_handle<B>(&self, request: Request<B>) -> Result<ResponseFuture, Request<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match self.shared.api_path(request.uri().path()) {
            Some(at) => Ok(self.answer(request, Some(at))),
            None => Err(request),
        }
    }

    fn answer<B>(&self, request: Request<B>, api_path: Option<usize>) -> ResponseFuture
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let shared = Arc::clone(&self.shared);
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body);
        let path = api_path.and_then(|at| head.uri.path().get(at..));
        let endpoint = path
            .ok_or(EndpointError::NotFound)
            .and_then(|path| Endpoint::parse(path, head.uri.query()));
        ResponseFuture {
            kind: endpoint.as_ref().ok().map(Endpoint::kind),
            inner: Box::pin(async move { shared.answer(head, body, endpoint).await }),
        }
    }
}

impl<B> Service<Request<B>> for RegistryService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<RegistryBody>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        let at = self.shared.api_path(request.uri().path());
        self.answer(request, at)
    }
}

impl fmt::Debug for RegistryService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryService")
            .field("registry", &self.shared.registry)
            .field("gate", &self.shared.gate)
            .finish_non_exhaustive()
    }
}

/// A response on its way.
///
/// # Cancel safety
///
/// Servers drop it when the client hangs up, and may at any time. A streamed PATCH then keeps what had
/// arrived, and the client resumes. Everything else either has no effect, or takes effect as a whole
/// although nobody hears of it; asking again gives the same answer.
#[must_use = "nothing happens while it is not polled"]
pub struct ResponseFuture {
    kind: Option<&'static str>,
    inner: Pin<Box<dyn Future<Output = Response<RegistryBody>> + Send>>,
}

impl ResponseFuture {
    /// The [`Endpoint::kind`] that is asked, for metrics; `None` if the path is no endpoint.
    pub fn endpoint_kind(&self) -> Option<&'static str> {
        self.kind
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<RegistryBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.inner.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResponseFuture")
    }
}

/// What all clones of a service share.
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) gate: Gate,
    pub(crate) links: Links,
    pub(crate) redirects: Option<Redirects>,
    /// What stands before `/v2` in the paths that reach the service.
    pub(crate) prefix: String,
    pub(crate) drain: Drain,
}

impl Shared {
    /// Where in `path` the registry API begins, if it is part of it.
    fn api_path(&self, path: &str) -> Option<usize> {
        let rest = path.strip_prefix(&self.prefix)?.strip_prefix("/v2")?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.prefix.len())
    }

    async fn answer(
        &self,
        head: Parts,
        mut body: RequestBody,
        endpoint: Result<Endpoint, EndpointError>,
    ) -> Response<RegistryBody> {
        let mut identity = None;
        let result = self
            .respond(&head, &mut body, endpoint.as_ref(), &mut identity)
            .await;
        let mut reply = result.unwrap_or_else(Failure::into_reply);

        let endpoint = endpoint.ok();
        match reply.status() {
            StatusCode::UNAUTHORIZED => {
                let challenge = self.gate.challenge(endpoint.as_ref(), &head.method);
                reply = reply.challenging(challenge);
            }
            StatusCode::METHOD_NOT_ALLOWED => {
                let methods = endpoint
                    .as_ref()
                    .map(|endpoint| handlers::methods(endpoint, &self.registry));
                reply = reply.allowing(methods.unwrap_or_default());
            }
            _ => {}
        }
        if head.method == Method::HEAD {
            reply = reply.into_head();
        }
        let settled = self.drain.settle(&head, &mut body).await;
        reply.finish(identity, settled)
    }

    /// Everything in its order: limits, path, method, caller, operation. The body is not touched before
    /// the last.
    async fn respond(
        &self,
        head: &Parts,
        body: &mut RequestBody,
        endpoint: Result<&Endpoint, &EndpointError>,
        identity: &mut Option<Identity>,
    ) -> Result<Reply, Failure> {
        check_limits(head)?;
        let endpoint = endpoint.map_err(Clone::clone)?;
        if head.method == Method::OPTIONS {
            let methods = handlers::methods(endpoint, &self.registry);
            return Ok(Reply::new(StatusCode::NO_CONTENT).allowing(methods));
        }
        if !handlers::has_method(endpoint, &head.method) {
            return Err(handlers::wrong_method(endpoint, &head.method));
        }
        let caller = self.gate.identify(head).await?;
        *identity = Some(caller.identity().clone());
        caller.check(endpoint, &head.method).await?;
        let exchange = Exchange {
            registry: &self.registry,
            links: &self.links.for_request(head),
            redirects: self.redirects.as_ref(),
            caller: &caller,
            head,
        };
        handlers::handle(&exchange, body, endpoint).await
    }
}

/// Bounds what is parsed. Servers have limits of their own, which are often larger.
fn check_limits(head: &Parts) -> Result<(), RegistryError> {
    let target = head.uri.path().len() + head.uri.query().map_or(0, str::len);
    if target > MAX_TARGET {
        return Err(RegistryError::new(
            ErrorCode::Unsupported,
            format!("the path and query have {target} bytes, more than {MAX_TARGET}"),
        )
        .with_status(StatusCode::URI_TOO_LONG));
    }
    let headers: usize = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers > MAX_HEADERS {
        return Err(RegistryError::new(
            ErrorCode::Unsupported,
            format!("the headers have {headers} bytes, more than {MAX_HEADERS}"),
        )
        .with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    Ok(())
}

/// In bytes. Room for a push with as many of the longest tags as any sensible limit allows.
const MAX_TARGET: usize = 32 * 1024;
/// In bytes. Room for large tokens.
const MAX_HEADERS: usize = 64 * 1024;
