//! Selecting cases, running them side by side, collecting what they say.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body::Body as HttpBody;
use tower_service::Service;

use crate::{
    case::{Case, Need, cases},
    ctx::Ctx,
    failure::Failure,
    payload::{Body, BoxError},
    report::{CaseReport, Report},
    transport::{HttpTransport, InProcess, Protocol, Transport, TransportError, serve_in_process},
};

/// A user name and password for HTTP Basic.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user name; holds no colon.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// Credentials of `user`.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            password: password.into(),
        }
    }

    /// The value of the `Authorization` header.
    pub(crate) fn basic(&self) -> String {
        format!(
            "Basic {}",
            STANDARD.encode(format!("{}:{}", self.user, self.password))
        )
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// How to run the suite.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// What the registry accepts. `None`: it asks for nothing.
    pub credentials: Option<Credentials>,
    /// Whether the registry allows manifests and blobs to be deleted.
    pub deletes: bool,
    /// Run only cases whose name contains one of these. Empty: all.
    pub filter: Vec<String>,
    /// The first component of every repository name, so that one rule can grant access to all.
    pub namespace: String,
    /// How many cases run at the same time.
    pub jobs: usize,
    /// How long one case may take.
    pub patience: Duration,
    /// How [`run_all`] reaches the service. Cases that need a socket always get one.
    pub reach: Reach,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            credentials: None,
            deletes: true,
            filter: Vec::new(),
            namespace: "conformance".to_owned(),
            jobs: 8,
            patience: Duration::from_secs(120),
            reach: Reach::Calls,
        }
    }
}

impl Options {
    /// The same options with another reach.
    pub fn reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }
}

/// How [`run_all`] reaches the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reach {
    /// Calls it in the same process.
    #[default]
    Calls,
    /// HTTP/1.1 over loopback.
    Http1,
    /// HTTP/2 over loopback.
    Http2,
}

/// The registry that [`run_all`] asks its factory for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Setup {
    /// Manifests and blobs can be deleted.
    pub deletes: bool,
    /// Every request must carry these, by HTTP Basic. `None`: no request needs any.
    pub credentials: Option<Credentials>,
}

/// Runs the selected cases against `transport`; `raw` is where cases that write their own bytes
/// connect to.
///
/// Cases that need what the registry does not have (by `options`) are not run, and
/// [`Report::left_out`] names them.
pub async fn run(
    transport: Arc<dyn Transport>,
    raw: Option<SocketAddr>,
    options: &Options,
) -> Report {
    run_where(transport, raw, options, |_| true).await
}

/// Runs the suite against a base URL, e.g. `http://127.0.0.1:5000`.
///
/// # Errors
///
/// When the URL can not be used. Failing cases are in the report.
pub async fn run_url(
    base: &str,
    protocol: Protocol,
    options: &Options,
) -> Result<Report, TransportError> {
    let transport = HttpTransport::new(base, protocol).await?;
    let raw = transport.address();
    Ok(run(Arc::new(transport), Some(raw), options).await)
}

/// Runs every case against the services that `factory` makes, in this process: one that allows
/// deletes, one that refuses them, and one that demands credentials. No case is left out.
///
/// ```no_run
/// # use registry_conformance::{run_all, Options, Body, Complaints};
/// # type Registry = hyper_util::service::TowerToHyperService<()>;
/// # async fn example<S, R, E>(my_service: fn(registry_conformance::Setup) -> S) -> Result<(), Complaints>
/// # where
/// #     S: tower_service::Service<http::Request<Body>, Response = http::Response<R>, Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
/// #     S::Future: Send,
/// #     R: http_body::Body<Data = bytes::Bytes, Error = E> + Send + 'static,
/// #     E: Into<Box<dyn std::error::Error + Send + Sync>>,
/// # {
/// run_all(async |setup| my_service(setup), &Options::default()).await.verdict()
/// # }
/// ```
pub async fn run_all<F, S, R>(factory: F, options: &Options) -> Report
where
    F: AsyncFn(Setup) -> S,
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let credentials = Credentials::new("conformance", "correct horse battery staple");
    let setups = [
        Setup {
            deletes: true,
            credentials: None,
        },
        Setup {
            deletes: false,
            credentials: None,
        },
        Setup {
            deletes: true,
            credentials: Some(credentials),
        },
    ];
    let mut report = Report::default();
    for setup in setups {
        let mut options = options.clone();
        options.deletes = setup.deletes;
        options.credentials.clone_from(&setup.credentials);
        let service = factory(setup).await;
        let (transport, address) = match reach(service, options.reach).await {
            Ok(reached) => reached,
            Err(error) => {
                report.add(CaseReport::of_the_run(
                    "starting the service",
                    error.to_string(),
                ));
                return report;
            }
        };
        let wanted = |case: &Case| !report.has_run(case.name);
        let next = run_where(transport, Some(address), &options, wanted).await;
        report.merge(next);
    }
    report
}

