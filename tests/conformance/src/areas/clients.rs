//! The request sequences that clients in use send.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{Document, OCI_INDEX, OCI_MANIFEST, image_index},
    failure::{Failure, Outcome, ensure},
    repo::Upload,
};

case_table! { "clients";
    Practice docker_push: "docker: probe, HEAD, POST, one streamed PATCH, empty PUT, HEAD; layer sizes are read from Range.";
    Practice containerd_push: "containerd: HEAD, POST, one PUT with the whole body and a length.";
    Practice containerd_retries_put: "containerd: the same PUT again, with the whole body, after the first was cut off.";
    Practice podman_push: "podman: HEAD, POST, one PATCH with a length, empty PUT.";
    Practice crane_push: "crane: POST with a JSON type and an origin, streamed PATCH, empty PUT.";
    Practice oras_push: "oras: POST, PUT, then a manifest whose digest header is compared.";
    Practice regclient_push: "regclient: chunks with Content-Range, each to the Location before.";
    Practice regclient_resumes: "regclient: after 416, go on from its Location and Range.";
    Practice docker_pull: "docker: HEAD of the tag, GET by digest with every type it knows, blobs, resume by range.";
    Practice containerd_pull: "containerd: HEAD, GET by digest, blobs from bytes=0- on.";
    Practice containerd_parallel_pull: "containerd: many open-ended ranges of one blob at the same time.";
    Practice podman_partial_pull: "podman: several ranges of one blob in a request.";
    Practice mount_with_fallback: "buildkit: mount, and on 202 push to the Location it got.";
    Practice cancelled_mount: "podman: mount, and on 202 cancel the session.";
    Practice oras_probe: "oras: a referrers probe with zeros before the first push.";
    Practice cosign_tag: "cosign: a signature under the tag sha256-<hex>.sig.";
    Practice index_push: "Any client: children by digest, then the index by tag.";
    Practice umoci_manifest: "umoci: an image manifest without mediaType.";
}

