//! HTTPS to the authority.

use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};

use super::super::{certificates, outgoing};
use crate::files;

/// Whom to trust: the authorities in a file, or those of the system.
pub(super) async fn trust(authorities: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let path = authorities.map(Path::to_owned);
    let read = move || match path {
        None => Ok(outgoing::trusting_system()?),
        Some(path) => {
            let pem = files::read(&path).with_context(|| format!("`{KEY}`: {}", path.display()))?;
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&pem, &path, KEY)? {
                roots
                    .add(certificate)
                    .with_context(|| format!("`{KEY}`: {}", path.display()))?;
            }
            Ok(outgoing::trusting(roots)?)
        }
    };
    tokio::task::spawn_blocking(read).await?
}

/// A client that notes how long the authority asks to be left alone.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    retry_after: Arc<Mutex<Option<SystemTime>>>,
}

impl Transport {
    pub(super) fn new(trust: &ClientConfig) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust.clone())
            .https_only()
            .enable_http1()
            .build();
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            retry_after: Arc::default(),
        }
    }

    /// How long to wait, if the last answer was a refusal that said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let until = (*self.lock())?;
        until.duration_since(SystemTime::now()).ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<SystemTime>> {
        self.retry_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Transport {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let answer = async {
                let (head, body) = this.client.request(request).await?.into_parts();
                #[expect(clippy::disallowed_methods, reason = "it is capped")]
                let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head, body))
            };
            let answered = tokio::time::timeout(PATIENCE, answer).await;
            let (head, body) = answered
                .unwrap_or_else(|_| {
                    Err(format!("the authority did not answer within {PATIENCE:?}").into())
                })
                .map_err(Error::Other)?;
            // With a success it says when to ask again for the same thing, which the client heeds.
            let refused = head.status.is_client_error() || head.status.is_server_error();
            *this.lock() = refused.then(|| until(&head.headers)).flatten();
            let body: BytesResponse =
                Response::from_parts(head, http_body_util::Full::new(body)).into();
            Ok(body)
        })
    }
}

/// `Retry-After`: seconds, or a date.
fn until(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => SystemTime::now().checked_add(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok(),
    }
}

const KEY: &str = "http.tls.letsencrypt.directoryca";
const PATIENCE: Duration = Duration::from_secs(30);
/// Directory, orders and chains are some kilobytes.
const LARGEST: usize = 1 << 20;
