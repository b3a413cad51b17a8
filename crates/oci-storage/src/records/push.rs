//! Pushing manifests, in the order that keeps what they need from the collector.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use oci_core::error::StoreError;
use oci_core::manifest::ManifestReference;
use oci_core::store::{PutManifest, TagPrecondition, TagWrite};
use oci_core::{Digest, Manifest, RepositoryName, Tag};

use super::access::{Found, Swap, gather};
use super::content::{Mortal, Promise, contended};
use super::delete::{Dead, references_of};
use super::encoding::{Decoded, Nonce};
use super::keys::{self, Key};
use super::model::{
    BlobRecord, Life, LinkRecord, ReferrerRecord, RevisionRecord, TagRecord, TagTarget, target_of,
};
use super::{Engine, SWAP_TRIES};

/// A manifest on its way in.
#[derive(Debug)]
pub(super) struct Push {
    engine: Arc<Engine>,
    repository: RepositoryName,
    digest: Digest,
    manifest: Manifest,
    needed: Vec<ManifestReference>,
    /// What it names and what may be missing. If it is there, it stays.
    elsewhere: Vec<Digest>,
    tags: Vec<TagWrite>,
    /// The nonces of all attempts.
    own: Vec<Nonce>,
    /// Tags that were moved so far, or may have been, and where from.
    moved: Vec<(Tag, Option<TagTarget>)>,
    /// What it may have to move tags back to, and keeps until it is done.
    origins: BTreeSet<Digest>,
    /// Manifests that were live and swapped for this one: its own of earlier attempts, and others'.
    replaced: Vec<RevisionRecord>,
    /// Whether it was there before this push.
    was_there: bool,
    /// Whether it is there, as far as this push knows.
    visible: bool,
}

/// How an attempt ended.
enum Outcome {
    Done,
    /// Somebody else got in between. What this attempt wrote may have been there and been replaced, and
    /// its references removed with it, so nothing is written under its nonce any more.
    Again,
}

impl Push {
    pub(super) fn new(engine: Arc<Engine>, put: &PutManifest<'_>) -> Self {
        let mut tags = put.tags.to_vec();
        // What may fail first, so that tags that may be moved anyhow never have to be moved back.
        tags.sort_by_key(|write| write.precondition == TagPrecondition::None);
        Self {
            engine,
            repository: put.repository.clone(),
            digest: *put.digest,
            manifest: put.manifest.clone(),
            needed: put.references.to_vec(),
            elsewhere: put.manifest.elsewhere().to_vec(),
            tags,
            own: Vec::new(),
            moved: Vec::new(),
            origins: BTreeSet::new(),
            replaced: Vec::new(),
            was_there: false,
            visible: false,
        }
    }

    /// Runs to its end once begun.
    pub(super) async fn run(mut self) -> Result<(), StoreError> {
        self.look_first().await?;
        let mut failures = 0;
        for _ in 0..SWAP_TRIES {
            match self.attempt().await {
                Ok(Outcome::Done) => return Ok(()),
                Ok(Outcome::Again) => {}
                // It is visible, but not all that points to it: to leave it so comes last.
                Err(StoreError::Unavailable { .. } | StoreError::NoSpace(_))
                    if self.visible && failures < FAILURES =>
                {
                    failures += 1;
                }
                Err(error) => return Err(error),
            }
        }
        Err(contended())
    }

    /// Refuses a manifest that names much that is not there before anything is written for it: each of its
    /// references would be noted and taken back.
    async fn look_first(&self) -> Result<(), StoreError> {
        if self.needed.len() <= MANY {
            return Ok(());
        }
        for some in self.needed.chunks(MANY) {
            let missing = self
                .engine
                .missing(&self.repository, some, Promise::Kept, |_| true);
            let missing = missing.await?;
            if !missing.is_empty() {
                return Err(StoreError::MissingReferences(missing));
            }
        }
        Ok(())
    }

