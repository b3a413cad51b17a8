//! Everything that is there, for copies and checks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use oci_core::Digest;
use oci_core::digest::Hasher;
use oci_core::error::StoreError;
use oci_core::store::{BlobPayload, BlobStream, Page, PageRequest, ReadRange};

use super::Engine;
use super::access::Swap;
use super::content::cut;
use super::encoding::Header;
use super::extent::ExtentError;
use super::keys::{self, Key};
use super::model::{BlobRecord, Extent, Life};

impl Engine {
    /// A page of what `pick` makes of the records of digests under `prefix`.
    pub(super) async fn digests<H, T, F>(
        self: &Arc<Self>,
        prefix: &str,
        page: &PageRequest,
        pick: F,
    ) -> Result<Page<T>, StoreError>
    where
        H: Header,
        F: Fn(Vec<(Key, H)>) -> BoxFuture<'static, Result<Vec<T>, StoreError>> + Send + Sync,
    {
        let after = match &page.after {
            None => None,
            Some(after) => match keys::digest_after(prefix, after) {
                Some(key) => Some(key),
                None => return Ok(Page::new(Vec::new(), false)),
            },
        };
        let (items, more) = self.page(prefix, after, page.limit, pick).await?;
        Ok(Page::new(items, more))
    }

    /// Ends content whose bytes do not have its digest, or are not all there.
    pub(super) async fn discard_damaged(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let key = Key::Blob(*digest);
        let found = self.get::<BlobRecord>(&key).await?;
        let Some(blob) = found.header().filter(|blob| blob.life.is_there()) else {
            return Err(StoreError::NotFound);
        };
        if self.is_sound(digest).await? {
            return Ok(false);
        }
        let dead = BlobRecord {
            life: Life::Dead,
            extents: Vec::new(),
            // Whoever registered these extents and does not know it must not do so again.
            fence: Some(self.nonce()),
            touched: self.now(),
            damaged: true,
            ..blob.clone()
        };
        // Lost to somebody who pushed it again or promised it meanwhile: then it is looked at next time.
        let swap = self.swap(&key, found.version.as_ref(), &dead, &[]);
        let Swap::Won(..) = swap.await? else {
            return Ok(false);
        };
        for extent in &blob.extents {
            self.forget(&extent.key).await;
        }
        Ok(true)
    }

    async fn is_sound(self: &Arc<Self>, digest: &Digest) -> Result<bool, StoreError> {
        let read = match self.open(digest, ReadRange::Whole).await {
            Ok(read) => read,
            Err(StoreError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        match read.payload {
            BlobPayload::Bytes(bytes) => Ok(Digest::of(digest.algorithm(), &bytes) == *digest),
            BlobPayload::Stream(stream) => hashes_to(digest, stream).await,
            _ => Err(StoreError::Unsupported("checking content in a file")),
        }
    }

    /// Whether extents are all there and their bytes have this digest.
    pub(super) async fn are_sound(
        self: &Arc<Self>,
        digest: &Digest,
        extents: &[Extent],
    ) -> Result<bool, StoreError> {
        let length = extents.iter().map(|extent| extent.length).sum();
        match self.read_extents(cut(extents, &(0..length))).await {
            Ok(stream) => hashes_to(digest, stream).await,
            Err(ExtentError::NotFound) => Ok(false),
            Err(error) => Err(error.into_store("reading content again")),
        }
    }
}

async fn hashes_to(digest: &Digest, mut stream: BlobStream) -> Result<bool, StoreError> {
    let mut hasher = Hasher::new(digest.algorithm());
    while let Some(piece) = stream.next().await {
        match piece {
            Ok(piece) => hasher.update(&piece),
            Err(StoreError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish() == *digest)
}
