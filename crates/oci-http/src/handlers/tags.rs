//! `tags/list`: OCI distribution-spec, "Listing Tags".

use oci_core::RepositoryName;
use serde_json::json;

use super::Exchange;
use crate::endpoint::{Endpoint, PageQuery};
use crate::pagination;
use crate::response::{Failure, Reply};

pub(super) async fn list(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    query: &PageQuery,
) -> Result<Reply, Failure> {
    let size = x.registry.limits().tags_per_page;
    let page = pagination::request(query, size);
    let tags = x.registry.tags(repository, &page).await?;
    let names: Vec<&str> = tags.items.iter().map(AsRef::as_ref).collect();
    let next = names
        .last()
        .filter(|_| tags.more)
        .map(|last| Endpoint::Tags {
            repository: repository.clone(),
            page: pagination::next(query, last, size),
        });
    let document = json!({"name": repository.as_str(), "tags": names});
    Ok(Reply::json(&document).next(x.links, next.as_ref()))
}
