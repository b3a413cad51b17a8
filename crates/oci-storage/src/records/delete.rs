//! Deleting manifests: the manifest first, by one swap, then everything that points to it.
//!
//! Tags and the referrer entry are rewritten even if they do not point to it: a push that is between
//! its manifest and its tags then loses its swap and sees that the manifest is gone. Each is only
//! rewritten while the dead manifest is still waiting for that, so that a later push of the same
//! manifest, which first completes the delete, keeps its tags.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oci_core::error::StoreError;
use oci_core::{Digest, RepositoryName, Tag};

use super::access::{Found, Swap, gather};
use super::content::{Mortal, contended};
use super::encoding::Nonce;
use super::keys::{self, Key};
use super::model::{ReferrerRecord, RevisionRecord, TagRecord, target_of};
use super::store::Version;
use super::{Engine, SWAP_TRIES};

/// Deletes a manifest and returns its tags. Runs to its end once begun.
///
/// A delete that was cut short is completed by the next one of the same manifest, by a push of it, by a collector,
/// or by whoever finds the manifest gone.
pub(super) async fn delete(
    engine: Arc<Engine>,
    repository: RepositoryName,
    digest: Digest,
) -> Result<Vec<Tag>, StoreError> {
    let key = Key::Manifest(repository.clone(), digest);
    for _ in 0..SWAP_TRIES {
        let Found { version, record } = engine.get::<RevisionRecord>(&key).await?;
        let Some(record) = record else {
            return Err(StoreError::NotFound);
        };
        let mut revision = record.header;
        let taken_up = !revision.life.is_there();
        // Somebody else's delete has taken it away: this one comes too late.
        if taken_up && (!revision.pending || engine.deletes.is_running(&repository, &digest)) {
            return Err(StoreError::NotFound);
        }
        let running = engine.deletes.begin(&repository, &digest);
        let version = if taken_up {
            version
        } else {
            revision.end(engine.now(), engine.nonce());
            match engine.swap(&key, version.as_ref(), &revision, &[]).await? {
                Swap::Won(version, _) => Some(version),
                Swap::Lost { .. } => continue,
            }
        };
        let dead = Dead {
            repository,
            digest,
            revision,
            version,
        };
        let tags = engine.clean_up(dead).await;
        drop(running);
        return tags;
    }
    Err(contended())
}

/// A manifest that is gone, but not all that points to it.
#[derive(Clone, Debug)]
pub(super) struct Dead {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) revision: RevisionRecord,
    pub(super) version: Option<Version>,
}

impl Dead {
    fn key(&self) -> Key {
        Key::Manifest(self.repository.clone(), self.digest)
    }
}

impl Engine {
    /// Completes a delete that was cut short, so that no tag goes on being listed. One that may still be under
    /// way is left to itself. What fails here is tried again by the next.
    pub(super) async fn go_on_deleting(self: &Arc<Self>, dead: Dead) {
        let since = self.now().saturating_sub(dead.revision.touched);
        let under_way = self.deletes.is_running(&dead.repository, &dead.digest)
            || (self.records.guarantees().shared && since < UNDER_WAY);
        if dead.revision.pending && !under_way {
            let _running = self.deletes.begin(&dead.repository, &dead.digest);
            let _ = self.clean_up(dead).await;
        }
    }

