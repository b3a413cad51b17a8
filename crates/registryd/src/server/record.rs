//! What is kept of a request until its response is sent: for the access log and the metrics.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{Either, Full};
use oci_core::{BoxError, Identity};
use oci_http::RegistryBody;
use pin_project_lite::pin_project;

use crate::metrics::{Metrics, Observed};
use crate::telemetry::{Access, RequestId};

/// A request on its way. When it is dropped, it is over: that is when it is logged and counted.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) id: Option<RequestId>,
    metrics: Option<Arc<Metrics>>,
    begun: Instant,
    method: Method,
    uri: Uri,
    agent: Option<HeaderValue>,
    remote: String,
    user: Option<Identity>,
    credentials: bool,
    handler: &'static str,
    in_flight: bool,
    status: Option<StatusCode>,
    received: Arc<AtomicU64>,
    sent: u64,
}

impl Record {
    pub(super) fn new<B>(
        request: &Request<B>,
        remote: String,
        id: Option<RequestId>,
        metrics: Option<Arc<Metrics>>,
    ) -> Self {
        Self {
            id,
            metrics,
            begun: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            agent: request.headers().get(USER_AGENT).cloned(),
            remote,
            user: None,
            credentials: request.headers().contains_key(AUTHORIZATION),
            handler: "",
            in_flight: false,
            status: None,
            received: Arc::default(),
            sent: 0,
        }
    }

    /// Counts the bytes of the request's body, for whoever wants to know.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.received)
    }

    /// Which handler answers, by the name that dashboards know.
    pub(super) fn handled_by(&mut self, handler: &'static str) {
        self.handler = handler;
        if let Some(metrics) = &self.metrics {
            metrics.begun(handler);
            self.in_flight = true;
        }
    }

    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        self.status = Some(response.status());
        self.user = response.extensions().get::<Identity>().cloned();
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        if let Some(metrics) = &self.metrics {
            let observed = Observed {
                handler: self.handler,
                method: &self.method,
                status,
                took,
                received: self.received.load(Ordering::Relaxed),
                sent: self.sent,
                credentials: self.credentials,
            };
            metrics.ended(&observed, self.in_flight);
        }
        if let Some(id) = &self.id {
            let path = self.uri.path();
            let fine = self.status.is_some_and(|status| status.is_success());
            let probe =
                matches!(path, "/" | "/livez" | "/readyz" | "/startupz") || path == "/v2/" && fine;
            let access = Access {
                id,
                method: &self.method,
                uri: &self.uri,
                status,
                bytes: self.sent,
                took,
                agent: self.agent.as_ref(),
                remote: &self.remote,
                user: self.user.as_ref().and_then(Identity::name),
            };
            access.write(probe);
        }
    }
}

/// The status that is logged when the client went away first, as nginx does.
const CLIENT_GONE: u16 = 499;

pin_project! {
    /// The body of every response, and the record that ends with it.
    #[derive(Debug)]
    pub struct AppBody {
        #[pin]
        body: Either<RegistryBody, Full<Bytes>>,
        record: Option<Box<Record>>,
    }
}

impl AppBody {
    pub(super) fn new(
        body: Either<RegistryBody, Full<Bytes>>,
        record: Option<Box<Record>>,
    ) -> Self {
        Self { body, record }
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(record)) = (&polled, this.record) {
            record.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A request body whose bytes are counted, if somebody wants to know.
    #[derive(Debug)]
    pub(super) struct Counted<B> {
        #[pin]
        body: B,
        seen: Option<Arc<AtomicU64>>,
    }
}

impl<B> Counted<B> {
    pub(super) fn new(body: B, seen: Option<Arc<AtomicU64>>) -> Self {
        Self { body, seen }
    }
}

impl<B: Body<Data = Bytes>> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(seen)) = (&polled, this.seen) {
            let length = frame.data_ref().map_or(0, |data| data.len() as u64);
            seen.fetch_add(length, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
