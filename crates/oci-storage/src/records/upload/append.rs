//! Taking content in.

use std::task::Poll;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use oci_core::digest::Digest;
use oci_core::error::{BoxError, StoreError};
use oci_core::store::{AppendMode, ContentStream};

use super::Upload;
use crate::records::budget::{Buffer, CHUNK};
use crate::records::keys;
use crate::records::model::{Extent, PartsRecord};

impl Upload {
    pub(super) async fn take_in(
        &mut self,
        mut content: ContentStream<'_>,
        mode: AppendMode,
    ) -> Result<(), StoreError> {
        while let Some(piece) = self.next_piece(&mut content).await? {
            let mut piece = piece.map_err(StoreError::Body)?;
            while piece.has_remaining() {
                self.push(&mut piece).await?;
                if mode == AppendMode::Progressive && self.is_due() {
                    self.save().await?;
                }
            }
        }
        Ok(())
    }

    /// The next piece of content, while parts are being written.
    async fn next_piece(
        &mut self,
        content: &mut ContentStream<'_>,
    ) -> Result<Option<Result<Bytes, BoxError>>, StoreError> {
        loop {
            let next = std::future::poll_fn(|cx| {
                if let Poll::Ready(Some(part)) = self.in_flight.poll_next_unpin(cx) {
                    return Poll::Ready(Next::Part(part));
                }
                content.as_mut().poll_next(cx).map(Next::Piece)
            });
            match next.await {
                Next::Part(Ok(part)) => self.note_part(part),
                Next::Part(Err(error)) => return Err(error.into_store("writing a part")),
                Next::Piece(piece) => return Ok(piece),
            }
        }
    }

    fn note_part(&mut self, part: String) {
        if let Some(parts) = &mut self.parts {
            parts.parts.push(part);
        }
    }

    /// Waits until at most `most` parts are being written.
    pub(super) async fn drain(&mut self, most: usize) -> Result<(), StoreError> {
        while self.in_flight.len() > most
            && let Some(part) = self.in_flight.next().await
        {
            let part = part.map_err(|error| error.into_store("writing a part"))?;
            self.note_part(part);
        }
        Ok(())
    }

    /// Takes the beginning of `piece`.
    async fn push(&mut self, piece: &mut Bytes) -> Result<(), StoreError> {
        if self.waiting() >= self.part_size {
            // What was received with a larger part size.
            self.settle().await?;
            if self.waiting() >= self.part_size {
                let extent = self.put_buffer().await?;
                self.extents.push(extent);
            }
        }
        let room = self.part_size.saturating_sub(self.waiting());
        if self.buffer.room() == 0 {
            self.make_room(room).await?;
        }
        let wanted = piece.get(..piece.len().min(room)).unwrap_or_default();
        let taken = self.buffer.push(wanted);
        self.hasher.update(wanted.get(..taken).unwrap_or_default());
        piece.advance(taken);
        if taken == room {
            self.flush().await?;
        }
        Ok(())
    }

    /// Gets memory for the next chunk. If there is none at once, the parts that are being written give
    /// theirs back, and if that is not enough, what is held is stored as it is before waiting: everybody
    /// who waits holds nothing.
    async fn make_room(&mut self, room: usize) -> Result<(), StoreError> {
        let chunk = self.buffer.next_chunk().min(room);
        let permit = loop {
            if let Some(permit) = self.engine.budget.try_take(chunk) {
                break permit;
            }
            if self.in_flight.is_empty() {
                self.spill().await?;
                break self.engine.budget.take(chunk.min(CHUNK)).await?;
            }
            self.drain(self.in_flight.len() - 1).await?;
        };
        self.buffer.grow(chunk, permit);
        Ok(())
    }

    /// Stores the buffer as a tail.
    pub(super) async fn spill(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let extent = self.put_buffer().await?;
        self.tails.push(extent);
        Ok(())
    }

    /// Stores the buffer as an extent of its own.
    pub(super) async fn put_buffer(&mut self) -> Result<Extent, StoreError> {
        let key = self.new_key().await?;
        let length = self.buffer.len() as u64;
        self.unrecorded.push(key.clone());
        let pieces = self.buffer.pieces();
        self.engine
            .extents
            .put(&key, pieces)
            .await
            .map_err(|error| error.into_store("writing content"))?;
        self.buffer = Buffer::default();
        Ok(Extent { key, length })
    }

    /// Writes the tails and the buffer, which together have the size of a part, as one.
    async fn flush(&mut self) -> Result<(), StoreError> {
        self.take_over().await?;
        if !self.tails.is_empty() && !self.load_tails(0).await? {
            // No memory for both: then they are extents as they are.
            self.settle().await?;
            let extent = self.put_buffer().await?;
            self.extents.push(extent);
            return Ok(());
        }
        let limits = self.engine.extents.part_limits();
        let count = |upload: &Self| {
            let noted = upload.parts.as_ref().map_or(0, |parts| parts.parts.len());
            noted + upload.in_flight.len()
        };
        if count(self) >= limits.max_parts {
            self.finish_parts().await?;
        }
        if self.parts.is_none() {
            self.begin_parts().await?;
        }
        self.drain(PARTS_IN_FLIGHT - 1).await?;
        let index = count(self);
        let Some(parts) = &self.parts else {
            return Ok(());
        };
        let (key, upload) = (parts.key.clone(), parts.upload.clone());
        let extents = std::sync::Arc::clone(&self.engine.extents);
        let mut buffer = std::mem::take(&mut self.buffer);
        self.dirty = true;
        self.in_flight.push_back(Box::pin(async move {
            let pieces = buffer.pieces();
            // The buffer, and with it its share of the budget, goes when the part is written.
            let written = extents.put_part(&key, &upload, index, pieces).await;
            drop(buffer);
            written
        }));
        Ok(())
    }

