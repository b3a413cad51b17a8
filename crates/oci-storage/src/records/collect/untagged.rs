//! Manifests that no tag leads to, if they are to go: neither by itself, nor through an index, nor as the
//! subject of what refers to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use oci_core::store::{CandidateKind, Phase};
use oci_core::{Digest, RepositoryName, StoreError, Tag};

use super::super::access::{Found as Read, Swap, gather};
use super::super::content::contended;
use super::super::delete::Dead;
use super::super::keys::{self, Key};
use super::super::model::{RevisionRecord, TagRecord, target_of};
use super::super::{Engine, SWAP_TRIES};
use super::look::{Found, Place, remember};
use super::remove::{Age, Ended};
use super::{BATCH, MOST, Run};

impl Run {
    /// Of the manifests of a repository, those that something leads to. `None` if that cannot be told.
    pub(super) async fn led_to(
        &mut self,
        repository: &RepositoryName,
        there: &BTreeMap<Digest, RevisionRecord>,
        first: bool,
    ) -> Result<Option<HashSet<Digest>>, StoreError> {
        let mut next = Vec::new();
        let mut place = Place::default();
        let prefix = keys::tags(repository);
        while let Some(entries) = self.page(&prefix, &mut place).await? {
            let reads = entries.into_iter().map(|entry| {
                let engine = Arc::clone(&self.engine);
                async move {
                    let key = entry.key.clone();
                    Ok((key, engine.brought::<TagRecord>(entry).await?))
                }
            });
            for (key, read) in gather(reads.collect()).await? {
                match (&read.version, read.header()) {
                    (Some(_), None) => {
                        if first {
                            let why = format!("`{key}` is damaged, and what it meant is not known");
                            self.unclear(repository.as_str(), &why);
                        }
                        return Ok(None);
                    }
                    (_, tag) => next.extend(target_of(tag).map(|target| target.digest)),
                }
            }
        }
        let mut about: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for (digest, revision) in there {
            if !self.may_go(revision) {
                next.push(*digest);
            }
            if let Some(subject) = revision.subject {
                about.entry(subject).or_default().push(*digest);
            }
        }
        let mut led_to = HashSet::new();
        while let Some(digest) = next.pop() {
            if let Some(revision) = there.get(&digest)
                && led_to.insert(digest)
            {
                next.extend(revision.references.iter().copied());
                next.extend(about.remove(&digest).unwrap_or_default());
            }
        }
        Ok(Some(led_to))
    }

    /// Notes a manifest that nothing leads to. `false` if there are too many: then it stays for now.
    pub(super) fn doom(
        &mut self,
        repository: &RepositoryName,
        digest: Digest,
        found: &mut Found,
        first: bool,
    ) -> bool {
        let room = found.manifests.len() < MOST;
        if first {
            self.collected.garbage_manifests += 1;
            self.collected.unweighed_manifests += u64::from(!room);
            self.tell(CandidateKind::Manifest, Some(repository), digest, 0);
        }
        if room {
            self.manifests.doom(repository, digest);
            remember(&mut found.manifests, (repository.clone(), digest));
        }
        room
    }

    /// Removes manifests, what leads to others before these. `false` if another collector has taken over.
    pub(super) async fn remove_manifests(
        &mut self,
        mut manifests: Vec<(RepositoryName, Digest)>,
    ) -> Result<bool, StoreError> {
        loop {
            let before = manifests.len();
            let mut kept = Vec::new();
            for batch in manifests.chunks(BATCH) {
                let work = batch.iter().cloned().map(|(repository, digest)| {
                    let (engine, age) = (Arc::clone(&self.engine), self.age());
                    async move {
                        let ended = engine.end_manifest(&repository, &digest, &age).await;
                        Ok(((repository, digest), ended))
                    }
                });
                for (what, ended) in gather(work.collect()).await? {
                    match ended {
                        Ok(Ended::Gone(_)) => self.collected.removed_manifests += 1,
                        Ok(Ended::Kept) => kept.push(what),
                        Ok(Ended::Absent) => {}
                        Err(error) => self.failed(error)?,
                    }
                }
                if !self.goes_on(Phase::Removing).await? {
                    return Ok(false);
                }
            }
            if kept.is_empty() || kept.len() == before {
                self.collected.revived += kept.len() as u64;
                return Ok(true);
            }
            manifests = kept;
        }
    }
}

