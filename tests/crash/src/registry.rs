//! The registry protocol, as far as the harnesses speak it.

use std::{io::Read, net::SocketAddr};

use crate::{
    http::{self, Body, Connection, Response},
    payload::Payload,
};

/// The media type of every manifest pushed here.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No answer: the outcome is unknown.
    #[error("{0}")]
    NoAnswer(#[from] http::Error),
    /// An answer that the call does not allow.
    #[error("{call} answered {status}: {body}")]
    Refused {
        /// Method and target.
        call: String,
        /// The status code.
        status: u16,
        /// The start of the body.
        body: String,
    },
    /// An answer with the right status that breaks the protocol or holds wrong content.
    #[error("{call}: {problem}")]
    Wrong {
        /// Method and target.
        call: String,
        /// What is wrong.
        problem: String,
    },
}

/// An upload session: where its next request goes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Session {
    /// The repository.
    pub repository: String,
    /// The path and query of the last `Location`.
    pub location: String,
}

/// What is there when something is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found<T> {
    /// It is there.
    Here(T),
    /// A clean 404.
    Absent,
}

/// A client of one registry over one connection.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
}

impl Registry {
    /// A client; connects with the first call.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            connection: Connection::new(address),
        }
    }

    /// One request, with the statuses it may be answered with.
    pub fn call(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        allowed: &[u16],
    ) -> Result<Response, Error> {
        let response = self.connection.send(method, target, headers, body)?;
        if allowed.contains(&response.status) {
            return Ok(response);
        }
        Err(refused(method, target, &response))
    }

    /// `POST …/blobs/uploads/`.
    pub fn begin(&mut self, repository: &str) -> Result<Session, Error> {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let response = self.call("POST", &target, &[], Body::Empty, &[202])?;
        let mut session = Session {
            repository: repository.to_owned(),
            location: String::new(),
        };
        session.advance("POST uploads", &response)?;
        Ok(session)
    }

    /// `POST …/blobs/uploads/?digest=` with the content; a session to continue with where the
    /// registry does not take it in one request.
    pub fn single_post(
        &mut self,
        repository: &str,
        payload: &Payload,
    ) -> Result<Option<Session>, Error> {
        let target = format!(
            "/v2/{repository}/blobs/uploads/?digest={}",
            payload.digest()
        );
        let mut reader = payload.reader(0, payload.len());
        let body = Body::Sized(&mut reader, payload.len());
        let response = self.call("POST", &target, &[], body, &[201, 202])?;
        if response.status == 201 {
            return Ok(None);
        }
        let mut session = Session {
            repository: repository.to_owned(),
            location: String::new(),
        };
        session.advance("POST uploads", &response)?;
        Ok(Some(session))
    }

    /// `POST …/blobs/uploads/?mount=…&from=…`: whether it was mounted.
    pub fn mount(&mut self, repository: &str, from: &str, digest: &str) -> Result<bool, Error> {
        let target = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let response = self.call("POST", &target, &[], Body::Empty, &[201, 202])?;
        Ok(response.status == 201)
    }

    /// A streamed `PATCH` of unknown length; returns the acknowledged length of the upload.
    pub fn stream(&mut self, session: &mut Session, body: &mut dyn Read) -> Result<u64, Error> {
        self.patch(session, &[], Body::Chunked(body))
    }

    /// A `PATCH` of `start..end`; returns the acknowledged length of the upload.
    pub fn chunk(
        &mut self,
        session: &mut Session,
        start: u64,
        end: u64,
        body: &mut dyn Read,
    ) -> Result<u64, Error> {
        let range = format!("{start}-{}", end.saturating_sub(1));
        let headers = [("Content-Range", range.as_str())];
        self.patch(session, &headers, Body::Sized(body, end - start))
    }

    fn patch(
        &mut self,
        session: &mut Session,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<u64, Error> {
        let target = session.location.clone();
        let response = self.call("PATCH", &target, headers, body, &[202])?;
        session.advance("PATCH", &response)?;
        offset(&target, &response)
    }

    /// The closing `PUT`, with the rest of the content.
    pub fn close(
        &mut self,
        session: &Session,
        digest: &str,
        body: &mut dyn Read,
        len: u64,
    ) -> Result<(), Error> {
        let separator = if session.location.contains('?') {
            '&'
        } else {
            '?'
        };
        let target = format!("{}{separator}digest={digest}", session.location);
        self.call("PUT", &target, &[], Body::Sized(body, len), &[201])?;
        Ok(())
    }

    /// `GET` of an upload session: how many bytes it holds.
    pub fn upload_status(&mut self, session: &mut Session) -> Result<Found<u64>, Error> {
        let target = session.location.clone();
        let response = self.call("GET", &target, &[], Body::Empty, &[204, 404])?;
        if response.status == 404 {
            return Ok(Found::Absent);
        }
        if response.header("location").is_some() {
            session.advance("GET upload", &response)?;
        }
        offset(&target, &response).map(Found::Here)
    }

    /// Reads a blob and compares it byte for byte; an answer with other bytes is an error.
    pub fn blob(&mut self, repository: &str, payload: &Payload) -> Result<Found<()>, Error> {
        let target = format!("/v2/{repository}/blobs/{}", payload.digest());
        let mut comparison = payload.comparison(0, payload.len());
        let response = self
            .connection
            .fetch(&target, &[], &mut |piece| comparison.feed(piece))?;
        match response.status {
            200 => match comparison.finish() {
                Ok(()) => Ok(Found::Here(())),
                Err(problem) => Err(Error::Wrong {
                    call: format!("GET {target}"),
                    problem,
                }),
            },
            404 => Ok(Found::Absent),
            _ => Err(refused("GET", &target, &response)),
        }
    }

    /// `DELETE` of a blob, manifest or tag: whether it was done.
    ///
    /// A registry may not support it, or may not have it: both are no deletion.
    pub fn delete(&mut self, repository: &str, kind: &str, name: &str) -> Result<bool, Error> {
        let target = format!("/v2/{repository}/{kind}/{name}");
        let allowed = [202, 400, 404, 405];
        let response = self.call("DELETE", &target, &[], Body::Empty, &allowed)?;
        Ok(response.status == 202)
    }

    /// `PUT` of a manifest.
    pub fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("Content-Type", MANIFEST_TYPE)];
        self.call("PUT", &target, &headers, Body::Bytes(bytes), &[201])?;
        Ok(())
    }

    /// The bytes of a manifest.
    pub fn manifest(&mut self, repository: &str, reference: &str) -> Result<Found<Vec<u8>>, Error> {
        let target = format!("/v2/{repository}/manifests/{reference}");
        let headers = [("Accept", MANIFEST_TYPE)];
        let response = self.call("GET", &target, &headers, Body::Empty, &[200, 404])?;
        Ok(match response.status {
            200 => Found::Here(response.body),
            _ => Found::Absent,
        })
    }

    /// All tags of a repository; an unknown repository has none.
    pub fn tags(&mut self, repository: &str) -> Result<Vec<String>, Error> {
        let target = format!("/v2/{repository}/tags/list");
        let response = self.call("GET", &target, &[], Body::Empty, &[200, 404])?;
        if response.status == 404 {
            return Ok(Vec::new());
        }
        serde_json::from_slice::<serde_json::Value>(&response.body)
            .ok()
            .and_then(|list| {
                // Distribution answers `null` for a repository whose tags are all gone.
                let Some(tags) = list.get("tags")?.as_array() else {
                    return Some(Vec::new());
                };
                tags.iter()
                    .map(|tag| tag.as_str().map(str::to_owned))
                    .collect()
            })
            .ok_or_else(|| Error::Wrong {
                call: format!("GET {target}"),
                problem: "not a tag list".to_owned(),
            })
    }
}

