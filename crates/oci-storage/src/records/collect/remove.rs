//! Deciding each candidate, one by one: condemned, looked at again, ended or brought back.

use std::sync::Arc;
use std::time::Duration;

use oci_core::store::Phase;
use oci_core::{Digest, RepositoryName, StoreError};

use super::super::Engine;
use super::super::access::{Found as Read, Swap, gather};
use super::super::content::Mortal;
use super::super::keys::{self, Key};
use super::super::model::{BlobRecord, Life, LinkRecord};
use super::super::store::Version;
use super::look::Found;
use super::orphans::Orphan;
use super::{BATCH, PAGE, Run, is_old};

/// How it ended with a candidate.
#[derive(Debug)]
pub(super) enum Ended<H> {
    /// It is gone; this is the record that was ended.
    Gone(H),
    /// Somebody needs it.
    Kept,
    /// Somebody else has removed or changed it.
    Absent,
}

/// What was decided about what.
enum Decided {
    Link(Ended<LinkRecord>),
    Content(Ended<BlobRecord>),
    Orphan(Option<u64>),
}

/// What the tasks of a run need to know.
#[derive(Clone, Debug)]
pub(super) struct Age {
    pub(super) now: u64,
    pub(super) grace: Duration,
}

impl Age {
    fn of<H: Mortal>(&self, record: &H) -> bool {
        record.life() == Life::Condemned || is_old(self.now, record.touched(), self.grace)
    }
}

