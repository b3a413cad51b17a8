//! The body of a request: read by handlers, or drained after an early answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::{Body, SizeHint};
use oci_core::BoxError;
use oci_core::store::ContentStream;

/// A body of any type, and how far it was read.
pub(crate) struct RequestBody {
    inner: Pin<Box<dyn Frames + Send>>,
    touched: bool,
    ended: bool,
}

impl RequestBody {
    pub(crate) fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self {
            ended: body.is_end_stream(),
            inner: Box::pin(body),
            touched: false,
        }
    }

    /// How many bytes are still to come, if that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        if self.ended {
            Some(0)
        } else {
            self.inner.size().exact()
        }
    }

    /// The least that is still to come.
    pub(crate) fn at_least(&self) -> u64 {
        if self.ended {
            0
        } else {
            self.inner.size().lower()
        }
    }

    /// Whether it was read, or waited for.
    pub(crate) fn is_touched(&self) -> bool {
        self.touched
    }

    /// Whether nothing follows.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended
    }

    /// The body for a store to read.
    pub(crate) fn stream(&mut self) -> ContentStream<'_> {
        Pin::<&mut Self>::new(self)
    }

    /// Reads all of it, unless it is longer than `limit`: then `None`.
    pub(crate) async fn read_at_most(&mut self, limit: usize) -> Result<Option<Bytes>, BoxError> {
        if self.at_least() > limit as u64 {
            return Ok(None);
        }
        let mut all = BytesMut::new();
        while let Some(piece) = poll_fn(|cx| self.poll_piece(cx)).await.transpose()? {
            if piece.len() > limit - all.len() {
                return Ok(None);
            }
            if all.is_empty() && self.ended {
                return Ok(Some(piece));
            }
            all.extend_from_slice(&piece);
        }
        Ok(Some(all.freeze()))
    }

    /// Reads and forgets up to `limit` bytes; `true` if that was the whole rest.
    pub(crate) async fn discard(&mut self, limit: u64) -> bool {
        let mut left = limit;
        loop {
            match poll_fn(|cx| self.poll_piece(cx)).await {
                None => return true,
                Some(Ok(piece)) if piece.len() as u64 <= left => left -= piece.len() as u64,
                Some(_) => return false,
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.touched = true;
        let piece = ready!(self.inner.as_mut().poll_data(cx));
        self.ended = !matches!(piece, Some(Ok(_))) || self.inner.is_end();
        Poll::Ready(piece)
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(cx)
    }
}

/// A body that must have a certain length, because a header said so.
pub(crate) struct OfLength<'a> {
    body: &'a mut RequestBody,
    left: u64,
    wrong: bool,
}

impl<'a> OfLength<'a> {
    pub(crate) fn new(body: &'a mut RequestBody, length: u64) -> Self {
        Self {
            body,
            left: length,
            wrong: false,
        }
    }

    /// The body for a store to read.
    pub(crate) fn stream(&mut self) -> ContentStream<'_> {
        Pin::<&mut Self>::new(self)
    }

    /// Whether it turned out to be longer or shorter.
    pub(crate) fn is_wrong(&self) -> bool {
        self.wrong
    }
}

impl Stream for OfLength<'_> {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.wrong {
            return Poll::Ready(None);
        }
        match ready!(this.body.poll_piece(cx)) {
            Some(Ok(piece)) if piece.len() as u64 <= this.left => {
                this.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            None if this.left == 0 => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            Some(Ok(_)) | None => {
                this.wrong = true;
                let error: BoxError = "the body has not the length that Content-Range says".into();
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

/// `Body` without its types.
trait Frames {
    fn poll_data(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>>;

    fn is_end(&self) -> bool;

    fn size(&self) -> SizeHint;
}

impl<B> Frames for B
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_data(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BoxError>>> {
        loop {
            match ready!(self.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                    // Trailers and empty frames.
                    _ => {}
                },
            }
        }
    }

    fn is_end(&self) -> bool {
        self.is_end_stream()
    }

    fn size(&self) -> SizeHint {
        self.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;

    use http_body::Frame;
    use http_body_util::Full;

    use super::*;

    struct Pieces(VecDeque<&'static [u8]>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            let piece = self.0.pop_front().map(Bytes::from_static);
            Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn pieces(pieces: &[&'static [u8]]) -> RequestBody {
        RequestBody::new(Pieces(pieces.iter().copied().collect()))
    }

    #[tokio::test]
    async fn reading_stops_at_the_limit() {
        for (limit, whole) in [(6, true), (7, true), (5, false), (0, false)] {
            let mut streamed = pieces(&[b"abc", b"", b"def"]);
            let read = streamed.read_at_most(limit).await.unwrap();
            assert_eq!(
                read.as_deref(),
                whole.then_some(b"abcdef".as_slice()),
                "{limit}"
            );
            let mut sized = RequestBody::new(Full::new(Bytes::from_static(b"abcdef")));
            let read = sized.read_at_most(limit).await.unwrap();
            assert_eq!(
                read.as_deref(),
                whole.then_some(b"abcdef".as_slice()),
                "{limit}"
            );
            // A length that says enough is refused unread.
            assert_eq!(sized.is_touched(), whole);
        }
    }

    #[tokio::test]
    async fn discarding_is_bounded() {
        assert!(pieces(&[b"abc", b"def"]).discard(6).await);
        assert!(!pieces(&[b"abc", b"def"]).discard(5).await);
        assert!(RequestBody::new(Full::new(Bytes::new())).is_ended());
    }

    #[tokio::test]
    async fn the_announced_length_is_exact() {
        for (length, expected) in [
            (6, Ok(6)),
            (5, Err(3)),
            (7, Err(6)),
            (2, Err(0)),
            (3, Err(3)),
        ] {
            let mut body = pieces(&[b"abc", b"def"]);
            let mut guarded = OfLength::new(&mut body, length);
            let mut seen = 0;
            let mut failed = false;
            while let Some(piece) = poll_fn(|cx| Pin::new(&mut guarded).poll_next(cx)).await {
                match piece {
                    Ok(piece) => seen += piece.len(),
                    Err(_) => failed = true,
                }
            }
            assert_eq!(guarded.is_wrong(), failed);
            assert_eq!(
                if failed { Err(seen) } else { Ok(seen) },
                expected,
                "{length}"
            );
        }
    }
}
