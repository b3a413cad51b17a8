//! Uploads: bytes that are on their way to become a blob.

use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use oci_core::store::{
    AppendMode, CommittedBlob, ContentStream, UploadId, UploadOptions, UploadScope, UploadStatus,
};
use oci_core::{BlobUpload, Digest, RepositoryName, StoreError};

use super::durable::Dirty;
use super::links::{Small, metadata, read_small};
use super::plane::wait;
use super::{Failure, Filesystem, Inner};

mod budget;
mod presence;
mod record;
mod session;
mod sweep;

pub(super) use budget::Budget;
pub(super) use presence::Sessions;

use budget::Buffer;
use record::Record;
use session::Session;

impl Filesystem {
    /// Begins an upload, which touches nothing: a small blob that is pushed at once never becomes a
    /// session on the disk.
    pub(super) fn new_upload(&self, scope: &UploadScope, options: &UploadOptions) -> Upload {
        loop {
            let id = UploadId::from_random(self.inner.disk.random());
            if let Some(presence) = self.inner.sessions.enter(&id) {
                let session = Session::fresh(&self.inner, scope, &id, options.algorithm, presence);
                return Upload::new(self, id, session, 0);
            }
        }
    }

    pub(super) async fn resume_upload(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<Upload, StoreError> {
        self.inner.sessions.settled(id).await;
        let Some(presence) = self.inner.sessions.enter(id) else {
            let (scope, id) = (scope.clone(), id.clone());
            let status = self
                .run(OPENING, move |inner| inner.upload_status(&scope, &id))
                .await?;
            return Err(StoreError::Conflict {
                offset: status.offset,
            });
        };
        let (taken, of) = (id.clone(), scope.clone());
        let (session, offset) = self
            .run(OPENING, move |inner| {
                Session::open(inner, &of, &taken, presence)
            })
            .await?;
        Ok(Upload::new(self, id.clone(), session, offset))
    }
}

/// The one writer of an upload.
#[derive(Debug)]
pub(super) struct Upload {
    store: Filesystem,
    id: UploadId,
    session: Arc<Session>,
    /// How many bytes were handed to the session.
    handed: u64,
    /// When the session was last told to bring its bytes to the disk.
    flushed: u64,
    /// What is being filled.
    filling: Option<Buffer>,
    /// Whether there is so much content that large buffers are worth it.
    streaming: bool,
    keep: bool,
}

impl Upload {
    fn new(store: &Filesystem, id: UploadId, session: Arc<Session>, offset: u64) -> Self {
        Self {
            store: store.clone(),
            id,
            session,
            handed: offset,
            flushed: offset,
            filling: None,
            streaming: offset > 0,
            keep: false,
        }
    }

    /// A buffer with room, after handing over one that is full.
    async fn room(&mut self) -> io::Result<&mut Buffer> {
        let full = self.filling.as_ref().is_some_and(Buffer::is_full);
        if full && !self.filling.as_mut().is_some_and(Buffer::grow) {
            self.hand_over().await?;
        }
        let buffer = match self.filling.take() {
            Some(buffer) => buffer,
            None => self.new_buffer().await?,
        };
        Ok(self.filling.insert(buffer))
    }

    async fn new_buffer(&self) -> io::Result<Buffer> {
        let budget = &self.store.inner.budget;
        let large = self.streaming;
        let offset = self.handed;
        if let Some(buffer) = Buffer::new(budget, large) {
            return Ok(buffer.align_end(offset));
        }
        // Only what this upload holds itself is waited for, never what another one does.
        self.session.wait_below(1).await?;
        let buffer = Buffer::new(budget, large).unwrap_or_else(|| Buffer::beyond_budget(budget));
        Ok(buffer.align_end(offset))
    }

    /// Hands the buffer to hashing and writing.
    async fn hand_over(&mut self) -> io::Result<()> {
        self.session.wait_below(IN_FLIGHT).await?;
        if self.handed - self.flushed >= FLUSH_EVERY {
            self.session.wait_idle().await?;
            self.session.flush(self.keep);
            self.flushed = self.handed;
        }
        if let Some(buffer) = self.filling.take() {
            let offset = self.handed;
            self.handed += buffer.len();
            self.streaming = true;
            self.session.submit(offset, buffer);
        }
        Ok(())
    }

    fn set_keep(&mut self, keep: bool) {
        self.keep = keep;
        self.session.keep(keep);
    }
}

#[async_trait]
impl BlobUpload for Upload {
    fn id(&self) -> &UploadId {
        &self.id
    }

    fn offset(&self) -> u64 {
        self.handed + self.filling.as_ref().map_or(0, Buffer::len)
    }

    async fn append(
        &mut self,
        mut content: ContentStream<'_>,
        mode: AppendMode,
    ) -> Result<u64, StoreError> {
        self.set_keep(mode == AppendMode::Progressive);
        let failed = |error| StoreError::from_io(RECEIVING, error);
        while let Some(frame) = poll_fn(|cx| content.as_mut().poll_next(cx)).await {
            let mut frame = frame.map_err(StoreError::Body)?;
            while !frame.is_empty() {
                self.room().await.map_err(failed)?.fill(&mut frame);
            }
        }
        // Written with the rest, and not on its own when all that is waited for.
        if self.streaming && self.filling.as_ref().is_some_and(Buffer::is_full) {
            self.hand_over().await.map_err(failed)?;
        }
        Ok(self.offset())
    }

