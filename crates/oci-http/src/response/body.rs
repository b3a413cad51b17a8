//! The body of a response.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use oci_core::BoxError;
use oci_core::store::BlobStream;

/// The body of every response of a [`RegistryService`](crate::RegistryService).
///
/// Its length is always known from the start, so a server sends `Content-Length` and never chunks.
/// A blob that turns out longer or shorter than that, because storage failed, ends with an error:
/// the connection breaks off instead of delivering wrong content as if it were right.
pub struct RegistryBody {
    content: Content,
}

enum Content {
    Empty,
    Once(Bytes),
    Stream { stream: BlobStream, left: u64 },
}

impl RegistryBody {
    /// No bytes.
    pub(crate) fn empty() -> Self {
        Self {
            content: Content::Empty,
        }
    }

    /// These bytes.
    pub(crate) fn once(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Self::empty();
        }
        Self {
            content: Content::Once(bytes),
        }
    }

    /// The `length` bytes that `stream` will yield.
    pub(crate) fn stream(stream: BlobStream, length: u64) -> Self {
        if length == 0 {
            return Self::empty();
        }
        Self {
            content: Content::Stream {
                stream,
                left: length,
            },
        }
    }

    /// How many bytes are still to be sent.
    pub fn remaining(&self) -> u64 {
        match &self.content {
            Content::Empty => 0,
            Content::Once(bytes) => bytes.len() as u64,
            Content::Stream { left, .. } => *left,
        }
    }
}

impl Body for RegistryBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Once(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Stream { stream, left } => {
                let error: BoxError = match ready!(stream.as_mut().poll_next(cx)) {
                    Some(Ok(piece)) if piece.len() as u64 <= *left => {
                        *left -= piece.len() as u64;
                        if *left == 0 {
                            this.content = Content::Empty;
                        }
                        return Poll::Ready(Some(Ok(Frame::data(piece))));
                    }
                    Some(Ok(_)) => "the stored blob is longer than it should be".into(),
                    Some(Err(error)) => error.into(),
                    None => "the stored blob is shorter than it should be".into(),
                };
                this.content = Content::Empty;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

impl Default for RegistryBody {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for RegistryBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegistryBody({} bytes)", self.remaining())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures_core::Stream;
    use http_body_util::BodyExt as _;
    use oci_core::StoreError;

    use super::*;

    struct Pieces(VecDeque<Result<&'static [u8], StoreError>>);

    impl Stream for Pieces {
        type Item = Result<Bytes, StoreError>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(
                self.0
                    .pop_front()
                    .map(|piece| piece.map(Bytes::from_static)),
            )
        }
    }

    async fn sent(length: u64, pieces: Vec<Result<&'static [u8], StoreError>>) -> (usize, bool) {
        let mut body = RegistryBody::stream(Box::pin(Pieces(pieces.into())), length);
        assert_eq!(body.size_hint().exact(), Some(length));
        let (mut total, mut broken) = (0, false);
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => total += frame.into_data().unwrap().len(),
                Err(_) => broken = true,
            }
        }
        assert!(body.is_end_stream());
        (total, broken)
    }

    #[tokio::test]
    async fn a_stream_has_the_length_it_announced_or_breaks() {
        assert_eq!(sent(6, vec![Ok(b"abc"), Ok(b"def")]).await, (6, false));
        assert_eq!(sent(7, vec![Ok(b"abc"), Ok(b"def")]).await, (6, true));
        assert_eq!(sent(5, vec![Ok(b"abc"), Ok(b"def")]).await, (3, true));
        assert_eq!(
            sent(6, vec![Ok(b"abc"), Err(StoreError::NotFound)]).await,
            (3, true)
        );
        assert_eq!(sent(0, vec![]).await, (0, false));
    }

    #[tokio::test]
    async fn bytes_are_sent_once() {
        let mut body = RegistryBody::once("abc");
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(3));
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "abc"
        );
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }
}
