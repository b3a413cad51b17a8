//! `_catalog`: the repositories that the caller may pull, as Docker's registry lists them.

use oci_core::RepositoryName;
use oci_core::{Action, RegistryError};
use serde_json::json;

use super::Exchange;
use crate::endpoint::{Endpoint, PageQuery};
use crate::pagination;
use crate::response::{Failure, Reply};

/// Names that the caller may not pull are left out, and never stand in the link either. So a page may
/// be short, and while there is nothing to show the search goes on.
pub(super) async fn list(x: &Exchange<'_>, query: &PageQuery) -> Result<Reply, Failure> {
    let size = x.registry.limits().repositories_per_page;
    let mut request = pagination::request(query, size);
    let wanted = request.limit;
    let everything = wanted == 0 || x.caller.may_pull_everything().await?;
    if !everything {
        // Most of what is looked at may not count.
        request.limit = size;
    }
    let mut names: Vec<RepositoryName> = Vec::new();
    let mut scanned = 0;
    let more = loop {
        let page = x.registry.repositories(&request).await?;
        scanned += page.items.len();
        request.after = page.items.last().map(ToString::to_string);
        let mut left_over = false;
        for name in page.items {
            if everything || may_pull(x, &name).await? {
                if names.len() == wanted {
                    left_over = true;
                    break;
                }
                names.push(name);
            }
        }
        let bounded = scanned >= SCAN_MAX && !names.is_empty();
        if left_over || !page.more || bounded || request.after.is_none() {
            break left_over || (page.more && request.after.is_some());
        }
        if everything && names.len() == wanted {
            break true;
        }
    };
    let next = names.last().filter(|_| more).map(|last| Endpoint::Catalog {
        page: pagination::next(query, last.as_str(), size),
    });
    let names: Vec<&str> = names.iter().map(RepositoryName::as_str).collect();
    let document = json!({"repositories": names});
    Ok(Reply::json(&document).next(x.links, next.as_ref()))
}

async fn may_pull(x: &Exchange<'_>, name: &RepositoryName) -> Result<bool, RegistryError> {
    x.caller.may_in(name, Action::Pull).await
}

/// How many names one request looks at, if it has something to show.
const SCAN_MAX: usize = 10_000;