    async fn checkpoint(&mut self) -> Result<u64, StoreError> {
        let context = "recording an upload";
        let failed = |error| StoreError::from_io(context, error);
        let offset = self.offset();
        if let Some(buffer) = self.filling.take() {
            self.session.submit(self.handed, buffer);
        }
        self.handed = offset;
        self.flushed = offset;

        // The bytes are synced while the last of them are hashed and the record is written.
        self.session.wait_written().await.map_err(failed)?;
        let session = Arc::clone(&self.session);
        // A session without bytes promises nothing that a power cut could break.
        let syncing =
            (offset > 0).then(|| self.store.start(context, move |_| session.sync_received()));
        self.session.wait_idle().await.map_err(failed)?;
        let session = Arc::clone(&self.session);
        let writing = self.store.start(context, move |_| {
            let Some(received) = session.receive(None)? else {
                return Ok(None);
            };
            let state = session.write_record(&received)?;
            Ok(Some((received, state)))
        });
        let synced = match syncing {
            Some(syncing) => syncing.await,
            None => Ok(()),
        };
        let written = writing.await;
        synced?;
        let Some((received, state)) = written? else {
            return Ok(offset);
        };
        let session = Arc::clone(&self.session);
        let ticket = self
            .store
            .run(context, move |inner| {
                Ok(inner.disk.commit(session.place_record(&received, state)?))
            })
            .await?;
        wait(context, ticket).await?;
        Ok(offset)
    }

    async fn commit(
        mut self: Box<Self>,
        expected: &Digest,
        repository: &RepositoryName,
    ) -> Result<CommittedBlob, StoreError> {
        let context = "committing a blob";
        let failed = |error| StoreError::from_io(context, error);
        self.session.wait_idle().await.map_err(failed)?;
        self.set_keep(false);
        let remainder = self.filling.take();
        let (expected, repository) = (*expected, repository.clone());

        // Content and link are written and synced at the same time.
        let session = Arc::clone(&self.session);
        let verified = self
            .store
            .start(context, move |_| session.verify(remainder, &expected));
        let of = repository.clone();
        let link = self
            .store
            .start(context, move |inner| inner.missing_link(&of, &expected));
        let (verified, link) = (verified.await?, link.await?);

        let session = Arc::clone(&self.session);
        let (blob, ticket) = self
            .store
            .run(context, move |_| {
                session.commit(verified, link, &expected, &repository)
            })
            .await?;
        wait(context, ticket).await?;
        Ok(CommittedBlob::new(blob, true))
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        self.set_keep(false);
        self.filling = None;
        // What went wrong before does not matter any more.
        let _ = self.session.wait_idle().await;
        let session = Arc::clone(&self.session);
        self.store
            .run("ending an upload", move |_| session.abort())
            .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let remainder = self.filling.take();
        self.session.leave(remainder.filter(|_| self.keep));
    }
}

impl Inner {
    fn record(&self, scope: &UploadScope, id: &UploadId) -> io::Result<Option<Record>> {
        match read_small(&self.layout.upload_state(scope, id), RECORD_MAX)? {
            Small::Content(content) => {
                Ok(Record::decode(&content).filter(|record| record.is_of(scope)))
            }
            // Nothing was recorded yet, so no bytes count.
            Small::Absent => match metadata(&self.layout.upload_data(scope, id))? {
                Some(found) => Ok(Some(Record::empty(scope, found.modified()?))),
                None => Ok(None),
            },
            Small::TooLarge => Ok(None),
        }
    }

    pub(super) fn upload_status(
        &self,
        scope: &UploadScope,
        id: &UploadId,
    ) -> Result<UploadStatus, Failure> {
        let record = self.record(scope, id)?.ok_or(StoreError::NotFound)?;
        // A record without bytes is what an upload leaves behind that became a blob.
        metadata(&self.layout.upload_data(scope, id))?.ok_or(StoreError::NotFound)?;
        self.require_record(scope, id, &record)?;
        Ok(UploadStatus::new(id.clone(), record.offset))
    }

    /// Sees to it that a record that was read is on the disk before anybody is told what it says: its
    /// writer may be about to sync it, or may have failed to. A later record that replaced it since
    /// counts no fewer bytes. Blocks.
    fn require_record(
        &self,
        scope: &UploadScope,
        id: &UploadId,
        record: &Record,
    ) -> Result<(), Failure> {
        // Nothing is promised of a session without bytes.
        if record.offset > 0 {
            let path = self.layout.upload_state(scope, id);
            let found = metadata(&path)?.ok_or(StoreError::NotFound)?;
            if self.disk.is_doubtful(&found) {
                // Given up, until its writer records how far it came once more.
                return Err(StoreError::NotFound.into());
            }
            let mut dirty = Dirty::new();
            self.disk.require_durable(&path, &found, &mut dirty)?;
            self.disk.commit_now(dirty)?;
        }
        Ok(())
    }
}

/// Reads a session's record; a torn one is none.
fn read_record(path: &Path) -> io::Result<Option<Record>> {
    let content = read_small(path, RECORD_MAX)?.content();
    Ok(content.and_then(|content| Record::decode(&content)))
}

const OPENING: &str = "opening an upload";
const RECEIVING: &str = "receiving an upload";
/// How many buffers of one upload may be on their way to the disk.
const IN_FLIGHT: usize = 4;
/// How many bytes may be received before they are brought to the disk, and counted if the upload is
/// one that goes on after a crash.
const FLUSH_EVERY: u64 = 128 << 20;
/// A principal's name may be long, but not this long.
const RECORD_MAX: u64 = 1 << 20;

/// How long an upload or a temporary file is at least left alone if nothing says whose it is.
const ORPHAN_AGE: Duration = Duration::from_secs(60 * 60);
