//! Nothing crosses from one repository into another.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::sha256,
    failure::{Outcome, ensure},
    repo::Upload,
};

case_table! { "isolation";
    Must blobs: "A blob of one repository is 404 in another, for GET, HEAD and ranges.";
    Must manifests: "A manifest of one repository is 404 in another, by tag and by digest.";
    Must references: "A manifest may not refer to blobs that only another repository has.";
    Practice uploads: "An upload of one repository is 404 BLOB_UPLOAD_UNKNOWN in another, for every method.";
    Practice upload_into_parent: "An upload of a repository is not reached through one above or below it.";
    Practice conditional_requests: "If-None-Match does not reveal that another repository has a blob.";
    Practice push_by_digest_alone: "Naming a digest that another repository has does not create the blob.";
    Must deletes_are_local [Deletes]: "What one repository deletes, another keeps; what another pushes does not come back.";
    Practice replay_is_local: "A closing PUT replayed under another repository does not find the blob there.";
}

async fn blobs(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    let digest = owner.push_blob(&cx.bytes(500)).await?;
    other.push_blob(&cx.bytes(5)).await?;
    other.blob_is_absent(&digest).await?;
    let get = other.get_blob(&digest).header("range", "bytes=0-9");
    let reply = get.expect(StatusCode::NOT_FOUND).await?;
    reply.no_header("docker-content-digest")?;
    Ok(())
}

async fn manifests(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    let image = owner.image(Some("v1")).await?;
    other.image(Some("v2")).await?;
    for reference in ["v1", image.digest.as_str()] {
        let reply = other.get_manifest(reference).send().await?;
        reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
        other
            .head_manifest(reference)
            .expect(StatusCode::NOT_FOUND)
            .await?;
    }
    Ok(())
}

async fn references(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    let image = owner.image(Some("v1")).await?;
    let reply = other.put_manifest("v1", &image.manifest).send().await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN"])?;
    other
        .head_manifest("v1")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn uploads(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    other.push_blob(&cx.bytes(5)).await?;
    let bytes = cx.bytes(100);
    let mut upload = owner.start().await?;
    upload.append(&bytes).await?;
    let moved = upload.location.replace(&owner.name, &other.name);
    let stolen = Upload {
        cx,
        location: moved,
    };
    for request in [
        stolen.status(),
        stolen.patch().body(cx.bytes(10)),
        stolen.put(&sha256(&bytes), bytes::Bytes::new()),
        stolen.cancel(),
    ] {
        let reply = request.send().await?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    }
    upload.has_received(100).await?;
    upload.finish(&sha256(&bytes)).await?;
    other.blob_is_absent(&sha256(&bytes)).await
}

async fn upload_into_parent(cx: &Ctx) -> Outcome {
    let parent = cx.repo_named("up");
    let child = cx.repo_exactly(format!("{}/blobs/uploads", parent.name));
    let upload = parent.start().await?;
    let id = upload
        .location
        .strip_prefix(&parent.uploads())
        .unwrap_or_default()
        .to_owned();
    let below = Upload {
        cx,
        location: format!("{}{id}", child.uploads()),
    };
    let reply = below.status().send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    upload.has_received(0).await?;
    Ok(())
}

async fn conditional_requests(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    let image = owner.image(Some("v1")).await?;
    other.push_blob(&cx.bytes(5)).await?;
    let etag = format!("\"{}\"", image.layer);
    let get = other.get_blob(&image.layer).header("if-none-match", etag);
    get.expect(StatusCode::NOT_FOUND).await?;
    let get = other
        .get_manifest(&image.digest)
        .header("if-none-match", "*");
    get.expect(StatusCode::NOT_FOUND).await?;
    Ok(())
}

async fn push_by_digest_alone(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    let digest = owner.push_blob(&cx.bytes(500)).await?;
    let upload = other.start().await?;
    let reply = upload.put(&digest, bytes::Bytes::new()).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    let reply = cx
        .post(other.uploads())
        .query("digest", &digest)
        .send()
        .await?;
    ensure!(
        reply.code() != StatusCode::CREATED,
        "{}",
        reply.failure("a blob nobody sent")
    );
    other.push_blob(&cx.bytes(5)).await?;
    other.blob_is_absent(&digest).await
}

async fn deletes_are_local(cx: &Ctx) -> Outcome {
    let (one, two) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = one.push_blob(&bytes).await?;
    two.push_blob(&bytes).await?;
    cx.delete(one.blob(&digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    two.blob_is(&digest, &bytes).await?;
    one.blob_is_absent(&digest).await?;
    two.push_blob(&bytes).await?;
    two.head_blob(&digest).expect(StatusCode::OK).await?;
    one.blob_is_absent(&digest).await
}

async fn replay_is_local(cx: &Ctx) -> Outcome {
    let (owner, other) = (cx.repo(), cx.repo());
    other.push_blob(&cx.bytes(5)).await?;
    let bytes = cx.bytes(500);
    let digest = sha256(&bytes);
    let mut upload = owner.start().await?;
    upload.append(&bytes).await?;
    upload.finish(&digest).await?;
    let moved = upload.location.replace(&owner.name, &other.name);
    let stolen = Upload {
        cx,
        location: moved,
    };
    let reply = stolen.put(&digest, bytes::Bytes::new()).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    other.blob_is_absent(&digest).await
}
