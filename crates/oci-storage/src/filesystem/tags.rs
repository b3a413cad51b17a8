//! Tags: a link to the current manifest, and a history that Distribution keeps beside it.

use std::io;
use std::sync::Arc;

use oci_core::{Digest, RepositoryName, StoreError, Tag};

use super::durable::{Dirty, Ticket};
use super::links::{self, Link};
use super::listing::names_in;
use super::section::{Mode, lock_repository};
use super::{Failure, Inner};

impl Inner {
    /// What a tag points to. A torn link is no tag: which manifest it meant is not known.
    pub(super) fn current(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> io::Result<Option<Digest>> {
        match links::read(&self.layout.tag_current(repository, tag))? {
            Link::To(digest) => Ok(Some(digest)),
            Link::Absent | Link::Torn => Ok(None),
        }
    }

    pub(super) fn tag_target(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Digest, Failure> {
        Ok(self.current(repository, tag)?.ok_or(StoreError::NotFound)?)
    }

    pub(super) fn untag(
        self: &Arc<Self>,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Digest, Ticket), Failure> {
        // Asked for first, so that a repository that is not there has nothing to lock.
        self.tag_target(repository, tag)?;
        let _lock = lock_repository(&self.layout.manifests(repository), Mode::Exclusive)?;
        let digest = self.tag_target(repository, tag)?;
        let mut dirty = Dirty::new();
        self.remove_tag(repository, tag, &mut dirty)?;
        Ok((digest, self.disk.commit(dirty)))
    }

    /// Removes a tag with its history, as Distribution does. The repository is locked.
    pub(super) fn remove_tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        let current = self.layout.tag_current(repository, tag);
        // This decides. What comes after it is tidiness, and may be left over.
        self.disk.remove_file(&current)?;
        let whole = self.layout.tag(repository, tag);
        if self.disk.remove_tree(&whole).is_err() {
            // What is gone of them is synced where it went: see `Disk::sync_directory`.
            dirty.directory(current.parent().unwrap_or(&whole));
            dirty.directory(&whole);
        }
        dirty.directory(&self.layout.tags(repository));
        Ok(())
    }

    /// The tags that point to a manifest, in byte order.
    pub(super) fn tags_of(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> io::Result<Vec<Tag>> {
        let names = names_in(&self.layout.tags(repository))?.unwrap_or_default();
        let mut tags = Vec::new();
        for tag in names.iter().filter_map(|name| name.parse().ok()) {
            if self.current(repository, &tag)? == Some(*digest) {
                tags.push(tag);
            }
        }
        tags.sort_unstable();
        Ok(tags)
    }
}