    async fn attempt(&mut self) -> Result<Outcome, StoreError> {
        let engine = Arc::clone(&self.engine);
        let push = engine.nonce();
        self.own.push(push);

        // Before the first reference: whoever removes references that look stale rewrites this first.
        let Some(before) = self.read_revision().await? else {
            return Ok(Outcome::Again);
        };
        // As they are before anything of this push is visible: a delete of it rewrites them after that.
        let entry = match self.referrer_key() {
            Some(key) => Some((engine.get::<ReferrerRecord>(&key).await?, key)),
            None => None,
        };
        let tags = self.read_tags().await?;
        self.note_origins(&tags);

        // 1: the references, and hints for whoever deletes it.
        self.mark_all(push).await?;
        // 2: what they refer to.
        let missing = engine
            .missing(&self.repository, &self.needed, Promise::Kept, |_| true)
            .await?;
        if !missing.is_empty() {
            return self
                .refuse(push, StoreError::MissingReferences(missing))
                .await;
        }
        self.protect_elsewhere().await?;
        self.protect_origins().await?;
        if !(self.tags.iter().zip(&tags)).all(|(write, found)| self.may_write(write, found)) {
            return self.refuse(push, StoreError::Precondition).await;
        }

        // 3: the manifest.
        engine
            .mark(&Key::Repository(self.repository.clone()))
            .await?;
        if !self.write_revision(push, before).await? {
            return Ok(Outcome::Again);
        }

        // 4: what points to it.
        if let Some((found, key)) = entry
            && !self.write_entry(push, &key, found).await?
        {
            return Ok(Outcome::Again);
        }
        for (write, found) in self.tags.clone().into_iter().zip(tags) {
            if !self.write_tag(push, &write, &found).await? {
                return Ok(Outcome::Again);
            }
        }
        self.tidy(push).await;
        Ok(Outcome::Done)
    }

    fn referrer_key(&self) -> Option<Key> {
        let subject = self.manifest.subject()?.digest()?;
        Some(Key::Referrer(
            self.repository.clone(),
            *subject,
            self.digest,
        ))
    }

    async fn read_tags(&self) -> Result<Vec<Found<TagRecord>>, StoreError> {
        let reads = self.tags.iter().map(|write| {
            let engine = Arc::clone(&self.engine);
            let key = Key::Tag(self.repository.clone(), write.tag.clone());
            async move { engine.get::<TagRecord>(&key).await }
        });
        gather(reads.collect()).await
    }

    /// A push by several tags that may be refused may come to move some of them back. By then a collector may have
    /// taken what they led to, if nothing else does. So that is needed like the child of an index.
    fn note_origins(&mut self, tags: &[Found<TagRecord>]) {
        let mut writes = self.tags.iter();
        if self.tags.len() > 1 && writes.any(|write| write.precondition != TagPrecondition::None) {
            let targets = tags.iter().filter_map(|found| target_of(found.header()));
            let others = targets.map(|target| target.digest);
            self.origins.extend(others.filter(|it| *it != self.digest));
        }
    }

    async fn protect_origins(&self) -> Result<(), StoreError> {
        for origin in &self.origins {
            let key = Key::Manifest(self.repository.clone(), *origin);
            let any = |_: &RevisionRecord| true;
            self.engine.protect(&key, Promise::Kept, any).await?;
        }
        Ok(())
    }

    /// What keeps them, but for those that the manifest itself needs.
    fn origin_references(&self, push: Nonce) -> Vec<Key> {
        let needed = self.revision(push).references;
        let origins = self.origins.iter().filter(|it| !needed.contains(it));
        let keys = origins.map(|origin| Key::Reference {
            to: *origin,
            repository: self.repository.clone(),
            from: self.digest,
            push,
        });
        keys.collect()
    }

    /// Of all attempts.
    async fn release_origins(&self) -> Result<(), StoreError> {
        let own = self.own.iter();
        let keys = own.flat_map(|push| self.origin_references(*push));
        self.engine.purge_all(keys.collect()).await
    }

