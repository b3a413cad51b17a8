//! Looking at everything: what might go, and how much of all that is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use oci_core::store::{Candidate, CandidateKind, Phase};
use oci_core::{Digest, RepositoryName, StoreError};

use super::super::Engine;
use super::super::access::{Found as Read, gather};
use super::super::content::Mortal;
use super::super::delete::Dead;
use super::super::encoding::Header;
use super::super::keys::{self, Key};
use super::super::model::{BlobRecord, Life, LinkRecord, RevisionRecord};
use super::super::store::ScanEntry;
use super::cursor::{Cursor, Listing};
use super::elsewhere::{Elsewhere, unreferenced};
use super::orphans::Orphan;
use super::references::{Kept, Manifests};
use super::{MOST, PAGE, Run};

/// What might go. 200 bytes or less each.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) manifests: Vec<(RepositoryName, Digest)>,
    pub(super) links: Vec<(RepositoryName, Digest)>,
    pub(super) content: Vec<Digest>,
    pub(super) orphans: Vec<Orphan>,
    /// Manifests that are gone while something still points to them: their delete was cut short.
    pub(super) pending: Vec<Dead>,
}

impl Found {
    /// Whether there may be more than this.
    pub(super) fn is_full(&self) -> bool {
        let counts = [self.manifests.len(), self.links.len(), self.content.len()];
        counts.into_iter().any(|count| count >= MOST) || self.orphans.len() >= MOST
    }
}

/// Remembers one more, unless there are too many.
pub(super) fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MOST {
        list.push(item);
    }
}

impl Run {
    /// Looks at everything; when `first`, counts it and says what would go. `None` if another collector has
    /// taken over.
    pub(super) async fn look(&mut self, first: bool) -> Result<Option<Found>, StoreError> {
        let mut found = Found::default();
        self.manifests = Manifests::default();
        self.elsewhere = Elsewhere::default();
        let goes_on = self.look_at_links(&mut found, first).await?
            && self.look_at_content(&mut found, first).await?
            && self.look_at_extents(&mut found, first).await?;
        Ok(goes_on.then_some(found))
    }

    async fn look_at_links(&mut self, found: &mut Found, first: bool) -> Result<bool, StoreError> {
        let mut at: Option<(RepositoryName, Needed)> = None;
        let mut place = Place::default();
        loop {
            let Some(entries) = self.page(keys::LINKS, &mut place).await? else {
                return Ok(true);
            };
            let mut unneeded = Vec::new();
            for entry in entries {
                let Some(Key::Link(repository, digest)) = Key::parse(&entry.key) else {
                    continue;
                };
                if at.as_ref().is_none_or(|(known, _)| *known != repository) {
                    let needed = self.needed_in(&repository, found, first).await?;
                    self.collected.repositories += u64::from(first);
                    at = Some((repository.clone(), needed));
                }
                match &at {
                    Some((_, Needed::These(needed))) if !needed.contains(&digest) => {}
                    Some((_, Needed::All)) => {
                        // Nobody may know who refers to it.
                        self.elsewhere.keep(digest);
                        continue;
                    }
                    _ => continue,
                }
                unneeded.push((repository, digest, entry));
            }
            let looks = unneeded.into_iter().map(|(repository, digest, entry)| {
                let engine = Arc::clone(&self.engine);
                async move {
                    let link: Read<LinkRecord> = engine.brought(entry).await?;
                    Ok((repository, digest, link))
                }
            });
            for (repository, digest, link) in gather(looks.collect()).await? {
                if link.header().is_some_and(|link| self.may_go(link)) {
                    if first {
                        self.collected.garbage_links += 1;
                        self.tell(CandidateKind::Link, Some(&repository), digest, 0);
                    }
                    remember(&mut found.links, (repository, digest));
                }
            }
            if !self.goes_on(Phase::Marking).await? {
                return Ok(false);
            }
        }
    }

