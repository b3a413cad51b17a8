//! As much of a registry client as it takes to push and pull an image.

use std::convert::Infallible;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use oci_core::Digest;

use crate::image::{Image, MANIFEST};

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A client of the registry at `base`.
#[derive(Clone)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Body>,
    base: String,
    /// What stands before the paths in `Location`.
    origin: String,
    authorization: Option<HeaderValue>,
    pace: Duration,
}

impl Client {
    pub(crate) fn http1(base: &str) -> Self {
        Self::new(base, false)
    }

    pub(crate) fn http2(base: &str) -> Self {
        Self::new(base, true)
    }

    fn new(base: &str, http2: bool) -> Self {
        Self {
            http: legacy::Client::builder(TokioExecutor::new())
                .http2_only(http2)
                .build_http(),
            base: base.to_owned(),
            origin: base.to_owned(),
            authorization: None,
            pace: Duration::ZERO,
        }
    }

    pub(crate) fn with_basic(mut self, user: &str, password: &str) -> Self {
        let encoded = STANDARD.encode(format!("{user}:{password}"));
        self.authorization = Some(format!("Basic {encoded}").parse().unwrap());
        self
    }

    /// For a registry whose `base` is not the root of its host.
    pub(crate) fn with_origin(mut self, origin: &str) -> Self {
        origin.clone_into(&mut self.origin);
        self
    }

    /// Waits `pace` before each of the four pieces of a layer.
    pub(crate) fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Pushes as clients do: the layer streamed, the config in one piece, then the manifest.
    ///
    /// # Errors
    /// Which step was refused and how.
    pub(crate) async fn push(
        &self,
        repository: &str,
        tag: &str,
        image: &Image,
    ) -> Result<(), String> {
        let session = self.begin(repository).await?;
        let pieces = self.pieces(&image.layer);
        let patched = self.send(Method::PATCH, &session, pieces).await;
        let patched = expect("PATCH of the layer", patched, StatusCode::ACCEPTED)?;
        let session = self.location(&patched)?;
        self.close(&session, &image.layer, full(&Bytes::new()))
            .await?;

        let session = self.begin(repository).await?;
        self.close(&session, &image.config, full(&image.config))
            .await?;

        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.send(Method::PUT, &path, full(&image.manifest)).await;
        expect("PUT of the manifest", put, StatusCode::CREATED).map(drop)
    }

    /// Pulls by tag, and checks every digest.
    pub(crate) async fn pull(&self, repository: &str, tag: &str) -> Result<Image, String> {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let manifest = self.get(&path).await;
        let manifest = expect("GET of the manifest", manifest, StatusCode::OK)?;
        assert_eq!(manifest.headers()[CONTENT_TYPE], MANIFEST);
        let manifest = manifest.into_body();
        let document: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
        let blob = async |descriptor: &serde_json::Value| {
            let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
            let blob = self.get(&format!("/v2/{repository}/blobs/{digest}")).await;
            let blob = expect("GET of a blob", blob, StatusCode::OK)?.into_body();
            assert_eq!(Digest::sha256(&blob), digest);
            Ok::<_, String>(blob)
        };
        Ok(Image {
            config: blob(&document["config"]).await?,
            layer: blob(&document["layers"][0]).await?,
            manifest,
        })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Response<Bytes>, String> {
        self.send(Method::GET, path, full(&Bytes::new())).await
    }

    /// Sends a request to a path, or to a URL that the registry gave.
    pub(crate) async fn send(
        &self,
        method: Method,
        to: &str,
        body: Body,
    ) -> Result<Response<Bytes>, String> {
        let uri = if to.starts_with('/') {
            format!("{}{to}", self.base)
        } else {
            to.to_owned()
        };
        let mut request = Request::builder().method(&method).uri(uri);
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        if method == Method::PUT && to.contains("/manifests/") {
            request = request.header(CONTENT_TYPE, MANIFEST);
        }
        let response = self.http.request(request.body(body).unwrap()).await;
        let (head, body) = response
            .map_err(|error| format!("{method} {to}: {error:?}"))?
            .into_parts();
        #[expect(clippy::disallowed_methods, reason = "it is limited to 16 MiB")]
        let body = Limited::new(body, 16 << 20).collect().await;
        let body = body.map_err(|error| format!("{method} {to}: {error:?}"))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    pub(crate) async fn begin(&self, repository: &str) -> Result<String, String> {
        let path = format!("/v2/{repository}/blobs/uploads/");
        let begun = self.send(Method::POST, &path, full(&Bytes::new())).await;
        self.location(&expect("POST of an upload", begun, StatusCode::ACCEPTED)?)
    }

    async fn close(&self, session: &str, blob: &Bytes, body: Body) -> Result<(), String> {
        let separator = if session.contains('?') { '&' } else { '?' };
        let url = format!("{session}{separator}digest={}", Digest::sha256(blob));
        let closed = self.send(Method::PUT, &url, body).await;
        expect("PUT of a blob", closed, StatusCode::CREATED).map(drop)
    }

    /// Where an upload goes on: a path or a URL.
    fn location(&self, response: &Response<Bytes>) -> Result<String, String> {
        let location = response.headers().get(LOCATION).ok_or("no Location")?;
        let location = location.to_str().unwrap();
        Ok(if location.starts_with('/') {
            format!("{}{location}", self.origin)
        } else {
            location.to_owned()
        })
    }

    /// A body that arrives in four pieces.
    pub(crate) fn pieces(&self, content: &Bytes) -> Body {
        let pieces: Vec<Bytes> = content
            .chunks(content.len().div_ceil(4))
            .map(Bytes::copy_from_slice)
            .collect();
        let pace = self.pace;
        let stream = stream::unfold(pieces.into_iter(), move |mut pieces| async move {
            let piece = pieces.next()?;
            tokio::time::sleep(pace).await;
            Some((Ok(Frame::data(piece)), pieces))
        });
        StreamBody::new(stream).boxed_unsync()
    }
}

pub(crate) fn full(bytes: &Bytes) -> Body {
    Full::new(bytes.clone()).boxed_unsync()
}

fn expect(
    step: &str,
    response: Result<Response<Bytes>, String>,
    status: StatusCode,
) -> Result<Response<Bytes>, String> {
    let response = response?;
    if response.status() == status {
        return Ok(response);
    }
    let text = String::from_utf8_lossy(response.body());
    Err(format!("{step}: {} {text}", response.status()))
}
