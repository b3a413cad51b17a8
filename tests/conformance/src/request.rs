//! Building a request, sending it, and checking what every answer must satisfy.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};

use crate::{
    ctx::Ctx,
    failure::{Failure, fail},
    payload::Payload,
    reply::Reply,
    transport::TransportError,
};

/// A request in the making.
#[derive(Debug)]
pub(crate) struct Req<'a> {
    cx: &'a Ctx,
    method: Method,
    target: String,
    headers: HeaderMap,
    payload: Payload,
    authorize: bool,
    problem: Option<Failure>,
}

impl<'a> Req<'a> {
    pub(crate) fn new(cx: &'a Ctx, method: Method, target: String) -> Self {
        Self {
            cx,
            method,
            target,
            headers: HeaderMap::new(),
            payload: Payload::Empty,
            authorize: true,
            problem: None,
        }
    }

    /// Adds a header, beside others of the same name.
    pub(crate) fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        match HeaderValue::from_bytes(value.as_ref()) {
            Ok(value) => {
                self.headers.append(HeaderName::from_static(name), value);
            }
            Err(error) => self.problem = Some(Failure::new(format!("header {name}: {error}"))),
        }
        self
    }

    /// Adds a query parameter after those the target already has.
    pub(crate) fn query(mut self, name: &str, value: &str) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(value);
        self
    }

    /// A body with `Content-Length`.
    pub(crate) fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        self.payload = Payload::Whole(bytes.into());
        self
    }

    /// A body without `Content-Length`.
    pub(crate) fn chunks(mut self, chunks: impl IntoIterator<Item = Bytes>) -> Self {
        self.payload = Payload::Chunks(chunks.into_iter().collect());
        self
    }

    /// A body that announces `declared` bytes, if given, and breaks off after `chunks`.
    pub(crate) fn broken_off(
        mut self,
        declared: Option<u64>,
        chunks: impl IntoIterator<Item = Bytes>,
    ) -> Self {
        self.payload = Payload::BrokenOff(chunks.into_iter().collect());
        if let Some(declared) = declared {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(declared));
        }
        self
    }

    /// Sends no credentials, even if the run has some.
    pub(crate) fn anonymous(mut self) -> Self {
        self.authorize = false;
        self
    }

    /// Sends the request. A server error is a failure of any case.
    pub(crate) async fn send(self) -> Result<Reply, Failure> {
        let what = self.describe();
        let reply = match self.attempt().await? {
            Ok(reply) => reply,
            Err(error) => fail!("{what}: {error}"),
        };
        reply.check_invariants()?;
        Ok(reply)
    }

    /// Sends the request; an answer that never arrives is not a failure.
    pub(crate) async fn attempt(self) -> Result<Result<Reply, TransportError>, Failure> {
        let what = self.describe();
        let cx = self.cx;
        let is_head = self.method == Method::HEAD;
        let request = self.build()?;
        match cx.transport().send(request).await {
            Ok(response) => {
                let reply = Reply::new(what, is_head, response);
                cx.note(reply.summary());
                Ok(Ok(reply))
            }
            Err(error) => {
                cx.note(format!("{what} -> {error}"));
                Ok(Err(error))
            }
        }
    }

    /// Sends the request and checks its status.
    pub(crate) async fn expect(self, status: StatusCode) -> Result<Reply, Failure> {
        let reply = self.send().await?;
        reply.status(status)?;
        Ok(reply)
    }

    fn describe(&self) -> String {
        let mut text = format!("{} {}", self.method, readable(&self.target));
        for (name, value) in &self.headers {
            if name != header::AUTHORIZATION && value.len() < 200 {
                let value = String::from_utf8_lossy(value.as_bytes());
                let _ = write!(text, " [{name}: {value}]");
            }
        }
        let size = |chunks: &[Bytes]| chunks.iter().map(Bytes::len).sum::<usize>();
        // Writing into a String can not fail.
        let _ = match &self.payload {
            Payload::Empty => Ok(()),
            Payload::Whole(bytes) => write!(text, " ({} bytes)", bytes.len()),
            Payload::Chunks(chunks) => write!(text, " ({} streamed)", size(chunks)),
            Payload::BrokenOff(chunks) => write!(text, " (broken off after {})", size(chunks)),
        };
        shorten(text, 400)
    }

    fn build(mut self) -> Result<Request<Payload>, Failure> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        // What a client library would send: servers look at it before they look at the body.
        let length = match &self.payload {
            Payload::Empty if self.method == Method::GET || self.method == Method::HEAD => None,
            Payload::Empty => Some(0),
            Payload::Whole(bytes) => Some(bytes.len()),
            Payload::Chunks(_) | Payload::BrokenOff(_) => None,
        };
        if let Some(length) = length {
            self.headers
                .entry(header::CONTENT_LENGTH)
                .or_insert(HeaderValue::from(length));
        }
        if let (true, Some(credentials)) = (self.authorize, self.cx.credentials()) {
            let value = HeaderValue::try_from(credentials.basic())
                .map_err(|error| Failure::new(format!("credentials: {error}")))?;
            self.headers.insert(header::AUTHORIZATION, value);
        }
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.target)
            .body(self.payload)
            .map_err(|error| Failure::new(format!("request target {:?}: {error}", self.target)))?;
        *request.headers_mut() = self.headers;
        Ok(request)
    }
}

/// `target` with long opaque parameters, such as upload states, cut short.
fn readable(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let parameters: Vec<String> = query
        .split('&')
        .map(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.starts_with('_') && value.len() > 24 => {
                format!("{name}={}", shorten(value.to_owned(), 12))
            }
            _ => parameter.to_owned(),
        })
        .collect();
    format!("{path}?{}", parameters.join("&"))
}

/// At most `limit` bytes of `text`, with a note of what was cut.
pub(crate) fn shorten(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let total = text.len();
        let cut = (0..=limit)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(cut);
        let _ = write!(text, "… ({total} in all)");
    }
    text
}
