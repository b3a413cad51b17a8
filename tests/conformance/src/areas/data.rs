//! One shape of document each, from push through listing, pull and referrers to delete.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::shapes::{self, Data};
use crate::{
    ctx::Ctx,
    failure::{Failure, Outcome, Within as _, ensure},
    repo::Repo,
};

/// One case per shape and step.
macro_rules! shapes {
    ($($shape:ident)*) => {
        pub(crate) static CASES: &[&[$crate::case::Case]] = &[$(shapes!(@steps $shape;
            push [] "is accepted, by digest and by tag";
            tags [] "is listed under its tags";
            head [] "answers HEAD with type, digest and length";
            pull [] "is served byte for byte, with all its blobs";
            referrers [] "has exactly the referrers that name it";
            delete [Deletes] "can be deleted, tags first, then manifests, then blobs";
        )),*];
    };
    (@steps $shape:ident; $($step:ident [$($need:ident)?] $what:literal;)*) => {
        &[$($crate::case::Case {
            name: concat!("data.", stringify!($shape), "_", stringify!($step)),
            area: "data",
            what: concat!("The shape ", stringify!($shape), " ", $what, "."),
            level: $crate::case::Level::Must,
            needs: &[$($crate::case::Need::$need)?],
            run: |cx| Box::pin($step(cx, shapes::$shape)),
        }),*]
    };
}

shapes! {
    image
    image_uncompressed
    large_manifest
    index
    nested_index
    empty_index
    artifact
    artifact_index
    artifact_without_layers
    artifacts_with_subject
    index_with_subject
    missing_subject
    data_field
    nondistributable_layers
    custom_fields
    no_layers
    docker_image
    docker_list
    sha512
    sha512_subject
    mixed_algorithms
}

/// Pushes the blobs, then each manifest by digest and under its tag.
async fn push_all(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Result<(Repo<'_>, Data), Failure> {
    let (repo, data) = (cx.repo(), shape(cx));
    for (digest, bytes) in &data.blobs {
        let upload = repo.start().await?;
        let put = upload.put(digest, bytes.clone());
        put.expect(StatusCode::CREATED)
            .await
            .within(format!("blob {digest}"))?;
    }
    for item in &data.manifests {
        let references = std::iter::once(item.digest.as_str()).chain(item.tag);
        for reference in references {
            repo.push(reference, &item.document).await?;
        }
    }
    Ok((repo, data))
}

async fn push(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    for item in &data.manifests {
        let reply = repo.push(&item.digest, &item.document).await?;
        reply.header_is("docker-content-digest", &item.digest)?;
        let accept = &item.document.media_type;
        let get = cx.get(reply.location()?).header("accept", accept);
        get.expect(StatusCode::OK)
            .await?
            .body_is(&item.document.bytes)?;
        match &item.subject {
            Some(subject) => reply.header_is("oci-subject", subject)?,
            None => reply.no_header("oci-subject")?,
        };
    }
    Ok(())
}

async fn tags(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    let mut expected: Vec<&str> = data.manifests.iter().filter_map(|item| item.tag).collect();
    expected.sort_unstable();
    let found = repo.list_tags().await?;
    ensure!(
        found == expected,
        "tags are {found:?}, expected {expected:?}"
    );
    Ok(())
}

async fn head(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    for item in &data.manifests {
        // A tag that was pushed answers with the digest of its own push, which is sha256.
        let by_tag = item.tag.map(|tag| (tag, item.document.digest()));
        let by_digest = (item.digest.as_str(), item.digest.clone());
        for (reference, digest) in std::iter::once(by_digest).chain(by_tag) {
            let reply = repo.head_manifest(reference).expect(StatusCode::OK).await?;
            reply.header_is("content-type", &item.document.media_type)?;
            reply.header_is("docker-content-digest", &digest)?;
            let length = reply.content_length()?;
            ensure!(
                length == item.document.bytes.len() as u64,
                "{reference}: length {length}"
            );
        }
    }
    for (digest, bytes) in &data.blobs {
        let reply = repo.head_blob(digest).expect(StatusCode::OK).await?;
        reply.header_is("docker-content-digest", digest)?;
        ensure!(
            reply.content_length()? == bytes.len() as u64,
            "{digest} has another length"
        );
    }
    Ok(())
}

async fn pull(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    for item in &data.manifests {
        for reference in std::iter::once(item.digest.as_str()).chain(item.tag) {
            repo.manifest_is(reference, &item.document)
                .await
                .within(reference)?;
        }
    }
    for (digest, bytes) in &data.blobs {
        repo.blob_is(digest, bytes).await?;
    }
    Ok(())
}

async fn referrers(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    let subjects = data
        .manifests
        .iter()
        .filter_map(|item| item.subject.as_ref());
    for digest in data
        .manifests
        .iter()
        .map(|item| &item.digest)
        .chain(subjects)
    {
        let mut found = repo.list_referrers(digest).await.within(digest)?;
        let mut expected: Vec<Value> = data
            .manifests
            .iter()
            .filter(|item| item.subject.as_ref() == Some(digest))
            .map(shapes::Item::entry)
            .collect();
        for list in [&mut found, &mut expected] {
            list.sort_by_key(|entry| entry["digest"].to_string());
        }
        ensure!(
            found == expected,
            "{digest}: {}, expected {}",
            json!(found),
            json!(expected)
        );
    }
    Ok(())
}

async fn delete(cx: &Ctx, shape: fn(&Ctx) -> Data) -> Outcome {
    let (repo, data) = push_all(cx, shape).await?;
    for item in data.manifests.iter().rev() {
        if let Some(tag) = item.tag {
            cx.delete(repo.manifest(tag))
                .expect(StatusCode::ACCEPTED)
                .await?;
            repo.get_manifest(tag).expect(StatusCode::NOT_FOUND).await?;
        }
    }
    let found = repo.list_tags().await?;
    ensure!(found.is_empty(), "after all tags were deleted: {found:?}");
    for item in data.manifests.iter().rev() {
        cx.delete(repo.manifest(&item.digest))
            .expect(StatusCode::ACCEPTED)
            .await?;
        repo.get_manifest(&item.digest)
            .expect(StatusCode::NOT_FOUND)
            .await?;
        if let Some(subject) = &item.subject {
            let entries = repo.list_referrers(subject).await?;
            let listed = entries
                .iter()
                .any(|entry| entry["digest"] == item.digest.as_str());
            ensure!(!listed, "a deleted referrer is still listed");
        }
    }
    for (digest, _) in &data.blobs {
        cx.delete(repo.blob(digest))
            .expect(StatusCode::ACCEPTED)
            .await?;
        repo.blob_is_absent(digest).await?;
    }
    // The names are free again.
    let bytes = Bytes::from_static(b"after");
    let digest = repo.push_blob(&bytes).await?;
    repo.blob_is(&digest, &bytes).await
}
