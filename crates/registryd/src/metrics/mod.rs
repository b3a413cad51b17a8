//! Metrics for Prometheus: under the names that CNCF Distribution gives them, so that dashboards keep
//! working, and ours beside them.
//!
//! Labels have few values, known beforehand: which handler, method, status. Never a repository or a user.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use oci_core::Registry;
use oci_core::hooks::StoreCall;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry as Exposed;

use crate::health::Health;

mod collections;
mod process;

/// Everything that is counted. Shared by all requests.
pub struct Metrics {
    exposed: Exposed,
    driver: &'static str,
    requests: Family<RequestLabels, Counter>,
    in_flight: Family<HandlerLabels, Gauge>,
    duration: Family<MethodLabels, Histogram, fn() -> Histogram>,
    request_size: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    response_size: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    action: Family<ActionLabels, Histogram, fn() -> Histogram>,
    storage_errors: Family<ActionLabels, Counter>,
    auth_failures: Counter,
    blob_received: Counter,
    blob_sent: Counter,
    sampled: Sampled,
}

/// What is looked up when somebody asks.
#[derive(Default)]
struct Sampled {
    uploads_open: Gauge,
    free_bytes: Gauge,
    size_bytes: Gauge,
    free_inodes: Gauge,
    inodes: Gauge,
    failing: Family<CheckLabels, Gauge>,
    certificate: Family<FileLabels, Gauge>,
    collecting: collections::Collecting,
    process: process::Process,
}

