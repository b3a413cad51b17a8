//! Making received bytes outlive the process.

use std::collections::HashSet;

use bytes::Bytes;
use oci_core::error::StoreError;

use super::{Stored, Upload};
use crate::records::INLINE;
use crate::records::access::Swap;
use crate::records::keys::Key;
use crate::records::model::{Phase, SessionRecord};
use crate::records::sessions::principal;

impl Upload {
    /// Writes down all that was received.
    pub(super) async fn save(&mut self) -> Result<(), StoreError> {
        self.drain(0).await?;
        let is_long = self.appended >= self.part_size as u64 && self.tails.is_empty();
        if is_long && self.buffer.len() > INLINE {
            // Nothing is written twice then, and most uploads end here and are one extent. What may
            // follow begins another.
            self.take_over().await?;
            self.last_part().await?;
        }
        if self.buffer.len() > INLINE {
            // Tails of about one size are merged, so that many small appends leave few of them and
            // each byte is written again only a few times.
            while let Some(last) = self.tails.last()
                && last.length <= self.buffer.len() as u64
                && self.load_tails(self.tails.len() - 1).await?
            {}
            self.spill().await?;
        }
        self.record(Phase::Open, None).await?;
        self.dirty = false;
        self.checkpointed_at = self.engine.now();
        Ok(())
    }

    /// Swaps the session's record to what this writer has, in `phase`.
    pub(super) async fn record(
        &mut self,
        phase: Phase,
        ends: Option<u64>,
    ) -> Result<(), StoreError> {
        let state = self.hasher.state();
        let record = SessionRecord {
            repository: self.scope.repository().to_string(),
            principal: self.scope.principal().to_owned(),
            algorithm: self.hasher.algorithm().to_string(),
            phase,
            offset: self.hasher.length(),
            hash_length: state.as_bytes().len() as u64,
            extents: self.extents.clone(),
            parts: self.parts.clone(),
            tails: self.tails.clone(),
            expected: self.keyed,
            touched: self.engine.now(),
            ends,
        };
        let mut body = state.as_bytes().to_vec();
        for piece in self.buffer.pieces() {
            body.extend_from_slice(&piece);
        }
        if self.stored.is_none() {
            // First, so that a session that others know of is always counted and swept.
            let open = Key::Open(principal(self.scope.principal()), self.id.clone());
            self.engine.mark(&open).await?;
        }
        self.swap_session(record, body.into()).await
    }

    /// Swaps the session's record, and deletes what only the one before named.
    ///
    /// After a swap that was lost it is open what the record names, so that nothing is deleted then.
    pub(super) async fn swap_session(
        &mut self,
        record: SessionRecord,
        body: Bytes,
    ) -> Result<(), StoreError> {
        let key = Key::Upload(self.id.clone());
        let before = self.stored.as_ref().map(|stored| stored.version.clone());
        self.uncertain = true;
        let swap = self
            .engine
            .swap(&key, before.as_ref(), &record, &body)
            .await?;
        let Swap::Won(version, nonce) = swap else {
            // It may have been written all the same and replaced since, by who goes on with what it
            // named. Only a session that was given up keeps nothing.
            self.uncertain = !self.engine.is_given_up(&self.id).await.unwrap_or(false);
            return Err(self.engine.overtaken(&self.scope, &self.id).await);
        };
        self.uncertain = false;
        let old = self.stored.replace(Stored {
            version,
            nonce,
            record,
            body,
        });
        self.begun.clear();
        let mut garbage = std::mem::take(&mut self.unrecorded);
        if let Some(old) = old {
            garbage.extend(old.record.named_keys().map(ToOwned::to_owned));
        }
        if let Some(stored) = &self.stored {
            let kept: HashSet<&str> = stored.record.named_keys().collect();
            garbage.retain(|key| !kept.contains(key.as_str()));
        }
        // What this writer goes on with is recorded by a later swap.
        let held = |key: &String| {
            let mut held = self.extents.iter().chain(&self.tails);
            held.any(|extent| extent.key == *key)
        };
        let (unrecorded, garbage): (Vec<_>, Vec<_>) = garbage.into_iter().partition(held);
        self.unrecorded = unrecorded;
        for key in garbage {
            self.engine.forget(&key).await;
        }
        Ok(())
    }
}
