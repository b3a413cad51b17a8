//! Everything that is there, for copies and checks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use oci_core::Digest;
use oci_core::digest::Hasher;
use oci_core::error::StoreError;
use oci_core::store::{Page, PageRequest};

use super::Engine;
use super::access::Swap;
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
        let body = found.record.as_ref().map(|record| record.body.as_ref());
        let sound = if blob.extents.is_empty() {
            Digest::of(digest.algorithm(), body.unwrap_or_default()) == *digest
        } else {
            self.are_sound(digest, &blob.extents).await?
        };
        if sound {
            return Ok(false);
        }
        let dead = BlobRecord {
            life: Life::Dead,
            extents: Vec::new(),
            // Whoever registered these extents and does not know it must not do so again.
            fence: Some(self.nonce()),
            touched: self.now(),
            damaged: true,
            ends: blob.ends.saturating_add(1),
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

    /// Whether extents are all there, as long as recorded, and their bytes have this digest.
    pub(super) async fn are_sound(
        &self,
        digest: &Digest,
        extents: &[Extent],
    ) -> Result<bool, StoreError> {
        let mut hasher = Hasher::new(digest.algorithm());
        for extent in extents {
            if !self.hash_extent(&mut hasher, extent).await? {
                return Ok(false);
            }
        }
        Ok(hasher.finish() == *digest)
    }

    /// `false` if the extent does not have all its bytes. An error is only what may be otherwise next time.
    async fn hash_extent(&self, hasher: &mut Hasher, extent: &Extent) -> Result<bool, StoreError> {
        let mut left = extent.length;
        if left == 0 {
            return Ok(true);
        }
        let mut stream = match self.extents.read(&extent.key, 0..left).await {
            Ok(stream) => stream,
            Err(ExtentError::NotFound) => return Ok(false),
            Err(error) => return Err(error.into_store("reading content again")),
        };
        while let Some(piece) = stream.next().await {
            match piece {
                Ok(piece) => {
                    let Some(rest) = left.checked_sub(piece.len() as u64) else {
                        return Ok(false);
                    };
                    left = rest;
                    hasher.update(&piece);
                }
                Err(StoreError::NotFound) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(left == 0)
    }
}