/// Tells when certificates end: each with its file, in seconds since 1970.
pub type Certificates = Arc<dyn Fn() -> Vec<(String, i64)> + Send + Sync>;

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct RequestLabels {
    handler: &'static str,
    code: u16,
    method: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct HandlerLabels {
    handler: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct MethodLabels {
    handler: &'static str,
    method: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ActionLabels {
    driver: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct CheckLabels {
    check: String,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct FileLabels {
    file: String,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
}

/// A request that has ended.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) handler: &'static str,
    pub(crate) method: &'a Method,
    pub(crate) status: u16,
    pub(crate) took: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Whether it came with credentials.
    pub(crate) credentials: bool,
}

impl Metrics {
    /// Nothing counted yet. `driver` is the storage driver, by Distribution's name.
    pub fn new(driver: &'static str) -> Self {
        let mut exposed = Exposed::default();
        let sampled = Sampled::default();
        let metrics = Self {
            driver,
            requests: Family::default(),
            in_flight: Family::default(),
            duration: Family::new_with_constructor(request_seconds),
            request_size: Family::new_with_constructor(sizes),
            response_size: Family::new_with_constructor(sizes),
            action: Family::new_with_constructor(action_seconds),
            storage_errors: Family::default(),
            auth_failures: Counter::default(),
            blob_received: Counter::default(),
            blob_sent: Counter::default(),
            exposed: Exposed::default(),
            sampled,
        };
        metrics.expose(&mut exposed);
        Self { exposed, ..metrics }
    }

    fn expose(&self, to: &mut Exposed) {
        // Counters get `_total` when they are written.
        to.register(
            "registry_http_requests",
            "Total number of HTTP requests made",
            self.requests.clone(),
        );
        to.register(
            "registry_http_in_flight_requests",
            "The in-flight HTTP requests",
            self.in_flight.clone(),
        );
        to.register(
            "registry_http_request_duration_seconds",
            "The HTTP request latencies in seconds",
            self.duration.clone(),
        );
        to.register(
            "registry_http_request_size_bytes",
            "The HTTP request sizes in bytes, bodies alone",
            self.request_size.clone(),
        );
        to.register(
            "registry_http_response_size_bytes",
            "The HTTP response sizes in bytes, bodies alone",
            self.response_size.clone(),
        );
        to.register(
            "registry_storage_action_seconds",
            "The number of seconds that the storage action takes",
            self.action.clone(),
        );
        to.register(
            "registryd_storage_errors",
            "Calls to the storage that failed for a reason of its own",
            self.storage_errors.clone(),
        );
        to.register(
            "registryd_auth_failures",
            "Requests whose credentials were refused",
            self.auth_failures.clone(),
        );
        to.register(
            "registryd_blob_received_bytes",
            "Bytes of blobs that clients sent",
            self.blob_received.clone(),
        );
        to.register(
            "registryd_blob_sent_bytes",
            "Bytes of blobs that were sent to clients",
            self.blob_sent.clone(),
        );
        let sampled = &self.sampled;
        to.register(
            "registryd_uploads_open",
            "Uploads that are not finished",
            sampled.uploads_open.clone(),
        );
        to.register(
            "registryd_storage_free_bytes",
            "Room left where content is kept",
            sampled.free_bytes.clone(),
        );
        to.register(
            "registryd_storage_size_bytes",
            "The size of that file system",
            sampled.size_bytes.clone(),
        );
        to.register(
            "registryd_storage_free_inodes",
            "How many more files fit there",
            sampled.free_inodes.clone(),
        );
        to.register(
            "registryd_storage_inodes",
            "How many files fit there in all",
            sampled.inodes.clone(),
        );
        to.register(
            "registryd_health_check_failing",
            "1 for each health check that fails, by the name /debug/health gives it",
            sampled.failing.clone(),
        );
        to.register(
            "registryd_tls_certificate_expiry_seconds",
            "When the certificate ends, in seconds since 1970",
            sampled.certificate.clone(),
        );
        sampled.collecting.expose(to);
        sampled.process.expose(to);
        let version = env!("CARGO_PKG_VERSION");
        to.register(
            "registryd_build",
            "The version that runs",
            Info::new(BuildLabels { version }),
        );
    }

    /// A request reached its handler.
    pub(crate) fn begun(&self, handler: &'static str) {
        self.in_flight
            .get_or_create(&HandlerLabels { handler })
            .inc();
    }

    /// A request has ended. `counted` if it was told of as begun.
    pub(crate) fn ended(&self, request: &Observed<'_>, counted: bool) {
        let Observed {
            handler,
            status: code,
            ..
        } = *request;
        let method = method(request.method);
        let only = HandlerLabels { handler };
        if counted {
            self.in_flight.get_or_create(&only).dec();
        }
        let labels = RequestLabels {
            handler,
            code,
            method,
        };
        self.requests.get_or_create(&labels).inc();
        let labels = MethodLabels { handler, method };
        self.duration
            .get_or_create(&labels)
            .observe(request.took.as_secs_f64());
        self.request_size
            .get_or_create(&only)
            .observe(float(request.received));
        self.response_size
            .get_or_create(&only)
            .observe(float(request.sent));
        if code == 401 && request.credentials {
            self.auth_failures.inc();
        }
        match handler {
            "blob" => {
                self.blob_sent.inc_by(request.sent);
            }
            "blob_upload" | "blob_upload_chunk" => {
                self.blob_received.inc_by(request.received);
            }
            _ => {}
        }
    }

    /// A call to the storage has ended.
    pub(crate) fn store_call(&self, call: StoreCall, took: Duration, failed: bool) {
        let labels = ActionLabels {
            driver: self.driver,
            action: action(call),
        };
        self.action
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if failed {
            self.storage_errors.get_or_create(&labels).inc();
        }
    }

    /// Everything in the text format of `OpenMetrics`, which Prometheus reads.
    pub(crate) async fn render(
        &self,
        registry: &Registry,
        health: &Health,
        certificates: &Certificates,
    ) -> Result<String, fmt::Error> {
        let sampled = &self.sampled;
        let most = registry.limits().uploads;
        let counting = registry.blobs().count_uploads(None, most);
        // A storage that hangs must not keep the other figures back.
        if let Ok(Ok(open)) = tokio::time::timeout(PATIENCE, counting).await {
            sampled.uploads_open.set(whole(open));
        }
        if let Some(space) = health.space().await {
            sampled.free_bytes.set(whole(space.free_bytes));
            sampled.size_bytes.set(whole(space.size_bytes));
            sampled.free_inodes.set(whole(space.free_inodes));
            sampled.inodes.set(whole(space.inodes));
        }
        for (check, failing) in health.summary() {
            let labels = CheckLabels { check };
            sampled
                .failing
                .get_or_create(&labels)
                .set(i64::from(failing));
        }
        sampled.collecting.sample(&registry.collections());
        let certificates = Arc::clone(certificates);
        let process = sampled.process.clone();
        let read = tokio::task::spawn_blocking(move || {
            process.sample();
            certificates()
        });
        // One that cannot be told any more is gone, and does not stay as it was.
        sampled.certificate.clear();
        for (file, end) in read.await.unwrap_or_default() {
            sampled
                .certificate
                .get_or_create(&FileLabels { file })
                .set(end);
        }
        let mut text = String::new();
        encode(&mut text, &self.exposed)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}

/// Distribution's name for the handler of an endpoint.
pub(crate) fn handler(endpoint: Option<&'static str>) -> &'static str {
    match endpoint {
        Some("uploads") => "blob_upload",
        Some("upload") => "blob_upload_chunk",
        Some(kind) => kind,
        None => "other",
    }
}

/// In lower case, as in Go; methods that HTTP does not know are one.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "unknown",
    }
}

/// What Distribution's drivers call it.
fn action(call: StoreCall) -> &'static str {
    match call {
        StoreCall::ReadManifest | StoreCall::ResolveTag => "GetContent",
        StoreCall::PutManifest => "PutContent",
        StoreCall::ReadBlob => "Reader",
        StoreCall::AppendUpload | StoreCall::BeginUpload => "Writer",
        StoreCall::StatBlob => "Stat",
        StoreCall::List => "List",
        StoreCall::CommitUpload => "Move",
        StoreCall::Delete => "Delete",
        _ => "Other",
    }
}

/// The bounds that Distribution has for requests.
fn request_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0,
    ])
}

