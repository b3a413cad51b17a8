//! The content plane: what is there, and what a pusher is told to be there.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oci_core::store::{BlobMeta, BlobPayload, BlobRead, FileRange, ReadRange};
use oci_core::{Digest, ManifestReference, ReferenceKind, RepositoryName, StoreError};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};

use super::durable::{Dirty, Ticket, open_file};
use super::links::{Membership, metadata};
use super::section::{Logged, Mode, Shared, lock_repository};
use super::{Failure, Inner};

use std::sync::Arc;

impl Inner {
    /// Where the content of `digest` is, and its metadata.
    ///
    /// A file of no bytes that should have some is what a power cut leaves behind where nobody synced.
    /// It is absent, so that pushing the blob again heals it.
    pub(super) fn stat_data(&self, digest: &Digest) -> io::Result<Option<(PathBuf, Metadata)>> {
        let targets = [Some(*digest), self.aliases.target(digest)];
        for target in targets.into_iter().flatten() {
            let path = self.layout.data(&target);
            if let Some(found) = metadata(&path)?
                && (found.len() > 0 || is_empty_digest(&target))
            {
                return Ok(Some((path, found)));
            }
        }
        Ok(None)
    }

    pub(super) fn stat_blob(&self, digest: &Digest) -> Result<BlobMeta, Failure> {
        let (_, found) = self.stat_data(digest)?.ok_or(StoreError::NotFound)?;
        Ok(BlobMeta::new(*digest, found.len()))
    }