    /// Removes what points to a dead manifest, and its references, and returns the tags removed.
    pub(super) async fn clean_up(self: &Arc<Self>, mut dead: Dead) -> Result<Vec<Tag>, StoreError> {
        if let Some(subject) = dead.revision.subject {
            let entry = Key::Referrer(dead.repository.clone(), subject, dead.digest);
            let touched = self.now();
            self.rewrite(&dead, &entry, |_: Option<&ReferrerRecord>| ReferrerRecord {
                descriptor: None,
                touched,
            })
            .await?;
        }
        let prefix = keys::tagged(&dead.repository, &dead.digest);
        let hints = self.scan_keys(&prefix, usize::MAX).await?;
        let hints: Vec<(Tag, Nonce)> = hints
            .iter()
            .filter_map(|key| match Key::parse(key)? {
                Key::Tagged(_, _, tag, push) => Some((tag, push)),
                _ => None,
            })
            .collect();
        let tags: BTreeSet<Tag> = hints.iter().map(|(tag, _)| tag.clone()).collect();
        let mut gone = Vec::new();
        let mut done_with: BTreeSet<(Tag, Nonce)> = BTreeSet::new();
        for tag in tags {
            let key = Key::Tag(dead.repository.clone(), tag.clone());
            let (own, touched) = (dead.digest, self.now());
            let before = self
                .rewrite(&dead, &key, move |record: Option<&TagRecord>| {
                    let kept = target_of(record).filter(|target| target.digest != own);
                    TagRecord {
                        to: kept.cloned(),
                        touched,
                    }
                })
                .await?;
            done_with.insert((tag.clone(), dead.revision.push));
            if let Some(target) = target_of(before.as_ref()).filter(|to| to.digest == own) {
                done_with.insert((tag.clone(), target.push));
                gone.push(tag);
            }
        }
        // Only hints of pushes that cannot write the tag any more: another may be about to.
        let hints = hints.into_iter().filter(|hint| done_with.contains(hint));
        let purges: Vec<Key> = hints
            .map(|(tag, push)| Key::Tagged(dead.repository.clone(), dead.digest, tag, push))
            .chain(references_of(
                &dead.repository,
                &dead.digest,
                &dead.revision,
            ))
            .collect();
        self.purge_all(purges).await?;
        let (key, version) = (dead.key(), dead.version.take());
        dead.revision.pending = false;
        dead.revision.references.clear();
        // Lost means that somebody else has completed it.
        self.swap(&key, version.as_ref(), &dead.revision, &[])
            .await?;
        Ok(gone)
    }

    /// Rewrites a record while the manifest is waiting for it, and returns what it was before; nothing
    /// if the manifest was not waiting any more.
    async fn rewrite<H: super::encoding::Header>(
        &self,
        dead: &Dead,
        key: &Key,
        change: impl Fn(Option<&H>) -> H + Send,
    ) -> Result<Option<H>, StoreError> {
        for _ in 0..SWAP_TRIES {
            let found = self.get::<H>(key).await?;
            let now = self.get::<RevisionRecord>(&dead.key()).await?;
            if now.version != dead.version {
                return Ok(None);
            }
            let changed = change(found.header());
            let swap = self.swap(key, found.version.as_ref(), &changed, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(found.record.map(|record| record.header));
            }
        }
        Err(contended())
    }

    pub(super) async fn purge_all(self: &Arc<Self>, keys: Vec<Key>) -> Result<(), StoreError> {
        let purges = keys.into_iter().map(|key| {
            let engine = Arc::clone(self);
            async move { engine.purge(&key).await }
        });
        gather(purges.collect()).await.map(drop)
    }
}

/// The reference records of the push that wrote `revision`.
pub(super) fn references_of(
    repository: &RepositoryName,
    digest: &Digest,
    revision: &RevisionRecord,
) -> impl Iterator<Item = Key> {
    let unique: BTreeSet<Digest> = revision.references.iter().copied().collect();
    let (repository, from, push) = (repository.clone(), *digest, revision.push);
    unique.into_iter().map(move |to| Key::Reference {
        to,
        repository: repository.clone(),
        from,
        push,
    })
}

/// How long another process may take to delete, in seconds. Two at once are right, but in each other's way.
const UNDER_WAY: u64 = 60;

/// The deletes that are running in this process.
#[derive(Debug, Default)]
pub(super) struct Deletes {
    running: Arc<Mutex<Running>>,
}

type Running = HashMap<(RepositoryName, Digest), usize>;

impl Deletes {
    fn is_running(&self, repository: &RepositoryName, digest: &Digest) -> bool {
        lock(&self.running).contains_key(&(repository.clone(), *digest))
    }

    fn begin(&self, repository: &RepositoryName, digest: &Digest) -> RunningDelete {
        let what = (repository.clone(), *digest);
        *lock(&self.running).entry(what.clone()).or_default() += 1;
        RunningDelete {
            running: Arc::clone(&self.running),
            what,
        }
    }
}

struct RunningDelete {
    running: Arc<Mutex<Running>>,
    what: (RepositoryName, Digest),
}

impl Drop for RunningDelete {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        if let Some(count) = running.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.what);
            }
        }
    }
}

fn lock(running: &Mutex<Running>) -> MutexGuard<'_, Running> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
