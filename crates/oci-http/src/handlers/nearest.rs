//! What a person may have meant who asked for a tag that is not there.

use http::Method;
use oci_core::store::PageRequest;
use oci_core::{ErrorCode, Reference, RegistryError, RepositoryName, Tag};

use super::Exchange;

/// Names the tags nearest to the one that was asked for, in place of the mere fact that it is unknown.
///
/// Who gets here may pull from the repository, which is all that listing its tags takes. It costs one page
/// of tags, so it is done only where that is cheap, and only a GET pays: clients ask by HEAD before they
/// push, and show nobody the answer.
pub(super) async fn hinted(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    reference: &Reference,
    error: RegistryError,
) -> RegistryError {
    let Reference::Tag(tag) = reference else {
        return error;
    };
    if error.code() != ErrorCode::ManifestUnknown
        || x.head.method != Method::GET
        || !x.registry.manifests().lists_cheaply()
    {
        return error;
    }
    let page = PageRequest::first(x.registry.limits().tags_per_page);
    let message = match x.registry.tags(repository, &page).await {
        Ok(tags) if !tags.items.is_empty() => {
            let nearest = nearest(tag, &tags.items);
            // Of more than a page, the nearest may be on another.
            let some = if tags.more || tags.items.len() > nearest.len() {
                "among its tags are"
            } else {
                "its tags are"
            };
            let nearest = nearest.join(", ");
            format!("the tag `{tag}` is not in {repository}; {some}: {nearest}")
        }
        Ok(_) => format!("the tag `{tag}` is not in {repository}, which has no tags"),
        Err(listing) if listing.code() == ErrorCode::NameUnknown => format!(
            "the tag `{tag}` is not in {repository}: nothing was pushed to that repository; check its name"
        ),
        // The listing failed for a reason of its own; what was asked for is still unknown.
        Err(_) => return error,
    };
    RegistryError::new(ErrorCode::ManifestUnknown, message)
}

/// At most [`MOST`] of `tags`, the most similar to `wanted` first.
fn nearest<'a>(wanted: &Tag, tags: &'a [Tag]) -> Vec<&'a str> {
    let mut ranked: Vec<(f64, &str)> = tags
        .iter()
        .map(|tag| {
            let similarity = strsim::jaro_winkler(wanted.as_str(), tag.as_str());
            (similarity, tag.as_str())
        })
        .collect();
    // Stable: equally similar ones stay in the order of the listing.
    ranked.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    ranked.truncate(MOST);
    ranked.into_iter().map(|(_, tag)| tag).collect()
}

/// How many tags are named.
const MOST: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_similar_come_first() {
        let tags: Vec<Tag> = [
            "0.1", "1.0.0", "1.0.1", "latest", "lates", "stable", "v1.0.1",
        ]
        .iter()
        .map(|tag| tag.parse().unwrap())
        .collect();
        assert_eq!(
            nearest(&"latst".parse().unwrap(), &tags)[..2],
            ["latest", "lates"]
        );
        assert_eq!(
            nearest(&"1.0.2".parse().unwrap(), &tags)[..2],
            ["1.0.0", "1.0.1"]
        );
        assert_eq!(nearest(&"x".parse().unwrap(), &tags).len(), MOST);
    }
}
