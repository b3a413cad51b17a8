//! Listings of tags and repositories.

use super::{Registry, or};
use crate::error::{ErrorCode, RegistryError};
use crate::hooks::StoreCall;
use crate::name::{RepositoryName, Tag};
use crate::store::{Page, PageRequest};

impl Registry {
    /// A page of tags in byte order, at most
    /// [`Limits::tags_per_page`](super::Limits::tags_per_page).
    ///
    /// # Errors
    /// `NAME_UNKNOWN` for a repository that never had a manifest.
    pub async fn tags(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Tag>, RegistryError> {
        let page = capped(page, self.inner.limits.tags_per_page);
        let tags = self.inner.manifests.tags(repository, &page);
        let tags = self
            .timed(StoreCall::List, tags)
            .await
            .map_err(or(ErrorCode::NameUnknown))?;
        Ok(without_zero(tags, &page))
    }

    /// A page of the repositories that hold a manifest, in byte order, at most
    /// [`Limits::repositories_per_page`](super::Limits::repositories_per_page).
    pub async fn repositories(
        &self,
        page: &PageRequest,
    ) -> Result<Page<RepositoryName>, RegistryError> {
        let page = capped(page, self.inner.limits.repositories_per_page);
        let names = self.inner.manifests.repositories(&page);
        let names = self
            .timed(StoreCall::List, names)
            .await
            .map_err(or(ErrorCode::NameUnknown))?;
        Ok(without_zero(names, &page))
    }
}

fn capped(page: &PageRequest, most: usize) -> PageRequest {
    PageRequest {
        limit: page.limit.min(most),
        ..page.clone()
    }
}

/// A page of no entries has no last one to go on from, so nothing follows it.
fn without_zero<T>(page: Page<T>, request: &PageRequest) -> Page<T> {
    Page {
        more: page.more && request.limit > 0,
        ..page
    }
}
