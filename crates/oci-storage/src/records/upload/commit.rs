//! Turning an upload into a blob.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::StreamExt;
use oci_core::RepositoryName;
use oci_core::digest::{Digest, Hasher};
use oci_core::error::StoreError;
use oci_core::store::{BlobMeta, CommittedBlob};

use super::Upload;
use crate::records::budget::Buffer;
use crate::records::content::{Content, Registered, ends_of, fence_of};
use crate::records::model::{Phase, SessionRecord};
use crate::records::sessions::Session;
use crate::records::{INLINE, SWAP_TRIES};

impl Upload {
    /// Checks the content and makes it visible. Runs to its end once begun.
    pub(super) async fn finish(
        mut self: Box<Self>,
        expected: Digest,
        repository: RepositoryName,
    ) -> Result<CommittedBlob, StoreError> {
        let committed = self.become_blob(expected, &repository).await;
        self.unless_cancelled(committed).await
    }

    async fn become_blob(
        &mut self,
        expected: Digest,
        repository: &RepositoryName,
    ) -> Result<CommittedBlob, StoreError> {
        let same = expected.algorithm() == self.hasher.algorithm();
        if same {
            check(self.hasher.clone().finish(), expected)?;
        }
        if self.is_keyed_otherwise(&expected) {
            // Nobody may register what is stored under one digest under another: whoever deletes
            // orphans only looks at the record of the one.
            let named = self.keyed.map_or(expected, |(digest, _)| digest);
            return Err(StoreError::DigestMismatch {
                expected: named,
                actual: expected,
            });
        }
        let content = self.content().await?;
        if !same {
            check(self.read_back(&content, expected).await?, expected)?;
        }
        self.register(expected, repository, &content).await?;
        let blob = BlobMeta::new(expected, content.size);
        Ok(CommittedBlob::new(blob, true))
    }

    /// All that was received, in its final form.
    async fn content(&mut self) -> Result<Content, StoreError> {
        self.drain(0).await?;
        let size = self.hasher.length();
        let stored = !self.extents.is_empty() || self.parts.is_some() || !self.tails.is_empty();
        if !stored && self.buffer.len() <= INLINE {
            return Ok(Content {
                size,
                extents: Vec::new(),
                inline: self.buffer.pieces().concat().into(),
            });
        }
        self.take_over().await?;
        if self.tails.is_empty() && !self.buffer.is_empty() {
            self.last_part().await?;
        }
        self.settle().await?;
        if !self.buffer.is_empty() {
            let extent = self.put_buffer().await?;
            self.extents.push(extent);
        }
        Ok(Content {
            size,
            extents: self.extents.clone(),
            inline: Bytes::new(),
        })
    }

    /// Makes the buffer the last part of the unfinished extent, and finishes it.
    pub(super) async fn last_part(&mut self) -> Result<(), StoreError> {
        let most = self.engine.extents.part_limits().max_parts;
        let Some(mut parts) = self.parts.clone().filter(|parts| parts.parts.len() < most) else {
            return Ok(());
        };
        let length = parts.length().saturating_add(self.buffer.len() as u64);
        self.dirty = true;
        let pieces = self.buffer.pieces();
        let written = self
            .engine
            .extents
            .put_part(&parts.key, &parts.upload, parts.parts.len(), pieces)
            .await;
        parts
            .parts
            .push(written.map_err(|error| error.into_store("writing a part"))?);
        // The store has it. To make an extent of the parts may take minutes, for which other uploads can use
        // the memory.
        self.buffer = Buffer::default();
        self.complete(&parts, length).await?;
        self.parts = None;
        Ok(())
    }

    /// Reads the content once, for a digest in another algorithm than the running one.
    async fn read_back(
        &mut self,
        content: &Content,
        expected: Digest,
    ) -> Result<Digest, StoreError> {
        let mut hasher = Hasher::new(expected.algorithm());
        hasher.update(&content.inline);
        let mut stream = self.engine.stream(&content.extents).await?;
        while let Some(piece) = stream.next().await {
            hasher.update(&piece?);
        }
        Ok(hasher.finish())
    }

    async fn register(
        &mut self,
        digest: Digest,
        repository: &RepositoryName,
        content: &Content,
    ) -> Result<(), StoreError> {
        for _ in 0..SWAP_TRIES {
            // Before the session says that it is finishing: whoever ends it after that changes the fence.
            let (fence, known) = if let Some((_, fence)) = self.keyed {
                (fence, self.known.take())
            } else {
                let before = self.engine.before(&digest).await?;
                (fence_of(&before), Some(before))
            };
            // Content that is new everywhere is new in the repository.
            let unlikely = known.as_ref().is_some_and(|known| known.version.is_none());
            // A session that nobody knows of needs no record, unless its extents are stored under its
            // id: then the record tells the collector where they belong.
            if self.stored.is_some() || (self.keyed.is_none() && !content.extents.is_empty()) {
                let ends = match &known {
                    Some(known) => ends_of(known),
                    None => ends_of(&self.engine.before(&digest).await?),
                };
                self.finishing(digest, content, ends).await?;
            }
            self.engine.link(repository, &digest, unlikely).await?;
            self.uncertain = true;
            match self.engine.register(&digest, content, fence, known).await? {
                Registered::Done => {
                    self.done(digest, content).await;
                    return Ok(());
                }
                Registered::NotYet if self.keyed.is_none() => {}
                Registered::NotYet | Registered::Gone => break,
            }
            // Whoever cancels an upload of the same content changes the fence, too. If it is this one
            // that is being cancelled, its record is only swapped again if that came first.
        }
        Err(StoreError::unavailable(
            "finishing an upload",
            "it took so long that its bytes were taken for abandoned; push the blob again",
        ))
    }

    /// Notes that the content is about to be registered. What the last checkpoint had stays noted, in
    /// case it is not.
    async fn finishing(
        &mut self,
        digest: Digest,
        content: &Content,
        ends: u64,
    ) -> Result<(), StoreError> {
        let keys = content.extents.iter().map(|extent| extent.key.clone());
        let phase = Phase::Finishing(digest, keys.collect());
        let ends = Some(ends);
        let Some(stored) = &self.stored else {
            return self.record(phase, ends).await;
        };
        let body = stored.body.clone();
        let record = SessionRecord {
            phase,
            ends,
            ..stored.record.clone()
        };
        self.swap_session(record, body).await
    }

    /// Ends the session. The blob is visible, so nothing of this can fail any more: what stays behind
    /// is found by the sweeper and the collector.
    async fn done(&mut self, digest: Digest, content: &Content) {
        self.begun.clear();
        let mut garbage = std::mem::take(&mut self.unrecorded);
        if let Some(stored) = self.stored.take() {
            let session = Session {
                version: stored.version,
                nonce: stored.nonce,
                record: stored.record,
                body: stored.body,
            };
            let ended = self.engine.end(&self.id, &session, Phase::Done(digest));
            if matches!(ended.await, Ok(true)) {
                garbage.extend(session.record.named_keys().map(ToOwned::to_owned));
            }
        }
        let kept: HashSet<&str> = content
            .extents
            .iter()
            .map(|extent| extent.key.as_str())
            .collect();
        for key in garbage.iter().filter(|key| !kept.contains(key.as_str())) {
            self.engine.forget(key).await;
        }
    }
}

fn check(actual: Digest, expected: Digest) -> Result<(), StoreError> {
    if actual == expected {
        Ok(())
    } else {
        Err(StoreError::DigestMismatch { expected, actual })
    }
}
