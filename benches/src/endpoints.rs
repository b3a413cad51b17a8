//! One request for each endpoint that a pull or a push uses, to be sent again and again.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use oci_core::Digest;
use serde_json::json;

use crate::client::{Client, Failed};
use crate::content;

/// An endpoint, and a request to it that is answered the same each time.
#[derive(Clone, Debug)]
pub struct EndpointRequest {
    /// What it is called in tables and reports.
    pub name: &'static str,
    method: Method,
    target: Target,
    body: Bytes,
    expected: StatusCode,
}

#[derive(Clone, Debug)]
enum Target {
    Fixed(String),
    /// An upload that has just begun, to be closed with this digest or not.
    Begun(Option<Digest>),
    /// An upload that holds this, to be closed.
    Filled(Bytes, Digest),
}

impl EndpointRequest {
    fn new(name: &'static str, method: Method, target: String, expected: StatusCode) -> Self {
        Self {
            name,
            method,
            target: Target::Fixed(target),
            body: Bytes::new(),
            expected,
        }
    }

    fn upload(name: &'static str, method: Method, target: Target, body: &Bytes) -> Self {
        let expected = match method {
            Method::PATCH => StatusCode::ACCEPTED,
            _ => StatusCode::CREATED,
        };
        Self {
            name,
            method,
            target,
            body: body.clone(),
            expected,
        }
    }

    fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    /// Makes the request, and what has to be there before it.
    pub async fn prepare(&self, client: &Client) -> Result<Request<Full<Bytes>>, Failed> {
        let closing = |location: String, digest: &Digest| {
            let separator = if location.contains('?') { '&' } else { '?' };
            format!("{location}{separator}digest={digest}")
        };
        let target = match &self.target {
            Target::Fixed(target) => target.clone(),
            Target::Begun(None) => client.begin(REPOSITORY).await?,
            Target::Begun(Some(digest)) => closing(client.begin(REPOSITORY).await?, digest),
            Target::Filled(content, digest) => {
                let session = client.begin(REPOSITORY).await?;
                closing(client.append(&session, content.clone()).await?, digest)
            }
        };
        let request = Request::builder()
            .method(self.method.clone())
            .uri(&target)
            .header(CONTENT_TYPE, MANIFEST_TYPE)
            .body(Full::new(self.body.clone()));
        request.map_err(|_| Failed {
            request: format!("{} {target}", self.method),
            status: StatusCode::BAD_REQUEST,
        })
    }

    /// Sends what [`prepare`](Self::prepare) made, and reads the whole answer.
    pub async fn send(
        &self,
        client: &Client,
        request: Request<Full<Bytes>>,
    ) -> Result<Answered, Failed> {
        let (head, _) = client.call(request).await;
        if head.status != self.expected {
            return Err(Failed {
                request: self.name.to_owned(),
                status: head.status,
            });
        }
        Ok(Answered(head))
    }

    /// Takes away what would be in the way of the next request: an upload that was left open.
    pub async fn clear(&self, client: &Client, answered: &Answered) -> Result<(), Failed> {
        let Answered(head) = answered;
        let location = head.headers.get(LOCATION).and_then(|it| it.to_str().ok());
        match location {
            Some(session) if head.status == StatusCode::ACCEPTED => client.cancel(session).await,
            _ => Ok(()),
        }
    }
}

/// The head of the answer that was expected.
#[derive(Debug)]
pub struct Answered(Parts);