impl Run {
    /// Removes what is still garbage. `false` if another collector has taken over.
    pub(super) async fn remove(&mut self, found: Found) -> Result<bool, StoreError> {
        let Found {
            manifests,
            links,
            content,
            orphans,
            pending,
        } = found;
        for dead in pending {
            if let Err(error) = self.engine.clean_up(dead).await {
                self.failed(error)?;
            }
        }
        if !self.remove_manifests(manifests).await? {
            return Ok(false);
        }
        for batch in links.chunks(BATCH) {
            let work = batch.iter().cloned().map(|(repository, digest)| {
                let (engine, age) = (Arc::clone(&self.engine), self.age());
                async move {
                    engine
                        .end_link(&repository, &digest, &age)
                        .await
                        .map(Decided::Link)
                }
            });
            if !self.batch(work.collect()).await? {
                return Ok(false);
            }
        }
        for batch in content.chunks(BATCH) {
            let work = batch.iter().copied().map(|digest| {
                let (engine, age) = (Arc::clone(&self.engine), self.age());
                async move {
                    engine
                        .end_content(&digest, &age)
                        .await
                        .map(Decided::Content)
                }
            });
            if !self.batch(work.collect()).await? {
                return Ok(false);
            }
        }
        for batch in orphans.chunks(BATCH) {
            let work = batch.iter().cloned().map(|orphan: Orphan| {
                let engine = Arc::clone(&self.engine);
                async move { engine.end_orphan(&orphan).await.map(Decided::Orphan) }
            });
            if !self.batch(work.collect()).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn age(&self) -> Age {
        Age {
            now: self.now,
            grace: self.options.grace,
        }
    }

    async fn batch<F>(&mut self, work: Vec<F>) -> Result<bool, StoreError>
    where
        F: Future<Output = Result<Decided, StoreError>> + Send,
    {
        let work = work
            .into_iter()
            .map(|decide| async move { Ok(decide.await) });
        for decided in gather(work.collect()).await? {
            let collected = &mut self.collected;
            match decided {
                Ok(Decided::Link(Ended::Gone(_))) => collected.removed_links += 1,
                Ok(Decided::Content(Ended::Gone(blob))) => collected.removed.add(blob.own_bytes()),
                Ok(Decided::Orphan(Some(size))) => collected.removed_orphans.add(size),
                Ok(
                    Decided::Link(Ended::Kept)
                    | Decided::Content(Ended::Kept)
                    | Decided::Orphan(None),
                ) => collected.revived += 1,
                Ok(Decided::Link(Ended::Absent) | Decided::Content(Ended::Absent)) => {}
                Err(error) => self.failed(error)?,
            }
        }
        self.goes_on(Phase::Removing).await
    }
}

impl Engine {
    async fn end_link(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
        age: &Age,
    ) -> Result<Ended<LinkRecord>, StoreError> {
        let key = Key::Link(repository.clone(), *digest);
        let references = keys::references_in(digest, repository);
        self.end_unreferenced(&key, &references, age).await
    }

    async fn end_content(
        self: &Arc<Self>,
        digest: &Digest,
        age: &Age,
    ) -> Result<Ended<BlobRecord>, StoreError> {
        let key = Key::Blob(*digest);
        let references = keys::references(digest);
        let ended = self
            .end_unreferenced::<BlobRecord>(&key, &references, age)
            .await?;
        if let Ended::Gone(blob) = &ended {
            for extent in &blob.extents {
                // What stays is an orphan, and goes with the next run.
                self.forget(&extent.key).await;
            }
        }
        Ok(ended)
    }

    /// Ends a record that nothing below `references` keeps.
    async fn end_unreferenced<H: Mortal>(
        self: &Arc<Self>,
        key: &Key,
        references: &str,
        age: &Age,
    ) -> Result<Ended<H>, StoreError> {
        if !self.remove_all_stale(references, age).await? {
            return Ok(Ended::Kept);
        }
        let (condemned, version) = match self.condemn::<H>(key, age).await? {
            Ok(condemned) => condemned,
            Err(ended) => return Ok(ended),
        };
        let needed = !self.scan(references, None, 1).await?.is_empty();
        self.decide(key, condemned, &version, needed).await
    }

    /// Removes the stale ones below `references`. `false` if one of them is not, so that more is not needed.
    pub(super) async fn remove_all_stale(
        self: &Arc<Self>,
        references: &str,
        age: &Age,
    ) -> Result<bool, StoreError> {
        let mut after: Option<String> = None;
        loop {
            let entries = self.scan(references, after.as_deref(), PAGE).await?;
            let Some(last) = entries.last() else {
                return Ok(true);
            };
            after = Some(last.key.clone());
            for entry in entries {
                let stale = match Key::parse(&entry.key) {
                    Some(reference) => self.remove_stale(&reference, age.now, age.grace).await?,
                    None => false,
                };
                if !stale {
                    return Ok(false);
                }
            }
        }
    }

    /// The first of the two swaps. The record as it was, and where it stands now.
    pub(super) async fn condemn<H: Mortal>(
        &self,
        key: &Key,
        age: &Age,
    ) -> Result<Result<(Condemned<H>, Version), Ended<H>>, StoreError> {
        let Read { version, record } = self.get::<H>(key).await?;
        let Some(record) = record.filter(|record| record.header.life().is_there()) else {
            return Ok(Err(Ended::Absent));
        };
        if !age.of(&record.header) {
            return Ok(Err(Ended::Kept));
        }
        let mut header = record.header.clone();
        header.condemn();
        let swap = self.swap(key, version.as_ref(), &header, &record.body);
        let Swap::Won(version, _) = swap.await? else {
            return Ok(Err(Ended::Kept));
        };
        let condemned = Condemned {
            before: record.header,
            body: record.body,
        };
        Ok(Ok((condemned, version)))
    }

    /// The second one.
    pub(super) async fn decide<H: Mortal>(
        &self,
        key: &Key,
        condemned: Condemned<H>,
        version: &Version,
        needed: bool,
    ) -> Result<Ended<H>, StoreError> {
        let Condemned { before, body } = condemned;
        let mut header = before.clone();
        if needed {
            header.revive(before.touched());
            // Lost means that somebody who needs it has done it.
            self.swap(key, Some(version), &header, &body).await?;
            return Ok(Ended::Kept);
        }
        header.end(self.now(), self.nonce());
        match self.swap(key, Some(version), &header, &[]).await? {
            Swap::Won(..) => Ok(Ended::Gone(before)),
            Swap::Lost { .. } => Ok(Ended::Kept),
        }
    }
}

/// A record that was condemned, as it was before.
pub(super) struct Condemned<H> {
    pub(super) before: H,
    pub(super) body: bytes::Bytes,
}
