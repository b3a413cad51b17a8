//! The listener for operators, `http.debug.addr`: health in detail, and metrics. It asks for no
//! credentials, so it belongs on an address that only operators reach.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use oci_core::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::health::Health;
use crate::metrics::{Certificates, Metrics};
use crate::server::Listener;

/// What is shown to operators.
#[derive(Clone)]
#[non_exhaustive]
pub struct Shown {
    /// The checks.
    pub health: Arc<Health>,
    /// The registry whose figures are looked up.
    pub registry: Registry,
    /// The metrics, and the path they are served at, if they are.
    pub metrics: Option<(Arc<Metrics>, String)>,
    /// When certificates end.
    pub certificates: Certificates,
}

impl Shown {
    /// Health alone.
    pub fn new(health: Arc<Health>, registry: Registry) -> Self {
        Self {
            health,
            registry,
            metrics: None,
            certificates: Arc::new(Vec::new),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown")
            .field("health", &self.health)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// Serves for as long as it is polled.
pub async fn serve(listener: Listener, shown: Shown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, listener.accept().await)
            } => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (Ok(place), Ok((socket, _))) = accepted else {
            // Out of file descriptors, usually: they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let shown = shown.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let shown = shown.clone();
                async move { Ok::<_, Infallible>(shown.answer(&request).await) }
            });
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .max_buf_size(16 * 1024);
            let connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
            let _ = connection.await;
            drop(place);
        });
    }
}

impl Shown {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "send GET or HEAD\n");
        }
        let path = request.uri().path();
        if let Some((metrics, at)) = &self.metrics
            && path == at
        {
            return self.metrics(metrics).await;
        }
        match path {
            "/livez" | "/startupz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.health.is_ready().await => text(StatusCode::OK, "ok\n"),
            "/debug/health" | "/readyz" => self.health(),
            path if path.starts_with("/debug/pprof") || path == "/debug/vars" => text(
                StatusCode::NOT_FOUND,
                "Go's profiles and variables do not exist here; for CPU profiles use `perf`\n",
            ),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /debug/health, /livez, /readyz, /startupz, and metrics if \
                 `http.debug.prometheus.enabled` is true\n",
            ),
        }
    }

    /// As Distribution answers it: an object of what fails, by name.
    fn health(&self) -> Response<Full<Bytes>> {
        let problems = self.health.problems();
        let status = if problems.is_empty() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let problems = problems
            .into_iter()
            .map(|(name, problem)| (name.to_owned(), problem.into()));
        let document = serde_json::Value::Object(problems.collect());
        let json = "application/json; charset=utf-8";
        response(status, json, document.to_string())
    }

    async fn metrics(&self, metrics: &Metrics) -> Response<Full<Bytes>> {
        let rendered = metrics.render(&self.registry, &self.health, &self.certificates);
        match rendered.await {
            Ok(rendered) => response(StatusCode::OK, OPENMETRICS, rendered),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the log says more\n")
            }
        }
    }
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", text)
}

fn response(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// More operators than these wait.
const CONNECTIONS: usize = 64;
/// From one request to the next.
const PATIENCE: Duration = Duration::from_secs(60);
