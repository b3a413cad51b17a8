//! Request bodies: whole, streamed, or deliberately broken off.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

/// Any error, as bodies report them.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What a request carries.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Payload {
    /// No body.
    #[default]
    Empty,
    /// A body whose length is known: sent with `Content-Length`.
    Whole(Bytes),
    /// A body whose length is not known: `Transfer-Encoding: chunked` on HTTP/1.1.
    Chunks(Vec<Bytes>),
    /// A body that announces more than it sends: after these bytes the client hangs up.
    BrokenOff(Vec<Bytes>),
}

/// The body type that requests of this suite carry.
///
/// A service under test must accept `http::Request<Body>`; being generic over
/// `B: http_body::Body<Data = Bytes>` is enough.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Chunks(VecDeque<Bytes>),
    BrokenOff(VecDeque<Bytes>),
    Incoming(Incoming),
}

impl From<Payload> for Body {
    fn from(payload: Payload) -> Self {
        Self(match payload {
            Payload::Empty => Inner::Whole(Bytes::new()),
            Payload::Whole(bytes) => Inner::Whole(bytes),
            Payload::Chunks(chunks) => Inner::Chunks(chunks.into()),
            Payload::BrokenOff(chunks) => Inner::BrokenOff(chunks.into()),
        })
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self(Inner::Incoming(incoming))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let next = match &mut self.0 {
            Inner::Whole(bytes) if bytes.is_empty() => None,
            Inner::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Inner::Chunks(chunks) => chunks.pop_front().map(Ok),
            Inner::BrokenOff(chunks) => Some(chunks.pop_front().ok_or_else(|| {
                BoxError::from(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "the client hung up in the middle of its body (on purpose)",
                ))
            })),
            Inner::Incoming(incoming) => {
                return Pin::new(incoming).poll_frame(cx).map_err(Into::into);
            }
        };
        Poll::Ready(next.map(|item| item.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Chunks(_) | Inner::BrokenOff(_) => false,
            Inner::Incoming(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Chunks(_) | Inner::BrokenOff(_) => SizeHint::default(),
            Inner::Incoming(incoming) => incoming.size_hint(),
        }
    }
}
