//! What the upload writer does on the thread that polls the request: frames are copied into buffers, and
//! buffers handed over. Hashing and writing happen on another thread, which is not counted.
//!
//! How often the writer finds a buffer finished depends on timing. Here it does not: the other thread
//! works only while the writer waits, and then until nothing is left to do.

use std::collections::VecDeque;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use bytes::Bytes;
use futures_core::Stream;
use oci_core::runtime::{BlockingPool, BlockingTask};
use oci_core::store::{AppendMode, UploadOptions, UploadScope};
use oci_core::{BlobStore, BlobUpload};
use oci_storage::filesystem::{Durability, Filesystem, Options};
use registry_benches::content;
use tempfile::TempDir;

/// An upload that has begun, and its content.
pub(crate) struct Pushing {
    upload: Box<dyn BlobUpload>,
    frames: Frames,
    turns: Turns,
    _directory: TempDir,
}

/// An upload of so many frames of so many bytes each.
pub(crate) fn pushing(frames: usize, length: usize) -> Pushing {
    let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let turns = Turns::default();
    let mut options = Options::default();
    options.pool = Arc::new(turns.clone());
    options.durability = Durability::None;
    let store = Filesystem::open(directory.path(), options).expect("a store");
    let scope = UploadScope::new("bench/blob".parse().expect("a name"), "");
    let begun = turns.run(store.begin_upload(&scope, &UploadOptions::default()));
    let frame = content(length, 1);
    Pushing {
        upload: begun.expect("an upload"),
        frames: Frames(vec![frame; frames].into()),
        turns,
        _directory: directory,
    }
}

impl Pushing {
    pub(crate) fn append(mut self) -> Self {
        let frames = std::mem::replace(&mut self.frames, Frames(VecDeque::new()));
        let frames = pin!(frames);
        let appended = self.upload.append(frames, AppendMode::Atomic);
        self.turns.run(appended).expect("the content is taken");
        self
    }
}

/// A body that is there at once.
struct Frames(VecDeque<Bytes>);

impl Stream for Frames {
    type Item = Result<Bytes, oci_core::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

/// A pool that works when it is its turn.
#[derive(Clone, Default)]
struct Turns(Arc<Mutex<VecDeque<BlockingTask>>>);

impl BlockingPool for Turns {
    fn execute(&self, task: BlockingTask) {
        self.tasks().push_back(task);
    }
}

impl Turns {
    fn tasks(&self) -> std::sync::MutexGuard<'_, VecDeque<BlockingTask>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls `future` to its end. Whenever it waits, everything that it waits for is done by another
    /// thread.
    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            let turns = self.clone();
            let other = thread::spawn(move || turns.work());
            other.join().expect("no task panics");
        }
    }

    fn work(&self) {
        loop {
            let task = self.tasks().pop_front();
            match task {
                Some(task) => task(),
                None => return,
            }
        }
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Turns").field(&self.tasks().len()).finish()
    }
}
