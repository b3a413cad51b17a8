//! From path and query to an endpoint.

use std::borrow::Cow;

use oci_core::{Digest, NameError, Reference, ReferenceError, RepositoryName, Tag};
use percent_encoding::percent_decode_str;

use super::query::Query;
use super::{Endpoint, EndpointError, Mount, MountFrom, PageQuery, UploadStart};

pub(super) fn endpoint(path: &str, query: &str) -> Result<Endpoint, EndpointError> {
    let rest = path.strip_prefix("/v2").ok_or(EndpointError::NotFound)?;
    if matches!(rest, "" | "/") {
        return Ok(Endpoint::Base);
    }
    let rest = rest.strip_prefix('/').ok_or(EndpointError::NotFound)?;
    let mut decoded = Vec::new();
    let mut segments: Vec<&str> = Vec::with_capacity(SEGMENTS);
    if rest.contains('%') {
        decoded.extend(rest.split('/').map(decode));
        segments.extend(decoded.iter().map(AsRef::as_ref));
    } else {
        segments.extend(rest.split('/'));
    }
    let query = Query::parse(query);

    // From the right end: any of these words may also be part of a repository name.
    match segments.as_slice() {
        ["_catalog"] => Ok(Endpoint::Catalog {
            page: page(&query)?,
        }),
        ["_oci", "ext", "discover"] => Ok(Endpoint::Extensions { repository: None }),
        [name @ .., "_oci", "ext", "discover"] => Ok(Endpoint::Extensions {
            repository: Some(repository(name)?),
        }),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
            Ok(Endpoint::Uploads {
                repository: repository(name)?,
                start: upload_start(&query)?,
            })
        }
        [name @ .., "blobs", "uploads", id] => Ok(Endpoint::Upload {
            repository: repository(name)?,
            id: id.parse()?,
            state: query.first("_state").and_then(number),
            digest: digest_parameter(&query)?,
        }),
        [name @ .., "blobs", digest] => Ok(Endpoint::Blob {
            repository: repository(name)?,
            digest: digest.parse()?,
        }),
        [name @ .., "manifests", reference] => {
            let repository = repository(name)?;
            let reference = reference
                .parse::<Reference>()
                .map_err(|error| match error {
                    ReferenceError::Tag(error) => EndpointError::Tag(error),
                    ReferenceError::Digest(error) => EndpointError::Digest(error),
                    // A later kind of reference is still one that does not parse.
                    _ => EndpointError::NotFound,
                })?;
            Ok(Endpoint::Manifest {
                repository,
                reference,
                tags: tags(&query)?,
            })
        }
        [name @ .., "referrers", subject] => Ok(Endpoint::Referrers {
            repository: repository(name)?,
            subject: subject.parse()?,
            artifact_types: artifact_types(&query),
            last: last(&query),
        }),
        [name @ .., "tags", "list"] => Ok(Endpoint::Tags {
            repository: repository(name)?,
            page: page(&query)?,
        }),
        _ => Err(EndpointError::NotFound),
    }
}

/// Decodes once. What is not valid percent-encoded UTF-8 stays as it is: the `%` in it breaks the
/// grammar of everything that a component can be.
pub(super) fn decode(text: &str) -> Cow<'_, str> {
    percent_decode_str(text)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(text))
}

fn repository(components: &[&str]) -> Result<RepositoryName, EndpointError> {
    // An encoded slash must not become one that separates.
    if components.iter().any(|component| component.contains('/')) {
        return Err(NameError::Grammar.into());
    }
    Ok(components.join("/").parse()?)
}

fn page(query: &Query<'_>) -> Result<PageQuery, EndpointError> {
    let n = match query.first("n") {
        None => None,
        Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            // Only too many digits fail here.
            Some(text.parse().unwrap_or(usize::MAX))
        }
        Some(_) => return Err(EndpointError::PageSize),
    };
    Ok(PageQuery {
        n,
        last: last(query),
    })
}

fn last(query: &Query<'_>) -> Option<String> {
    query
        .first("last")
        .filter(|last| !last.is_empty())
        .map(ToOwned::to_owned)
}

fn upload_start(query: &Query<'_>) -> Result<UploadStart, EndpointError> {
    let mount = match query.first("mount") {
        None => None,
        Some(digest) => Some(Mount {
            digest: digest.parse()?,
            from: match query.first("from") {
                None => MountFrom::Anywhere,
                Some(from) => from.parse().map_or_else(
                    |_| MountFrom::Malformed(from.to_owned()),
                    MountFrom::Repository,
                ),
            },
        }),
    };
    Ok(UploadStart {
        mount,
        digest: digest_parameter(query)?,
        algorithm: query
            .first("digest-algorithm")
            .map(str::parse)
            .transpose()?,
    })
}

/// Closing an upload under one digest while another was also named would be a guess.
fn digest_parameter(query: &Query<'_>) -> Result<Option<Digest>, EndpointError> {
    let mut found = None;
    for text in query.all("digest") {
        let digest: Digest = text.parse()?;
        if found.is_some_and(|found| found != digest) {
            return Err(EndpointError::DigestConflict);
        }
        found = Some(digest);
    }
    Ok(found)
}

fn tags(query: &Query<'_>) -> Result<Vec<Tag>, EndpointError> {
    let mut tags: Vec<Tag> = Vec::new();
    for text in query.all("tag") {
        tags.push(text.parse()?);
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

fn artifact_types(query: &Query<'_>) -> Vec<String> {
    query
        .all("artifactType")
        .filter(|text| !text.is_empty())
        .map(ToOwned::to_owned)
        .collect()
}

/// A number of decimal digits that fits; anything else is the token of another registry, and ignored.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// As many as paths have as a rule.
const SEGMENTS: usize = 8;
