//! The metadata plane in memory.

use async_trait::async_trait;

use super::{MemoryStore, Repository, State, Target};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::StoreError;
use crate::manifest::{Manifest, ManifestReference, ReferenceKind};
use crate::name::{RepositoryName, Tag};
use crate::store::{
    BlobMeta, ManifestStore, Page, PageRequest, PutManifest, StoredManifest, TagState,
};

#[async_trait]
impl ManifestStore for MemoryStore {
    fn checks_references(&self) -> bool {
        true
    }

    async fn resolve(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        let state = self.lock();
        state
            .repository(repository)?
            .tags
            .get(tag)
            .map(|target| target.to)
            .ok_or(StoreError::NotFound)
    }

    async fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<StoredManifest, StoreError> {
        let state = self.lock();
        let stored = state.repository(repository)?.manifests.get(digest);
        let (manifest_type, bytes) = stored.ok_or(StoreError::NotFound)?;
        Ok(StoredManifest::new(*digest, *manifest_type, bytes.clone()))
    }

    async fn put(&self, put: PutManifest<'_>) -> Result<(), StoreError> {
        let mut state = self.lock();
        let missing: Vec<_> = put
            .references
            .iter()
            .filter(|needed| !state.holds(put.repository, needed))
            .copied()
            .collect();
        if !missing.is_empty() {
            return Err(StoreError::MissingReferences(missing));
        }
        let repository = state
            .repositories
            .entry(put.repository.clone())
            .or_default();
        if put.tags.iter().any(|write| {
            let current = repository.tags.get(&write.tag);
            !write.precondition.holds(current.map(|target| &target.to))
        }) {
            return Err(StoreError::Precondition);
        }
        repository.known = true;
        let stored = (put.manifest.manifest_type(), put.manifest.bytes().clone());
        repository.manifests.insert(*put.digest, stored);
        for write in put.tags {
            let target = Target {
                to: *put.digest,
                pushed: self.clock.now(),
            };
            repository.tags.insert(write.tag.clone(), target);
        }
        if let Some(subject) = put.manifest.subject().and_then(|subject| subject.digest()) {
            let descriptor = put.manifest.descriptor(*put.digest);
            repository
                .referrers
                .entry(*subject)
                .or_default()
                .insert(*put.digest, descriptor);
        }
        Ok(())
    }

    async fn delete(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let mut state = self.lock();
        let repository = state.repository_mut(repository)?;
        let (_, bytes) = repository
            .manifests
            .remove(digest)
            .ok_or(StoreError::NotFound)?;
        let subject = Manifest::parse(bytes, None)
            .ok()
            .and_then(|manifest| manifest.subject()?.digest().copied());
        if let Some(referrers) = subject.and_then(|subject| repository.referrers.get_mut(&subject))
        {
            referrers.remove(digest);
        }
        let gone: Vec<Tag> = repository
            .tags
            .iter()
            .filter(|(_, target)| target.to == *digest)
            .map(|(tag, _)| tag.clone())
            .collect();
        repository.tags.retain(|_, target| target.to != *digest);
        Ok(gone)
    }

    async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        self.lock()
            .repository_mut(repository)?
            .tags
            .remove(tag)
            .map(|target| target.to)
            .ok_or(StoreError::NotFound)
    }

    async fn tag_state(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<TagState, StoreError> {
        self.lock().repository(repository)?.tag_state(tag)
    }

    async fn untag_if(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        let repository = state.repository_mut(repository)?;
        if repository.tag_state(tag)? != *expected {
            return Err(StoreError::Precondition);
        }
        repository.tags.remove(tag);
        Ok(())
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, StoreError> {
        let state = self.lock();
        let repository = state.repository(repository)?;
        if !repository.known {
            return Err(StoreError::NotFound);
        }
        let tags = repository
            .tags
            .keys()
            .filter(|tag| page.is_past(tag.as_str()))
            .cloned();
        Ok(Page::cut(tags, page.limit))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        page: &PageRequest,
    ) -> Result<Page<Descriptor>, StoreError> {
        let state = self.lock();
        let referrers = state
            .repositories
            .get(repository)
            .and_then(|known| known.referrers.get(subject));
        let past = referrers
            .into_iter()
            .flatten()
            .filter(|(digest, _)| page.is_past(&digest.to_string()));
        Ok(Page::cut(
            past.map(|(_, descriptor)| descriptor.clone()),
            page.limit,
        ))
    }

    async fn repositories(&self, page: &PageRequest) -> Result<Page<RepositoryName>, StoreError> {
        let state = self.lock();
        let holding = state
            .repositories
            .iter()
            .filter(|(_, repository)| !repository.manifests.is_empty());
        let past = holding
            .map(|(name, _)| name)
            .filter(|name| page.is_past(name.as_str()))
            .cloned();
        Ok(Page::cut(past, page.limit))
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobMeta,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        if !state.blobs.contains_key(&blob.digest) {
            return Err(StoreError::NotFound);
        }
        state
            .repositories
            .entry(repository.clone())
            .or_default()
            .blobs
            .insert(blob.digest);
        Ok(())
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let state = self.lock();
        let known = state.repositories.get(repository).into_iter();
        let all = known.flat_map(|repository| repository.manifests.keys());
        let past = all.filter(|digest| page.is_past(&digest.to_string()));
        Ok(Page::cut(past.copied(), page.limit))
    }

    async fn linked_blobs(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let state = self.lock();
        let known = state.repositories.get(repository).into_iter();
        let all = known.flat_map(|repository| &repository.blobs);
        let past = all.filter(|digest| page.is_past(&digest.to_string()));
        Ok(Page::cut(past.copied(), page.limit))
    }

    async fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let state = self.lock();
        Ok(state
            .repositories
            .get(repository)
            .is_some_and(|repository| repository.blobs.contains(digest)))
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.repository_mut(repository)?.blobs.remove(digest) {
            Ok(())
        } else {
            Err(StoreError::NotFound)
        }
    }
}

impl Repository {
    fn tag_state(&self, tag: &Tag) -> Result<TagState, StoreError> {
        let target = self.tags.get(tag).ok_or(StoreError::NotFound)?;
        Ok(TagState {
            pushed: Some(target.pushed),
            ..TagState::new(target.to)
        })
    }
}

impl State {
    fn repository(&self, name: &RepositoryName) -> Result<&Repository, StoreError> {
        self.repositories.get(name).ok_or(StoreError::NotFound)
    }

    fn repository_mut(&mut self, name: &RepositoryName) -> Result<&mut Repository, StoreError> {
        self.repositories.get_mut(name).ok_or(StoreError::NotFound)
    }

    fn holds(&self, name: &RepositoryName, needed: &ManifestReference) -> bool {
        let Some(repository) = self.repositories.get(name) else {
            return false;
        };
        let size = match needed.kind {
            ReferenceKind::Blob if repository.blobs.contains(&needed.digest) => {
                self.blobs.get(&needed.digest).map(bytes::Bytes::len)
            }
            ReferenceKind::Blob => None,
            ReferenceKind::Manifest => repository
                .manifests
                .get(&needed.digest)
                .map(|(_, bytes)| bytes.len()),
        };
        size.is_some_and(|size| size as u64 == needed.size)
    }
}
