//! A stream some of whose first bytes were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Reads `prefix` first, then what comes from `stream`.
#[derive(Debug)]
pub(super) struct Prefixed<S> {
    prefix: Bytes,
    stream: S,
}

/// Which HTTP a client begins to speak.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Version {
    Http1,
    Http2,
}

impl<S> Prefixed<S> {
    pub(super) fn new(prefix: Bytes, stream: S) -> Self {
        Self { prefix, stream }
    }

    /// Whether nothing is left of what was read before.
    pub(super) fn is_plain(&self) -> bool {
        self.prefix.is_empty()
    }

    /// Bytes that were read from it in vain are read again.
    pub(super) fn put_back(mut self, unread: Bytes) -> Self {
        self.prefix = if self.prefix.is_empty() {
            unread
        } else {
            [unread, self.prefix].concat().into()
        };
        self
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + Unpin> Prefixed<S> {
    /// Reads until it is clear whether the client speaks HTTP/2, whose every connection begins with the
    /// same words (RFC 9113, section 3.4).
    pub(super) async fn sniff(mut stream: S) -> io::Result<(Version, Self)> {
        let mut read = Vec::with_capacity(PREFACE.len());
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
            let left = PREFACE.len() - read.len();
            if (&mut stream).take(left as u64).read_buf(&mut read).await? == 0 {
                break;
            }
        }
        let version = if read == PREFACE {
            Version::Http2
        } else {
            Version::Http1
        };
        Ok((version, Self::new(read.into(), stream)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let taken = this.prefix.len().min(buf.remaining());
        buf.put_slice(this.prefix.get(..taken).unwrap_or_default());
        this.prefix.advance(taken);
        if this.prefix.is_empty() {
            // Lets go of the memory.
            this.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_byte_is_read_once_whatever_is_spoken() {
        for (sent, version) in [
            ("GET / HTTP/1.1\r\n\r\n", Version::Http1),
            ("PUT /v2/a HTTP/1.1\r\n\r\n", Version::Http1),
            ("P", Version::Http1),
            ("", Version::Http1),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nframes", Version::Http2),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Version::Http1),
        ] {
            for piece in [1, 5, 100] {
                let mut pieces = tokio_pieces(sent, piece);
                let (found, mut stream) = Prefixed::sniff(&mut pieces).await.unwrap();
                assert_eq!(found, version, "{sent:?}");
                let mut all = String::new();
                stream.read_to_string(&mut all).await.unwrap();
                assert_eq!(all, sent);
                assert!(stream.is_plain());
            }
        }
    }

    /// A stream that delivers at most `piece` bytes at once.
    fn tokio_pieces(sent: &'static str, piece: usize) -> Pieces {
        Pieces(sent.as_bytes(), piece)
    }

    struct Pieces(&'static [u8], usize);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let length = self.1.min(self.0.len()).min(buf.remaining());
            buf.put_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Poll::Ready(Ok(()))
        }
    }
}
