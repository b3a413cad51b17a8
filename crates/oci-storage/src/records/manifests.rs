//! The metadata plane, as far as it reads; pushes and deletes have modules of their own.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use oci_core::error::StoreError;
use oci_core::store::{
    BlobMeta, ManifestStore, Page, PageRequest, PutManifest, StoredManifest, TagState,
};
use oci_core::{Descriptor, Digest, ManifestType, RepositoryName, Tag};

use super::access::{Found, Swap, gather};
use super::content::{Promise, contended};
use super::delete::{Dead, delete};
use super::detach::to_the_end;
use super::keys::{self, Key};
use super::model::{
    BlobRecord, Life, LinkRecord, MarkRecord, ReferrerRecord, RevisionRecord, TagRecord, state_of,
    target_of,
};
use super::push::Push;
use super::{Engine, Records, SWAP_TRIES};

#[async_trait]
impl ManifestStore for Records {
    fn checks_references(&self) -> bool {
        true
    }

    fn lists_cheaply(&self) -> bool {
        self.engine.records.scans_cheaply()
    }

    async fn resolve(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        let key = Key::Tag(repository.clone(), tag.clone());
        let found = self.engine.get::<TagRecord>(&key).await?;
        let target = target_of(found.header()).ok_or(StoreError::NotFound)?;
        Ok(target.digest)
    }