    fn may_write(&self, write: &TagWrite, found: &Found<TagRecord>) -> bool {
        let target = target_of(found.header());
        target.is_some_and(|target| self.own.contains(&target.push))
            || write
                .precondition
                .holds(target.map(|target| &target.digest))
    }

    fn revision(&self, push: Nonce) -> RevisionRecord {
        RevisionRecord {
            life: Life::Live,
            push,
            media_type: self.manifest.manifest_type().as_str().to_owned(),
            references: (self.needed.iter().map(|needed| needed.digest))
                .chain(self.elsewhere.iter().copied())
                .collect(),
            subject: self
                .manifest
                .subject()
                .and_then(|subject| subject.digest())
                .copied(),
            pending: false,
            touched: self.engine.now(),
        }
    }

    /// The references and hints of an attempt.
    fn marks(&self, push: Nonce) -> Vec<Key> {
        let tags: BTreeSet<&Tag> = self.tags.iter().map(|write| &write.tag).collect();
        let hints = tags
            .into_iter()
            .map(|tag| Key::Tagged(self.repository.clone(), self.digest, tag.clone(), push));
        references_of(&self.repository, &self.digest, &self.revision(push))
            .chain(hints)
            .collect()
    }

    async fn mark_all(&self, push: Nonce) -> Result<(), StoreError> {
        let origins = self.origin_references(push);
        let marks = self.marks(push).into_iter().chain(origins).map(|key| {
            let engine = Arc::clone(&self.engine);
            async move { engine.mark(&key).await }
        });
        gather(marks.collect()).await.map(drop)
    }

    /// Brings back what a collector is about to remove of what may be missing.
    async fn protect_elsewhere(&self) -> Result<(), StoreError> {
        let looks = self.elsewhere.iter().map(|digest| {
            let engine = Arc::clone(&self.engine);
            let repository = self.repository.clone();
            let is_index = self.manifest.manifest_type().is_index();
            async move {
                if is_index {
                    let child = Key::Manifest(repository.clone(), *digest);
                    let any = |_: &RevisionRecord| true;
                    engine.protect(&child, Promise::Kept, any).await?;
                }
                let blob = Key::Blob(*digest);
                if engine
                    .protect(&blob, Promise::Kept, |_: &BlobRecord| true)
                    .await?
                {
                    let link = Key::Link(repository, *digest);
                    engine
                        .protect(&link, Promise::Kept, |_: &LinkRecord| true)
                        .await?;
                }
                Ok(())
            }
        });
        gather(looks.collect()).await.map(drop)
    }

    /// The manifest's record as it is. `None` if a delete had to be completed first, which has rewritten
    /// what is to be read next.
    async fn read_revision(&self) -> Result<Option<Found<RevisionRecord>>, StoreError> {
        let key = Key::Manifest(self.repository.clone(), self.digest);
        let found = self.engine.get::<RevisionRecord>(&key).await?;
        let Some(dead) = found.header().filter(|before| before.pending) else {
            return Ok(Some(found));
        };
        let dead = Dead {
            repository: self.repository.clone(),
            digest: self.digest,
            revision: dead.clone(),
            version: found.version.clone(),
        };
        self.engine.clean_up(dead).await?;
        Ok(None)
    }

    /// Swaps the manifest in. `false` if somebody else has changed it since it was read.
    async fn write_revision(
        &mut self,
        push: Nonce,
        before: Found<RevisionRecord>,
    ) -> Result<bool, StoreError> {
        let engine = Arc::clone(&self.engine);
        let key = Key::Manifest(self.repository.clone(), self.digest);
        let revision = self.revision(push);
        let Found { version, record } = before;
        let before = record.map(|record| record.header);
        let bytes = self.manifest.bytes();
        let swap = engine.swap(&key, version.as_ref(), &revision, bytes);
        if let Swap::Won(..) = swap.await? {
            self.note_replaced(before);
            return Ok(true);
        }
        let found = engine.get::<RevisionRecord>(&key).await?;
        if found.header().is_some_and(|now| now.push == push) {
            // It was written, and only its state has changed since: the references are needed.
            self.note_replaced(before);
        } else {
            self.abandon(push).await;
        }
        Ok(false)
    }

