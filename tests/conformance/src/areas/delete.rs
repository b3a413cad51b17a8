//! Deleting manifests, tags and blobs, where the registry allows it.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, EMPTY_SHA256},
    documents::{Document, OCI_INDEX, image_index},
    failure::{Outcome, ensure},
};

case_table! { "delete";
    Must manifest_by_digest_is_202 [Deletes]: "DELETE of a manifest by digest answers 202, and the manifest is gone.";
    Must tags_go_with_the_manifest [Deletes]: "Every tag of a deleted manifest is gone too, from pulls and from the list.";
    Must unknown_manifest_is_404 [Deletes]: "DELETE of a manifest that does not exist is 404 MANIFEST_UNKNOWN.";
    Must unknown_repository_is_404 [Deletes]: "DELETE in a repository nobody has pushed to is 404.";
    Must tag_is_202 [Deletes]: "DELETE of a tag answers 202, and the tag is gone.";
    Must tag_alone [Deletes]: "DELETE of a tag leaves the manifest and its other tags.";
    Must digest_after_tag [Deletes]: "After its tag was deleted, a manifest can be deleted by digest.";
    Must unknown_tag_is_404 [Deletes]: "DELETE of a tag that does not exist is 404 MANIFEST_UNKNOWN.";
    Must blob_is_202 [Deletes]: "DELETE of a blob answers 202, and the blob is gone.";
    Must unknown_blob_is_404 [Deletes]: "DELETE of a blob that is not there is 404 BLOB_UNKNOWN.";
    Must twice_is_404 [Deletes]: "The second DELETE of the same thing is 404.";
    Must other_repositories_keep_the_blob [Deletes]: "DELETE of a blob leaves it in other repositories.";
    Must other_repositories_keep_the_manifest [Deletes]: "DELETE of a manifest leaves it in other repositories.";
    Practice blob_can_be_pushed_again [Deletes]: "A deleted blob can be pushed again, and is really there.";
    Practice blob_can_be_mounted_again [Deletes]: "A deleted blob can be mounted again from where it still is.";
    Practice manifest_can_be_pushed_again [Deletes]: "A deleted manifest can be pushed and tagged again.";
    Practice tag_can_be_pushed_again [Deletes]: "A deleted tag can be pushed again.";
    Practice children_stay [Deletes]: "DELETE of an index leaves the manifests it names.";
    Practice blobs_stay [Deletes]: "DELETE of a manifest leaves its blobs for others to refer to.";
    Practice blob_in_use [Deletes]: "DELETE of a blob that a manifest refers to either happens or is refused with 405.";
    Practice answer_has_no_body [Deletes]: "A 202 to DELETE has no body.";
    Must sha512 [Deletes]: "Manifests and blobs are deleted by sha512 digest too.";
    Practice other_digest_of_the_same_bytes [Deletes]: "A manifest stored under two digests is deleted under one of them.";
    Practice head_sees_it_at_once [Deletes]: "HEAD and conditional GET see a deletion at once.";
    Practice body_is_ignored [Deletes]: "A DELETE that carries a body works.";
}

async fn manifest_by_digest_is_202(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let reply = repo.get_manifest(&image.digest).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn tags_go_with_the_manifest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    repo.push("b", &image.manifest).await?;
    let other = repo.image(Some("c")).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    for reference in ["a", "b", image.digest.as_str()] {
        repo.get_manifest(reference)
            .expect(StatusCode::NOT_FOUND)
            .await?;
        repo.head_manifest(reference)
            .expect(StatusCode::NOT_FOUND)
            .await?;
    }
    let tags = repo.list_tags().await?;
    ensure!(tags == ["c"], "tags are {tags:?}");
    repo.manifest_is("c", &other.manifest).await
}

