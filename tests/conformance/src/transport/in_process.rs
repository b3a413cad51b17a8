//! Requests straight into a tower service, and a loopback server around one.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body::Body as HttpBody;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tower_service::Service;

use super::{Response, Transport, TransportError, collect};
use crate::payload::{Body, BoxError, Payload};

/// Calls a tower service without a network.
///
/// It does what an HTTP server does around a service, and nothing else: a response whose body has
/// a known length gets `Content-Length`, and a response whose body disagrees with its own
/// `Content-Length`, or that answers HEAD with a body, is an error.
pub struct InProcess<S> {
    service: S,
}

impl<S> InProcess<S> {
    /// A transport into `service`.
    pub fn new(service: S) -> Self {
        Self { service }
    }
}

impl<S> fmt::Debug for InProcess<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

#[async_trait]
impl<S, R> Transport for InProcess<S>
where
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    async fn send(&self, request: Request<Payload>) -> Result<Response, TransportError> {
        let (mut head, payload) = request.into_parts();
        head.headers
            .entry(header::HOST)
            .or_insert(HeaderValue::from_static("registry.localhost"));
        let is_head = head.method == Method::HEAD;
        let mut service = self.service.clone();
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(mut response) = service
            .call(Request::from_parts(head, Body::from(payload)))
            .await;

        let bodiless = is_head
            || response.status() == StatusCode::NO_CONTENT
            || response.status() == StatusCode::NOT_MODIFIED;
        if let (false, Some(length)) = (bodiless, response.body().size_hint().exact()) {
            response
                .headers_mut()
                .entry(header::CONTENT_LENGTH)
                .or_insert(HeaderValue::from(length));
        }
        let declared = declared_length(&response)?;
        let response = collect(response).await?;
        if bodiless && response.length > 0 {
            let what = format!(
                "{} answered with {} bytes",
                response.status, response.length
            );
            return Err(TransportError::new(
                "a response that can have no body has one",
                what,
            ));
        }
        match declared {
            Some(declared) if !bodiless && declared != response.length => {
                let what = format!("{declared} declared, {} sent", response.length);
                Err(TransportError::new(
                    "Content-Length is not the body's length",
                    what,
                ))
            }
            _ => Ok(response),
        }
    }
}

fn declared_length<R>(response: &http::Response<R>) -> Result<Option<u64>, TransportError> {
    let Some(value) = response.headers().get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| TransportError::new("reading Content-Length", format!("{value:?}")))
}

/// Serves `service` on an ephemeral port of 127.0.0.1, HTTP/1.1 and HTTP/2 alike, until the
/// runtime ends.
///
/// # Errors
///
/// When no socket can be bound.
pub async fn serve_in_process<S, R>(service: S) -> io::Result<SocketAddr>
where
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, or a client that left at once: neither ends the server.
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            tokio::spawn(serve_connection(stream, service.clone()));
        }
    });
    Ok(address)
}

async fn serve_connection<S, R>(stream: tokio::net::TcpStream, service: S)
where
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut service = service.clone();
        async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request.map(Body::from)).await
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .http2()
        .timer(TokioTimer::new());
    // A client that breaks off ends its connection with an error here: that is normal.
    drop(
        builder
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}