    /// What the manifests of a repository need. Those that are to go need nothing.
    async fn needed_in(
        &mut self,
        repository: &RepositoryName,
        found: &mut Found,
        first: bool,
    ) -> Result<Needed, StoreError> {
        let mut there = BTreeMap::new();
        let mut needed = HashSet::new();
        // Of those that are there.
        let mut elsewhere: HashMap<Digest, Vec<Digest>> = HashMap::new();
        let mut place = Place::default();
        let prefix = keys::manifests(repository);
        while let Some(entries) = self.page(&prefix, &mut place).await? {
            let reads = entries.into_iter().map(|entry| {
                let engine = Arc::clone(&self.engine);
                async move {
                    let key = entry.key.clone();
                    let read: Read<RevisionRecord> = engine.brought(entry).await?;
                    Ok((key, read))
                }
            });
            for (key, read) in gather(reads.collect()).await? {
                let Some(Key::Manifest(_, digest)) = Key::parse(&key) else {
                    continue;
                };
                match (&read.version, read.header()) {
                    (Some(_), None) => {
                        if first {
                            let why = format!("its record `{key}` is damaged: push it again");
                            self.unclear(repository.as_str(), &why);
                        }
                        return Ok(Needed::All);
                    }
                    (_, Some(revision)) if revision.life.is_there() => {
                        self.collected.manifests_read += u64::from(first);
                        self.manifests.note(repository, digest, revision.push);
                        let Some(names) = read.record.as_ref().and_then(unreferenced) else {
                            if first {
                                let why = format!("the manifest of `{key}` is none: push it again");
                                self.unclear(repository.as_str(), &why);
                            }
                            return Ok(Needed::All);
                        };
                        let mut revision = revision.clone();
                        revision.references.extend(&names);
                        if self.options.untagged {
                            there.insert(digest, revision);
                            if !names.is_empty() {
                                elsewhere.insert(digest, names);
                            }
                        } else {
                            needed.extend(revision.references);
                            for name in names {
                                self.elsewhere.keep(name);
                            }
                        }
                    }
                    (_, Some(revision)) if revision.pending && self.is_old(revision.touched) => {
                        let dead = Dead {
                            repository: repository.clone(),
                            digest,
                            revision: revision.clone(),
                            version: read.version.clone(),
                        };
                        remember(&mut found.pending, dead);
                    }
                    _ => {}
                }
            }
        }
        if self.options.untagged {
            let Some(led_to) = self.led_to(repository, &there, first).await? else {
                return Ok(Needed::All);
            };
            for (digest, revision) in there {
                if led_to.contains(&digest) || !self.doom(repository, digest, found, first) {
                    needed.extend(revision.references);
                    let names = elsewhere.remove(&digest).unwrap_or_default();
                    for name in names {
                        self.elsewhere.keep(name);
                    }
                }
            }
        }
        Ok(Needed::These(needed))
    }

    async fn look_at_content(
        &mut self,
        found: &mut Found,
        first: bool,
    ) -> Result<bool, StoreError> {
        let mut references = Cursor::new(Listing::Records, keys::REFERENCES);
        let mut place = Place::default();
        loop {
            let Some(entries) = self.page(keys::BLOBS, &mut place).await? else {
                return Ok(true);
            };
            let mut unneeded = Vec::new();
            for entry in entries {
                let path = entry.key.strip_prefix(keys::BLOBS).unwrap_or_default();
                let Some(Key::Blob(digest)) = Key::parse(&entry.key) else {
                    continue;
                };
                match self.is_kept(&mut references, path, &digest).await? {
                    Kept::Yes => self.collected.content.count += u64::from(first),
                    kept @ (Kept::No | Kept::UntilNow) => unneeded.push((digest, kept, entry)),
                }
            }
            let looks = unneeded.into_iter().map(|(digest, kept, entry)| {
                let engine = Arc::clone(&self.engine);
                async move { Ok((digest, kept, engine.brought::<BlobRecord>(entry).await?)) }
            });
            for (digest, kept, read) in gather(looks.collect()).await? {
                match (&read.version, read.header()) {
                    (_, Some(blob)) if blob.life.is_there() => {
                        self.weigh(found, digest, kept, blob, first);
                    }
                    (Some(_), None) if first => {
                        self.unclear(&digest.to_string(), "its record is damaged: push it again");
                    }
                    _ => {}
                }
            }
            if !self.goes_on(Phase::Marking).await? {
                return Ok(false);
            }
        }
    }