async fn unknown_manifest_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("a")).await?;
    let reply = cx
        .delete(repo.manifest(&Alg::Sha256.of_nothing()))
        .send()
        .await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn unknown_repository_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let nothing = Alg::Sha256.of_nothing();
    for target in [
        repo.manifest(&nothing),
        repo.manifest("latest"),
        repo.blob(&nothing),
    ] {
        let reply = cx.delete(target).send().await?;
        let codes = ["NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"];
        reply.error(StatusCode::NOT_FOUND, &codes)?;
    }
    Ok(())
}

async fn tag_is_202(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("a")).await?;
    cx.delete(repo.manifest("a"))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let reply = repo.get_manifest("a").send().await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn tag_alone(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    repo.push("b", &image.manifest).await?;
    cx.delete(repo.manifest("a"))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.manifest_is("b", &image.manifest).await?;
    repo.manifest_is(&image.digest, &image.manifest).await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["b"], "tags are {tags:?}");
    Ok(())
}

async fn digest_after_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    cx.delete(repo.manifest("a"))
        .expect(StatusCode::ACCEPTED)
        .await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.get_manifest(&image.digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn unknown_tag_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("a")).await?;
    let reply = cx.delete(repo.manifest("b")).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_UNKNOWN"])?;
    Ok(())
}

async fn blob_is_202(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(100)).await?;
    cx.delete(repo.blob(&digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.blob_is_absent(&digest).await
}

async fn unknown_blob_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(100)).await?;
    for digest in [
        Alg::Sha256.of_nothing(),
        Alg::Sha512.of_nothing(),
        EMPTY_SHA256.to_owned(),
    ] {
        let reply = cx.delete(repo.blob(&digest)).send().await?;
        reply.error(StatusCode::NOT_FOUND, &["BLOB_UNKNOWN"])?;
    }
    Ok(())
}

async fn twice_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let blob = repo.push_blob(&cx.bytes(100)).await?;
    for target in [
        repo.manifest("a"),
        repo.manifest(&image.digest),
        repo.blob(&blob),
    ] {
        cx.delete(&target).expect(StatusCode::ACCEPTED).await?;
        cx.delete(&target).expect(StatusCode::NOT_FOUND).await?;
    }
    Ok(())
}

async fn other_repositories_keep_the_blob(cx: &Ctx) -> Outcome {
    let (repo, other) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(100);
    let digest = repo.push_blob(&bytes).await?;
    other.push_blob(&bytes).await?;
    cx.delete(repo.blob(&digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    other.blob_is(&digest, &bytes).await?;
    repo.blob_is_absent(&digest).await
}

async fn other_repositories_keep_the_manifest(cx: &Ctx) -> Outcome {
    let (repo, other) = (cx.repo(), cx.repo());
    let image = repo.image(Some("a")).await?;
    let config = repo.get_blob(&image.config).expect(StatusCode::OK).await?;
    other
        .push_blob(&bytes::Bytes::copy_from_slice(config.body()))
        .await?;
    other.push_blob(&image.layer_bytes).await?;
    other.push("a", &image.manifest).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    other.manifest_is("a", &image.manifest).await?;
    repo.get_manifest(&image.digest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn blob_can_be_pushed_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    for _ in 0..3 {
        let digest = repo.push_blob(&bytes).await?;
        repo.blob_is(&digest, &bytes).await?;
        cx.delete(repo.blob(&digest))
            .expect(StatusCode::ACCEPTED)
            .await?;
        repo.blob_is_absent(&digest).await?;
    }
    Ok(())
}

async fn blob_can_be_mounted_again(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(100);
    let digest = source.push_blob(&bytes).await?;
    for _ in 0..2 {
        let post = cx
            .post(target.uploads())
            .query("mount", &digest)
            .query("from", &source.name);
        post.expect(StatusCode::CREATED).await?;
        target.blob_is(&digest, &bytes).await?;
        cx.delete(target.blob(&digest))
            .expect(StatusCode::ACCEPTED)
            .await?;
        target.blob_is_absent(&digest).await?;
    }
    source.blob_is(&digest, &bytes).await
}

async fn manifest_can_be_pushed_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.push("a", &image.manifest).await?;
    repo.manifest_is("a", &image.manifest).await?;
    repo.manifest_is(&image.digest, &image.manifest).await
}

async fn tag_can_be_pushed_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    cx.delete(repo.manifest("a"))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.push("a", &image.manifest).await?;
    repo.manifest_is("a", &image.manifest).await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["a"], "tags are {tags:?}");
    Ok(())
}

