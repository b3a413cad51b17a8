//! Content that somebody else has written.

use oci_core::Digest;
use oci_core::error::StoreError;

use super::access::Swap;
use super::content::contended;
use super::keys::{self, Key};
use super::model::{BlobRecord, Extent, Life};
use super::{Records, SWAP_TRIES};

/// What was found of content that somebody else has written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Adoption {
    /// It is part of the store from now on.
    Adopted,
    /// Content of this digest and size was there already: nothing changed.
    There,
    /// Its bytes do not have the digest, or are not all there: nothing changed.
    Damaged,
}

impl Records {
    /// Makes an extent that somebody else has written the content of `digest`, where it lies: the `size`
    /// bytes under `extent`. The engine never deletes it.
    ///
    /// Nothing is read, so its digest is taken on trust, unless
    /// [`discard_damaged`](oci_core::BlobStore::discard_damaged) took this content away before: then it has
    /// to have its digest now.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] if `extent` is where the engine keeps its own.
    pub async fn adopt(
        &self,
        digest: &Digest,
        size: u64,
        extent: &str,
    ) -> Result<Adoption, StoreError> {
        self.adopt_or_look(digest, size, extent, false).await
    }

    /// What [`adopt`](Self::adopt) would do. Writes nothing.
    ///
    /// # Errors
    /// Those of [`adopt`](Self::adopt).
    pub async fn would_adopt(
        &self,
        digest: &Digest,
        size: u64,
        extent: &str,
    ) -> Result<Adoption, StoreError> {
        self.adopt_or_look(digest, size, extent, true).await
    }

    async fn adopt_or_look(
        &self,
        digest: &Digest,
        size: u64,
        extent: &str,
        look: bool,
    ) -> Result<Adoption, StoreError> {
        if keys::is_own_extent(extent) {
            return Err(StoreError::Unsupported(
                "adopting an extent that the engine may delete",
            ));
        }
        let engine = &self.engine;
        let key = Key::Blob(*digest);
        let extents = vec![Extent {
            key: extent.to_owned(),
            length: size,
        }];
        // A file that was cut off is known without a look at it.
        if size == 0 && *digest != Digest::of(digest.algorithm(), b"") {
            return Ok(Adoption::Damaged);
        }
        let mut sound = false;
        for _ in 0..SWAP_TRIES {
            let found = engine.get::<BlobRecord>(&key).await?;
            let current = found.header();
            if current.is_some_and(|blob| blob.life.is_there() && blob.size == size) {
                return Ok(Adoption::There);
            }
            if current.is_some_and(|blob| blob.damaged) && !sound {
                sound = engine.are_sound(digest, &extents).await?;
                if !sound {
                    return Ok(Adoption::Damaged);
                }
            }
            if look {
                return Ok(Adoption::Adopted);
            }
            let blob = BlobRecord {
                life: Life::Live,
                size,
                extents: extents.clone(),
                // Of bytes that are never deleted none can be about to be.
                fence: current.and_then(|blob| blob.fence),
                touched: engine.now(),
                damaged: false,
                ends: current.map_or(0, |blob| blob.ends),
            };
            let swap = engine.swap(&key, found.version.as_ref(), &blob, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(Adoption::Adopted);
            }
        }
        Err(contended())
    }
}