    pub(super) fn read_blob(&self, digest: &Digest, range: ReadRange) -> Result<BlobRead, Failure> {
        let (path, _) = self.stat_data(digest)?.ok_or(StoreError::NotFound)?;
        let file = match open_file(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound.into());
            }
            Err(error) => return Err(error.into()),
        };
        let size = file.metadata()?.len();
        let range = range
            .resolve(size)
            .ok_or(StoreError::RangeNotSatisfiable { size })?;
        let payload = match usize::try_from(range.end - range.start) {
            Ok(length) if length as u64 <= INLINE_MAX => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)?;
                BlobPayload::Bytes(bytes.into())
            }
            _ => BlobPayload::File(FileRange::new(file, range.clone())),
        };
        Ok(BlobRead::new(size, range, payload))
    }

    /// Whether a blob is visible in a repository.
    pub(super) fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Failure> {
        let link = self.layout.layer_link(repository, digest);
        let visible = self.visible(repository, &link, digest, Logged::Blob)?;
        Ok(visible.is_some())
    }

    /// Finds the link and the content that `needed` means, of the right size.
    pub(super) fn find(
        &self,
        shared: &Shared<'_>,
        repository: &RepositoryName,
        needed: &ManifestReference,
        dirty: &mut Dirty,
    ) -> io::Result<Option<Found>> {
        let digest = &needed.digest;
        let link = match needed.kind {
            ReferenceKind::Manifest => self.layout.revision_link(repository, digest),
            _ => self.layout.layer_link(repository, digest),
        };
        let (target, damaged) = match self.membership(&link, digest)? {
            Membership::Absent => return Ok(None),
            Membership::Present(target) => (target, false),
            Membership::Damaged => (*digest, true),
        };
        let Some((data, data_metadata)) = self.stat_data(&target)? else {
            return Ok(None);
        };
        if data_metadata.len() != needed.size {
            return Ok(None);
        }
        let doubtful = metadata(&link)?.is_some_and(|found| self.disk.is_doubtful(&found));
        if damaged || doubtful {
            self.put_link(shared, &link, &target, &mut Vec::new(), dirty)?;
        }
        let Some(link_metadata) = metadata(&link)? else {
            return Ok(None);
        };
        Ok(Some(Found {
            link,
            link_metadata,
            data,
            data_metadata,
        }))
    }

    /// Protects blobs that a pusher is told exist.
    pub(super) fn claim(
        self: &Arc<Self>,
        repository: &RepositoryName,
        blobs: &[ManifestReference],
    ) -> Result<Ticket, Failure> {
        let mut missing = Vec::new();
        let mut dirty = Dirty::new();
        self.sections.shared(|shared| {
            let mut claimed = Vec::new();
            for blob in blobs {
                match self.find(shared, repository, blob, &mut dirty)? {
                    Some(found) => claimed.push((blob, found)),
                    None => missing.push(*blob),
                }
            }
            if missing.is_empty() {
                for (blob, found) in claimed {
                    shared.log(logged(blob.kind), repository, &blob.digest)?;
                    self.touch_if_old(&found.data, found.data_metadata)?;
                    self.touch_if_old(&found.link, found.link_metadata)?;
                }
            }
            Ok(())
        })?;
        if missing.is_empty() {
            Ok(self.disk.commit(dirty))
        } else {
            Err(StoreError::MissingReferences(missing).into())
        }
    }

    /// Protects a manifest that a pusher is told exists; `None` if there was nothing to do.
    ///
    /// Where every manifest keeps itself, nothing is asked of this. So what is too new to be collected by
    /// its age is left alone: many who may push only pull.
    pub(super) fn claim_manifest(
        self: &Arc<Self>,
        repository: &RepositoryName,
        manifest: ManifestReference,
    ) -> Result<Option<Ticket>, Failure> {
        let revision = self.layout.revision_link(repository, &manifest.digest);
        if metadata(&revision)?.is_some_and(|found| !self.is_stale(&found)) {
            return Ok(None);
        }
        match self.claim(repository, &[manifest]) {
            Ok(ticket) => Ok(Some(ticket)),
            Err(Failure::Store(StoreError::MissingReferences(_))) => {
                Err(StoreError::NotFound.into())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Makes a blob visible in a repository.
    pub(super) fn link_blob(
        self: &Arc<Self>,
        repository: &RepositoryName,
        blob: &BlobMeta,
    ) -> Result<Ticket, Failure> {
        let digest = &blob.digest;
        self.stat_reliable(digest)?;
        let link = self.layout.layer_link(repository, digest);
        let mut spare = vec![self.link_file(digest)?];
        let mut dirty = Dirty::new();
        let linked = self.sections.shared(|shared| {
            let Some((data, found)) = self.stat_data(digest)? else {
                return Ok(false);
            };
            if found.len() != blob.size {
                return Ok(false);
            }
            shared.log(Logged::Blob, repository, digest)?;
            let found = self.touch_if_old(&data, found)?;
            self.disk.require_durable(&data, &found, &mut dirty)?;
            // Of content that lies under another digest, the link says which.
            match self
                .aliases
                .target(digest)
                .filter(|target| data == self.layout.data(target))
            {
                Some(target) => {
                    let alias = self.link_file(&target)?;
                    self.disk.place(alias, &link, &mut dirty)?;
                }
                None => self.put_link(shared, &link, digest, &mut spare, &mut dirty)?,
            }
            Ok(true)
        })?;
        if linked {
            Ok(self.disk.commit(dirty))
        } else {
            Err(StoreError::NotFound.into())
        }
    }

    /// Ends the visibility of a blob in a repository.
    pub(super) fn unlink_blob(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Ticket, Failure> {
        let link = self.layout.layer_link(repository, digest);
        // Asked for first, so that a link that is not there has nothing to lock.
        if self.membership(&link, digest)? == Membership::Absent {
            return Err(StoreError::NotFound.into());
        }
        let directory = link.parent().unwrap_or(&link);
        // Who repairs a torn link holds it shared, and must not bring back what is gone.
        let _lock = match lock_repository(directory, Mode::Exclusive) {
            // A collector was faster, and took the directory with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound.into());
            }
            locked => locked?,
        };
        if !self.disk.remove_file(&link)? {
            return Err(StoreError::NotFound.into());
        }
        let mut dirty = Dirty::new();
        dirty.directory(directory);
        Ok(self.disk.commit(dirty))
    }

    /// Makes content look new to a collector if it is not. Returns its metadata from then on.
    pub(super) fn touch_if_old(&self, path: &Path, metadata: Metadata) -> io::Result<Metadata> {
        if self.is_stale(&metadata) {
            match touch(path) {
                // Where nothing can be written, nothing can be collected either.
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
                touched => {
                    touched?;
                    return fs::metadata(path);
                }
            }
        }
        Ok(metadata)
    }

    /// Whether a quarter of the grace period is over since a file was made or used last.
    pub(super) fn is_stale(&self, metadata: &Metadata) -> bool {
        let age = metadata
            .modified()
            .ok()
            .and_then(|modified| self.clock.now().duration_since(modified).ok());
        age.is_some_and(|age| age > self.grace / 4)
    }
}

/// Content that is linked.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) link: PathBuf,
    pub(super) link_metadata: Metadata,
    pub(super) data: PathBuf,
    pub(super) data_metadata: Metadata,
}

/// How a reference is written to the delta log.
pub(super) fn logged(kind: ReferenceKind) -> Logged {
    match kind {
        ReferenceKind::Manifest => Logged::Manifest,
        _ => Logged::Blob,
    }
}

/// Sets both times to now, which needs no more than permission to write.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty())?;
    Ok(())
}

pub(super) fn is_empty_digest(digest: &Digest) -> bool {
    *digest == Digest::of(digest.algorithm(), b"")
}

/// Up to here content is read into memory at once.
pub(super) const INLINE_MAX: u64 = 64 * 1024;
