//! Answers from what the kernel has in memory, given on the thread that asks.
//!
//! Handing a question to the blocking pool and waiting for its answer costs ten times as much as the
//! system calls that answer it, as long as these find everything in memory. So the common questions are
//! asked here first, in a way that never waits for a disk: `openat2` with `RESOLVE_CACHED`, `preadv2`
//! with `RWF_NOWAIT`, and a look at a link that was read a moment ago. Only a plain "yes" is given from
//! here. "No", damage, a cold cache, a kernel before 5.12: all of them are `None`, and the pool finds out.

use std::fs::{File, Metadata};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use oci_core::store::{BlobMeta, BlobPayload, BlobRead, FileRange, ReadRange, StoredManifest};
use oci_core::{Digest, RepositoryName, Tag};

use super::Inner;
use super::blobs::{INLINE_MAX, is_empty_digest};
use super::manifests::verified;

/// Whether it is worth trying.
#[derive(Debug, Default)]
pub(super) struct AtOnce {
    /// The kernel cannot do it, or a sandbox does not let it.
    unsupported: AtomicBool,
}

impl Inner {
    /// What a tag points to.
    pub(super) fn tag_at_once(&self, repository: &RepositoryName, tag: &Tag) -> Option<Digest> {
        self.link_at_once(self.layout.tag_current(repository, tag))
    }

    /// Whether a blob is visible in a repository.
    pub(super) fn has_blob_at_once(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let link = self.layout.layer_link(repository, digest);
        self.link_at_once(link) == Some(*digest)
    }

    /// A manifest of a repository.
    pub(super) fn manifest_at_once(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Option<StoredManifest> {
        let link = self.layout.revision_link(repository, digest);
        if self.link_at_once(link)? != *digest {
            return None;
        }
        if let Some(manifest) = self.manifests.get(digest) {
            return Some(manifest);
        }
        let (file, found) = self.open_at_once(&self.layout.data(digest))?;
        if found.len() > MANIFEST_MAX {
            // Hashing it takes too long here.
            return None;
        }
        let manifest = verified(digest, read_at_once(&file, 0, found.len())?)?;
        self.manifests.insert(*digest, manifest.clone());
        Some(manifest)
    }

    /// Whether a manifest that was just read is too new to be collected by its age.
    pub(super) fn is_young_at_once(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        let link = self.layout.revision_link(repository, digest);
        let known = self.known_links.look(&link);
        known.is_some_and(|(_, found)| !self.is_stale(&found))
    }

    /// Size of a blob.
    pub(super) fn stat_at_once(&self, digest: &Digest) -> Option<BlobMeta> {
        let (_, found) = self.content_at_once(digest)?;
        Some(BlobMeta::new(*digest, found.len()))
    }

    /// An opened blob. Where it is large, its content need not be in memory.
    pub(super) fn blob_at_once(&self, digest: &Digest, range: ReadRange) -> Option<BlobRead> {
        let (file, found) = self.content_at_once(digest)?;
        let size = found.len();
        let range = range.resolve(size)?;
        let length = range.end - range.start;
        let payload = if length <= INLINE_MAX {
            BlobPayload::Bytes(read_at_once(&file, range.start, length)?)
        } else {
            BlobPayload::File(FileRange::new(file, range.clone()))
        };
        Some(BlobRead::new(size, range, payload))
    }

    fn content_at_once(&self, digest: &Digest) -> Option<(File, Metadata)> {
        let (file, found) = self.open_at_once(&self.layout.data(digest))?;
        (found.len() > 0 || is_empty_digest(digest)).then_some((file, found))
    }

    fn link_at_once(&self, path: PathBuf) -> Option<Digest> {
        if let Some(digest) = self.known_links.confirm(&path) {
            return Some(digest);
        }
        // Whatever else this opens has no digest to say.
        let file = self.descriptor_at_once(&path)?;
        let mut content = [0; LINK_MAX];
        let length = read_into(&file, &mut content, 0)?;
        let digest = str::from_utf8(content.get(..length)?).ok()?.parse().ok()?;
        self.known_links.learn(path, &file, digest);
        Some(digest)
    }

    /// Opens a regular file whose path the kernel has in memory.
    fn open_at_once(&self, path: &Path) -> Option<(File, Metadata)> {
        let file = self.descriptor_at_once(path)?;
        let found = file.metadata().ok()?;
        found.is_file().then_some((file, found))
    }

    #[cfg(not(target_os = "linux"))]
    fn descriptor_at_once(&self, _: &Path) -> Option<File> {
        self.at_once.unsupported.store(true, Ordering::Relaxed);
        None
    }

    #[cfg(target_os = "linux")]
    fn descriptor_at_once(&self, path: &Path) -> Option<File> {
        use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
        use rustix::io::Errno;

        if self.at_once.unsupported.load(Ordering::Relaxed) {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
            Ok(file) => Some(file.into()),
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                self.at_once.unsupported.store(true, Ordering::Relaxed);
                None
            }
            Err(_) => None,
        }
    }
}

/// All `length` bytes from `offset`, if they are in memory.
fn read_at_once(file: &File, offset: u64, length: u64) -> Option<Bytes> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let read = read_into(file, &mut bytes, offset)?;
    (read == bytes.len()).then(|| bytes.into())
}

#[cfg(not(target_os = "linux"))]
fn read_into(_: &File, _: &mut [u8], _: u64) -> Option<usize> {
    None
}

#[cfg(target_os = "linux")]
fn read_into(file: &File, bytes: &mut [u8], offset: u64) -> Option<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};

    let mut spaces = [std::io::IoSliceMut::new(bytes)];
    preadv2(file, &mut spaces, offset, ReadWriteFlags::NOWAIT).ok()
}

/// Read and hashed within a millisecond.
const MANIFEST_MAX: u64 = 1 << 20;
/// More than any digest is long.
const LINK_MAX: usize = 192;
