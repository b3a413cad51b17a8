//! GET and HEAD of manifests.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, EMPTY_SHA256},
    documents::{DOCKER_LIST, DOCKER_MANIFEST, Document, OCI_INDEX, OCI_MANIFEST, image_index},
    failure::{Outcome, Within as _, ensure},
};

case_table! { "manifests_pull";
    Must exact_bytes_by_tag: "GET by tag answers 200 with the bytes that were pushed.";
    Must exact_bytes_by_digest: "GET by digest answers 200 with the bytes that were pushed.";
    Must unknown_tag_is_404: "A tag that does not exist is 404 MANIFEST_UNKNOWN.";
    Must unknown_digest_is_404: "A digest that does not exist is 404 MANIFEST_UNKNOWN.";
    Must unknown_repository_is_404: "Any manifest of a repository nobody has pushed to is 404.";
    Must digest_header: "GET and HEAD, by tag and by digest, answer Docker-Content-Digest.";
    Must head_has_content_length: "HEAD answers the manifest's size in Content-Length and no body.";
    Practice get_has_content_length: "GET answers Content-Length: manifests are never chunked.";
    Should content_type_is_what_was_pushed: "Content-Type is the pushed media type, without parameters.";
    Practice head_equals_get: "HEAD carries the headers that GET carries.";
    Practice head_error_has_no_body: "HEAD of an absent manifest answers 404 without a body.";
    Practice accept_is_ignored: "What a reference names is served whatever Accept says, or when it is missing.";
    Practice index_is_never_substituted: "An index asked for with an Accept of images is still the index.";
    Practice etag_is_the_digest: "ETag is the quoted digest.";
    Practice if_none_match_is_304: "If-None-Match with the manifest's ETag answers 304 without a body.";
    Practice if_none_match_follows_the_tag: "After a tag has moved, the old ETag no longer answers 304.";
    May namespace_query_is_ignored: "?ns= of a mirror client does not change what is served.";
    Practice body_on_get_is_ignored: "A GET that carries a body is answered like any other.";
    Must untagged_is_pullable: "A manifest pushed by digest can be pulled before anything tags it.";
    Must pull_by_sha512: "A manifest pushed under its sha512 digest is pulled under it, with that digest in the header.";
    Must blobs_are_not_manifests: "A layer or config asked for as a manifest is 404.";
    Practice no_content_coding: "A manifest is sent as it is, whatever Accept-Encoding offers.";
    Practice tag_is_not_cached_for_long: "What a tag answers may not be cached as if it never changed.";
}

async fn exact_bytes_by_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    repo.manifest_is("v1", &image.manifest).await
}

async fn exact_bytes_by_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    repo.manifest_is(&image.digest, &image.manifest).await
}

async fn unknown_tag_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let reply = repo.get_manifest("v2").send().await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    repo.head_manifest("v2")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn unknown_digest_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let digest = Alg::Sha256.of_nothing();
    let reply = repo.get_manifest(&digest).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    repo.head_manifest(&digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn unknown_repository_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for reference in ["latest", Alg::Sha256.of_nothing().as_str()] {
        let reply = repo.get_manifest(reference).send().await?;
        reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN", "NAME_UNKNOWN"])?;
        repo.head_manifest(reference)
            .expect(StatusCode::NOT_FOUND)
            .await?;
    }
    Ok(())
}

async fn digest_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for reference in ["v1", image.digest.as_str()] {
        for request in [repo.get_manifest(reference), repo.head_manifest(reference)] {
            let reply = request.expect(StatusCode::OK).await?;
            reply.header_is("docker-content-digest", &image.digest)?;
        }
    }
    Ok(())
}

async fn head_has_content_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for reference in ["v1", image.digest.as_str()] {
        let reply = repo.head_manifest(reference).expect(StatusCode::OK).await?;
        let length = reply.content_length()?;
        ensure!(
            length == image.manifest.bytes.len() as u64,
            "Content-Length is {length}"
        );
        ensure!(reply.length() == 0, "HEAD was answered with a body");
    }
    Ok(())
}

async fn get_has_content_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let reply = repo.get_manifest("v1").expect(StatusCode::OK).await?;
    let length = reply.content_length()?;
    ensure!(
        length == image.manifest.bytes.len() as u64,
        "Content-Length is {length}"
    );
    reply.no_header("transfer-encoding")?;
    Ok(())
}

async fn content_type_is_what_was_pushed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("image")).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()]));
    repo.push("index", &index).await?;
    for (reference, media_type) in [("image", OCI_MANIFEST), ("index", OCI_INDEX)] {
        for request in [repo.get_manifest(reference), repo.head_manifest(reference)] {
            request
                .expect(StatusCode::OK)
                .await?
                .header_is("content-type", media_type)?;
        }
    }
    Ok(())
}

async fn head_equals_get(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for reference in ["v1", image.digest.as_str()] {
        let get = repo.get_manifest(reference).expect(StatusCode::OK).await?;
        let head = repo.head_manifest(reference).expect(StatusCode::OK).await?;
        for name in [
            "content-type",
            "content-length",
            "docker-content-digest",
            "etag",
        ] {
            ensure!(
                get.maybe(name) == head.maybe(name),
                "{name}: GET {:?}, HEAD {:?}",
                get.maybe(name),
                head.maybe(name)
            );
        }
    }
    Ok(())
}

async fn head_error_has_no_body(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let reply = repo
        .head_manifest("absent")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    ensure!(reply.length() == 0, "a body of {} bytes", reply.length());
    reply.no_header("docker-content-digest")?;
    Ok(())
}