    /// Removes the references and hints of an attempt under whose nonce nothing is or will be visible.
    async fn abandon(&self, push: Nonce) {
        // What stays behind costs the collector a look.
        let _ = self.engine.purge_all(self.marks(push)).await;
    }

    /// Ends a push that may not go on. What earlier attempts have changed is taken back.
    async fn refuse(&mut self, push: Nonce, error: StoreError) -> Result<Outcome, StoreError> {
        self.engine.purge_all(self.marks(push)).await?;
        if self.visible {
            self.undo().await?;
        }
        self.release_origins().await?;
        Err(error)
    }

    /// Whether the manifest is there, as this attempt wrote it.
    async fn still_there(&self, push: Nonce) -> Result<bool, StoreError> {
        let key = Key::Manifest(self.repository.clone(), self.digest);
        let found = self.engine.get::<RevisionRecord>(&key).await?;
        let revision = found.header();
        Ok(revision.is_some_and(|revision| revision.life.is_there() && revision.push == push))
    }

    async fn write_entry(
        &self,
        push: Nonce,
        key: &Key,
        mut found: Found<ReferrerRecord>,
    ) -> Result<bool, StoreError> {
        let entry = ReferrerRecord {
            descriptor: Some(self.manifest.descriptor(self.digest)),
            touched: self.engine.now(),
        };
        for _ in 0..SWAP_TRIES {
            let swap = self.engine.swap(key, found.version.as_ref(), &entry, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(true);
            }
            found = self.engine.get(key).await?;
            if !self.still_there(push).await? {
                return Ok(false);
            }
        }
        Err(contended())
    }

    /// Moves a tag from where it was read. `false` if somebody else has moved it, or deleted what it is
    /// to point to, since then.
    async fn write_tag(
        &mut self,
        push: Nonce,
        write: &TagWrite,
        found: &Found<TagRecord>,
    ) -> Result<bool, StoreError> {
        let key = Key::Tag(self.repository.clone(), write.tag.clone());
        let record = TagRecord {
            to: Some(TagTarget {
                digest: self.digest,
                push,
            }),
            touched: self.engine.now(),
        };
        // Noted before it is known, as the answer may get lost.
        let before = target_of(found.header()).cloned();
        self.moved.push((write.tag.clone(), before));
        // Never twice: whoever replaces it removes its hint, without which no delete would find it.
        let swap = (self.engine).swap(&key, found.version.as_ref(), &record, &[]);
        Ok(matches!(swap.await?, Swap::Won(..)))
    }

    /// Removes what this push has replaced. What stays behind costs the collector a look.
    async fn tidy(&self, push: Nonce) {
        let hints = self.moved.iter().filter_map(|(tag, before)| {
            let before = before.as_ref().filter(|before| before.push != push)?;
            Some(Key::Tagged(
                self.repository.clone(),
                before.digest,
                tag.clone(),
                before.push,
            ))
        });
        let replaced = hints.chain(self.replaced_references()).collect();
        let _ = self.engine.purge_all(replaced).await;
        let _ = self.release_origins().await;
    }

    /// Takes back what earlier attempts of a push have changed that may not go on. May be repeated.
    async fn undo(&mut self) -> Result<(), StoreError> {
        // Where each tag was before it was this push's own, for the last time.
        let mut origins: BTreeMap<&Tag, Option<&TagTarget>> = BTreeMap::new();
        for (tag, before) in &self.moved {
            let before = before.as_ref();
            if before.is_none_or(|before| !self.own.contains(&before.push)) {
                origins.insert(tag, before);
            }
        }
        for (tag, target) in origins {
            self.move_back(tag, target.cloned()).await?;
        }
        // If somebody else had pushed the manifest, it stays, kept by the references of this push.
        if !self.was_there {
            self.take_away().await?;
        }
        self.engine
            .purge_all(self.replaced_references().collect())
            .await
    }

