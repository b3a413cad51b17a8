//! Pages of tags and repositories: OCI distribution-spec, "Listing Tags".

use oci_core::store::PageRequest;

use crate::endpoint::PageQuery;

/// What a query asks of a store. Without `n`, a page is as long as the registry allows.
pub(crate) fn request(query: &PageQuery, page_size: usize) -> PageRequest {
    let limit = query.n.unwrap_or(page_size).min(page_size);
    match &query.last {
        Some(last) => PageRequest::after(last, limit),
        None => PageRequest::first(limit),
    }
}

/// The query of the page behind the one that ended with `last`.
pub(crate) fn next(query: &PageQuery, last: &str, page_size: usize) -> PageQuery {
    PageQuery {
        n: query.n.map(|n| n.min(page_size)),
        last: Some(last.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pages_are_bounded_and_go_on(n: Option<usize>, last in proptest::option::of(".{1,5}"), size in 1_usize..5000) {
            let query = PageQuery { n, last: last.clone() };
            let asked = request(&query, size);
            prop_assert!(asked.limit <= size && n.is_none_or(|n| asked.limit <= n));
            prop_assert_eq!(asked.after, last);
            let next = next(&query, "x", size);
            prop_assert_eq!(request(&next, size).limit, asked.limit);
            prop_assert_eq!(next.last.as_deref(), Some("x"));
        }
    }
}
