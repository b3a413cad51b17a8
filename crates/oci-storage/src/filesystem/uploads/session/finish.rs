//! Checkpoint and commit: what makes bytes count.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use oci_core::store::BlobMeta;
use oci_core::{Algorithm, Digest, Hasher, RepositoryName, StoreError};

use super::super::super::durable::{Dirty, Temporary, Ticket};
use super::super::super::section::{self, Logged};
use super::super::super::{Failure, Inner, lock};
use super::super::budget::Buffer;
use super::super::record::Record;
use super::work::Stage;
use super::{Session, closed};

impl Session {
    /// Hashes and writes the last bytes. Blocks; nothing else is under way.
    fn take_in(&self, remainder: Option<Buffer>) -> io::Result<()> {
        let Some(buffer) = remainder else {
            return Ok(());
        };
        let file = self.file()?;
        let mut hasher = self.hasher()?;
        let offset = hasher.length();
        let disk = &self.inner.disk;
        disk.write_at(&file, &self.data_path, buffer.as_slice(), offset)?;
        hasher.update(buffer.as_slice());
        lock(&self.work).hasher = Some(hasher);
        Ok(())
    }

    fn hasher(&self) -> io::Result<Hasher> {
        lock(&self.work).hasher.clone().ok_or_else(closed)
    }

    /// Makes all that was received outlive the process, once what it returns is committed. Blocks;
    /// nothing else is under way.
    pub(super) fn checkpoint(&self, remainder: Option<Buffer>) -> Result<Dirty, Failure> {
        let Some(received) = self.receive(remainder)? else {
            return Ok(Dirty::new());
        };
        self.record(&received)
    }

    /// All steps behind the first, one after the other. Blocks.
    pub(super) fn record(&self, received: &Received) -> Result<Dirty, Failure> {
        if received.length > 0 {
            self.sync_received()?;
        }
        let state = self.write_record(received)?;
        self.place_record(received, state)
    }

    /// The first step of a checkpoint: takes in the last bytes. `None` if nothing is left to do. Blocks;
    /// nothing else is under way.
    pub(in super::super) fn receive(
        &self,
        remainder: Option<Buffer>,
    ) -> Result<Option<Received>, Failure> {
        self.at_its_end(|| {
            self.take_in(remainder)?;
            Ok(self.received(self.file()?, &self.hasher()?))
        })
    }

    /// What is to be recorded of content that was written.
    pub(super) fn received(&self, file: Arc<File>, hasher: &Hasher) -> Option<Received> {
        let mut work = lock(&self.work);
        if hasher.length() == 0 && hasher.algorithm() == Algorithm::default() {
            // The file that it has says all there is to say.
            work.stage = Stage::Announced;
            return None;
        }
        let known = work.is_known();
        let record = Record::new(&self.scope, hasher, work.started, self.inner.clock.now());
        Some(Received {
            file,
            length: hasher.length(),
            record: record.encode(),
            known,
        })
    }

    /// Another step: the bytes, which were written, reach the disk. Blocks.
    pub(in super::super) fn sync_received(&self) -> Result<(), Failure> {
        self.at_its_end(|| {
            let disk = &self.inner.disk;
            Ok(disk.sync_data(&*self.file()?, &self.data_path)?)
        })
    }

    /// A third, which may go on at the same time: the record is written, without its name. Blocks.
    pub(in super::super) fn write_record(&self, received: &Received) -> Result<Temporary, Failure> {
        self.at_its_end(|| {
            let disk = &self.inner.disk;
            Ok(if received.length > 0 {
                disk.temporary(&received.record)?
            } else {
                disk.unsynced_temporary(&received.record)?
            })
        })
    }

    /// Runs a step that cannot be tried again: syncing might then succeed although bytes were lost.
    fn at_its_end<T>(&self, step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        step().inspect_err(|failure| {
            if let Failure::Io(error) = failure {
                let again = io::Error::new(error.kind(), "an earlier checkpoint failed");
                lock(&self.work).fail(again);
            }
        })
    }

    /// The last: the record gets its name, and what it says counts, once what is returned is committed.
    /// Blocks.
    pub(in super::super) fn place_record(
        &self,
        received: &Received,
        state: Temporary,
    ) -> Result<Dirty, Failure> {
        self.at_its_end(|| self.place(received, state))
    }

    fn place(&self, received: &Received, state: Temporary) -> Result<Dirty, Failure> {
        let inner = &self.inner;
        let (file, known) = (&received.file, received.known);
        let is_here = || section::is_at(file, &self.data_path).unwrap_or(false);
        if known && !is_here() {
            return Err(StoreError::NotFound.into());
        }
        let mut dirty = Dirty::new();
        inner.disk.place(state, &self.state_path, &mut dirty)?;
        // Ended by somebody else in this very moment: a record without bytes must not stay.
        if !is_here() {
            inner.disk.remove_file(&self.state_path)?;
            return Err(StoreError::NotFound.into());
        }
        {
            let mut work = lock(&self.work);
            work.stage = Stage::Recorded;
            work.checkpoint = received.length;
        }
        if received.length == 0 {
            return Ok(Dirty::new());
        }
        Ok(dirty)
    }