    fn note_replaced(&mut self, before: Option<RevisionRecord>) {
        self.visible = true;
        match before.filter(|before| before.life.is_there()) {
            Some(before) => {
                self.was_there |= !self.own.contains(&before.push);
                self.replaced.push(before);
            }
            None => self.was_there = false,
        }
    }

    /// The references of manifests that this one has replaced: nobody needs them any more.
    fn replaced_references(&self) -> impl Iterator<Item = Key> {
        let replaced = self.replaced.iter();
        replaced.flat_map(|before| references_of(&self.repository, &self.digest, before))
    }

    async fn move_back(&self, tag: &Tag, target: Option<TagTarget>) -> Result<(), StoreError> {
        let engine = &self.engine;
        let key = Key::Tag(self.repository.clone(), tag.clone());
        let is_own = |found: &Found<TagRecord>| {
            target_of(found.header()).is_some_and(|to| self.own.contains(&to.push))
        };
        if !is_own(&engine.get(&key).await?) {
            return Ok(());
        }
        // As if the old target was pushed again: hint, tag, manifest, in this order.
        let target = target.map(|target| TagTarget {
            push: engine.nonce(),
            ..target
        });
        if let Some(target) = &target {
            let hint = Key::Tagged(
                self.repository.clone(),
                target.digest,
                tag.clone(),
                target.push,
            );
            engine.mark(&hint).await?;
        }
        for _ in 0..SWAP_TRIES {
            let found = engine.get::<TagRecord>(&key).await?;
            if !is_own(&found) {
                // Somebody has moved it on.
                return Ok(());
            }
            let mut to = target.clone();
            if let Some(target) = &to {
                let key = Key::Manifest(self.repository.clone(), target.digest);
                let revision = engine.get::<RevisionRecord>(&key).await?;
                if !revision.header().is_some_and(|it| it.life.is_there()) {
                    to = None;
                }
            }
            let touched = engine.now();
            let record = TagRecord { to, touched };
            let swap = engine.swap(&key, found.version.as_ref(), &record, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Removes the manifest again, as a collector would: an index may have come to need it meanwhile.
    async fn take_away(&self) -> Result<(), StoreError> {
        let engine = &self.engine;
        let key = Key::Manifest(self.repository.clone(), self.digest);
        let Found { version, record } = engine.get::<RevisionRecord>(&key).await?;
        let own = |record: &Decoded<RevisionRecord>| {
            self.own.contains(&record.header.push) && record.header.life == Life::Live
        };
        let Some(Decoded {
            header: mut revision,
            body,
            ..
        }) = record.filter(own)
        else {
            // Somebody else has pushed or deleted it.
            return Ok(());
        };
        revision.life = Life::Condemned;
        let swap = engine.swap(&key, version.as_ref(), &revision, &body);
        let Swap::Won(version, _) = swap.await? else {
            return Ok(());
        };
        let parents = keys::references_in(&self.digest, &self.repository);
        if engine.scan(&parents, None, 1).await?.is_empty() {
            revision.end(engine.now(), engine.nonce());
            let swap = engine.swap(&key, Some(&version), &revision, &[]);
            if let Swap::Won(version, _) = swap.await? {
                let dead = Dead {
                    repository: self.repository.clone(),
                    digest: self.digest,
                    revision,
                    version: Some(version),
                };
                engine.clean_up(dead).await?;
            }
        } else {
            revision.life = Life::Live;
            let _lost_is_fine = engine.swap(&key, Some(&version), &revision, &body).await?;
        }
        Ok(())
    }
}

/// How often a push that is half visible is tried again.
const FAILURES: usize = 3;
/// No image has more references.
const MANY: usize = 200;
