//! Turning an opened blob into a stream, whatever form the store gave it.

use std::fs::File;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

use crate::error::StoreError;
use crate::runtime::{BlockingPool, PoolClosed, ReadBuffers, run_blocking};
use crate::store::{BlobPayload, BlobRead, BlobStream, FileRange};

impl BlobRead {
    /// The bytes as a stream. Files are read into `buffers`; where that has to wait for the disk, on
    /// `pool`.
    pub fn into_stream(self, pool: Arc<dyn BlockingPool>, buffers: &ReadBuffers) -> BlobStream {
        match self.payload {
            BlobPayload::Bytes(bytes) => {
                Box::pin(Once(Some(bytes).filter(|bytes| !bytes.is_empty())))
            }
            BlobPayload::File(file) => Box::pin(FileStream::new(file, pool, buffers.clone())),
            BlobPayload::Stream(stream) => stream,
        }
    }
}

struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

/// Reads a file piece by piece.
///
/// What the kernel has in memory is copied right where the request is polled, which takes less time than
/// asking another thread to do it. Only what must come from the disk is left to the blocking pool.
struct FileStream {
    file: Arc<File>,
    left: Range<u64>,
    buffers: ReadBuffers,
    pool: Arc<dyn BlockingPool>,
    reading: Option<Reading>,
    /// The kernel was told how this reads, which matters from the first piece that is not in memory.
    announced: bool,
}

type Reading = Pin<Box<dyn Future<Output = Result<std::io::Result<Bytes>, PoolClosed>> + Send>>;

impl FileStream {
    fn new(file: FileRange, pool: Arc<dyn BlockingPool>, buffers: ReadBuffers) -> Self {
        Self {
            file: Arc::new(file.file),
            left: file.range,
            buffers,
            pool,
            reading: None,
            announced: false,
        }
    }

    fn end(&mut self, error: StoreError) -> Poll<Option<Result<Bytes, StoreError>>> {
        self.left = 0..0;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for FileStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = if let Some(reading) = &mut this.reading {
            let piece = ready!(reading.as_mut().poll(cx));
            this.reading = None;
            piece
        } else {
            let mut buffer = this.buffers.take(this.left.end - this.left.start);
            if let Some(length) = read_if_cached(&this.file, buffer.space(), this.left.start) {
                Ok(Ok(buffer.into_bytes(length)))
            } else {
                let (file, offset) = (Arc::clone(&this.file), this.left.start);
                if !std::mem::replace(&mut this.announced, true) {
                    announce(&file);
                }
                let reading = this
                    .reading
                    .insert(Box::pin(run_blocking(&*this.pool, move || {
                        let length = read_at(&file, buffer.space(), offset)?;
                        Ok(buffer.into_bytes(length))
                    })));
                let piece = ready!(reading.as_mut().poll(cx));
                this.reading = None;
                piece
            }
        };
        match piece {
            // A blob never changes, so a short file is a damaged one.
            Ok(Ok(piece)) if piece.is_empty() => this.end(StoreError::from_io(
                "reading a blob",
                std::io::ErrorKind::UnexpectedEof.into(),
            )),
            Ok(Ok(piece)) => {
                this.left.start += piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            Ok(Err(error)) => this.end(StoreError::from_io("reading a blob", error)),
            Err(error) => this.end(StoreError::unavailable("reading a blob", error)),
        }
    }
}

/// Reads what is in memory; `None` if something else is needed, a disk for example.
#[cfg(target_os = "linux")]
fn read_if_cached(file: &File, space: &mut [u8], offset: u64) -> Option<usize> {
    use rustix::io::ReadWriteFlags;

    let mut spaces = [std::io::IoSliceMut::new(space)];
    let read = rustix::io::preadv2(file, &mut spaces, offset, ReadWriteFlags::NOWAIT);
    // An error is met again, and told, where it may take its time. So is the end of the file: Linux 5.9 and
    // 5.10 also say 0 when they mean that they would have to wait.
    read.ok().filter(|length| *length > 0)
}

#[cfg(not(target_os = "linux"))]
fn read_if_cached(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

/// Tells the kernel that the file is read from front to back, so that it fetches more than it would by itself.
///
/// What is to be fetched is left to it: pages that come by its own rule come in large pieces, and copying
/// from them takes half the time that single pages take, which is how `POSIX_FADV_WILLNEED` fetches.
fn announce(file: &File) {
    #[cfg(target_os = "linux")]
    {
        // Only a wish.
        let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

fn read_at(file: &File, space: &mut [u8], offset: u64) -> std::io::Result<usize> {
    loop {
        #[cfg(unix)]
        let read = std::os::unix::fs::FileExt::read_at(file, space, offset);
        #[cfg(windows)]
        let read = std::os::windows::fs::FileExt::seek_read(file, space, offset);
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