impl Session {
    fn advance(&mut self, call: &str, response: &Response) -> Result<(), Error> {
        let location = response.header("location").ok_or_else(|| Error::Wrong {
            call: call.to_owned(),
            problem: "no Location".to_owned(),
        })?;
        // A location on the same registry: its path is what counts.
        let path = location
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)))
            .unwrap_or(location);
        path.clone_into(&mut self.location);
        Ok(())
    }
}

/// The length that `Range: 0-<last byte>` means. Of an empty upload some say `0-0`, some `0--1`; nobody
/// here uploads a single byte, so both are clear.
fn offset(call: &str, response: &Response) -> Result<u64, Error> {
    let range = response.header("range").unwrap_or_default();
    let last: Option<i64> = range.strip_prefix("0-").and_then(|last| last.parse().ok());
    match last {
        Some(-1 | 0) => Ok(0),
        Some(last) if last > 0 => Ok(last.unsigned_abs() + 1),
        _ => Err(Error::Wrong {
            call: call.to_owned(),
            problem: format!("Range {range:?} is not `0-<last byte>`"),
        }),
    }
}

fn refused(method: &str, target: &str, response: &Response) -> Error {
    Error::Refused {
        call: format!("{method} {target}"),
        status: response.status,
        body: String::from_utf8_lossy(response.body.get(..400).unwrap_or(&response.body))
            .into_owned(),
    }
}