/// Pushes the manifest of `image_parts`, after the blobs went another way.
async fn docker_push(cx: &Ctx) -> Outcome {
    cx.get("/v2/").expect(StatusCode::OK).await?;
    let repo = cx.repo();
    let layer = [cx.bytes(32 << 10), cx.bytes(32 << 10), cx.bytes(5)];
    let whole = layer.concat();
    let digest = sha256(&whole);
    repo.head_blob(&digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    let reply = cx.post(repo.uploads()).expect(StatusCode::ACCEPTED).await?;
    ensure!(
        reply.maybe("docker-upload-uuid").is_some(),
        "no Docker-Upload-UUID"
    );
    let reply = cx
        .patch(reply.location()?)
        .chunks(layer)
        .expect(StatusCode::ACCEPTED)
        .await?;
    reply.header_is("range", &format!("0-{}", whole.len() - 1))?;
    let put = cx
        .put(reply.location()?)
        .query("digest", &digest.replace(':', "%3A"));
    put.expect(StatusCode::CREATED)
        .await?
        .header_is("docker-content-digest", &digest)?;
    let head = repo.head_blob(&digest).expect(StatusCode::OK).await?;
    ensure!(
        head.content_length()? == whole.len() as u64,
        "HEAD has another length"
    );
    ensure!(
        head.maybe("content-type").is_some(),
        "HEAD of a blob has no Content-Type"
    );
    let image = repo.image_parts().await?;
    let reply = repo.push("latest", &image.manifest).await?;
    reply.header_is("docker-content-digest", &image.digest)?;
    Ok(())
}

/// The POST, and the PUT of a body with its length.
async fn post_then_put(cx: &Ctx, bytes: &Bytes) -> Outcome {
    let repo = cx.repo();
    let digest = sha256(bytes);
    repo.head_blob(&digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    let upload = repo.start().await?;
    let put = upload.put(&digest, bytes.clone()).header("expect", "");
    put.expect(StatusCode::CREATED).await?;
    repo.blob_is(&digest, bytes).await
}

async fn containerd_push(cx: &Ctx) -> Outcome {
    post_then_put(cx, &cx.bytes(2 << 20)).await?;
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    repo.head_manifest(&image.digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.push("latest", &image.manifest).await?;
    repo.manifest_is("latest", &image.manifest).await
}

async fn containerd_retries_put(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1 << 20);
    let digest = sha256(&bytes);
    let upload = repo.start().await?;
    let put = cx.put(upload.location.clone()).query("digest", &digest);
    let part = bytes.slice(..1 << 19);
    drop(
        put.broken_off(Some(bytes.len() as u64), [part])
            .attempt()
            .await?,
    );
    for _ in 0..50 {
        let reply = upload.put(&digest, bytes.clone()).send().await?;
        if reply.code() == StatusCode::CREATED {
            return repo.blob_is(&digest, &bytes).await;
        }
        // Still held by the request that was cut off.
        reply.status_in(&[
            StatusCode::CONFLICT,
            StatusCode::LOCKED,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::RANGE_NOT_SATISFIABLE,
        ])?;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    Err(Failure::new("the PUT does not succeed after ten seconds"))
}

async fn podman_push(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1 << 20);
    let digest = sha256(&bytes);
    repo.head_blob(&digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    let reply = cx.post(repo.uploads()).expect(StatusCode::ACCEPTED).await?;
    let patch = cx
        .patch(reply.location()?)
        .header("content-type", "application/octet-stream");
    let reply = patch
        .body(bytes.clone())
        .expect(StatusCode::ACCEPTED)
        .await?;
    let put = cx
        .put(reply.location()?)
        .header("content-type", "application/octet-stream");
    put.query("digest", &digest)
        .expect(StatusCode::CREATED)
        .await?;
    repo.blob_is(&digest, &bytes).await
}

async fn crane_push(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1 << 20);
    let digest = sha256(&bytes);
    let post = cx
        .post(repo.uploads())
        .query("mount", &digest)
        .query("from", &cx.repo().name);
    let post = post
        .query("origin", "registry.example")
        .header("content-type", "application/json");
    let reply = post.expect(StatusCode::ACCEPTED).await?;
    let patch = cx.patch(reply.location()?).chunks([bytes.clone()]);
    let reply = patch.expect(StatusCode::ACCEPTED).await?;
    let put = cx
        .put(reply.location()?)
        .query("digest", &digest.replace(':', "%3A"));
    put.header("content-type", "application/octet-stream")
        .expect(StatusCode::CREATED)
        .await?;
    repo.blob_is(&digest, &bytes).await
}

async fn oras_push(cx: &Ctx) -> Outcome {
    post_then_put(cx, &cx.bytes(1000)).await?;
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let reply = repo.push(&image.digest, &image.manifest).await?;
    reply.header_is("docker-content-digest", &image.digest)?;
    repo.push("v1", &image.manifest).await?;
    let reply = repo.get_manifest("v1").expect(StatusCode::OK).await?;
    reply.header_is("docker-content-digest", &image.digest)?;
    Ok(())
}

async fn regclient_push(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2_500_000);
    let mut upload = repo.start().await?;
    let mut start = 0;
    while start < bytes.len() {
        let chunk = bytes.slice(start..(start + 1_000_000).min(bytes.len()));
        upload
            .append_at(start, &chunk)
            .await?
            .received_is((start + chunk.len()) as u64)?;
        start += chunk.len();
    }
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn regclient_resumes(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(300_000);
    let mut upload = repo.start().await?;
    upload.append_at(0, &bytes.slice(..100_000)).await?;
    // The answer to this chunk is lost, and the client sends it again.
    let lost = upload.clone();
    upload
        .append_at(100_000, &bytes.slice(100_000..200_000))
        .await?;
    let again = lost.patch_at(100_000, &bytes.slice(100_000..200_000));
    let reply = again.expect(StatusCode::RANGE_NOT_SATISFIABLE).await?;
    let next = usize::try_from(reply.range_end()? + 1).unwrap_or(0);
    let mut upload = Upload {
        cx,
        location: reply.location()?,
    };
    upload.append_at(next, &bytes.slice(next..)).await?;
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn docker_pull(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("latest")).await?;
    let head = repo.head_manifest("latest").expect(StatusCode::OK).await?;
    let digest = head.header("docker-content-digest")?.to_owned();
    ensure!(head.content_length()? > 0, "HEAD has no length");
    ensure!(head.maybe("content-type").is_some(), "HEAD has no type");
    let reply = repo.get_manifest(&digest).expect(StatusCode::OK).await?;
    ensure!(
        sha256(reply.body()) == digest,
        "the body has another digest"
    );
    repo.blob_is(
        &image.config,
        repo.get_blob(&image.config).send().await?.body(),
    )
    .await?;
    let reply = repo
        .get_blob(&image.layer)
        .header("range", "bytes=400-")
        .send()
        .await?;
    reply
        .status(StatusCode::PARTIAL_CONTENT)?
        .header_is("content-range", "bytes 400-999/1000")?;
    reply.body_is(image.layer_bytes.get(400..).unwrap_or_default())?;
    Ok(())
}

async fn containerd_pull(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("latest")).await?;
    let head = repo
        .head_manifest("latest")
        .query("ns", "docker.io")
        .expect(StatusCode::OK)
        .await?;
    let digest = head.header("docker-content-digest")?.to_owned();
    let reply = repo
        .get_manifest(&digest)
        .query("ns", "docker.io")
        .expect(StatusCode::OK)
        .await?;
    reply.body_is(&image.manifest.bytes)?;
    for (digest, length) in [(&image.config, None), (&image.layer, Some(1000))] {
        let get = repo
            .get_blob(digest)
            .header("range", "bytes=0-")
            .header("accept-encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5");
        let reply = get.expect(StatusCode::PARTIAL_CONTENT).await?;
        reply.no_header("content-encoding")?;
        ensure!(
            length.is_none_or(|length| reply.length() == length),
            "{}",
            reply.length()
        );
    }
    Ok(())
}

async fn containerd_parallel_pull(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2 << 20);
    let digest = repo.push_blob(&bytes).await?;
    let gets = (0..8).map(|part| {
        let range = format!("bytes={}-", part << 18);
        repo.get_blob(&digest)
            .header("range", range)
            .expect(StatusCode::PARTIAL_CONTENT)
    });
    for (part, reply) in futures_util::future::join_all(gets)
        .await
        .into_iter()
        .enumerate()
    {
        reply?.body_is(bytes.get(part << 18..).unwrap_or_default())?;
    }
    Ok(())
}

