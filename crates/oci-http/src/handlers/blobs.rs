//! `blobs/<digest>`: OCI distribution-spec, "Pulling blobs" and "Deleting Blobs".

use http::StatusCode;
use oci_core::registry::Intent;
use oci_core::store::{BlobPayload, BlobRead, PresignOptions, ReadRange};
use oci_core::{Action, Digest, ErrorCode, RepositoryName};

use super::Exchange;
use crate::conditions;
use crate::range::RequestedRange;
use crate::response::{Cache, Failure, RegistryBody, Reply};

pub(super) async fn get(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Reply, Failure> {
    let headers = &x.head.headers;
    if conditions::not_modified(headers, digest) {
        // Only of a blob that the caller could read may it be said that it did not change.
        x.registry
            .stat_blob(repository, digest, Intent::Pull)
            .await?;
        return Ok(Reply::not_modified(digest, Cache::Immutable));
    }
    let requested = if conditions::range_applies(headers, digest) {
        RequestedRange::of(headers)
    } else {
        RequestedRange::Whole
    };
    if let Some(reply) = elsewhere(x, repository, digest, requested).await {
        return Ok(reply);
    }
    let part = match requested {
        RequestedRange::Whole => None,
        RequestedRange::Part(range) => {
            let read = x.registry.read_blob(repository, digest, range).await;
            match read {
                Ok(read) => Some(read),
                Err(error) if error.code() == ErrorCode::RangeInvalid => {
                    refuse_range(x, repository, digest).await?;
                    None
                }
                Err(error) => return Err(error.into()),
            }
        }
        RequestedRange::Unsatisfiable => {
            refuse_range(x, repository, digest).await?;
            None
        }
    };
    let reply = Reply::blob(digest);
    if let Some(read) = part {
        let reply = reply.partial(&read.range, read.size);
        return Ok(reply.body(body(x, read)));
    }
    let read = x
        .registry
        .read_blob(repository, digest, ReadRange::Whole)
        .await?;
    Ok(reply.body(body(x, read)))
}

/// Where the store itself answers this, if it does. What is wrong with the request or the store is said
/// by the read that follows.
async fn elsewhere(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
    requested: RequestedRange,
) -> Option<Reply> {
    let redirects = x.redirects?;
    let mut options = PresignOptions::default();
    options.range = match requested {
        RequestedRange::Whole => ReadRange::Whole,
        RequestedRange::Part(range) => range,
        RequestedRange::Unsatisfiable => return None,
    };
    options.ttl = redirects.ttl;
    options.at_least = redirects.at_least;
    let presigned = x.registry.presign_blob(repository, digest, &options).await;
    Reply::redirect(digest, &presigned.ok()??.url)
}

/// 416 for a range outside the blob. An empty blob has no ranges at all and is sent whole: clients
/// that fetch in parallel ask for `bytes=0-` without knowing the size.
async fn refuse_range(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), Failure> {
    let blob = x
        .registry
        .stat_blob(repository, digest, Intent::Pull)
        .await?;
    if blob.size == 0 {
        Ok(())
    } else {
        Err(Failure::unsatisfiable(blob.size))
    }
}

fn body(x: &Exchange<'_>, read: BlobRead) -> RegistryBody {
    let length = read.range.end.saturating_sub(read.range.start);
    match read.payload {
        BlobPayload::Bytes(bytes) => RegistryBody::once(bytes),
        _ => RegistryBody::stream(x.registry.stream(read), length),
    }
}

pub(super) async fn head(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Reply, Failure> {
    // Somebody who may push asks in order to leave out an upload: "yes" must stay true until then.
    let intent = if x.caller.may_in(repository, Action::Push).await? {
        Intent::Push
    } else {
        Intent::Pull
    };
    let blob = x.registry.stat_blob(repository, digest, intent).await?;
    if conditions::not_modified(&x.head.headers, digest) {
        return Ok(Reply::not_modified(digest, Cache::Immutable));
    }
    Ok(Reply::blob(digest).length(blob.size))
}

pub(super) async fn delete(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Reply, Failure> {
    x.registry
        .delete_blob(x.identity(), repository, digest)
        .await?;
    Ok(Reply::new(StatusCode::ACCEPTED))
}
