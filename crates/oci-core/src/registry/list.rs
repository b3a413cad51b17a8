//! Listings of tags and repositories.

use super::{Registry, or};
use crate::error::{ErrorCode, RegistryError};
use crate::name::{RepositoryName, Tag};
use crate::store::{Page, PageRequest};

impl Registry {
    /// A page of tags in byte order, at most [`Limits::page_size`](super::Limits::page_size).
    ///
    /// # Errors
    /// `NAME_UNKNOWN` for a repository that never had a manifest.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, RegistryError> {
        let page = self.capped(page);
        let tags = self
            .inner
            .manifests
            .tags(repository, &page)
            .await
            .map_err(or(ErrorCode::NameUnknown))?;
        Ok(without_zero(tags, &page))
    }

    /// A page of the repositories that hold a manifest, in byte order.
    pub async fn repositories(
        &self,
        page: &PageRequest,
    ) -> Result<Page<RepositoryName>, RegistryError> {
        let page = self.capped(page);
        let names = self
            .inner
            .manifests
            .repositories(&page)
            .await
            .map_err(or(ErrorCode::NameUnknown))?;
        Ok(without_zero(names, &page))
    }

    fn capped(&self, page: &PageRequest) -> PageRequest {
        PageRequest {
            limit: page.limit.min(self.inner.limits.page_size),
            ..page.clone()
        }
    }
}

/// A page of no entries has no last one to go on from, so nothing follows it.
fn without_zero<T>(page: Page<T>, request: &PageRequest) -> Page<T> {
    Page {
        more: page.more && request.limit > 0,
        ..page
    }
}
