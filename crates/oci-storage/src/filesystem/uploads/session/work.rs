//! What is under way for one upload: hashing and writing go on at the same time, each in order.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use oci_core::Hasher;

use super::super::super::durable::open_direct;
use super::super::super::{Failure, lock};
use super::super::budget::{ALIGNMENT, Buffer};
use super::{Session, closed};

/// What is known, and what is under way.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// Open and locked; `None` until bytes reach the disk.
    pub(super) file: Option<Arc<File>>,
    /// `None` while the hashing task has it.
    pub(super) hasher: Option<Hasher>,
    pub(super) started: u64,
    /// The offset of the last checkpoint.
    pub(super) checkpoint: u64,
    pub(super) stage: Stage,
    hashing: Lane,
    writing: Lane,
    /// A checkpoint on the way, or writing back early.
    flushing: bool,
    direct: Direct,
    pub(super) failed: Option<io::Error>,
    /// Whether bytes since the last checkpoint count when the writer goes away.
    pub(super) keep: bool,
    /// What the writer had not handed over when it went away.
    pub(super) remainder: Option<Buffer>,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    /// Nobody knows of it.
    #[default]
    Fresh,
    /// It has a file, and no bytes that count.
    Announced,
    /// Its record is on the disk.
    Recorded,
    /// Committed or ended: nothing to look after.
    Finished,
}

/// Whether content goes around the kernel's cache.
#[derive(Clone, Debug, Default)]
enum Direct {
    /// It is not so much that this was tried.
    #[default]
    Untried,
    To(Arc<File>),
    /// The file system does not have it.
    Impossible,
}

/// Pieces in order, worked on by at most one task at a time.
#[derive(Debug, Default)]
struct Lane {
    queue: VecDeque<Arc<Piece>>,
    busy: bool,
}

impl Lane {
    fn in_flight(&self) -> usize {
        self.queue.len() + usize::from(self.busy)
    }
}

#[derive(Debug)]
struct Piece {
    offset: u64,
    buffer: Buffer,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Hashing,
    Writing,
}

impl Work {
    pub(super) fn new(hasher: Hasher, started: u64) -> Self {
        Self {
            checkpoint: hasher.length(),
            hasher: Some(hasher),
            started,
            ..Self::default()
        }
    }

    /// Whether exactly what counts has been received. Nothing is under way.
    pub(super) fn is_at_checkpoint(&self) -> bool {
        let received = self.hasher.as_ref().map(Hasher::length);
        self.is_known()
            && self.failed.is_none()
            && self.remainder.is_none()
            && received == Some(self.checkpoint)
    }

    /// Whether somebody may come back for it.
    pub(super) fn is_known(&self) -> bool {
        matches!(self.stage, Stage::Announced | Stage::Recorded)
    }

    fn lane(&mut self, which: Which) -> &mut Lane {
        match which {
            Which::Hashing => &mut self.hashing,
            Which::Writing => &mut self.writing,
        }
    }

    fn in_flight(&self) -> usize {
        self.hashing.in_flight().max(self.writing.in_flight())
    }

    pub(super) fn fail(&mut self, error: io::Error) {
        self.failed.get_or_insert(error);
    }
}

impl Session {
    /// Hands a piece to hashing and writing, which go on at the same time.
    pub(in super::super) fn submit(self: &Arc<Self>, offset: u64, buffer: Buffer) {
        let piece = Arc::new(Piece { offset, buffer });
        let mut work = lock(&self.work);
        work.hashing.queue.push_back(Arc::clone(&piece));
        work.writing.queue.push_back(piece);
        for which in [Which::Hashing, Which::Writing] {
            if !std::mem::replace(&mut work.lane(which).busy, true) {
                let task = Task {
                    session: Arc::clone(self),
                    which,
                    finished: false,
                };
                let pool = self.inner.disk.pool();
                pool.execute(Box::new(move || task.run()));
            }
        }
    }

    /// Waits until fewer than `limit` pieces are under way.
    ///
    /// # Errors
    /// What went wrong with an earlier piece.
    pub(in super::super) async fn wait_below(&self, limit: usize) -> io::Result<()> {
        self.wait_until(|work| work.in_flight() < limit).await
    }

    /// Waits until nothing is under way.
    pub(in super::super) async fn wait_idle(&self) -> io::Result<()> {
        self.wait_until(|work| work.in_flight() == 0 && !work.flushing)
            .await
    }

    /// Waits until all pieces are written. They may still be hashed.
    pub(in super::super) async fn wait_written(&self) -> io::Result<()> {
        self.wait_until(|work| work.writing.in_flight() == 0 && !work.flushing)
            .await
    }

    async fn wait_until(&self, done: impl Fn(&Work) -> bool) -> io::Result<()> {
        loop {
            {
                let mut work = lock(&self.work);
                if let Some(error) = work.failed.take() {
                    // Kept: whatever is tried next fails as well.
                    work.failed = Some(io::Error::new(error.kind(), "an earlier write failed"));
                    return Err(error);
                }
                if done(&work) {
                    return Ok(());
                }
            }
            // Only the writer waits, so a permit that was left is not lost to anybody else.
            self.progress.notified().await;
        }
    }

