//! What may go: one file each, and how to recognise it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use oci_core::store::{Candidate, CandidateKind};
use oci_core::{Digest, RepositoryName};

use super::super::layout::Layout;

/// A file that nothing kept when it was looked at. Some 110 bytes.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kind: CandidateKind,
    /// Where its repository is in the list of them; means nothing for content.
    repository: u32,
    pub(super) digest: Digest,
    pub(super) size: u64,
    stamp: Stamp,
}

impl Found {
    pub(super) fn content(digest: Digest, metadata: &Metadata) -> Self {
        Self::new(CandidateKind::Content, 0, digest, metadata)
    }

    pub(super) fn new(
        kind: CandidateKind,
        repository: u32,
        digest: Digest,
        metadata: &Metadata,
    ) -> Self {
        Self {
            kind,
            repository,
            digest,
            size: match kind {
                CandidateKind::Content => metadata.len(),
                _ => 0,
            },
            stamp: Stamp::of(metadata),
        }
    }

    /// Its repository. `None` for content.
    pub(super) fn repository<'a>(
        &self,
        repositories: &'a [RepositoryName],
    ) -> Option<&'a RepositoryName> {
        match self.kind {
            CandidateKind::Content => None,
            _ => repositories.get(usize::try_from(self.repository).ok()?),
        }
    }

    /// Where it is. `None` would be a mistake in this program, and keeps it.
    pub(super) fn path(&self, layout: &Layout, repositories: &[RepositoryName]) -> Option<PathBuf> {
        let digest = &self.digest;
        match (self.kind, self.repository(repositories)) {
            (CandidateKind::Content, _) => Some(layout.data(digest)),
            (CandidateKind::Link, Some(name)) => Some(layout.layer_link(name, digest)),
            (CandidateKind::Manifest, Some(name)) => Some(layout.revision_link(name, digest)),
            _ => None,
        }
    }

    /// Whether the file there now is the one that was found, untouched since.
    pub(super) fn is(&self, metadata: &Metadata) -> bool {
        self.stamp == Stamp::of(metadata)
    }

    pub(super) fn candidate<'a>(&self, repositories: &'a [RepositoryName]) -> Candidate<'a> {
        let repository = self.repository(repositories).map(RepositoryName::as_str);
        Candidate::new(self.kind, repository, self.digest, self.size)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    modified: i64,
    nanoseconds: u32,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            modified: metadata.mtime(),
            // Below a thousand million.
            nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or_default(),
        }
    }
}
