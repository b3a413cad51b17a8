//! One upload in this process: its file, its running hash, and the work that is under way for it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oci_core::store::{UploadId, UploadScope};
use oci_core::{Algorithm, Hasher, StoreError};
use tokio::sync::Notify;

use super::super::durable::open_file_with;
use super::super::links::metadata;
use super::super::section::{self, Writer};
use super::super::{Failure, Inner, lock};
use super::budget::Buffer;
use super::presence::Presence;
use super::record::millis;

mod finish;
mod work;

use work::{Stage, Work};

/// Shared by the writer and the tasks it started. When the last of them lets go, what shall be kept is
/// recorded, and the file is closed, which lets the next writer in.
#[derive(Debug)]
pub(super) struct Session {
    inner: Arc<Inner>,
    scope: UploadScope,
    state_path: PathBuf,
    data_path: PathBuf,
    work: Mutex<Work>,
    /// Tells the writer that some work was done.
    progress: Notify,
    presence: Presence,
    /// The writer is gone and this is on the pool.
    closing: bool,
}

impl Session {
    /// A session that nobody knows of and that has nothing on the disk.
    pub(super) fn fresh(
        inner: &Arc<Inner>,
        scope: &UploadScope,
        id: &UploadId,
        algorithm: Algorithm,
        presence: Presence,
    ) -> Arc<Self> {
        let started = millis(inner.clock.now());
        let hasher = Hasher::new(algorithm);
        Arc::new(Self::new(inner, scope, id, hasher, started, presence))
    }

    fn new(
        inner: &Arc<Inner>,
        scope: &UploadScope,
        id: &UploadId,
        hasher: Hasher,
        started: u64,
        presence: Presence,
    ) -> Self {
        Self {
            state_path: inner.layout.upload_state(scope, id),
            data_path: inner.layout.upload_data(scope, id),
            inner: Arc::clone(inner),
            scope: scope.clone(),
            work: Mutex::new(Work::new(hasher, started)),
            progress: Notify::new(),
            presence,
            closing: false,
        }
    }

    /// Takes over a recorded session. Blocks.
    pub(super) fn open(
        inner: &Arc<Inner>,
        scope: &UploadScope,
        id: &UploadId,
        presence: Presence,
    ) -> Result<(Arc<Self>, u64), Failure> {
        let record = inner.record(scope, id)?.ok_or(StoreError::NotFound)?;
        let path = inner.layout.upload_data(scope, id);
        let file = match open_file_with(&path, File::options().read(true).write(true)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound.into());
            }
            file => file?,
        };
        match section::become_writer(&file, &path)? {
            Writer::Yes => {}
            Writer::Gone => return Err(StoreError::NotFound.into()),
            Writer::Busy => {
                inner.require_record(scope, id, &record)?;
                return Err(StoreError::Conflict {
                    offset: record.offset,
                }
                .into());
            }
        }
        // Again, now that nobody else moves it on.
        let record = inner.record(scope, id)?.ok_or(StoreError::NotFound)?;
        inner.require_record(scope, id, &record)?;
        let length = file.metadata()?.len();
        if length < record.offset {
            // Only a disk that lost what was synced does this. Nothing can go on from here.
            return Err(StoreError::NotFound.into());
        }
        if length > record.offset {
            inner.disk.truncate(&file, &path, record.offset)?;
        }
        let hasher = if let Some(hasher) = record.hasher() {
            hasher
        } else {
            let fresh = Hasher::new(Algorithm::default());
            inner.hash_again(&file, fresh, record.offset)?
        };
        let mut session = Self::new(inner, scope, id, hasher, record.started, presence);
        let work = session.work.get_mut().map_err(|_| closed())?;
        work.file = Some(Arc::new(file));
        work.stage = if record.offset > 0 || metadata(&session.state_path)?.is_some() {
            Stage::Recorded
        } else {
            Stage::Announced
        };
        Ok((Arc::new(session), record.offset))
    }

    /// The writer is gone. What it had not handed over may be kept with the rest.
    pub(super) fn leave(&self, remainder: Option<Buffer>) {
        self.presence.closing();
        lock(&self.work).remainder = remainder;
    }

    /// Whether bytes since the last checkpoint count when the writer goes away.
    pub(super) fn keep(&self, keep: bool) {
        lock(&self.work).keep = keep;
    }

    /// Whether bytes have been handed over or the session is known: then there is a data file.
    fn has_file(&self) -> bool {
        lock(&self.work).file.is_some()
    }

    /// The locked data file, made if need be. Blocks.
    fn file(&self) -> io::Result<Arc<File>> {
        if let Some(file) = &lock(&self.work).file {
            return Ok(Arc::clone(file));
        }
        for _ in 0..3 {
            let file = self.inner.disk.create(&self.data_path)?;
            // A sweep may have found it before it was locked.
            if section::become_writer(&file, &self.data_path)? == Writer::Yes {
                let file = Arc::new(file);
                lock(&self.work).file = Some(Arc::clone(&file));
                return Ok(file);
            }
        }
        Err(io::Error::other(
            "a new upload is being removed all the time",
        ))
    }

    /// Ends the session. Blocks; nothing else is under way.
    pub(super) fn abort(&self) -> Result<(), Failure> {
        lock(&self.work).stage = Stage::Finished;
        // A record without bytes is nothing; bytes without a record are an upload that has just begun.
        self.inner.disk.remove_file(&self.data_path)?;
        self.inner.disk.remove_file(&self.state_path)?;
        Ok(())
    }

    /// What the last holder does. Blocks.
    fn close(&mut self) {
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        let keep = work.keep && work.failed.is_none() && !work.is_at_checkpoint();
        let remainder = work.remainder.take();
        let (checkpoint, file) = (work.checkpoint, work.file.clone());
        match work.stage {
            Stage::Finished => {}
            Stage::Fresh => {
                if file.is_some() {
                    // Left over, it is swept by age.
                    let _ = self.inner.disk.remove_file(&self.data_path);
                }
            }
            Stage::Announced | Stage::Recorded => {
                if keep && let Ok(dirty) = self.checkpoint(remainder) {
                    // Nobody was told anything yet. Who asks for the offset syncs what failed here.
                    let _ = self.inner.disk.commit_now(dirty);
                    return;
                }
                // Not counted, and not left to fill the disk. The next writer would cut it as well.
                if let Some(file) = file
                    && file.metadata().is_ok_and(|now| now.len() > checkpoint)
                {
                    let _ = self.inner.disk.truncate(&file, &self.data_path, checkpoint);
                }
            }
        }
    }
}

/// Closes a session on the pool: it may have to write and sync.
impl Drop for Session {
    fn drop(&mut self) {
        if self.closing {
            self.close();
            return;
        }
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing to put in order: another process may go on at once.
        if work.stage == Stage::Finished || work.file.is_none() || work.is_at_checkpoint() {
            return;
        }
        self.presence.closing();
        let moved = Self {
            inner: Arc::clone(&self.inner),
            scope: self.scope.clone(),
            state_path: std::mem::take(&mut self.state_path),
            data_path: std::mem::take(&mut self.data_path),
            work: Mutex::new(std::mem::take(work)),
            progress: Notify::new(),
            presence: self.presence.hand_over(),
            closing: true,
        };
        let pool = Arc::clone(self.inner.disk.pool());
        pool.execute(Box::new(move || drop(moved)));
    }
}

fn closed() -> io::Error {
    io::Error::other("the blocking pool was closed")
}
