//! Content that somebody else has written.

use oci_core::Digest;
use oci_core::error::StoreError;

use super::access::Swap;
use super::content::contended;
use super::keys::{self, Key};
use super::model::{BlobRecord, Extent, Life};
use super::{Records, SWAP_TRIES};

impl Records {
    /// Makes an extent that somebody else has written the content of `digest`, where it lies: the `size`
    /// bytes under `extent`. Nothing is read, so its digest is taken on trust. The engine never deletes it.
    ///
    /// `false` if content of this digest and size is there already: then nothing changed.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] if `extent` is where the engine keeps its own.
    pub async fn adopt(
        &self,
        digest: &Digest,
        size: u64,
        extent: &str,
    ) -> Result<bool, StoreError> {
        if keys::is_own_extent(extent) {
            return Err(StoreError::Unsupported(
                "adopting an extent that the engine may delete",
            ));
        }
        let engine = &self.engine;
        let key = Key::Blob(*digest);
        for _ in 0..SWAP_TRIES {
            let found = engine.get::<BlobRecord>(&key).await?;
            let current = found.header();
            if current.is_some_and(|blob| blob.life.is_there() && blob.size == size) {
                return Ok(false);
            }
            let blob = BlobRecord {
                life: Life::Live,
                size,
                extents: vec![Extent {
                    key: extent.to_owned(),
                    length: size,
                }],
                // Of bytes that are never deleted none can be about to be.
                fence: current.and_then(|blob| blob.fence),
                touched: engine.now(),
            };
            let swap = engine.swap(&key, found.version.as_ref(), &blob, &[]);
            if let Swap::Won(..) = swap.await? {
                return Ok(true);
            }
        }
        Err(contended())
    }
}
