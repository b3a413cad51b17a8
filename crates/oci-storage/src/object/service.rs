//! What the adapter asks of the `object_store` crate, whichever service is behind it.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use http::Method;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

/// A service with what all of them have.
#[async_trait]
pub(super) trait Service: Debug + Send + Sync + 'static {
    fn objects(&self) -> &dyn ObjectStore;

    fn parts(&self) -> &dyn MultipartStore;

    /// Signs addresses, if the service has any.
    fn signer(&self) -> Option<&dyn SignUrls> {
        None
    }

    /// At most `limit` objects whose names begin with `prefix` and come after `after`. Fewer mean that
    /// there are no more.
    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> object_store::Result<Vec<ObjectMeta>>;
}

/// Signs addresses. `object_store` has a trait for it only with a service behind a network.
#[async_trait]
pub(super) trait SignUrls: Send + Sync + 'static {
    /// A URL for whoever has it to use `method` on the object at `path`, for `ttl`.
    async fn sign(
        &self,
        method: Method,
        path: &Path,
        ttl: Duration,
    ) -> object_store::Result<String>;
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
#[async_trait]
impl<S: object_store::signer::Signer + 'static> SignUrls for S {
    async fn sign(
        &self,
        method: Method,
        path: &Path,
        ttl: Duration,
    ) -> object_store::Result<String> {
        Ok(self.signed_url(method, path, ttl).await?.into())
    }
}

/// `object_store`'s store in memory. It knows no pages; nobody waits for it.
#[derive(Debug)]
pub(super) struct Memory(pub(super) InMemory);

#[async_trait]
impl Service for Memory {
    fn objects(&self) -> &dyn ObjectStore {
        &self.0
    }

    fn parts(&self) -> &dyn MultipartStore {
        &self.0
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> object_store::Result<Vec<ObjectMeta>> {
        // Its prefixes are whole segments.
        let directory = prefix.rsplit_once('/').map(|(directory, _)| directory);
        let directory = directory.map(Path::parse).transpose()?;
        // And its offsets are paths, which `after` need not be.
        let mut listing = self.0.list(directory.as_ref());
        let mut found = Vec::new();
        while found.len() < limit {
            let Some(meta) = listing.next().await else {
                break;
            };
            let meta = meta?;
            let name = meta.location.as_ref();
            if name.starts_with(prefix) && after.is_none_or(|after| name > after) {
                found.push(meta);
            }
        }
        Ok(found)
    }
}

/// A service behind a network.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
#[derive(Debug)]
pub(super) struct Cloud<S>(pub(super) S);

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
#[async_trait]
impl<S> Service for Cloud<S>
where
    S: ObjectStore
        + MultipartStore
        + object_store::signer::Signer
        + object_store::list::PaginatedListStore,
{
    fn objects(&self) -> &dyn ObjectStore {
        &self.0
    }

    fn parts(&self) -> &dyn MultipartStore {
        &self.0
    }

    fn signer(&self) -> Option<&dyn SignUrls> {
        Some(&self.0)
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> object_store::Result<Vec<ObjectMeta>> {
        use object_store::list::PaginatedListOptions;

        // What all of them return at once.
        const MOST: usize = 1000;
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let options = PaginatedListOptions {
                offset: after.map(str::to_owned),
                max_keys: Some(limit.min(MOST)),
                page_token: token,
                ..PaginatedListOptions::default()
            };
            let page = self.0.list_paginated(Some(prefix), options).await?;
            found.extend(page.result.objects);
            token = page.page_token;
            if found.len() >= limit || token.is_none() {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }
}