/// The bounds that Go's Prometheus client has where none are given.
fn action_seconds() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

/// From 1 KiB to 2 GiB.
fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1024.0, 2.0, 22))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in floating point"
)]
fn float(n: u64) -> f64 {
    n as f64
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// For what has to be looked up in the storage.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_the_name_that_distribution_gives_it() {
        for (path, name) in [
            ("/v2/", "base"),
            ("/v2/_catalog", "catalog"),
            ("/v2/a/tags/list", "tags"),
            ("/v2/a/manifests/b", "manifest"),
            ("/v2/a/blobs/uploads/", "blob_upload"),
            (
                "/v2/a/blobs/uploads/01234567-89ab-4cde-8f01-23456789abcd",
                "blob_upload_chunk",
            ),
        ] {
            let endpoint = oci_http::Endpoint::parse(path, None).unwrap();
            assert_eq!(handler(Some(endpoint.kind())), name, "{path}");
        }
        assert_eq!(handler(None), "other");
    }

    #[test]
    fn requests_are_counted_under_known_names() {
        let metrics = Metrics::new("filesystem");
        metrics.begun("manifest");
        let mut observed = Observed {
            handler: "manifest",
            method: &Method::GET,
            status: 401,
            took: Duration::from_millis(30),
            received: 0,
            sent: 2000,
            credentials: true,
        };
        metrics.ended(&observed, true);
        observed.handler = "blob_upload_chunk";
        observed.received = 77;
        let method = Method::from_bytes(b"BREW").unwrap();
        observed.method = &method;
        metrics.ended(&observed, false);
        metrics.store_call(StoreCall::StatBlob, Duration::from_secs(20), true);
        let mut text = String::new();
        encode(&mut text, &metrics.exposed).unwrap();
        for line in [
            "registry_http_requests_total{handler=\"manifest\",code=\"401\",method=\"get\"} 1",
            "registry_http_requests_total{handler=\"blob_upload_chunk\",code=\"401\",method=\"unknown\"} 1",
            "registry_http_in_flight_requests{handler=\"manifest\"} 0",
            "registry_http_request_duration_seconds_bucket{le=\"0.025\",handler=\"manifest\",method=\"get\"} 0",
            "registry_http_request_duration_seconds_bucket{le=\"0.05\",handler=\"manifest\",method=\"get\"} 1",
            "registry_http_response_size_bytes_bucket{le=\"1024.0\",handler=\"manifest\"} 0",
            "registry_http_response_size_bytes_bucket{le=\"2048.0\",handler=\"manifest\"} 1",
            "registry_http_request_size_bytes_sum{handler=\"blob_upload_chunk\"} 77.0",
            "registry_storage_action_seconds_count{driver=\"filesystem\",action=\"Stat\"} 1",
            "registryd_storage_errors_total{driver=\"filesystem\",action=\"Stat\"} 1",
            "registryd_auth_failures_total 2",
            "registryd_blob_received_bytes_total 77",
        ] {
            assert!(text.contains(line), "{line}\nis not in\n{text}");
        }
    }
}
