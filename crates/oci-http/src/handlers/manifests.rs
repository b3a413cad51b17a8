//! `manifests/<reference>`: OCI distribution-spec, "Pulling manifests", "Pushing Manifests" and
//! "Deleting Manifests".

use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use oci_core::registry::PushManifest;
use oci_core::store::TagPrecondition;
use oci_core::{
    Action, Digest, ErrorCode, Reference, RegistryError, RepositoryName, StoreError, Tag,
};

use super::{Exchange, nearest};
use crate::conditions::{self, WriteCondition};
use crate::endpoint::Endpoint;
use crate::request::RequestBody;
use crate::response::{Cache, Failure, RegistryBody, Reply};

/// What a reference names is sent as it was pushed, whatever `Accept` says: many clients send none, or
/// one that leaves out the type they then understand.
pub(super) async fn get(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Reply, Failure> {
    let found = x.registry.manifest(x.identity(), repository, reference);
    let manifest = match found.await {
        Ok(manifest) => manifest,
        Err(error) => {
            return Err(nearest::hinted(x, repository, reference, error)
                .await
                .into());
        }
    };
    let cache = match reference {
        Reference::Digest(_) => Cache::Immutable,
        Reference::Tag(_) => Cache::Revalidate,
    };
    // Somebody who may push asks so in order to leave out a push: "yes" must stay true until then. A tag
    // keeps what it leads to by itself.
    if x.head.method == Method::HEAD
        && matches!(reference, Reference::Digest(_))
        && x.caller.may_in(repository, Action::Push).await?
    {
        x.registry.claim_manifest(repository, &manifest).await?;
    }
    if conditions::not_modified(&x.head.headers, &manifest.digest) {
        return Ok(Reply::not_modified(&manifest.digest, cache));
    }
    Ok(
        Reply::manifest(manifest.manifest_type, &manifest.digest, cache)
            .body(RegistryBody::once(manifest.bytes)),
    )
}

pub(super) async fn put(
    x: &Exchange<'_>,
    body: &mut RequestBody,
    repository: &RepositoryName,
    reference: &Reference,
    tags: &[Tag],
) -> Result<Reply, Failure> {
    check_tags(x, reference, tags)?;
    let limit = x.registry.limits().manifest_size;
    let content_type = content_type(x)?;
    let bytes = match body.read_at_most(limit).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Err(x.registry.manifest_too_large().into()),
        Err(error) => {
            let message = "the request body ended early; send the manifest again";
            return Err(RegistryError::new(ErrorCode::ManifestInvalid, message)
                .with_source(error)
                .into());
        }
    };
    let mut push = PushManifest::new(reference.clone(), bytes);
    push.tags = tags.to_vec();
    push.content_type = content_type;
    push.precondition = precondition(x, repository, reference, tags).await?;
    let pushed = x
        .registry
        .put_manifest(x.identity(), repository, push)
        .await?;
    let location = Endpoint::Manifest {
        repository: repository.clone(),
        reference: pushed.digest.into(),
        tags: Vec::new(),
    };
    let by_parameter: &[Tag] = if tags.is_empty() { &[] } else { &pushed.tags };
    Ok(Reply::new(StatusCode::CREATED)
        .location(x.links, &location)
        .digest(&pushed.digest)
        .subject(pushed.subject.as_deref())
        .tags(by_parameter))
}

pub(super) async fn delete(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Reply, Failure> {
    x.registry
        .delete_manifest(x.identity(), repository, reference)
        .await?;
    Ok(Reply::new(StatusCode::ACCEPTED))
}

/// OCI distribution-spec, "Pushing Manifests": tags as parameters go with a digest, and a registry may
/// limit them with 414.
fn check_tags(x: &Exchange<'_>, reference: &Reference, tags: &[Tag]) -> Result<(), RegistryError> {
    let limit = x.registry.limits().tags_per_push;
    if tags.len() > limit {
        return Err(RegistryError::new(
            ErrorCode::TagInvalid,
            format!("one push names at most {limit} tags; push the manifest again for the others"),
        )
        .with_status(StatusCode::URI_TOO_LONG));
    }
    match reference {
        Reference::Tag(tag) if !tags.is_empty() => Err(RegistryError::new(
            ErrorCode::TagInvalid,
            format!("`tag` parameters go with a push by digest, not with the tag `{tag}`"),
        )),
        _ => Ok(()),
    }
}

fn content_type(x: &Exchange<'_>) -> Result<Option<String>, RegistryError> {
    let Some(value) = x.head.headers.get(CONTENT_TYPE) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        RegistryError::new(
            ErrorCode::ManifestInvalid,
            "Content-Type is no text; send the manifest's media type",
        )
    })?;
    Ok(Some(text.to_owned()).filter(|text| !text.is_empty()))
}

/// Turns `If-Match` and `If-None-Match` into what must hold of every tag when it is written. What they
/// name is looked up first; that it is still so is then checked in the same step as the write.
async fn precondition(
    x: &Exchange<'_>,
    repository: &RepositoryName,
    reference: &Reference,
    parameters: &[Tag],
) -> Result<TagPrecondition, RegistryError> {
    let condition = WriteCondition::of(&x.head.headers);
    if matches!(condition, WriteCondition::Always) {
        return Ok(TagPrecondition::None);
    }
    let manifests = x.registry.manifests();
    let tags = match reference {
        Reference::Tag(tag) => std::slice::from_ref(tag),
        Reference::Digest(_) => parameters,
    };
    let mut all = None;
    for tag in tags {
        let current = absent_if_unknown(manifests.resolve(repository, tag).await)?;
        if !condition.holds(current.as_ref()) {
            return Err(unmet());
        }
        let required = current.map_or(TagPrecondition::Absent, TagPrecondition::PointsAt);
        // One write has one precondition for all its tags.
        if all.is_some_and(|all| all != required) {
            return Err(RegistryError::new(
                ErrorCode::Unsupported,
                "a condition on several tags needs them to point to the same manifest; push them one by one",
            )
            .with_status(StatusCode::BAD_REQUEST));
        }
        all = Some(required);
    }
    if let (None, Reference::Digest(digest)) = (all, reference) {
        // Content by digest never changes, so being there is all that can be asked of it.
        let found = manifests.read(repository, digest).await;
        let current = absent_if_unknown(found.map(|found| found.digest))?;
        if !condition.holds(current.as_ref()) {
            return Err(unmet());
        }
    }
    Ok(all.unwrap_or_default())
}

fn absent_if_unknown(found: Result<Digest, StoreError>) -> Result<Option<Digest>, RegistryError> {
    match found {
        Ok(digest) => Ok(Some(digest)),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(RegistryError::from_store(error, ErrorCode::ManifestUnknown)),
    }
}

fn unmet() -> RegistryError {
    RegistryError::from_store(StoreError::Precondition, ErrorCode::ManifestUnknown)
}
