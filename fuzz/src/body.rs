//! Request bodies that end, break off or stall.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use libfuzzer_sys::arbitrary::{self, Arbitrary};

/// How a body ends.
#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// All of it arrives.
    Complete,
    /// The connection breaks.
    Broken,
    /// Nothing more comes, and the server drops the request some time.
    Stalled,
}

/// What a client sends.
#[derive(Arbitrary, Clone, Debug)]
pub struct Content {
    /// The length of each piece.
    pieces: Vec<u8>,
    /// What it consists of.
    fill: u8,
    /// Whether the length is announced.
    announced: bool,
    /// How it ends.
    pub end: End,
}

impl Content {
    /// The bytes that arrive.
    pub fn bytes(&self) -> Vec<u8> {
        let length: usize = self
            .pieces
            .iter()
            .take(MOST_PIECES)
            .map(|n| usize::from(*n))
            .sum();
        (0..length)
            .map(|at| self.fill.wrapping_add(at as u8))
            .collect()
    }

    /// The length that the server knows before it reads.
    pub fn announced(&self) -> Option<u64> {
        match self.end {
            _ if self.pieces.is_empty() && self.end == End::Complete => Some(0),
            _ if !self.announced => None,
            End::Complete => Some(self.bytes().len() as u64),
            End::Broken | End::Stalled => Some(self.bytes().len() as u64 + 1),
        }
    }

    /// The body of a request.
    pub fn body(&self) -> TestBody {
        let mut rest = Bytes::from(self.bytes());
        let pieces = self.pieces.iter().take(MOST_PIECES);
        TestBody {
            pieces: pieces.map(|n| rest.split_to(usize::from(*n))).collect(),
            announced: self.announced(),
            end: self.end,
        }
    }
}

const MOST_PIECES: usize = 16;

/// A body as the server sees it.
#[derive(Debug)]
pub struct TestBody {
    pieces: VecDeque<Bytes>,
    announced: Option<u64>,
    end: End,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(piece) = self.pieces.pop_front() {
            if let Some(left) = &mut self.announced {
                *left -= piece.len() as u64;
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match self.end {
            End::Complete => Poll::Ready(None),
            End::Broken => {
                self.end = End::Complete;
                Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
            }
            // Whoever polls is not woken: it drops the request instead.
            End::Stalled => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end == End::Complete && self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.announced
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl TestBody {
    /// No content.
    pub fn empty() -> Self {
        Self {
            pieces: VecDeque::new(),
            announced: Some(0),
            end: End::Complete,
        }
    }
}