/// Fills the registry with an image, ten tags of it and some referrers, and returns the requests.
pub async fn endpoints(client: &Client) -> Result<Vec<EndpointRequest>, Failed> {
    let small = content(4 << 10, 1);
    let large = content(1 << 20, 2);
    let (layer, big) = (Digest::sha256(&small), Digest::sha256(&large));
    let absent = Digest::sha256(b"absent");
    for repository in [REPOSITORY, OTHER] {
        client.push(repository, small.clone(), &layer).await?;
        client.push(repository, large.clone(), &big).await?;
    }
    let image = manifest(&[(&layer, small.len()), (&big, large.len())], None);
    let digest = Digest::sha256(&image);
    let put = |reference: String, document: &Bytes| {
        let target = format!("/v2/{REPOSITORY}/manifests/{reference}");
        let name = "PUT manifest, the same again";
        EndpointRequest::new(name, Method::PUT, target, StatusCode::CREATED).body(document.clone())
    };
    for n in 0..10 {
        let request = put(format!("v{n}"), &image);
        request.send(client, request.prepare(client).await?).await?;
    }
    for n in 0..5_usize {
        let referrer = manifest(&[(&layer, small.len())], Some((&digest, image.len() + n)));
        let request = put(Digest::sha256(&referrer).to_string(), &referrer);
        request.send(client, request.prepare(client).await?).await?;
    }

    let of = |rest: &str| format!("/v2/{REPOSITORY}/{rest}");
    let get = |name, target| EndpointRequest::new(name, Method::GET, target, StatusCode::OK);
    let head = |name, target| EndpointRequest::new(name, Method::HEAD, target, StatusCode::OK);
    let post = |name, rest: &str, status| {
        EndpointRequest::new(
            name,
            Method::POST,
            of(&format!("blobs/uploads/{rest}")),
            status,
        )
    };
    let mut missing = head("HEAD blob that is absent", of(&format!("blobs/{absent}")));
    missing.expected = StatusCode::NOT_FOUND;
    Ok(vec![
        get("GET /v2/", "/v2/".to_owned()),
        head("HEAD manifest by tag", of("manifests/v1")),
        get("GET manifest by tag", of("manifests/v1")),
        head(
            "HEAD manifest by digest",
            of(&format!("manifests/{digest}")),
        ),
        get("GET manifest by digest", of(&format!("manifests/{digest}"))),
        head("HEAD blob", of(&format!("blobs/{layer}"))),
        missing,
        get("GET blob of 4 KiB", of(&format!("blobs/{layer}"))),
        get("GET blob of 1 MiB", of(&format!("blobs/{big}"))),
        get("GET 10 tags", of("tags/list?n=10")),
        get("GET 2 repositories", "/v2/_catalog?n=10".to_owned()),
        get("GET 5 referrers", of(&format!("referrers/{digest}"))),
        post("POST that begins an upload", "", StatusCode::ACCEPTED),
        post(
            "POST of a whole blob of 4 KiB",
            &format!("?digest={layer}"),
            StatusCode::CREATED,
        )
        .body(small.clone()),
        post(
            "POST that mounts",
            &format!("?mount={big}&from={OTHER}"),
            StatusCode::CREATED,
        ),
        EndpointRequest::upload(
            "PUT of a whole blob of 4 KiB",
            Method::PUT,
            Target::Begun(Some(layer)),
            &small,
        ),
        EndpointRequest::upload("PATCH of 1 MiB", Method::PATCH, Target::Begun(None), &large),
        EndpointRequest::upload(
            "PUT that closes 1 MiB",
            Method::PUT,
            Target::Filled(large.clone(), big),
            &Bytes::new(),
        ),
        put("v1".to_owned(), &image),
    ])
}

fn manifest(layers: &[(&Digest, usize)], subject: Option<(&Digest, usize)>) -> Bytes {
    let descriptor = |digest: &Digest, size: usize, media_type: &str| json!({ "mediaType": media_type, "digest": digest, "size": size });
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| {
            descriptor(digest, *size, "application/vnd.oci.image.layer.v1.tar+gzip")
        })
        .collect();
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": layers.first(),
        "layers": layers,
    });
    if let (Some((digest, size)), Some(document)) = (subject, document.as_object_mut()) {
        document.insert(
            "subject".to_owned(),
            descriptor(digest, size, MANIFEST_TYPE),
        );
    }
    document.to_string().into()
}

const REPOSITORY: &str = "bench/app";
const OTHER: &str = "bench/other";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
