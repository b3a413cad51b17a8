//! The records of blobs: registering content, keeping it from the collector, reading it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci_core::error::StoreError;
use oci_core::manifest::{ManifestReference, ReferenceKind};
use oci_core::store::{BlobPayload, BlobRead, BlobStream, ReadRange};
use oci_core::{Digest, RepositoryName};

use super::access::{Found, Swap};
use super::encoding::{Header, Nonce};
use super::extent::ExtentError;
use super::keys::Key;
use super::model::{BlobRecord, Extent, Fence, Life, LinkRecord, RevisionRecord};
use super::{Engine, SWAP_TRIES};

/// Content that is about to be registered: extents, or bytes for the record itself.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) extents: Vec<Extent>,
    pub(super) inline: Bytes,
}

/// A record that a collector can condemn and a pusher bring back.
pub(super) trait Mortal: Header + Clone {
    fn life(&self) -> Life;
    fn touched(&self) -> u64;
    fn revive(&mut self, now: u64);
    fn condemn(&mut self);
    /// `fence` keeps whoever has registered content and does not know it from doing so again.
    fn end(&mut self, now: u64, fence: Nonce);

    /// Whether it is gone, and nothing is left to be done about that.
    fn is_settled(&self) -> bool {
        !self.life().is_there()
    }
}

macro_rules! mortal {
    ($($record:ty { $($more:item)* })*) => {$(
        impl Mortal for $record {
            fn life(&self) -> Life {
                self.life
            }

            fn touched(&self) -> u64 {
                self.touched
            }

            fn revive(&mut self, now: u64) {
                self.life = Life::Live;
                self.touched = now;
            }

            fn condemn(&mut self) {
                self.life = Life::Condemned;
            }

            $($more)*
        }
    )*};
}

mortal! {
    BlobRecord {
        fn end(&mut self, now: u64, fence: Nonce) {
            self.life = Life::Dead;
            self.touched = now;
            self.fence = Some(fence);
            self.ends = self.ends.saturating_add(1);
        }
    }
    LinkRecord {
        fn end(&mut self, now: u64, _: Nonce) {
            self.life = Life::Dead;
            self.touched = now;
        }
    }
    RevisionRecord {
        fn end(&mut self, now: u64, _: Nonce) {
            self.life = Life::Dead;
            self.touched = now;
            self.pending = true;
        }

        fn is_settled(&self) -> bool {
            !self.life.is_there() && !self.pending
        }
    }
}

/// How an attempt to register content ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Registered {
    Done,
    /// The fence was another one, and the content never was registered.
    NotYet,
    /// It may have been registered and collected: its extents may be deleted at any time.
    Gone,
}

/// How an attempt to keep others from registering content ended.
#[derive(Debug)]
pub(super) enum Fenced {
    /// It is registered already, so its extents must be kept.
    Registered,
    /// From now on nobody registers it; this was the record before.
    Off(Option<BlobRecord>),
}

/// Whether a record is only made live if it is condemned, or its date renewed as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Promise {
    /// References keep it from now on.
    Kept,
    /// Somebody is told that it exists and may come back for it.
    Told,
}

/// The fence of a record as it was read.
pub(super) fn fence_of(found: &Found<BlobRecord>) -> Fence {
    found.header().and_then(|blob| blob.fence)
}

/// How often content had ended when a record was read.
pub(super) fn ends_of(found: &Found<BlobRecord>) -> u64 {
    found.header().map_or(0, |blob| blob.ends)
}

