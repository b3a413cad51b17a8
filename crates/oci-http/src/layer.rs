//! The registry in front of another service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use oci_core::BoxError;
use tower_layer::Layer;
use tower_service::Service;

use crate::response::RegistryBody;
use crate::service::{RegistryService, ResponseFuture};

/// Puts a registry in front of a service: requests to the registry API are answered by the registry, all
/// others by the service behind, which keeps its own routes and its own 404.
///
/// ```
/// use oci_http::{RegistryLayer, RegistryService};
///
/// let app = axum::Router::<()>::new()
///     .fallback(|| async { "the host's own page" })
///     .layer(RegistryLayer::new(RegistryService::in_memory()));
/// ```
#[derive(Clone, Debug)]
pub struct RegistryLayer {
    registry: RegistryService,
}

impl RegistryLayer {
    /// A layer that puts `registry` in front.
    pub fn new(registry: RegistryService) -> Self {
        Self { registry }
    }
}

impl<S> Layer<S> for RegistryLayer {
    type Service = WithRegistry<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithRegistry {
            registry: self.registry.clone(),
            inner,
        }
    }
}

/// A service with a registry in front; see [`RegistryLayer`].
#[derive(Clone, Debug)]
pub struct WithRegistry<S> {
    registry: RegistryService,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for WithRegistry<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<LayeredBody<R>>;
    type Error = S::Error;
    type Future = LayeredFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        LayeredFuture {
            inner: match self.registry.try_handle(request) {
                Ok(response) => Either::Registry(response),
                Err(request) => Either::Inner(Box::pin(self.inner.call(request))),
            },
        }
    }
}

/// A response of the registry or of the service behind it, on its way.
///
/// # Cancel safety
///
/// As [`ResponseFuture`], or as the service behind says.
#[must_use = "nothing happens while it is not polled"]
pub struct LayeredFuture<F> {
    inner: Either<ResponseFuture, Pin<Box<F>>>,
}

impl<F, R, E> Future for LayeredFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<LayeredBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().inner {
            Either::Registry(future) => Pin::new(future).poll(cx).map(|response| {
                let response = response.unwrap_or_else(|never| match never {});
                Ok(response.map(LayeredBody::registry))
            }),
            Either::Inner(future) => future
                .as_mut()
                .poll(cx)
                .map_ok(|response| response.map(LayeredBody::inner)),
        }
    }
}

impl<F> fmt::Debug for LayeredFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayeredFuture")
    }
}

/// The body of a response of the registry or of the service behind it.
pub struct LayeredBody<R> {
    inner: Either<RegistryBody, Pin<Box<R>>>,
}

impl<R> LayeredBody<R> {
    fn registry(body: RegistryBody) -> Self {
        Self {
            inner: Either::Registry(body),
        }
    }

    fn inner(body: R) -> Self {
        Self {
            inner: Either::Inner(Box::pin(body)),
        }
    }
}

impl<R> Body for LayeredBody<R>
where
    R: Body<Data = Bytes>,
    R::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().inner {
            Either::Registry(body) => Pin::new(body).poll_frame(cx),
            Either::Inner(body) => body
                .as_mut()
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Either::Registry(body) => body.is_end_stream(),
            Either::Inner(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Either::Registry(body) => body.size_hint(),
            Either::Inner(body) => body.size_hint(),
        }
    }
}

impl<R> fmt::Debug for LayeredBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner {
            Either::Registry(body) => body.fmt(f),
            Either::Inner(_) => f.write_str("LayeredBody"),
        }
    }
}

enum Either<A, B> {
    Registry(A),
    Inner(B),
}
