//! Reading Distribution's objects.

use bytes::Bytes;
use object_store::{Error, GetOptions};
use oci_core::error::StoreError;

use super::super::bucket::Bucket;
use super::super::failure::BucketError;

/// No manifest is larger. Distribution itself takes 4 MiB.
pub(super) const LARGEST_MANIFEST: u64 = 64 << 20;

/// The length of an object; `None` if it is not there.
pub(super) async fn size(bucket: &Bucket, key: &str) -> Result<Option<u64>, StoreError> {
    let options = GetOptions {
        head: true,
        ..GetOptions::default()
    };
    let path = path(bucket, key)?;
    match bucket.service().objects().get_opts(&path, options).await {
        Ok(found) => Ok(Some(found.meta.size)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(StoreError::unavailable("looking at an object", error)),
    }
}

/// An object of at most `most` bytes; `None` if it is not there, or larger.
pub(super) async fn whole(
    bucket: &Bucket,
    key: &str,
    most: u64,
) -> Result<Option<Bytes>, StoreError> {
    let path = path(bucket, key)?;
    let objects = bucket.service().objects();
    let found = match objects.get_opts(&path, GetOptions::default()).await {
        Ok(found) if found.meta.size <= most => found,
        Ok(_) | Err(Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(StoreError::unavailable("reading an object", error)),
    };
    let bytes = found.bytes().await;
    bytes
        .map(Some)
        .map_err(|error| StoreError::unavailable("reading an object", error))
}

fn path(bucket: &Bucket, key: &str) -> Result<object_store::path::Path, StoreError> {
    bucket
        .path(key)
        .map_err(|error: BucketError| StoreError::unavailable("naming an object", error))
}