impl Engine {
    /// Makes sure that what a record describes is there and not about to go. `false` if it is not there
    /// or not as `fits` wants it.
    pub(super) async fn protect<H: Mortal>(
        &self,
        key: &Key,
        promise: Promise,
        fits: impl Fn(&H) -> bool + Send,
    ) -> Result<bool, StoreError> {
        for _ in 0..SWAP_TRIES {
            let Found { version, record } = self.get::<H>(key).await?;
            let Some(mut record) =
                record.filter(|record| record.header.life().is_there() && fits(&record.header))
            else {
                return Ok(false);
            };
            let stale = promise == Promise::Told && self.is_stale(record.header.touched());
            if record.header.life() == Life::Live && !stale {
                return Ok(true);
            }
            record.header.revive(self.now());
            let swap = self.swap(key, version.as_ref(), &record.header, &record.body);
            if let Swap::Won(..) = swap.await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// The same for what a manifest needs: the content and its visibility in the repository.
    pub(super) async fn protect_reference(
        &self,
        repository: &RepositoryName,
        needed: &ManifestReference,
        promise: Promise,
    ) -> Result<bool, StoreError> {
        if needed.kind == ReferenceKind::Manifest {
            // Its size is that of the body, so it is looked at by hand.
            return self.protect_child(repository, needed, promise).await;
        }
        let fits = |blob: &BlobRecord| blob.size == needed.size;
        let blob = Key::Blob(needed.digest);
        let link = Key::Link(repository.clone(), needed.digest);
        Ok(self.protect(&blob, promise, fits).await?
            && self.protect(&link, promise, |_: &LinkRecord| true).await?)
    }

    async fn protect_child(
        &self,
        repository: &RepositoryName,
        needed: &ManifestReference,
        promise: Promise,
    ) -> Result<bool, StoreError> {
        let key = Key::Manifest(repository.clone(), needed.digest);
        let found = self.get::<RevisionRecord>(&key).await?;
        let size = found.record.map(|record| record.body.len() as u64);
        Ok(size == Some(needed.size)
            && self
                .protect(&key, promise, |_: &RevisionRecord| true)
                .await?)
    }

    /// Makes a blob visible in a repository. It is not looked at first if it is `unlikely` to be there.
    pub(super) async fn link(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        unlikely: bool,
    ) -> Result<(), StoreError> {
        let key = Key::Link(repository.clone(), *digest);
        for round in 0..SWAP_TRIES {
            let found = if unlikely && round == 0 {
                Found {
                    version: None,
                    record: None,
                }
            } else {
                self.get::<LinkRecord>(&key).await?
            };
            let current = found.header();
            if current.is_some_and(|link| link.life == Life::Live && !self.is_stale(link.touched)) {
                return Ok(());
            }
            let link = LinkRecord {
                life: Life::Live,
                touched: self.now(),
            };
            let swap = self.swap(&key, found.version.as_ref(), &link, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The record with the fence that must still hold when content that is stored from now on is registered.
    pub(super) async fn before(&self, digest: &Digest) -> Result<Found<BlobRecord>, StoreError> {
        self.get(&Key::Blob(*digest)).await
    }

    /// Points the record of `digest` at `content`, whatever it pointed at, if the fence still is `fence`.
    /// `known` is how the record was when that was read; if it still is so, it is not read again.
    pub(super) async fn register(
        &self,
        digest: &Digest,
        content: &Content,
        fence: Fence,
        known: Option<Found<BlobRecord>>,
    ) -> Result<Registered, StoreError> {
        let key = Key::Blob(*digest);
        let mut known = known;
        let mut refused = Registered::NotYet;
        let mut blob = BlobRecord {
            life: Life::Live,
            size: content.size,
            extents: content.extents.clone(),
            fence,
            touched: self.now(),
            damaged: false,
            ends: 0,
        };
        for _ in 0..SWAP_TRIES {
            let found = match known.take() {
                Some(known) => known,
                None => self.get::<BlobRecord>(&key).await?,
            };
            let current = found.header();
            // An answer that got lost: it is done, and somebody has changed the record since.
            // If a collector has ended it, these extents are as good as deleted.
            if let Some(blob) = current
                && !blob.extents.is_empty()
                && blob.extents == content.extents
            {
                return Ok(if blob.life.is_there() {
                    Registered::Done
                } else {
                    Registered::Gone
                });
            }
            if current.and_then(|blob| blob.fence) != fence {
                return Ok(refused);
            }
            blob.ends = ends_of(&found);
            let swap = self.swap(&key, found.version.as_ref(), &blob, &content.inline);
            match swap.await? {
                Swap::Won(..) => return Ok(Registered::Done),
                // It may have been registered, and be collected by now.
                Swap::Lost {
                    perhaps_written: true,
                } => refused = Registered::Gone,
                Swap::Lost { .. } => {}
            }
        }
        Err(contended())
    }

    /// Makes sure that nobody registers `extents` under `digest` from now on, unless somebody has.
    pub(super) async fn fence_off(
        &self,
        digest: &Digest,
        extents: &[String],
    ) -> Result<Fenced, StoreError> {
        let key = Key::Blob(*digest);
        for _ in 0..SWAP_TRIES {
            let found = self.get::<BlobRecord>(&key).await?;
            if found.header().is_some_and(|blob| blob.holds(extents)) {
                return Ok(Fenced::Registered);
            }
            let before = found.header().cloned();
            let Found { version, record } = found;
            let (mut blob, body) = match record {
                Some(record) => (record.header, record.body),
                None => (self.nothing(), Bytes::new()),
            };
            blob.fence = Some(self.nonce());
            let swap = self.swap(&key, version.as_ref(), &blob, &body);
            if let Swap::Won(..) = swap.await? {
                return Ok(Fenced::Off(before));
            }
        }
        Err(contended())
    }

    fn nothing(&self) -> BlobRecord {
        BlobRecord {
            life: Life::Dead,
            size: 0,
            extents: Vec::new(),
            fence: None,
            touched: self.now(),
            damaged: false,
            ends: 0,
        }
    }

    /// Opens a blob.
    pub(super) async fn open(
        self: &Arc<Self>,
        digest: &Digest,
        range: ReadRange,
    ) -> Result<BlobRead, StoreError> {
        let key = Key::Blob(*digest);
        let mut seen: Option<Nonce> = None;
        loop {
            let found = self.get::<BlobRecord>(&key).await?;
            let record = found
                .record
                .filter(|record| record.header.life.is_there())
                .ok_or(StoreError::NotFound)?;
            let size = record.header.size;
            let wanted = range
                .resolve(size)
                .ok_or(StoreError::RangeNotSatisfiable { size })?;
            let parts = cut(&record.header.extents, &wanted);
            if record.header.extents.is_empty() {
                let inline = slice(&record.body, &wanted).ok_or(StoreError::NotFound)?;
                return Ok(BlobRead::new(size, wanted, BlobPayload::Bytes(inline)));
            }
            // The first extent is opened now: that it is gone has to be said before the answer begins.
            match self.read_extents(parts).await {
                Ok(stream) => {
                    return Ok(BlobRead::new(size, wanted, BlobPayload::Stream(stream)));
                }
                Err(ExtentError::NotFound) if seen != Some(record.nonce) => {
                    // Replaced meanwhile, unless the record is the same when read again.
                    seen = Some(record.nonce);
                }
                // The record promises what is lost. Pushing it again heals that.
                Err(ExtentError::NotFound) => return Err(StoreError::NotFound),
                Err(error) => return Err(error.into_store("reading a blob")),
            }
        }
    }

    /// The bytes of `parts`. The first extent is opened now, so that it is known whether that is gone.
    pub(super) async fn read_extents(
        self: &Arc<Self>,
        parts: VecDeque<(String, Range<u64>)>,
    ) -> Result<BlobStream, ExtentError> {
        let mut reading = Reading {
            engine: Arc::clone(self),
            parts,
            open: None,
        };
        reading.next_extent().await?;
        Ok(Box::pin(stream::unfold(
            reading,
            |mut reading| async move {
                let piece = reading.next_piece().await?;
                Some((piece, reading))
            },
        )))
    }

    /// Reads whole extents into memory; only for what is smaller than a part.
    pub(super) async fn load(
        self: &Arc<Self>,
        extents: &[Extent],
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut pieces = Vec::new();
        let mut stream = self.stream(extents).await?;
        while let Some(piece) = stream.next().await {
            pieces.push(piece?);
        }
        Ok(pieces)
    }

    /// The content of extents, one after the other.
    pub(super) async fn stream(
        self: &Arc<Self>,
        extents: &[Extent],
    ) -> Result<BlobStream, StoreError> {
        let length = extents.iter().map(|extent| extent.length).sum();
        self.read_extents(cut(extents, &(0..length)))
            .await
            .map_err(|error| error.into_store("reading an upload back"))
    }
}

/// A blob that is being read, extent by extent.
struct Reading {
    engine: Arc<Engine>,
    parts: VecDeque<(String, Range<u64>)>,
    /// The extent that is being read, and how much of it is still to come.
    open: Option<(BlobStream, u64)>,
}

impl Reading {
    async fn next_extent(&mut self) -> Result<(), ExtentError> {
        self.open = match self.parts.pop_front() {
            Some((key, range)) => {
                let length = range.end.saturating_sub(range.start);
                Some((self.engine.extents.read(&key, range).await?, length))
            }
            None => None,
        };
        Ok(())
    }

    async fn next_piece(&mut self) -> Option<Result<Bytes, StoreError>> {
        loop {
            let (stream, left) = self.open.as_mut()?;
            if *left == 0 {
                if let Err(error) = self.next_extent().await {
                    return Some(self.fail(error.into_store("reading a blob")));
                }
                continue;
            }
            return match stream.next().await {
                Some(Ok(piece)) => {
                    let length = piece.len() as u64;
                    if length > *left {
                        return Some(self.fail(wrong_length()));
                    }
                    *left -= length;
                    Some(Ok(piece))
                }
                Some(Err(error)) => Some(self.fail(error)),
                None => Some(self.fail(wrong_length())),
            };
        }
    }

    fn fail(&mut self, error: StoreError) -> Result<Bytes, StoreError> {
        self.open = None;
        self.parts.clear();
        Err(error)
    }
}

/// The parts of `extents` that make up `wanted`.
pub(super) fn cut(extents: &[Extent], wanted: &Range<u64>) -> VecDeque<(String, Range<u64>)> {
    let mut start = 0_u64;
    let mut parts = VecDeque::new();
    for extent in extents {
        let end = start.saturating_add(extent.length);
        let (from, to) = (wanted.start.max(start), wanted.end.min(end));
        if from < to {
            parts.push_back((extent.key.clone(), from - start..to - start));
        }
        start = end;
    }
    parts
}

fn slice(bytes: &Bytes, range: &Range<u64>) -> Option<Bytes> {
    let (start, end) = (
        usize::try_from(range.start).ok()?,
        usize::try_from(range.end).ok()?,
    );
    (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
}

fn wrong_length() -> StoreError {
    StoreError::unavailable(
        "reading a blob",
        "its extent does not have the recorded length; push the blob again",
    )
}

pub(super) fn contended() -> StoreError {
    StoreError::unavailable("changing a record", "others keep changing it")
}
