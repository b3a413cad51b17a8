//! Extents as objects, in parts where they are large.

use std::ops::Range;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::Method;
use object_store::multipart::PartId;
use object_store::{GetOptions, GetRange, PutMode, PutMultipartOptions, PutOptions, PutPayload};
use oci_core::error::{BoxError, StoreError};
use oci_core::store::BlobStream;

use super::bucket::{Bucket, Finishing};
use super::failure::{BucketError, extent_error, is_unsettled};
use super::probe::Verdict;
use crate::records::{ExtentError, ExtentInfo, ExtentStore, Guarantees, PartLimits};

/// Extents in a [`Bucket`]: one object each.
///
/// Whole extents are one request. One in parts is one to begin, one per part and one to finish. Reading is
/// one request, and goes on where it broke off. Parts that nobody finished stay with the service until a
/// rule of the bucket removes them.
#[derive(Debug)]
pub struct ObjectExtents {
    bucket: Bucket,
    shared: bool,
}

impl ObjectExtents {
    /// Extents in `bucket`.
    pub fn new(bucket: Bucket, verdict: &Verdict) -> Self {
        Self {
            bucket,
            shared: verdict.is_shared(),
        }
    }

    /// Whether the extent is there, asked after its end failed.
    async fn is_there(&self, path: &object_store::path::Path) -> bool {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let objects = self.bucket.service().objects();
        objects.get_opts(path, options).await.is_ok()
    }
}

#[async_trait]
impl ExtentStore for ObjectExtents {
    fn guarantees(&self) -> Guarantees {
        self.bucket.guarantees(self.shared)
    }

    fn part_limits(&self) -> PartLimits {
        // Azure and Google allow no less; what they allow beyond is not needed.
        PartLimits::S3
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let mut options = PutOptions::from(PutMode::Overwrite);
        options.attributes = self.bucket.content_attributes();
        let objects = self.bucket.service().objects();
        let written = objects.put_opts(&path, PutPayload::from_iter(pieces), options);
        written.await.map(drop).map_err(extent_error)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..GetOptions::default()
        };
        let objects = self.bucket.service().objects();
        let found = objects.get_opts(&path, options).await;
        let pieces = found.map_err(extent_error)?.into_stream();
        Ok(Box::pin(pieces.map(|piece| {
            piece.map_err(|error| {
                StoreError::unavailable("reading an object", BoxError::from(error))
            })
        })))
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        remove(&self.bucket, key)
            .await
            .map_err(ExtentError::Unavailable)
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let options = PutMultipartOptions::from(self.bucket.content_attributes());
        let parts = self.bucket.service().parts();
        parts
            .create_multipart_opts(&path, options)
            .await
            .map_err(extent_error)
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let payload = PutPayload::from_iter(pieces);
        let parts = self.bucket.service().parts();
        let upload = upload.to_owned();
        let part = parts.put_part(&path, &upload, index, payload).await;
        Ok(part.map_err(extent_error)?.content_id)
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let parts = parts.iter().map(|part| PartId {
            content_id: part.clone(),
        });
        let parts: Vec<_> = parts.collect();
        let service = self.bucket.service().parts();
        let upload = upload.to_owned();
        let Finishing { timeout, mut pause } = self.bucket.settings().finishing;
        let begun = Instant::now();
        let mut unsettled = false;
        loop {
            let finished = service.complete_multipart(&path, &upload, parts.clone());
            let Err(error) = finished.await else {
                return Ok(());
            };
            // Done before, by a try whose answer got lost.
            if self.is_there(&path).await {
                return Ok(());
            }
            // The service may be at it, though no answer will come: a proxy before it gave up, or the
            // connection broke. Meanwhile it may say anything to a further try.
            unsettled |= is_unsettled(&error);
            if !unsettled || begun.elapsed() >= timeout {
                return Err(extent_error(error));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let parts = self.bucket.service().parts();
        let given_up = parts.abort_multipart(&path, &upload.to_owned()).await;
        match given_up.map_err(extent_error) {
            Ok(()) | Err(ExtentError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let found = self.bucket.list(prefix, after, limit).await;
        let entries = found.map_err(extent_error)?.into_iter();
        let entries =
            entries.map(|(key, meta)| ExtentInfo::new(key, meta.size, meta.last_modified.into()));
        Ok(entries.collect())
    }

    fn presigns(&self) -> bool {
        self.bucket.signer().is_some()
    }

    async fn presign(
        &self,
        key: &str,
        method: &Method,
        ttl: Duration,
    ) -> Result<Option<String>, ExtentError> {
        let path = self.bucket.path(key).map_err(unusable)?;
        let Some(signer) = self.bucket.signer() else {
            return Ok(None);
        };
        let signed = signer.sign(method.clone(), &path, ttl).await;
        signed.map(Some).map_err(extent_error)
    }
}

/// Deletes an object. One that is not there is fine.
pub(super) async fn remove(bucket: &Bucket, key: &str) -> Result<(), BoxError> {
    let path = bucket.path(key)?;
    let one = stream::iter([Ok(path)]).boxed();
    let mut deleted = bucket.service().objects().delete_stream(one);
    while let Some(deleted) = deleted.next().await {
        match deleted {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Between two looks for an object that is being made of parts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

fn unusable(error: BucketError) -> ExtentError {
    ExtentError::Unavailable(error.into())
}