async fn reach<S, R>(
    service: S,
    reach: Reach,
) -> Result<(Arc<dyn Transport>, SocketAddr), TransportError>
where
    S: Service<Request<Body>, Response = http::Response<R>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    let address = serve_in_process(service.clone())
        .await
        .map_err(|error| TransportError::new("binding a loopback socket", error))?;
    let url = format!("http://{address}");
    let transport: Arc<dyn Transport> = match reach {
        Reach::Calls => Arc::new(InProcess::new(service)),
        Reach::Http1 => Arc::new(HttpTransport::new(&url, Protocol::Http1).await?),
        Reach::Http2 => Arc::new(HttpTransport::new(&url, Protocol::Http2).await?),
    };
    Ok((transport, address))
}

async fn run_where(
    transport: Arc<dyn Transport>,
    raw: Option<SocketAddr>,
    options: &Options,
    wanted: impl Fn(&Case) -> bool,
) -> Report {
    let available = |need: &Need| match need {
        Need::Socket => raw.is_some(),
        Need::Deletes => options.deletes,
        Need::NoDeletes => !options.deletes,
        Need::Credentials => options.credentials.is_some(),
    };
    let mut report = Report::default();
    let run_id = run_id();
    let mut selected = Vec::new();
    for case in cases().filter(|case| wanted(case) && passes(case, &options.filter)) {
        let missing: Vec<_> = case
            .needs
            .iter()
            .filter(|need| !available(need))
            .copied()
            .collect();
        if missing.is_empty() {
            selected.push(case);
        } else {
            report.leave_out(case, &missing);
        }
    }
    let started = selected.into_iter().map(|case| {
        let slug = case.name.replace(['_', '.'], "-");
        let prefix = format!("{}/{run_id}/{slug}", options.namespace);
        let credentials = options.credentials.clone();
        let cx = Ctx::new(Arc::clone(&transport), credentials, raw, prefix);
        run_case(case, cx, options.patience)
    });
    let mut results = stream::iter(started).buffered(options.jobs.max(1));
    while let Some(result) = results.next().await {
        report.add(result);
    }
    report
}

async fn run_case(case: &'static Case, cx: Ctx, patience: Duration) -> CaseReport {
    let begin = Instant::now();
    let cx = Arc::new(cx);
    let task = {
        let cx = Arc::clone(&cx);
        // A task of its own, so that a panic is a failure of this case alone.
        tokio::spawn(async move { tokio::time::timeout(patience, (case.run)(&cx)).await })
    };
    let outcome = match task.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::new(format!(
            "not done after {} s",
            patience.as_secs()
        ))),
        Err(error) => Err(Failure::new(format!(
            "the case or the service panicked: {error}"
        ))),
    };
    CaseReport::new(case, begin.elapsed(), outcome.err(), cx.exchanges())
}

fn passes(case: &Case, filter: &[String]) -> bool {
    filter.is_empty() || filter.iter().any(|part| case.name.contains(part.as_str()))
}

/// Eight hex digits, so that runs against a store that keeps everything do not meet.
fn run_id() -> String {
    let mut random = [0_u8; 4];
    if getrandom::fill(&mut random).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        random = now
            .map_or(0, |elapsed| elapsed.subsec_nanos())
            .to_be_bytes();
    }
    hex::encode(random)
}
