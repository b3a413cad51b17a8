//! Everything that is there, for copies and checks.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use oci_core::Digest;
use oci_core::digest::Hasher;
use oci_core::error::StoreError;
use oci_core::store::{BlobPayload, Page, PageRequest, ReadRange};

use super::Engine;
use super::access::Swap;
use super::encoding::Header;
use super::keys::{self, Key};
use super::model::{BlobRecord, Life};

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
            touched: self.now(),
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
        let mut hasher = Hasher::new(digest.algorithm());
        match read.payload {
            BlobPayload::Bytes(bytes) => hasher.update(&bytes),
            BlobPayload::Stream(mut stream) => {
                while let Some(piece) = stream.next().await {
                    match piece {
                        Ok(piece) => hasher.update(&piece),
                        Err(StoreError::NotFound) => return Ok(false),
                        Err(error) => return Err(error),
                    }
                }
            }
            _ => return Err(StoreError::Unsupported("checking content in a file")),
        }
        Ok(hasher.finish() == *digest)
    }
}
