//! The HTTP client of all services: its options, and the tries that leave through it.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
    ReqwestConnector,
};
use object_store::{BackoffConfig, Certificate, ClientOptions, HeaderValue, RetryConfig};

use super::bucket::{Counters, FINISH_TIMEOUT, Finishing, RETRY_PAUSE};
use super::failure::{Attempt, Attempts, BucketError};

/// How the service is spoken to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HttpOptions {
    /// A PEM file with the authorities that are trusted beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether any certificate is accepted.
    pub skip_verify: bool,
    /// What the client calls itself.
    pub user_agent: Option<String>,
    /// How long to wait before a request that failed is sent again, and twice as long each time after
    /// that; 100 ms.
    pub retry_pause: Option<Duration>,
    /// How long an answer, or the next piece of one, may take; 120 s.
    pub read_timeout: Option<Duration>,
    /// How long the service may take to make one object of the parts that it has; 15 min. Some copy them
    /// all for that, and Amazon speaks of minutes.
    pub finish_timeout: Option<Duration>,
}

/// A PEM file is not larger.
const LARGEST_PEM: u64 = 4 << 20;

impl HttpOptions {
    pub(super) fn client(&self, bucket: &str, plain: bool) -> Result<ClientOptions, BucketError> {
        let agent = self.user_agent.as_deref().unwrap_or(USER_AGENT);
        let agent = HeaderValue::from_str(agent).map_err(|error| {
            let what = "the user agent has characters that no header may have";
            BucketError::option(bucket, what, error.into())
        })?;
        let mut options = ClientOptions::new()
            .with_allow_http(plain)
            .with_user_agent(agent)
            .with_connect_timeout(Duration::from_secs(5))
            // A body takes as long as it takes, but something has to happen all the time. While a part
            // is sent, nothing is read.
            .with_timeout_disabled()
            .with_read_timeout(self.read_timeout.unwrap_or(READ_TIMEOUT))
            .with_pool_idle_timeout(Duration::from_secs(20));
        if self.skip_verify {
            options = options.with_allow_invalid_certificates(true);
        }
        if let Some(path) = &self.ca_file {
            let what = || format!("the file of authorities {} cannot be used", path.display());
            let mut pem = Vec::new();
            File::open(path)
                .and_then(|file| file.take(LARGEST_PEM).read_to_end(&mut pem))
                .map_err(|error| BucketError::option(bucket, what(), error.into()))?;
            let authorities = Certificate::from_pem_bundle(&pem)
                .map_err(|error| BucketError::option(bucket, what(), error.into()))?;
            if authorities.is_empty() {
                let error = "it holds no certificate".into();
                return Err(BucketError::option(bucket, what(), error));
            }
            for authority in authorities {
                options = options.with_root_certificate(authority);
            }
        }
        Ok(options)
    }

    /// How to wait for objects that are made of parts.
    pub(super) fn finishing(&self) -> Finishing {
        Finishing {
            timeout: self.finish_timeout.unwrap_or(FINISH_TIMEOUT),
            pause: self.retry_pause.unwrap_or(RETRY_PAUSE),
        }
    }

    /// How often the client tries again by itself.
    pub(super) fn retries(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: self.retry_pause.unwrap_or(RETRY_PAUSE),
                max_backoff: Duration::from_secs(3),
                base: 2.0,
            },
            max_retries: 4,
            retry_timeout: Duration::from_secs(20),
        }
    }
}

const READ_TIMEOUT: Duration = Duration::from_secs(120);
const USER_AGENT: &str = concat!("registryd/", env!("CARGO_PKG_VERSION"));

/// Makes clients whose requests are counted and noted.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) counters: Arc<Counters>,
    pub(super) finishing: Finishing,
}

impl HttpConnector for Watch {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let patient = options.clone().with_read_timeout(self.finishing.timeout);
        Ok(HttpClient::new(Watched {
            client: ReqwestConnector::default().connect(options)?,
            patient: ReqwestConnector::default().connect(&patient)?,
            counters: Arc::clone(&self.counters),
        }))
    }
}

struct Watched {
    client: HttpClient,
    /// Waits longer, for what may take minutes.
    patient: HttpClient,
    counters: Arc<Counters>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.count(&request);
        if finishes_parts(&request) {
            return self.finish(request).await;
        }
        let attempts = request.extensions().get::<Arc<Attempts>>().cloned();
        let Some(attempts) = attempts else {
            return self.client.execute(request).await;
        };
        attempts.begin();
        let answer = self.client.execute(request).await;
        attempts.settle(match &answer {
            Ok(response) => Attempt::answered(response.status().as_u16()),
            Err(error) if error.kind() == HttpErrorKind::Connect => Attempt::NotSent,
            // Also a connection that was closed without an answer: the request may have arrived.
            Err(_) => Attempt::Perhaps,
        });
        answer
    }
}

impl Watched {
    /// Sends the request that makes an object of parts, once: after an end that leaves open whether the
    /// service is still at it, whoever asked looks for the object before asking again.
    async fn finish(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let unsettled = |error| HttpError::new_boxed(HttpErrorKind::Unknown, error);
        match self.patient.execute(request).await {
            Ok(answer) if matches!(answer.status().as_u16(), 408 | 502 | 504) => {
                let status = answer.status();
                Err(unsettled(
                    format!("{status}, and the service may go on").into(),
                ))
            }
            Err(error) if error.kind() != HttpErrorKind::Connect => Err(unsettled(error.into())),
            settled => settled,
        }
    }

    fn count(&self, request: &HttpRequest) {
        let query = request.uri().query().unwrap_or_default();
        let is_list = query.contains("list-type=2") || query.contains("comp=list");
        let counter = match request.method().as_str() {
            "GET" if is_list => &self.counters.list,
            "PUT" | "POST" => &self.counters.put,
            "DELETE" => &self.counters.delete,
            _ => &self.counters.get,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether the service is to make one object of parts: S3's and Google's way, and Azure's.
fn finishes_parts(request: &HttpRequest) -> bool {
    let mut query = request.uri().query().unwrap_or_default().split('&');
    match request.method().as_str() {
        "POST" => query.any(|parameter| parameter.starts_with("uploadId=")),
        "PUT" => query.any(|parameter| parameter == "comp=blocklist"),
        _ => false,
    }
}

/// A prefix without slashes at its ends.
pub(super) fn root(prefix: &str) -> String {
    prefix.trim_matches('/').to_owned()
}

/// A name with prefix, for messages.
pub(super) fn name(scheme: &str, bucket: &str, root: &str, endpoint: &str) -> String {
    let slash = if root.is_empty() { "" } else { "/" };
    format!("{scheme}://{bucket}{slash}{root} at {endpoint}")
}
