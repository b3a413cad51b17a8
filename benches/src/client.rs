//! A client that calls the service without a network in between.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_RANGE, LOCATION};
use http::response::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use oci_core::{Digest, Registry};
use oci_http::RegistryService;
use tower_service::Service;

/// A registry, and requests to it. Cloning is cheap and shares the registry.
#[derive(Clone, Debug)]
pub struct Client {
    service: RegistryService,
}

/// A request had another answer than the benches need.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failed {
    /// Method and target.
    pub request: String,
    /// The answer.
    pub status: StatusCode,
}

impl Client {
    /// Talks to a service over `registry`.
    pub fn new(registry: Registry) -> Self {
        Self {
            service: RegistryService::new(registry),
        }
    }

    /// Pushes a blob in one request.
    pub async fn push(
        &self,
        repository: &str,
        content: Bytes,
        digest: &Digest,
    ) -> Result<(), Failed> {
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        self.send(Method::POST, &target, None, content, StatusCode::CREATED)
            .await?;
        Ok(())
    }

    /// Pushes a blob as docker does in the longest case: a session, chunks, a closing request.
    pub async fn push_in_chunks(
        &self,
        repository: &str,
        content: &Bytes,
        chunk: usize,
        digest: &Digest,
    ) -> Result<(), Failed> {
        let accepted = StatusCode::ACCEPTED;
        let mut location = self.begin(repository).await?;
        let mut offset = 0;
        while offset < content.len() {
            let end = content.len().min(offset + chunk);
            let range = format!("{offset}-{}", end - 1);
            let piece = content.slice(offset..end);
            location = self
                .send(Method::PATCH, &location, Some(&range), piece, accepted)
                .await?;
            offset = end;
        }
        let separator = if location.contains('?') { '&' } else { '?' };
        let target = format!("{location}{separator}digest={digest}");
        self.send(
            Method::PUT,
            &target,
            None,
            Bytes::new(),
            StatusCode::CREATED,
        )
        .await?;
        Ok(())
    }

    /// Begins an upload and returns where it goes on.
    pub async fn begin(&self, repository: &str) -> Result<String, Failed> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let accepted = StatusCode::ACCEPTED;
        self.send(Method::POST, &target, None, Bytes::new(), accepted)
            .await
    }

    /// Appends to an upload and returns where it goes on.
    pub async fn append(&self, session: &str, content: Bytes) -> Result<String, Failed> {
        let accepted = StatusCode::ACCEPTED;
        self.send(Method::PATCH, session, None, content, accepted)
            .await
    }

    /// Ends an upload.
    pub async fn cancel(&self, session: &str) -> Result<(), Failed> {
        let done = StatusCode::NO_CONTENT;
        self.send(Method::DELETE, session, None, Bytes::new(), done)
            .await?;
        Ok(())
    }

    /// Any request, whose answer is read to its end: its head, and the length of its body, which is 0 if
    /// the body fails.
    pub async fn call(&self, request: Request<Full<Bytes>>) -> (Parts, u64) {
        let Ok(response) = self.service.clone().call(request).await;
        let (head, mut body) = response.into_parts();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return (head, 0);
            };
            length += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        (head, length)
    }

    /// Pulls a blob and returns how many bytes came.
    pub async fn pull(&self, repository: &str, digest: &Digest) -> Result<u64, Failed> {
        let target = format!("/v2/{repository}/blobs/{digest}");
        let request = Request::get(&target).body(Full::<Bytes>::default());
        let failed = |status| Failed {
            request: format!("GET {target}"),
            status,
        };
        let request = request.map_err(|_| failed(StatusCode::BAD_REQUEST))?;
        let (head, length) = self.call(request).await;
        let status = head.status;
        if status == StatusCode::OK {
            Ok(length)
        } else {
            Err(failed(status))
        }
    }

    /// Returns the location, which is empty if there is none.
    async fn send(
        &self,
        method: Method,
        target: &str,
        range: Option<&str>,
        content: Bytes,
        expected: StatusCode,
    ) -> Result<String, Failed> {
        let failed = |status| Failed {
            request: format!("{method} {target}"),
            status,
        };
        let mut request = Request::builder().method(method.clone()).uri(target);
        if let Some(range) = range {
            request = request.header(CONTENT_RANGE, range);
        }
        let request = request.body(Full::new(content));
        let request = request.map_err(|_| failed(StatusCode::BAD_REQUEST))?;
        let Ok(response) = self.service.clone().call(request).await;
        if response.status() != expected {
            return Err(failed(response.status()));
        }
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        Ok(location.unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was answered with {}", self.request, self.status)
    }
}

impl std::error::Error for Failed {}