    /// Brings to the disk what was written so far, while more arrives. If `record`, it counts from
    /// then on. Nothing else may be under way.
    pub(in super::super) fn flush(self: &Arc<Self>, record: bool) {
        let mut work = lock(&self.work);
        let Some(hasher) = work.hasher.clone() else {
            return;
        };
        work.flushing = true;
        let record = record && work.is_known();
        drop(work);
        let task = Flush {
            session: Arc::clone(self),
            hasher,
            record,
            done: false,
        };
        let pool = self.inner.disk.pool();
        pool.execute(Box::new(move || task.run()));
    }

    /// Writes pieces that follow each other. Blocks.
    fn write(&self, pieces: &[Arc<Piece>]) -> io::Result<()> {
        let Some(first) = pieces.first() else {
            return Ok(());
        };
        let (file, disk) = (self.file()?, &self.inner.disk);
        let mut slices: Vec<IoSlice<'_>> = pieces
            .iter()
            .map(|piece| IoSlice::new(piece.buffer.as_slice()))
            .collect();
        if first.offset >= DIRECT_FROM
            && pieces.iter().all(|piece| piece.is_aligned())
            && let Some(direct) = self.direct(&file)
        {
            match disk.write_vectored_at(&direct, &self.data_path, &mut slices, first.offset) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    lock(&self.work).direct = Direct::Impossible;
                    slices = pieces
                        .iter()
                        .map(|piece| IoSlice::new(piece.buffer.as_slice()))
                        .collect();
                }
                written => return written,
            }
        }
        disk.write_vectored_at(&file, &self.data_path, &mut slices, first.offset)
    }

    fn direct(&self, file: &File) -> Option<Arc<File>> {
        let known = lock(&self.work).direct.clone();
        match known {
            Direct::To(direct) => Some(direct),
            Direct::Impossible => None,
            Direct::Untried => {
                let direct = open_direct(file, &self.data_path).map(Arc::new);
                lock(&self.work).direct = match &direct {
                    Some(direct) => Direct::To(Arc::clone(direct)),
                    None => Direct::Impossible,
                };
                direct
            }
        }
    }
}

impl Piece {
    fn is_aligned(&self) -> bool {
        let bytes = self.buffer.as_slice();
        self.offset.is_multiple_of(ALIGNMENT as u64)
            && bytes.len().is_multiple_of(ALIGNMENT)
            && bytes.as_ptr().align_offset(ALIGNMENT) == 0
    }
}

/// Works through one lane. Should the pool drop it unrun, the upload fails instead of waiting for ever.
#[derive(Debug)]
struct Task {
    session: Arc<Session>,
    which: Which,
    finished: bool,
}

impl Task {
    fn run(mut self) {
        loop {
            let mut work = lock(&self.session.work);
            if work.failed.is_some() {
                work.lane(self.which).queue.clear();
            }
            let Some(piece) = work.lane(self.which).queue.pop_front() else {
                work.lane(self.which).busy = false;
                drop(work);
                self.finished = true;
                return;
            };
            let hasher = match self.which {
                Which::Hashing => work.hasher.take(),
                Which::Writing => None,
            };
            let mut pieces = vec![piece];
            if let Which::Writing = self.which {
                // Fewer and longer writes. What is hashed is let go of piece by piece.
                let queue = &mut work.writing.queue;
                let more = queue.len().min(GATHERED - 1);
                pieces.extend(queue.drain(..more));
            }
            drop(work);
            match self.which {
                Which::Hashing => {
                    if let Some(mut hasher) = hasher {
                        for piece in &pieces {
                            hasher.update(piece.buffer.as_slice());
                        }
                        lock(&self.session.work).hasher = Some(hasher);
                    }
                }
                Which::Writing => {
                    if let Err(error) = self.session.write(&pieces) {
                        lock(&self.session.work).fail(error);
                    }
                }
            }
            drop(pieces);
            self.session.progress.notify_one();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if !self.finished {
            let mut work = lock(&self.session.work);
            let lane = work.lane(self.which);
            lane.queue.clear();
            lane.busy = false;
            work.fail(closed());
        }
        self.session.progress.notify_one();
    }
}

/// Brings bytes to the disk while more arrives.
#[derive(Debug)]
struct Flush {
    session: Arc<Session>,
    hasher: Hasher,
    record: bool,
    done: bool,
}

impl Flush {
    fn run(mut self) {
        let session = &self.session;
        let flushed = session.file().map_err(Failure::from).and_then(|file| {
            if self.record {
                let Some(received) = session.received(file, &self.hasher) else {
                    return Ok(());
                };
                let dirty = session.record(&received)?;
                Ok(session.inner.disk.commit_now(dirty)?)
            } else {
                let disk = &session.inner.disk;
                Ok(disk.sync_data(&file, &session.data_path)?)
            }
        });
        self.done = true;
        if let Err(failure) = flushed {
            let error = match failure {
                Failure::Io(error) => error,
                Failure::Store(error) => io::Error::new(io::ErrorKind::NotFound, error),
            };
            lock(&session.work).fail(error);
        }
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut work = lock(&self.session.work);
        work.flushing = false;
        if !self.done {
            work.fail(closed());
        }
        drop(work);
        self.session.progress.notify_one();
    }
}

/// How many pieces one write takes.
const GATHERED: usize = 4;
/// From here on content goes to the disk directly. Copying it into the kernel's cache costs more than
/// hashing it where memory must first be found, and pushes out what others read; what is smaller than
/// this is likely to be read soon.
const DIRECT_FROM: u64 = 16 << 20;