    async fn read(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<StoredManifest, StoreError> {
        let key = Key::Manifest(repository.clone(), *digest);
        let Found { version, record } = self.engine.get::<RevisionRecord>(&key).await?;
        let record = record.ok_or(StoreError::NotFound)?;
        if !record.header.life.is_there() {
            self.engine
                .go_on_deleting(Dead {
                    repository: repository.clone(),
                    digest: *digest,
                    revision: record.header,
                    version,
                })
                .await;
            return Err(StoreError::NotFound);
        }
        // Only known types are ever written.
        let manifest_type =
            ManifestType::from_media_type(&record.header.media_type).ok_or(StoreError::NotFound)?;
        Ok(StoredManifest::new(*digest, manifest_type, record.body))
    }

    async fn put(&self, put: PutManifest<'_>) -> Result<(), StoreError> {
        let push = Push::new(Arc::clone(&self.engine), &put);
        to_the_end(Arc::clone(&self.engine.options.spawn), push.run()).await
    }

    async fn delete(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let work = delete(Arc::clone(&self.engine), repository.clone(), *digest);
        to_the_end(Arc::clone(&self.engine.options.spawn), work).await
    }

    async fn untag(&self, repository: &RepositoryName, tag: &Tag) -> Result<Digest, StoreError> {
        let key = Key::Tag(repository.clone(), tag.clone());
        for _ in 0..SWAP_TRIES {
            let found = self.engine.get::<TagRecord>(&key).await?;
            let target = target_of(found.header())
                .cloned()
                .ok_or(StoreError::NotFound)?;
            let gone = TagRecord {
                to: None,
                touched: self.engine.now(),
            };
            let swap = self.engine.swap(&key, found.version.as_ref(), &gone, &[]);
            if let Swap::Won(..) = swap.await? {
                let hint = Key::Tagged(repository.clone(), target.digest, tag.clone(), target.push);
                // A hint too many costs the next delete a look.
                let _ = self.engine.purge(&hint).await;
                return Ok(target.digest);
            }
        }
        Err(contended())
    }

    /// Records do not say when they were written. Which push wrote them they do.
    async fn tag_state(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<TagState, StoreError> {
        let key = Key::Tag(repository.clone(), tag.clone());
        let found = self.engine.get::<TagRecord>(&key).await?;
        let target = target_of(found.header()).ok_or(StoreError::NotFound)?;
        Ok(state_of(target))
    }

    async fn untag_if(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        expected: &TagState,
    ) -> Result<(), StoreError> {
        let key = Key::Tag(repository.clone(), tag.clone());
        for _ in 0..SWAP_TRIES {
            let found = self.engine.get::<TagRecord>(&key).await?;
            let target = target_of(found.header())
                .cloned()
                .ok_or(StoreError::NotFound)?;
            if state_of(&target) != *expected {
                return Err(StoreError::Precondition);
            }
            let gone = TagRecord {
                to: None,
                touched: self.engine.now(),
            };
            let swap = self.engine.swap(&key, found.version.as_ref(), &gone, &[]);
            if let Swap::Won(..) = swap.await? {
                let hint = Key::Tagged(repository.clone(), target.digest, tag.clone(), target.push);
                // A hint too many costs the next delete a look.
                let _ = self.engine.purge(&hint).await;
                return Ok(());
            }
        }
        Err(contended())
    }

    async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, StoreError> {
        let known = Key::Repository(repository.clone());
        let known = self.engine.get::<MarkRecord>(&known).await?;
        known.version.ok_or(StoreError::NotFound)?;
        let after = page.after.as_deref();
        let after = after.map(|after| keys::tag_after(repository, after));
        let pick = |found: Vec<(Key, TagRecord)>| {
            let tags = found.into_iter().filter_map(|(key, record)| match key {
                Key::Tag(_, tag) if record.to.is_some() => Some(tag),
                _ => None,
            });
            std::future::ready(Ok(tags.collect())).boxed()
        };
        let prefix = keys::tags(repository);
        let (items, more) = self.engine.page(&prefix, after, page.limit, pick).await?;
        Ok(Page::new(items, more))
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        page: &PageRequest,
    ) -> Result<Page<Descriptor>, StoreError> {
        let pick = |found: Vec<(Key, ReferrerRecord)>| {
            let descriptors = found
                .into_iter()
                .filter_map(|(_, record)| record.descriptor);
            std::future::ready(Ok(descriptors.collect())).boxed()
        };
        let prefix = keys::referrers(repository, subject);
        self.engine.digests(&prefix, page, pick).await
    }

    async fn repositories(&self, page: &PageRequest) -> Result<Page<RepositoryName>, StoreError> {
        let after = page.after.as_deref().map(keys::repository_after);
        let engine = Arc::clone(&self.engine);
        let pick = move |found: Vec<(Key, MarkRecord)>| {
            let engine = Arc::clone(&engine);
            async move {
                let looks = found.into_iter().filter_map(|(key, _)| match key {
                    Key::Repository(name) => Some(name),
                    _ => None,
                });
                let looks = looks.map(|name| {
                    let engine = Arc::clone(&engine);
                    async move { Ok(engine.holds_manifest(&name).await?.then_some(name)) }
                });
                let names = gather(looks.collect()).await?;
                Ok(names.into_iter().flatten().collect())
            }
            .boxed()
        };
        let (items, more) = self
            .engine
            .page(keys::REPOSITORIES, after, page.limit, pick)
            .await?;
        Ok(Page::new(items, more))
    }

    async fn link_blob(
        &self,
        repository: &RepositoryName,
        blob: &BlobMeta,
    ) -> Result<(), StoreError> {
        let key = Key::Blob(blob.digest);
        let size = blob.size;
        let fits = move |record: &BlobRecord| record.size == size;
        if self.engine.protect(&key, Promise::Told, fits).await? {
            self.engine.link(repository, &blob.digest, false).await
        } else {
            Err(StoreError::NotFound)
        }
    }

    async fn manifests(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let pick = |found: Vec<(Key, RevisionRecord)>| {
            let digests = found.into_iter().filter_map(|(key, record)| match key {
                Key::Manifest(_, digest) if record.life.is_there() => Some(digest),
                _ => None,
            });
            std::future::ready(Ok(digests.collect())).boxed()
        };
        let prefix = keys::manifests(repository);
        self.engine.digests(&prefix, page, pick).await
    }

    async fn linked_blobs(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, StoreError> {
        let pick = |found: Vec<(Key, LinkRecord)>| {
            let digests = found.into_iter().filter_map(|(key, record)| match key {
                Key::Link(_, digest) if record.life.is_there() => Some(digest),
                _ => None,
            });
            std::future::ready(Ok(digests.collect())).boxed()
        };
        let prefix = keys::links(repository);
        self.engine.digests(&prefix, page, pick).await
    }

    async fn has_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let key = Key::Link(repository.clone(), *digest);
        let found = self.engine.get::<LinkRecord>(&key).await?;
        Ok(found.header().is_some_and(|link| link.life.is_there()))
    }

    async fn unlink_blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let key = Key::Link(repository.clone(), *digest);
        for _ in 0..SWAP_TRIES {
            let found = self.engine.get::<LinkRecord>(&key).await?;
            if !found.header().is_some_and(|link| link.life.is_there()) {
                return Err(StoreError::NotFound);
            }
            let gone = LinkRecord {
                life: Life::Dead,
                touched: self.engine.now(),
            };
            let swap = self.engine.swap(&key, found.version.as_ref(), &gone, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}

impl Engine {
    async fn holds_manifest(self: &Arc<Self>, name: &RepositoryName) -> Result<bool, StoreError> {
        let pick = |found: Vec<(Key, RevisionRecord)>| {
            let there = found
                .into_iter()
                .filter(|(_, record)| record.life.is_there());
            std::future::ready(Ok(there.map(drop).collect::<Vec<()>>())).boxed()
        };
        let (found, _) = self.page(&keys::manifests(name), None, 1, pick).await?;
        Ok(!found.is_empty())
    }
}
