//! Requests and what comes back.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use oci_http::RegistryService;
use oci_http::oci_core::{Algorithm, Digest};
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) extensions: http::Extensions,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {} {:?}", self.status, self.headers))
            .to_str()
            .unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of an error, which must have this status.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{:?}", self.body);
        assert_eq!(self.header("content-type"), "application/json");
        self.json()["errors"][0]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}", self.body);
        self
    }
}

pub(crate) async fn send(service: &RegistryService, request: Request<Full<Bytes>>) -> Reply {
    let head = request.method() == Method::HEAD;
    let response = service.clone().oneshot(request).await.unwrap();
    let (parts, mut body) = response.into_parts();
    let exact = http_body::Body::size_hint(&body).exact();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert_eq!(exact, Some(bytes.len() as u64));
    assert_eq!(
        parts.headers["docker-distribution-api-version"],
        "registry/2.0"
    );
    match parts.headers.get("content-length") {
        None => assert!(matches!(parts.status.as_u16(), 204 | 304)),
        Some(_) if head => assert!(bytes.is_empty()),
        Some(length) => assert_eq!(length, &bytes.len().to_string()),
    }
    Reply {
        status: parts.status,
        headers: parts.headers,
        body: bytes.freeze(),
        extensions: parts.extensions,
    }
}

pub(crate) fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

pub(crate) async fn call(
    service: &RegistryService,
    method: &str,
    target: &str,
    body: &[u8],
) -> Reply {
    let body = Full::new(Bytes::copy_from_slice(body));
    send(service, request(method, target).body(body).unwrap()).await
}

pub(crate) fn digest(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

pub(crate) async fn push_blob(
    service: &RegistryService,
    repository: &str,
    content: &[u8],
) -> Digest {
    let digest = digest(content);
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    call(service, "POST", &target, content).await.is(201);
    digest
}

/// An index of nothing, made unlike any other by `note`.
pub(crate) fn index(note: &str) -> Vec<u8> {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
        "annotations": {"note": note},
    });
    serde_json::to_vec(&document).unwrap()
}

pub(crate) async fn push_index(service: &RegistryService, repository: &str, tag: &str) -> Digest {
    let document = index(tag);
    let target = format!("/v2/{repository}/manifests/{tag}");
    call(service, "PUT", &target, &document).await.is(201);
    digest(&document)
}
