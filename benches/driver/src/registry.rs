//! Pushes and pulls as registry clients do them. Whatever a registry must answer is checked.

use crate::connection::{Body, Connection, Head, Request, check_length};
use crate::content::Content;
use crate::error::{Error, Result};

/// The media type of the manifests that are pushed here.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// How a blob is sent after its upload session was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Push {
    /// In the closing `PUT`.
    Put,
    /// In one `PATCH`.
    Patch,
    /// In one `PATCH` for each so many bytes.
    Chunks(u64),
}

/// A user of a registry over one connection.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    headers: String,
}

impl Client {
    /// Anonymous.
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            headers: String::new(),
        }
    }

    /// Sends these header lines with each request. Each ends in CR LF.
    #[must_use]
    pub fn headers(self, headers: String) -> Self {
        Self { headers, ..self }
    }

    /// The connection, for requests that are nobody else's.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Pushes a blob.
    pub fn push(&mut self, repository: &str, content: &Content, how: Push) -> Result<()> {
        let (digest, length) = (content.digest(), content.length());
        let all = Body::Part(content, 0, length);
        let session = self.begin(repository)?;
        match how {
            Push::Put => self.close(&session, digest, all),
            Push::Patch => {
                let session = self.append(&session, "", all, length)?;
                self.close(&session, digest, Body::Bytes(&[]))
            }
            Push::Chunks(size) => {
                let mut session = session;
                let mut from = 0;
                while from < length {
                    let to = length.min(from + size.max(1));
                    let range = format!("Content-Range: {from}-{}\r\n", to - 1);
                    let part = Body::Part(content, from, to);
                    session = self.append(&session, &range, part, to)?;
                    from = to;
                }
                self.close(&session, digest, Body::Bytes(&[]))
            }
        }
    }

    /// Pushes a blob that is held in memory.
    pub fn push_bytes(&mut self, repository: &str, bytes: &[u8], digest: &str) -> Result<()> {
        let session = self.begin(repository)?;
        self.close(&session, digest, Body::Bytes(bytes))
    }

    /// Pushes a manifest, by tag or by digest.
    pub fn push_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        document: &[u8],
        digest: &str,
    ) -> Result<()> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = format!("{}Content-Type: {MANIFEST}\r\n", self.headers);
        let request = Request::new("PUT", &target)
            .headers(&headers)
            .body(Body::Bytes(document));
        let answer = self.connection.expect(&request, 201)?;
        check_digest(&request, &answer.head, digest)
    }

    /// Pulls a blob and throws it away. Only its length is checked.
    pub fn pull(&mut self, repository: &str, content: &Content) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/{}", content.digest());
        let request = Request::new("GET", &target).headers(&self.headers);
        let head = self.connection.discard(&request, content.length())?;
        check_digest(&request, &head, content.digest())
    }

    /// Pulls a blob and hashes it.
    pub fn verify(&mut self, repository: &str, content: &Content) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/{}", content.digest());
        let request = Request::new("GET", &target).headers(&self.headers);
        let (length, digest) = (content.length(), content.digest());
        let head = self.connection.verify(&request, length, digest)?;
        check_digest(&request, &head, digest)
    }

    /// The same from a server of plain files, which knows no digests.
    pub fn verify_file(&mut self, repository: &str, content: &Content) -> Result<()> {
        let target = format!("/v2/{repository}/blobs/{}", content.digest());
        let request = Request::new("GET", &target);
        let (length, digest) = (content.length(), content.digest());
        self.connection.verify(&request, length, digest)?;
        Ok(())
    }

    /// Pulls a manifest and compares every byte.
    pub fn verify_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        document: &[u8],
        digest: &str,
    ) -> Result<()> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = format!("{}Accept: {MANIFEST}\r\n", self.headers);
        let request = Request::new("GET", &target).headers(&headers);
        let answer = self.connection.expect(&request, 200)?;
        let got = answer.body.len() as u64;
        check_length(&request.name(), document.len() as u64, got)?;
        if answer.body != document {
            return Err(Error::Bytes {
                request: request.name(),
                what: "it is another document than was pushed".into(),
            });
        }
        check_digest(&request, &answer.head, digest)
    }

    fn begin(&mut self, repository: &str) -> Result<String> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let request = Request::new("POST", &target)
            .headers(&self.headers)
            .body(Body::Bytes(&[]));
        let answer = self.connection.expect(&request, 202)?;
        location(&request, &answer.head)
    }

    fn append(&mut self, session: &str, range: &str, body: Body<'_>, end: u64) -> Result<String> {
        let headers = format!(
            "{}{range}Content-Type: application/octet-stream\r\n",
            self.headers
        );
        let request = Request::new("PATCH", session).headers(&headers).body(body);
        let answer = self.connection.expect(&request, 202)?;
        let expected = format!("0-{}", end.saturating_sub(1));
        if answer.head.range.as_deref() != Some(&expected) {
            return Err(Error::Header {
                request: request.name(),
                name: "Range",
                expected,
                got: answer.head.range,
            });
        }
        location(&request, &answer.head)
    }

    fn close(&mut self, session: &str, digest: &str, body: Body<'_>) -> Result<()> {
        let separator = if session.contains('?') { '&' } else { '?' };
        let target = format!("{session}{separator}digest={digest}");
        let headers = format!("{}Content-Type: application/octet-stream\r\n", self.headers);
        let request = Request::new("PUT", &target).headers(&headers).body(body);
        let answer = self.connection.expect(&request, 201)?;
        check_digest(&request, &answer.head, digest)
    }
}

/// Path and query of a `Location`, which may be absolute.
fn location(request: &Request<'_>, head: &Head) -> Result<String> {
    let location = head.location.as_deref().unwrap_or_default();
    let path = match location.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)),
        None => Some(location),
    };
    match path {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(Error::Header {
            request: request.name(),
            name: "Location",
            expected: "the path of the upload session".into(),
            got: head.location.clone(),
        }),
    }
}

/// The digest header must be there and true.
pub fn check_digest(request: &Request<'_>, head: &Head, digest: &str) -> Result<()> {
    if head.digest.as_deref() == Some(digest) {
        return Ok(());
    }
    Err(Error::Header {
        request: request.name(),
        name: "Docker-Content-Digest",
        expected: digest.into(),
        got: head.digest.clone(),
    })
}