async fn children_stay(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()]));
    repo.push("index", &index).await?;
    cx.delete(repo.manifest(&index.digest()))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.manifest_is(&image.digest, &image.manifest).await
}

async fn blobs_stay(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    // A client that was told the layer exists may still push a manifest that needs it.
    repo.push("a", &image.manifest).await?;
    repo.blob_is(&image.layer, &image.layer_bytes).await
}

async fn blob_in_use(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let reply = cx.delete(repo.blob(&image.layer)).send().await?;
    reply.status_in(&[StatusCode::ACCEPTED, StatusCode::METHOD_NOT_ALLOWED])?;
    if reply.code() == StatusCode::ACCEPTED {
        return repo.blob_is_absent(&image.layer).await;
    }
    repo.blob_is(&image.layer, &image.layer_bytes).await
}

async fn answer_has_no_body(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let blob = repo.push_blob(&cx.bytes(100)).await?;
    for target in [
        repo.manifest("a"),
        repo.manifest(&image.digest),
        repo.blob(&blob),
    ] {
        let reply = cx.delete(target).expect(StatusCode::ACCEPTED).await?;
        ensure!(reply.length() == 0, "a body of {} bytes", reply.length());
        ensure!(
            reply.content_length()? == 0,
            "Content-Length is {}",
            reply.content_length()?
        );
    }
    Ok(())
}

async fn sha512(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let manifest = image.manifest.digest_as(Alg::Sha512);
    repo.push(&manifest, &image.manifest).await?;
    let blob = repo.push_blob_as(&cx.bytes(100), Alg::Sha512).await?;
    cx.delete(repo.manifest(&manifest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    cx.delete(repo.blob(&blob))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.get_manifest(&manifest)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.blob_is_absent(&blob).await
}

async fn other_digest_of_the_same_bytes(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let sha512 = image.manifest.digest_as(Alg::Sha512);
    repo.push(&sha512, &image.manifest).await?;
    cx.delete(repo.manifest(&sha512))
        .expect(StatusCode::ACCEPTED)
        .await?;
    repo.get_manifest(&sha512)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.manifest_is("a", &image.manifest).await?;
    repo.manifest_is(&image.digest, &image.manifest).await
}

async fn head_sees_it_at_once(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let blob = repo.push_blob(&cx.bytes(100)).await?;
    // Warm whatever caches there are.
    repo.head_manifest("a").expect(StatusCode::OK).await?;
    repo.head_manifest(&image.digest)
        .expect(StatusCode::OK)
        .await?;
    repo.head_blob(&blob).expect(StatusCode::OK).await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    cx.delete(repo.blob(&blob))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let etag = format!("\"{}\"", image.digest);
    for reference in ["a", image.digest.as_str()] {
        repo.head_manifest(reference)
            .expect(StatusCode::NOT_FOUND)
            .await?;
        let get = repo.get_manifest(reference).header("if-none-match", &etag);
        get.expect(StatusCode::NOT_FOUND).await?;
    }
    let get = repo
        .get_blob(&blob)
        .header("if-none-match", format!("\"{blob}\""));
    get.expect(StatusCode::NOT_FOUND).await?;
    Ok(())
}

async fn body_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    cx.delete(repo.manifest("a"))
        .body("{}")
        .expect(StatusCode::ACCEPTED)
        .await?;
    cx.delete(repo.manifest(&image.digest))
        .body("{}")
        .expect(StatusCode::ACCEPTED)
        .await?;
    Ok(())
}