impl Engine {
    /// Whether a tag, an index or a subject leads to a manifest.
    async fn is_led_to(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        revision: &RevisionRecord,
    ) -> Result<bool, StoreError> {
        if let Some(subject) = revision.subject {
            let key = Key::Manifest(repository.clone(), subject);
            let subject = self.get::<RevisionRecord>(&key).await?;
            // A damaged one may be there.
            let there = match subject.header() {
                Some(subject) => subject.life.is_there(),
                None => subject.version.is_some(),
            };
            if there {
                return Ok(true);
            }
        }
        let parents = keys::references_in(digest, repository);
        if !self.scan(&parents, None, 1).await?.is_empty() {
            return Ok(true);
        }
        for tag in self.hinted(repository, digest).await? {
            let key = Key::Tag(repository.clone(), tag);
            let found = self.get::<TagRecord>(&key).await?;
            if is_at(&found, digest) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tags that may point to a manifest, or may be about to.
    async fn hinted(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let prefix = keys::tagged(repository, digest);
        let hints = self.scan_keys(&prefix, usize::MAX).await?;
        let mut tags: Vec<Tag> = hints
            .iter()
            .filter_map(|key| match Key::parse(key)? {
                Key::Tagged(_, _, tag, _) => Some(tag),
                _ => None,
            })
            .collect();
        tags.dedup();
        Ok(tags)
    }

    async fn end_manifest(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
        age: &Age,
    ) -> Result<Ended<RevisionRecord>, StoreError> {
        let key = Key::Manifest(repository.clone(), *digest);
        let parents = keys::references_in(digest, repository);
        if !self.remove_all_stale(&parents, age).await? {
            return Ok(Ended::Kept);
        }
        let (condemned, version) = match self.condemn::<RevisionRecord>(&key, age).await? {
            Ok(condemned) => condemned,
            Err(ended) => return Ok(ended),
        };
        let needed = self
            .is_led_to(repository, digest, &condemned.before)
            .await?
            || !self.keep_tags_off(repository, digest).await?;
        let ended = self.decide(&key, condemned, &version, needed).await?;
        if let Ended::Gone(_) = &ended {
            // As after any delete: what points to it, and its references.
            let found = self.get::<RevisionRecord>(&key).await?;
            if let Some(revision) = found.header().filter(|revision| revision.pending) {
                let dead = Dead {
                    repository: repository.clone(),
                    digest: *digest,
                    revision: revision.clone(),
                    version: found.version.clone(),
                };
                self.clean_up(dead).await?;
            }
        }
        Ok(ended)
    }

    /// Sees to it that a push which swapped the manifest in before it was condemned, and has yet to write a
    /// tag, fails to: it read the tag before. `false` if one points there already.
    async fn keep_tags_off(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        for tag in self.hinted(repository, digest).await? {
            if !self.keep_tag_off(repository, &tag, digest).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn keep_tag_off(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let key = Key::Tag(repository.clone(), tag.clone());
        for _ in 0..SWAP_TRIES {
            let found = self.get::<TagRecord>(&key).await?;
            if is_at(&found, digest) {
                return Ok(false);
            }
            let same = TagRecord {
                to: target_of(found.header()).cloned(),
                touched: self.now(),
            };
            let swap = self.swap(&key, found.version.as_ref(), &same, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(true);
            }
        }
        Err(contended())
    }
}

/// Whether a tag points to a manifest; a damaged one may.
fn is_at(found: &Read<TagRecord>, digest: &Digest) -> bool {
    match found.header() {
        Some(tag) => tag.to.as_ref().is_some_and(|to| to.digest == *digest),
        None => found.version.is_some(),
    }
}