async fn podman_partial_pull(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(10_000);
    let digest = repo.push_blob(&bytes).await?;
    let get = repo
        .get_blob(&digest)
        .header("range", "bytes=0-99,5000-5099");
    let reply = get.send().await?;
    if reply.code() == StatusCode::PARTIAL_CONTENT {
        let media_type = reply.header("content-type")?;
        ensure!(
            media_type.starts_with("multipart/byteranges"),
            "a 206 in {media_type}"
        );
    } else {
        reply.status_in(&[StatusCode::OK, StatusCode::BAD_REQUEST])?;
    }
    Ok(())
}

async fn mount_with_fallback(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(1000);
    let digest = sha256(&bytes);
    let post = cx
        .post(target.uploads())
        .query("mount", &digest)
        .query("from", &source.name);
    let reply = post.expect(StatusCode::ACCEPTED).await?;
    let upload = Upload {
        cx,
        location: reply.location()?,
    };
    upload
        .put(&digest, bytes.clone())
        .expect(StatusCode::CREATED)
        .await?;
    target.blob_is(&digest, &bytes).await
}

async fn cancelled_mount(cx: &Ctx) -> Outcome {
    let target = cx.repo();
    let post = cx
        .post(target.uploads())
        .query("mount", &Alg::Sha256.of_nothing());
    let reply = post
        .query("from", &cx.repo().name)
        .expect(StatusCode::ACCEPTED)
        .await?;
    cx.delete(reply.location()?)
        .expect(StatusCode::NO_CONTENT)
        .await?;
    Ok(())
}

async fn oras_probe(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let reply = cx
        .get(repo.referrers(&Alg::Sha256.of_nothing()))
        .expect(StatusCode::OK)
        .await?;
    reply.header_is("content-type", OCI_INDEX)?;
    repo.image(Some("v1")).await?;
    Ok(())
}

async fn cosign_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let signature = repo.image_parts().await?;
    let tag = format!("{}.sig", image.digest.replace(':', "-"));
    repo.head_manifest(&tag)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.push(&tag, &signature.manifest).await?;
    repo.manifest_is(&tag, &signature.manifest).await
}

async fn index_push(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (one, two) = (repo.image(None).await?, repo.image(None).await?);
    let children = vec![one.manifest.descriptor(), two.manifest.descriptor()];
    let index = Document::json(OCI_INDEX, &image_index(children));
    repo.push("latest", &index).await?;
    repo.manifest_is("latest", &index).await
}

async fn umoci_manifest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let text = String::from_utf8_lossy(&image.manifest.bytes).into_owned();
    let bare = text.replacen(&format!("\"mediaType\":\"{OCI_MANIFEST}\","), "", 1);
    ensure!(
        bare != text,
        "the document has no mediaType to take away: {text}"
    );
    let document = Document::new(OCI_MANIFEST, bare);
    repo.push("v1", &document).await?;
    repo.manifest_is("v1", &document).await
}