    /// Verifies the content and brings it to the disk. Blocks; nothing else is under way.
    pub(in super::super) fn verify(
        &self,
        remainder: Option<Buffer>,
        expected: &Digest,
    ) -> Result<Verified, Failure> {
        let inner = &self.inner;
        if !self.has_file() {
            // All of it is in memory: it never becomes an upload on the disk.
            let content = remainder.as_ref().map_or(&[][..], Buffer::as_slice);
            let mut hasher = Hasher::new(expected.algorithm());
            hasher.update(content);
            let size = hasher.length();
            check(expected, hasher)?;
            let source = Source::Memory(inner.disk.temporary(content)?);
            return Ok(Verified { source, size });
        }
        self.take_in(remainder)?;
        let (file, mut hasher) = (self.file()?, self.hasher()?);
        let size = hasher.length();
        if expected.algorithm() != hasher.algorithm() {
            hasher = inner.hash_again(&file, Hasher::new(expected.algorithm()), size)?;
        }
        check(expected, hasher)?;
        inner.disk.sync_data(&file, &self.data_path)?;
        let source = Source::Session(file);
        Ok(Verified { source, size })
    }

    /// Makes verified content visible. Blocks.
    pub(in super::super) fn commit(
        &self,
        verified: Verified,
        link: Option<Temporary>,
        expected: &Digest,
        repository: &RepositoryName,
    ) -> Result<(BlobMeta, Ticket), Failure> {
        let inner = &self.inner;
        let mut link = Vec::from_iter(link);
        let link_path = inner.layout.layer_link(repository, expected);
        let data = inner.layout.data(expected);
        let mut dirty = Dirty::new();
        let recorded = lock(&self.work).stage == Stage::Recorded;
        let committed = inner.sections.shared(|shared| {
            // What can run out of space comes before the point of no return.
            inner.disk.ensure_parent(&data, &mut dirty)?;
            inner.disk.ensure_parent(&link_path, &mut dirty)?;
            shared.log(Logged::Blob, repository, expected)?;
            if !self.give_name(verified.source, &data, &mut dirty)? {
                return Ok(false);
            }
            inner.put_link(shared, &link_path, expected, &mut link, &mut dirty)?;
            Ok(true)
        })?;
        if !committed {
            return Err(StoreError::NotFound.into());
        }
        if recorded {
            // Left over, it is a session without bytes, which is none.
            let _ = inner.disk.remove_file(&self.state_path);
        }
        let blob = BlobMeta::new(*expected, verified.size);
        Ok((blob, inner.disk.commit(dirty)))
    }

    /// `false` if the session was ended by somebody else.
    fn give_name(&self, source: Source, data: &Path, dirty: &mut Dirty) -> io::Result<bool> {
        let disk = &self.inner.disk;
        match source {
            Source::Memory(file) => disk.place(file, data, dirty)?,
            Source::Session(file) => {
                if !section::is_at(&file, &self.data_path).unwrap_or(false) {
                    return Ok(false);
                }
                self.inner.touch_if_old(&self.data_path, file.metadata()?)?;
                match disk.rename(&self.data_path, &file, data, dirty) {
                    // In this very moment.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    renamed => renamed?,
                }
            }
        }
        lock(&self.work).stage = Stage::Finished;
        Ok(true)
    }
}

/// Bytes of an upload that shall count.
#[derive(Debug)]
pub(in super::super) struct Received {
    file: Arc<File>,
    length: u64,
    record: Vec<u8>,
    /// Somebody may come back for the session already.
    known: bool,
}

/// Content that has the digest it should have, and is on the disk without its name.
#[derive(Debug)]
pub(in super::super) struct Verified {
    source: Source,
    size: u64,
}

#[derive(Debug)]
enum Source {
    Memory(Temporary),
    Session(Arc<File>),
}

fn check(expected: &Digest, hasher: Hasher) -> Result<(), Failure> {
    let actual = hasher.finish();
    if actual == *expected {
        Ok(())
    } else {
        Err(StoreError::DigestMismatch {
            expected: *expected,
            actual,
        }
        .into())
    }
}

impl Inner {
    /// Reads an upload back to hash it: when its hash is asked for in another algorithm, or its hash
    /// state cannot be used.
    pub(super) fn hash_again(
        &self,
        file: &File,
        mut hasher: Hasher,
        length: u64,
    ) -> io::Result<Hasher> {
        let mut piece = vec![0; 256 * 1024];
        let mut offset = 0;
        while offset < length {
            let wanted = usize::try_from(length - offset).unwrap_or(usize::MAX);
            let wanted = wanted.min(piece.len());
            let part = piece.get_mut(..wanted).ok_or_else(closed)?;
            file.read_exact_at(part, offset)?;
            hasher.update(part);
            offset += wanted as u64;
            self.reread
                .fetch_add(wanted as u64, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(hasher)
    }
}
