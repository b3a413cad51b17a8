//! Extents that are no part of any blob or open session: of uploads that failed, and of content that was
//! replaced.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oci_core::digest::Algorithm;
use oci_core::store::{Phase as Progress, UploadId};
use oci_core::{Digest, StoreError};

use super::super::Engine;
use super::super::access::{Swap, gather};
use super::super::content::Fenced;
use super::super::extent::ExtentInfo;
use super::super::keys::{self, Key, Owner};
use super::super::model::{BlobRecord, Phase, SessionRecord};
use super::look::{Found, remember};
use super::{PAGE, Run};

/// An extent that nothing names.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    key: String,
    size: u64,
    claim: Claim,
}

/// Who might still come to name an extent.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Claim {
    /// The record of this digest.
    Content(Digest),
    /// A session that has no record so far.
    Upload(UploadId),
    /// Nobody.
    Nobody,
}

impl Run {
    pub(super) async fn look_at_extents(
        &mut self,
        found: &mut Found,
        first: bool,
    ) -> Result<bool, StoreError> {
        let mut after: Option<String> = None;
        loop {
            let listed = self
                .engine
                .list_extents(keys::EXTENTS, after.as_deref(), PAGE);
            let listed = listed.await?;
            let ended = listed.len() < PAGE;
            after = listed.last().map(|last| last.key.clone());
            if first {
                let bytes = listed.iter().map(|extent| extent.size).sum();
                let all = &mut self.collected.content.bytes;
                *all = all.saturating_add(bytes);
            }
            let old = listed
                .into_iter()
                .filter(|extent| self.is_old_extent(extent));
            let looks = old.map(|extent| {
                let engine = Arc::clone(&self.engine);
                async move {
                    let claim = engine.claim_to(&extent.key).await?;
                    Ok(claim.map(|claim| Orphan {
                        key: extent.key,
                        size: extent.size,
                        claim,
                    }))
                }
            });
            let looks: Vec<_> = looks.collect();
            for orphan in gather(looks).await?.into_iter().flatten() {
                if first {
                    self.collected.orphans.add(orphan.size);
                    self.observer.orphan(&orphan.key, orphan.size);
                }
                remember(&mut found.orphans, orphan);
            }
            if !self.goes_on(Progress::Marking).await? {
                return Ok(false);
            }
            if ended {
                return Ok(true);
            }
        }
    }

    /// Whether an upload that is under way would have come to name it. That is comfort: one that is still
    /// about to fails, and has to send its bytes again.
    fn is_old_extent(&self, extent: &ExtentInfo) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(self.now);
        let age = now.duration_since(extent.written).unwrap_or_default();
        age >= self.options.grace.max(UPLOAD)
    }
}

impl Engine {
    /// Who might still come to name an extent that nobody names; `None` if somebody does, or may.
    async fn claim_to(&self, extent: &str) -> Result<Option<Claim>, StoreError> {
        let digest = match keys::owner_of(extent) {
            None => return Ok(None),
            Some(Owner::Content(digest)) => digest,
            Some(Owner::Upload(id)) => {
                let found = self.get::<SessionRecord>(&Key::Upload(id.clone())).await?;
                match (&found.version, found.header()) {
                    (None, _) => return Ok(Some(Claim::Upload(id))),
                    // It is damaged.
                    (Some(_), None) => return Ok(None),
                    (_, Some(session)) => match &session.phase {
                        Phase::Open | Phase::Finishing(..) => return Ok(None),
                        Phase::Aborted => return Ok(Some(Claim::Nobody)),
                        Phase::Done(digest) => *digest,
                    },
                }
            }
        };
        let found = self.get::<BlobRecord>(&Key::Blob(digest)).await?;
        let orphaned = match (&found.version, found.header()) {
            (None, _) => true,
            (Some(_), None) => false,
            (_, Some(blob)) => {
                !blob.life.is_there() || blob.extents.iter().all(|own| own.key != extent)
            }
        };
        Ok(orphaned.then_some(Claim::Content(digest)))
    }

    /// Deletes an extent that nobody can come to name any more. Its size; nothing if somebody names it.
    pub(super) async fn end_orphan(&self, orphan: &Orphan) -> Result<Option<u64>, StoreError> {
        let free = match &orphan.claim {
            Claim::Nobody => true,
            Claim::Content(digest) => {
                let orphan = std::slice::from_ref(&orphan.key);
                !matches!(self.fence_off(digest, orphan).await?, Fenced::Registered)
            }
            Claim::Upload(id) => {
                // In the place of a record that a writer may be about to make.
                let (key, over) = (Key::Upload(id.clone()), SessionRecord::over(self.now()));
                matches!(self.swap(&key, None, &over, &[]).await?, Swap::Won(..))
            }
        };
        if free {
            let deleted = self.extents.delete(&orphan.key).await;
            deleted.map_err(|error| error.into_store("deleting an extent"))?;
        }
        Ok(free.then_some(orphan.size))
    }
}

impl SessionRecord {
    /// A session that ended before it had a record.
    pub(in super::super) fn over(since: u64) -> Self {
        Self {
            repository: String::new(),
            principal: String::new(),
            algorithm: Algorithm::default().to_string(),
            phase: Phase::Aborted,
            offset: 0,
            hash_length: 0,
            extents: Vec::new(),
            parts: None,
            tails: Vec::new(),
            expected: None,
            touched: since,
            ends: None,
        }
    }
}

/// Younger extents may belong to an upload that is under way, whatever the grace period is.
const UPLOAD: Duration = Duration::from_secs(3600);
