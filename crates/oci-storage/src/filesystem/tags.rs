//! Tags: a link to the current manifest, and a history that Distribution keeps beside it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use oci_core::store::TagState;
use oci_core::{Digest, RepositoryName, StoreError, Tag};

use super::blobs::touch;
use super::durable::{Dirty, Ticket};
use super::links::{self, Link, metadata};
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

    /// What a tag points to, and when it was pushed last: that is when its link was written, or touched by a
    /// push of what it points to already.
    pub(super) fn tag_state(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<TagState, Failure> {
        let link = self.layout.tag_current(repository, tag);
        // First: a push between the two makes the tag look older, and its removal fails.
        let written = metadata(&link)?.ok_or(StoreError::NotFound)?;
        let mut state = TagState::new(self.tag_target(repository, tag)?);
        state.pushed = written.modified().ok();
        Ok(state)
    }

    /// Removes a tag, unless it was pushed since it was `expected`.
    pub(super) fn untag_if(
        self: &Arc<Self>,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<Ticket, Failure> {
        self.tag_target(repository, tag)?;
        let _lock = lock_repository(&self.layout.manifests(repository), Mode::Exclusive)?;
        if self.tag_state(repository, tag)? != *expected {
            return Err(StoreError::Precondition.into());
        }
        let mut dirty = Dirty::new();
        self.remove_tag(repository, tag, &mut dirty)?;
        Ok(self.disk.commit(dirty))
    }

    /// Notes that a tag was pushed that points to the same manifest already. Once a minute is enough to tell
    /// one push from another, and spares those that push all the time a sync each.
    pub(super) fn touch_tag(&self, repository: &RepositoryName, tag: &Tag) -> io::Result<()> {
        let link = self.layout.tag_current(repository, tag);
        let modified = metadata(&link)?.and_then(|found| found.modified().ok());
        let age = modified.and_then(|modified| self.clock.now().duration_since(modified).ok());
        if age.is_some_and(|age| age > TAG_AGE) {
            touch(&link)?;
        }
        Ok(())
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

/// How exactly it is known when a tag was pushed again to the manifest that it points to.
const TAG_AGE: Duration = Duration::from_secs(60);