async fn accept_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("image")).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()]));
    repo.push("index", &index).await?;
    for (reference, document) in [("image", &image.manifest), ("index", &index)] {
        let reply = cx
            .get(repo.manifest(reference))
            .expect(StatusCode::OK)
            .await;
        reply.within("no Accept")?.body_is(&document.bytes)?;
        for accept in [
            "*/*",
            "application/json",
            "text/html,application/xhtml+xml;q=0.9",
            DOCKER_MANIFEST,
            DOCKER_LIST,
            OCI_MANIFEST,
            "application/*;q=0.1, nonsense",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
        ] {
            let get = cx.get(repo.manifest(reference)).header("accept", accept);
            let reply = get.expect(StatusCode::OK).await.within(accept)?;
            reply
                .body_is(&document.bytes)?
                .header_is("content-type", &document.media_type)?;
            let head = cx.head(repo.manifest(reference)).header("accept", accept);
            head.expect(StatusCode::OK).await.within(accept)?;
        }
    }
    Ok(())
}

async fn index_is_never_substituted(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let mut platform = image.manifest.descriptor();
    if let Some(object) = platform.as_object_mut() {
        object.insert(
            "platform".into(),
            serde_json::json!({"os": "linux", "architecture": "amd64"}),
        );
    }
    let index = Document::json(OCI_INDEX, &image_index(vec![platform]));
    repo.push("v1", &index).await?;
    for reference in ["v1", index.digest().as_str()] {
        let get = cx
            .get(repo.manifest(reference))
            .header("accept", OCI_MANIFEST);
        let reply = get
            .header("accept", DOCKER_MANIFEST)
            .expect(StatusCode::OK)
            .await?;
        reply.body_is(&index.bytes)?;
    }
    Ok(())
}

async fn etag_is_the_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for request in [repo.get_manifest("v1"), repo.head_manifest(&image.digest)] {
        let reply = request.expect(StatusCode::OK).await?;
        reply.header_is("etag", &format!("\"{}\"", image.digest))?;
    }
    Ok(())
}

async fn if_none_match_is_304(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let etag = format!("\"{}\"", image.digest);
    for condition in [
        etag.clone(),
        format!("\"x\", {etag}"),
        format!("W/{etag}"),
        "*".to_owned(),
    ] {
        for reference in ["v1", image.digest.as_str()] {
            for request in [repo.get_manifest(reference), repo.head_manifest(reference)] {
                let reply = request.header("if-none-match", &condition).send().await?;
                reply.status(StatusCode::NOT_MODIFIED)?;
                ensure!(
                    reply.length() == 0,
                    "304 with a body of {} bytes",
                    reply.length()
                );
            }
        }
    }
    let other = format!("\"{EMPTY_SHA256}\"");
    let reply = repo
        .get_manifest("v1")
        .header("if-none-match", other)
        .send()
        .await?;
    reply
        .status(StatusCode::OK)?
        .body_is(&image.manifest.bytes)?;
    Ok(())
}

async fn if_none_match_follows_the_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let old = repo.image(Some("v1")).await?;
    let new = repo.image(Some("v1")).await?;
    let etag = format!("\"{}\"", old.digest);
    let reply = repo
        .get_manifest("v1")
        .header("if-none-match", etag)
        .send()
        .await?;
    reply.status(StatusCode::OK)?.body_is(&new.manifest.bytes)?;
    Ok(())
}

async fn namespace_query_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let reply = repo
        .get_manifest("v1")
        .query("ns", "docker.io")
        .expect(StatusCode::OK)
        .await?;
    reply.body_is(&image.manifest.bytes)?;
    repo.get_blob(&image.layer)
        .query("ns", "docker.io")
        .expect(StatusCode::OK)
        .await?;
    Ok(())
}

async fn body_on_get_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let reply = repo
        .get_manifest("v1")
        .body("{}")
        .expect(StatusCode::OK)
        .await?;
    reply.body_is(&image.manifest.bytes)?;
    let reply = repo
        .get_manifest("sha256:bad")
        .body(image.manifest.bytes.clone())
        .send()
        .await?;
    reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
    Ok(())
}

async fn untagged_is_pullable(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    repo.manifest_is(&image.digest, &image.manifest).await
}

async fn pull_by_sha512(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = image.manifest.digest_as(Alg::Sha512);
    repo.push(&digest, &image.manifest).await?;
    for request in [repo.get_manifest(&digest), repo.head_manifest(&digest)] {
        let reply = request.expect(StatusCode::OK).await?;
        reply.header_is("docker-content-digest", &digest)?;
        ensure!(
            reply.content_length()? == image.manifest.bytes.len() as u64,
            "Content-Length is {}",
            reply.content_length()?
        );
    }
    repo.manifest_is(&digest, &image.manifest).await
}

async fn blobs_are_not_manifests(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for digest in [&image.layer, &image.config] {
        let reply = repo.get_manifest(digest).send().await?;
        reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    }
    Ok(())
}

async fn no_content_coding(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let get = repo
        .get_manifest("v1")
        .header("accept-encoding", "gzip, zstd, br");
    let reply = get.expect(StatusCode::OK).await?;
    reply
        .no_header("content-encoding")?
        .body_is(&image.manifest.bytes)?;
    Ok(())
}

async fn tag_is_not_cached_for_long(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let reply = repo.get_manifest("v1").expect(StatusCode::OK).await?;
    let value = reply.maybe("cache-control").unwrap_or_default();
    ensure!(!value.contains("immutable"), "Cache-Control is {value:?}");
    let age = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age="));
    let age = age
        .and_then(|seconds| seconds.parse::<u64>().ok())
        .unwrap_or(0);
    ensure!(age <= 300, "Cache-Control is {value:?}");
    Ok(())
}