    async fn begin_parts(&mut self) -> Result<(), StoreError> {
        let key = self.new_key().await?;
        let begun = self.engine.extents.begin_parts(&key).await;
        let upload = begun.map_err(|error| error.into_store("beginning an extent"))?;
        self.begun.push((key.clone(), upload.clone()));
        self.parts = Some(PartsRecord {
            key,
            upload,
            part_size: self.part_size as u64,
            parts: Vec::new(),
        });
        Ok(())
    }

    /// Makes the parts a finished extent.
    pub(super) async fn finish_parts(&mut self) -> Result<(), StoreError> {
        self.take_over().await?;
        self.drain(0).await?;
        let Some(parts) = self.parts.clone() else {
            return Ok(());
        };
        // Its writer cannot go on with the parts that the record has.
        self.dirty = true;
        self.complete(&parts, parts.length()).await?;
        self.parts = None;
        Ok(())
    }

    /// Makes `parts` an extent of which the first `length` bytes count.
    pub(super) async fn complete(
        &mut self,
        parts: &PartsRecord,
        length: u64,
    ) -> Result<(), StoreError> {
        if length == 0 {
            return Ok(());
        }
        self.engine
            .extents
            .finish_parts(&parts.key, &parts.upload, &parts.parts)
            .await
            .map_err(|error| error.into_store("finishing an extent"))?;
        self.extents.push(Extent {
            key: parts.key.clone(),
            length,
        });
        Ok(())
    }

    /// Makes parts and tails finished extents.
    pub(super) async fn settle(&mut self) -> Result<(), StoreError> {
        self.finish_parts().await?;
        self.extents.append(&mut self.tails);
        Ok(())
    }

    /// Reads tails back into the buffer until `keep` are left. `false` if there is no memory for them.
    pub(super) async fn load_tails(&mut self, keep: usize) -> Result<bool, StoreError> {
        let tails = self.tails.get(keep..).unwrap_or_default();
        let length: u64 = tails.iter().map(|tail| tail.length).sum();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(permit) = self.engine.budget.try_take(length) else {
            return Ok(false);
        };
        let pieces = self.engine.load(tails).await?;
        self.buffer.prepend(pieces, permit);
        self.tails.truncate(keep);
        Ok(true)
    }

    /// Keeps an earlier writer of the parts from replacing them: first its record is changed, so that it
    /// cannot note more of them, then the extent is finished with those noted.
    pub(super) async fn take_over(&mut self) -> Result<(), StoreError> {
        if !self.borrowed {
            return Ok(());
        }
        if let Some(stored) = &self.stored {
            // Nothing but a new nonce.
            let (record, body) = (stored.record.clone(), stored.body.clone());
            self.swap_session(record, body).await?;
        }
        if let Some(parts) = self.parts.clone() {
            self.complete(&parts, parts.length()).await?;
            self.parts = None;
        }
        self.borrowed = false;
        self.dirty = true;
        Ok(())
    }

    /// A key for a new extent.
    async fn new_key(&mut self) -> Result<String, StoreError> {
        // Content of a known digest is stored under it, unless others know the session: then the session
        // is what keeps it.
        if let (Some(digest), None, None) = (self.named, &self.keyed, &self.stored) {
            self.keyed = Some((digest, self.engine.fence(&digest).await?));
        }
        let name = self.engine.nonce();
        Ok(match &self.keyed {
            Some((digest, _)) => keys::extent_of(digest, name),
            None => keys::extent_in(&self.id, name),
        })
    }

    /// Whether a long append should be checkpointed on its way.
    fn is_due(&self) -> bool {
        let Some(stored) = &self.stored else {
            return false;
        };
        let bytes = self.hasher.length().saturating_sub(stored.record.offset);
        let seconds = self.engine.now().saturating_sub(self.checkpointed_at);
        (bytes >= self.engine.options.checkpoint_bytes && self.buffer.is_empty())
            || (bytes > 0 && seconds >= CHECKPOINT_SECONDS)
    }

    /// Whether `digest` is what extents are stored under, if they are stored under one.
    pub(super) fn is_keyed_otherwise(&self, digest: &Digest) -> bool {
        self.keyed.is_some_and(|(keyed, _)| keyed != *digest)
    }
}

enum Next {
    Part(Result<String, crate::records::ExtentError>),
    Piece(Option<Result<Bytes, BoxError>>),
}

/// One is being written while the next one arrives.
const PARTS_IN_FLIGHT: usize = 2;
/// So that a slow writer's session never looks abandoned.
const CHECKPOINT_SECONDS: u64 = 300;
