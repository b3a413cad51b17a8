//! Upload sessions as others see them: looking, ending, sweeping, counting.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use oci_core::Digest;
use oci_core::error::StoreError;
use oci_core::store::{UploadId, UploadScope};

use super::access::{Found, Swap};
use super::content::{Fenced, contended};
use super::encoding::{Decoded, Nonce};
use super::keys::{self, Key};
use super::model::{BlobRecord, MarkRecord, Phase, SessionRecord};
use super::store::Version;
use super::{Engine, SWAP_TRIES};

/// A session as it was read.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) version: Version,
    pub(super) nonce: Nonce,
    pub(super) record: SessionRecord,
    pub(super) body: Bytes,
}

impl Engine {
    /// A session that is not over, if it is in this scope.
    pub(super) async fn session(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Session, StoreError> {
        let found = self.get::<SessionRecord>(&Key::Upload(id.clone())).await?;
        let session = as_session(found).filter(|session| {
            !session.record.is_over()
                && session.record.repository == scope.repository().as_str()
                && session.record.principal == scope.principal()
        });
        session.ok_or(StoreError::NotFound)
    }

    /// How many bytes of a session are there for a writer to go on with.
    pub(super) async fn standing(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<u64, StoreError> {
        let record = self.session(scope, id).await?.record;
        // Whoever finishes it may have died when that was done, but for saying so.
        if let Phase::Finishing(digest, extents) = &record.phase
            && !self.options.locks.is_taken(id)
        {
            let blob = self.before(digest).await?;
            let blob = blob.header();
            let registered = blob.is_some_and(|blob| blob.holds(extents));
            if registered || BlobRecord::may_have_ended(blob, record.ends, extents) {
                return Err(StoreError::NotFound);
            }
        }
        Ok(record.offset)
    }

    /// What to tell a writer whose session was changed by somebody else.
    pub(super) async fn overtaken(&self, scope: &UploadScope, id: &UploadId) -> StoreError {
        match self.session(scope, id).await {
            Ok(session) => StoreError::Conflict {
                offset: session.record.offset,
            },
            Err(error) => error,
        }
    }

    /// Whether a session was ended without becoming a blob: then nothing can need its extents any more.
    pub(super) async fn is_given_up(&self, id: &UploadId) -> Result<bool, StoreError> {
        let found = self.get::<SessionRecord>(&Key::Upload(id.clone())).await?;
        Ok(found
            .header()
            .is_some_and(|record| record.phase == Phase::Aborted))
    }

    /// Brings a session back that was about to be finished by a process that is gone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if its content was registered after all, or may have been and be gone since.
    pub(super) async fn reopen(
        &self,
        id: &UploadId,
        mut session: Session,
    ) -> Result<Session, StoreError> {
        let Phase::Finishing(digest, extents) = session.record.phase.clone() else {
            return Ok(session);
        };
        match self.fence_off(&digest, &extents).await? {
            Fenced::Registered => {
                self.end(id, &session, Phase::Done(digest)).await?;
                return Err(StoreError::NotFound);
            }
            Fenced::Off(blob)
                if BlobRecord::may_have_ended(blob.as_ref(), session.record.ends, &extents) =>
            {
                // Whoever ends a blob deletes its bytes, those of the session with them.
                self.give_up(id, &session).await?;
                return Err(StoreError::NotFound);
            }
            Fenced::Off(_) => {}
        }
        session.record.phase = Phase::Open;
        session.record.ends = None;
        let key = Key::Upload(id.clone());
        let swap = self.swap(&key, Some(&session.version), &session.record, &session.body);
        match swap.await? {
            Swap::Won(version, nonce) => {
                let kept: HashSet<&str> = session.record.extent_keys().collect();
                for orphan in extents.iter().filter(|key| !kept.contains(key.as_str())) {
                    self.forget(orphan).await;
                }
                Ok(Session {
                    version,
                    nonce,
                    ..session
                })
            }
            Swap::Lost { .. } => Err(StoreError::Conflict {
                offset: session.record.offset,
            }),
        }
    }

    /// Ends a session and drops its bytes; `false` if it is over already.
    pub(super) async fn abort(&self, id: &UploadId) -> Result<bool, StoreError> {
        for _ in 0..SWAP_TRIES {
            let found = self.get::<SessionRecord>(&Key::Upload(id.clone())).await?;
            let Some(session) = as_session(found) else {
                return Ok(false);
            };
            match &session.record.phase {
                Phase::Done(_) | Phase::Aborted => return Ok(false),
                Phase::Open => {}
                Phase::Finishing(digest, content) => {
                    let fenced = self.fence_off(digest, content).await?;
                    if matches!(fenced, Fenced::Registered) {
                        self.end(id, &session, Phase::Done(*digest)).await?;
                        return Ok(false);
                    }
                }
            }
            if self.give_up(id, &session).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// Ends a session whose content is not registered, and drops its bytes. `false` if somebody else changed it.
    async fn give_up(&self, id: &UploadId, session: &Session) -> Result<bool, StoreError> {
        if !self.end(id, session, Phase::Aborted).await? {
            return Ok(false);
        }
        self.options.locks.forget(id);
        if let Some(parts) = &session.record.parts {
            // What stays behind is found by the collector.
            let _ = self.extents.abort_parts(&parts.key, &parts.upload).await;
        }
        for key in session.record.named_keys() {
            self.forget(key).await;
        }
        Ok(true)
    }

    /// Leaves nothing of a session but that it is over. `false` if somebody else changed it.
    pub(super) async fn end(
        &self,
        id: &UploadId,
        session: &Session,
        phase: Phase,
    ) -> Result<bool, StoreError> {
        let record = SessionRecord {
            phase,
            touched: self.now(),
            hash_length: 0,
            extents: Vec::new(),
            parts: None,
            tails: Vec::new(),
            ends: None,
            ..session.record.clone()
        };
        let key = Key::Upload(id.clone());
        let swap = self.swap(&key, Some(&session.version), &record, &[]);
        let ended = matches!(swap.await?, Swap::Won(..));
        if ended {
            let open = Key::Open(principal(&session.record.principal), id.clone());
            // If that fails, the next sweep does it.
            let _ = self.purge(&open).await;
        }
        Ok(ended)
    }

    /// Deletes an extent that no record names. What stays behind is found by the collector.
    pub(super) async fn forget(&self, key: &str) {
        if keys::is_own_extent(key) {
            let _ = self.extents.delete(key).await;
        }
    }

    pub(super) async fn sweep(&self, idle: Duration) -> Result<u64, StoreError> {
        let mut swept = 0;
        let mut after: Option<String> = None;
        loop {
            let entries = self.scan(keys::OPEN, after.as_deref(), PAGE).await?;
            let last = entries.len() < PAGE;
            after = entries.last().map(|entry| entry.key.clone()).or(after);
            for entry in entries {
                if let Some(Key::Open(principal, id)) = Key::parse(&entry.key)
                    && !self.options.locks.is_taken(&id)
                {
                    swept += u64::from(self.sweep_one(principal, &id, idle).await?);
                }
            }
            if last {
                return Ok(swept);
            }
        }
    }

    async fn sweep_one(
        &self,
        principal: Nonce,
        id: &UploadId,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        let key = Key::Upload(id.clone());
        let open = Key::Open(principal, id.clone());
        let found = self.get::<SessionRecord>(&key).await?;
        if let Some(record) = found.header() {
            if record.is_over() {
                self.purge(&open).await?;
                return Ok(false);
            }
            return Ok(self.is_idle(record.touched, idle) && self.abort(id).await?);
        }
        let mark = self.get::<MarkRecord>(&open).await?;
        let Some(mark) = mark.header().filter(|mark| self.is_idle(mark.since, idle)) else {
            return Ok(false);
        };
        // Damaged: it may have become a blob that consists of its extents, so nothing may say that it ended.
        // Nobody can go on with it, though.
        let mut swept = found.version.is_some();
        if !swept {
            // Not begun yet, or never will be. Its end is put there, so that a writer that is merely late fails.
            let over = SessionRecord::over(mark.since);
            swept = matches!(self.swap(&key, None, &over, &[]).await?, Swap::Won(..));
        }
        if swept {
            self.purge(&open).await?;
        }
        Ok(false)
    }

    fn is_idle(&self, touched: u64, idle: Duration) -> bool {
        self.now().saturating_sub(touched) >= idle.as_secs()
    }

    pub(super) async fn count(
        &self,
        scope: Option<&UploadScope>,
        limit: u64,
    ) -> Result<u64, StoreError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let prefix = match scope {
            Some(scope) => keys::open_by(principal(scope.principal())),
            None => keys::OPEN.to_owned(),
        };
        Ok(self.scan_keys(&prefix, limit).await?.len() as u64)
    }
}

impl SessionRecord {
    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Done(_) | Phase::Aborted)
    }
}

/// A principal's part in keys: fixed in length, whatever the name is.
pub(super) fn principal(name: &str) -> Nonce {
    let digest = Digest::sha256(name.as_bytes());
    Nonce::from_random(digest.as_bytes().first_chunk().copied().unwrap_or_default())
}

fn as_session(found: Found<SessionRecord>) -> Option<Session> {
    let Decoded {
        nonce,
        header,
        body,
    } = found.record?;
    Some(Session {
        version: found.version?,
        nonce,
        record: header,
        body,
    })
}

/// Who writes to which upload in this process.
///
/// Cloning shares the table. Every engine has its own unless told otherwise; several engines over the
/// same stores in one process should share one, so that a second writer is refused at once. Between
/// processes, the writer that checkpoints first wins and the other one is told so then.
#[derive(Clone, Debug, Default)]
pub struct UploadLocks {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    taken: HashSet<UploadId>,
    /// How the record of a session stood when its last writer left, if that one left nothing behind
    /// but what is in the record. Then the next one may go on with its unfinished extent.
    clean: HashMap<UploadId, Nonce>,
}

impl UploadLocks {
    pub(super) fn take(&self, id: &UploadId) -> Option<UploadLock> {
        let free = self.lock().taken.insert(id.clone());
        free.then(|| UploadLock {
            locks: self.clone(),
            id: id.clone(),
        })
    }

    fn is_taken(&self, id: &UploadId) -> bool {
        self.lock().taken.contains(id)
    }

    fn forget(&self, id: &UploadId) {
        self.lock().clean.remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by the one writer of a session.
#[derive(Debug)]
pub(super) struct UploadLock {
    locks: UploadLocks,
    id: UploadId,
}

impl UploadLock {
    /// Takes the note that the last writer left.
    pub(super) fn left_clean(&self) -> Option<Nonce> {
        self.locks.lock().clean.remove(&self.id)
    }

    /// Leaves a note that nothing is left behind but what is in the record.
    pub(super) fn leave_clean(&self, nonce: Nonce) {
        let mut table = self.locks.lock();
        // A lost note costs the next writer an extent of its own, nothing else.
        if table.clean.len() < MOST_NOTES {
            table.clean.insert(self.id.clone(), nonce);
        }
    }
}

impl Drop for UploadLock {
    fn drop(&mut self) {
        self.locks.lock().taken.remove(&self.id);
    }
}

const PAGE: usize = 1000;
const MOST_NOTES: usize = 100_000;