    /// Content that nothing keeps.
    fn weigh(
        &mut self,
        found: &mut Found,
        digest: Digest,
        kept: Kept,
        blob: &BlobRecord,
        first: bool,
    ) {
        let (goes, size) = (self.may_go(blob), blob.own_bytes());
        if first {
            let collected = &mut self.collected;
            collected.content.count += 1;
            if blob.extents.is_empty() {
                // The others are counted with their extents.
                collected.content.bytes = collected.content.bytes.saturating_add(size);
            }
            let amount = if goes {
                &mut collected.garbage
            } else {
                &mut collected.young
            };
            amount.add(size);
            if goes {
                self.tell(CandidateKind::Content, None, digest, size);
            } else if kept == Kept::UntilNow {
                self.collected.orphaned.add(size);
            }
        }
        if goes {
            remember(&mut found.content, digest);
        }
    }

    /// Whether a reference keeps the content at `path`. The first that does is enough.
    async fn is_kept(
        &mut self,
        references: &mut Cursor,
        path: &str,
        digest: &Digest,
    ) -> Result<Kept, StoreError> {
        if self.elsewhere.keeps(digest) {
            return Ok(Kept::Yes);
        }
        let (now, grace) = (self.now, self.options.grace);
        let mut kept = Kept::No;
        while let Some(key) = references.next_below(&self.engine, path).await? {
            match self.manifests.keeps(&self.engine, &key, now, grace).await? {
                Kept::Yes => return Ok(Kept::Yes),
                Kept::UntilNow => kept = Kept::UntilNow,
                Kept::No => {}
            }
        }
        Ok(kept)
    }

    /// Whether it is there, and nobody was told of it lately. What is condemned was left so by a collector
    /// that was cut off.
    pub(super) fn may_go<H: Mortal>(&self, record: &H) -> bool {
        record.life().is_there()
            && (record.life() == Life::Condemned || self.is_old(record.touched()))
    }

    pub(super) fn tell(
        &self,
        kind: CandidateKind,
        repository: Option<&RepositoryName>,
        digest: Digest,
        size: u64,
    ) {
        let repository = repository.map(RepositoryName::as_str);
        self.observer
            .candidate(&Candidate::new(kind, repository, digest, size));
    }

    /// The next page of records; `None` at the end.
    pub(super) async fn page(
        &self,
        prefix: &str,
        place: &mut Place,
    ) -> Result<Option<Vec<ScanEntry>>, StoreError> {
        if place.ended {
            return Ok(None);
        }
        let entries = self
            .engine
            .scan(prefix, place.after.as_deref(), PAGE)
            .await?;
        place.ended = entries.len() < PAGE;
        place.after = entries.last().map(|entry| entry.key.clone());
        Ok((!entries.is_empty()).then_some(entries))
    }
}

/// How far a listing was read.
#[derive(Debug, Default)]
pub(super) struct Place {
    after: Option<String>,
    ended: bool,
}

/// What the manifests of a repository need.
enum Needed {
    These(HashSet<Digest>),
    /// One of them cannot be read.
    All,
}

impl Engine {
    /// The record of a listing's entry, asked for if it did not come with it.
    pub(super) async fn brought<H: Header>(&self, entry: ScanEntry) -> Result<Read<H>, StoreError> {
        match entry.found {
            Some(found) => super::super::access::read(Some(found)),
            None => match Key::parse(&entry.key) {
                Some(key) => self.get(&key).await,
                None => super::super::access::read(None),
            },
        }
    }
}
