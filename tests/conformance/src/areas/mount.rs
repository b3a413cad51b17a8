//! Cross-repository mounts.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
    repo::{Repo, Upload},
};

case_table! { "mount";
    Must from_a_repository_is_201: "A mount from a repository that has the blob answers 201, and the blob is in the target.";
    Must location_is_the_blob: "The Location of a mount is the path of the blob in the target repository.";
    Practice digest_header: "A mount answers Docker-Content-Digest.";
    Should unknown_blob_is_202: "A mount of a blob the source does not have opens a session instead.";
    Should unknown_source_is_202: "A mount from a repository nobody has pushed to opens a session instead.";
    Practice malformed_source_is_202: "A mount from a name outside the grammar opens a session instead.";
    Practice malformed_digest_is_no_server_error: "A mount of a malformed digest opens a session, or is 400.";
    Should fallback_is_usable: "The session of a failed mount takes the blob like any other.";
    May without_a_source: "A mount without from finds the blob where the caller may pull it.";
    Should without_a_source_unknown_is_202: "A mount without from of a blob that is nowhere opens a session.";
    Practice already_there_is_201: "A mount of what the target already has answers 201.";
    Practice from_itself_is_201: "A repository may be its own source.";
    Practice encoded_source: "from may be percent-encoded.";
    Practice several_sources: "A request that names from twice is a mount or a session, never an error.";
    Practice blob_only_in_third_repository: "A blob of a third repository is not mounted from one that lacks it in a way that breaks a pull.";
    Should sha512: "Blobs are mounted by sha512 digest too.";
    Practice mounted_blob_can_be_referenced: "A manifest may refer to a blob that was mounted.";
    Practice both_keep_working: "Source and target each keep the blob after the mount.";
    Practice origin_hint_is_ignored: "The origin parameter that some clients add changes nothing.";
}

async fn mount(target: &Repo<'_>, digest: &str, from: Option<&str>) -> Result<Reply, Failure> {
    let mut post = target.cx.post(target.uploads()).query("mount", digest);
    if let Some(from) = from {
        post = post.query("from", from);
    }
    post.send().await
}

/// The 202 of a failed mount: a session of the target repository.
fn is_fallback(target: &Repo<'_>, reply: &Reply) -> Outcome {
    reply.status(StatusCode::ACCEPTED)?;
    let location = reply.location()?;
    ensure!(
        location.starts_with(&target.uploads()),
        "Location is {location:?}"
    );
    Ok(())
}

async fn from_a_repository_is_201(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = source.push_blob(&bytes).await?;
    mount(&target, &digest, Some(&source.name))
        .await?
        .status(StatusCode::CREATED)?;
    target.head_blob(&digest).expect(StatusCode::OK).await?;
    target.blob_is(&digest, &bytes).await
}

async fn location_is_the_blob(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let digest = source.push_blob(&cx.bytes(500)).await?;
    let reply = mount(&target, &digest, Some(&source.name)).await?;
    let location = reply.status(StatusCode::CREATED)?.location()?;
    ensure!(location == target.blob(&digest), "Location is {location:?}");
    Ok(())
}

async fn digest_header(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let digest = source.push_blob(&cx.bytes(500)).await?;
    let reply = mount(&target, &digest, Some(&source.name)).await?;
    reply
        .status(StatusCode::CREATED)?
        .header_is("docker-content-digest", &digest)?;
    Ok(())
}

async fn unknown_blob_is_202(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    source.push_blob(&cx.bytes(5)).await?;
    let reply = mount(&target, &Alg::Sha256.of_nothing(), Some(&source.name)).await?;
    is_fallback(&target, &reply)
}

async fn unknown_source_is_202(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let reply = mount(&target, &Alg::Sha256.of_nothing(), Some(&source.name)).await?;
    is_fallback(&target, &reply)
}

async fn malformed_source_is_202(cx: &Ctx) -> Outcome {
    let target = cx.repo();
    for from in ["UPPER", "a//b", "..%2F..%2Fx", "", "-", "a%20b"] {
        let reply = mount(&target, &Alg::Sha256.of_nothing(), Some(from)).await?;
        is_fallback(&target, &reply).within(from)?;
    }
    Ok(())
}

async fn malformed_digest_is_no_server_error(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    source.push_blob(&cx.bytes(5)).await?;
    for digest in ["sha256:bad", "nonsense", "", "sha256:..%2F..%2Fx"] {
        let reply = mount(&target, digest, Some(&source.name)).await?;
        reply.status_in(&[StatusCode::ACCEPTED, StatusCode::BAD_REQUEST])?;
    }
    Ok(())
}

async fn fallback_is_usable(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = sha256(&bytes);
    let reply = mount(&target, &digest, Some(&source.name)).await?;
    is_fallback(&target, &reply)?;
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

async fn without_a_source(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = source.push_blob(&bytes).await?;
    let reply = mount(&target, &digest, None).await?;
    let location = reply.status(StatusCode::CREATED)?.location()?;
    ensure!(location == target.blob(&digest), "Location is {location:?}");
    target.blob_is(&digest, &bytes).await
}

async fn without_a_source_unknown_is_202(cx: &Ctx) -> Outcome {
    let target = cx.repo();
    let reply = mount(&target, &Alg::Sha256.of_nothing(), None).await?;
    is_fallback(&target, &reply)
}

async fn already_there_is_201(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = source.push_blob(&bytes).await?;
    target.push_blob(&bytes).await?;
    mount(&target, &digest, Some(&source.name))
        .await?
        .status(StatusCode::CREATED)?;
    mount(&target, &digest, Some(&source.name))
        .await?
        .status(StatusCode::CREATED)?;
    Ok(())
}

async fn from_itself_is_201(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(500)).await?;
    mount(&repo, &digest, Some(&repo.name))
        .await?
        .status(StatusCode::CREATED)?;
    Ok(())
}

async fn encoded_source(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let digest = source.push_blob(&cx.bytes(500)).await?;
    let from = source.name.replace('/', "%2F");
    let reply = mount(&target, &digest.replace(':', "%3A"), Some(&from)).await?;
    reply.status(StatusCode::CREATED)?;
    Ok(())
}

async fn several_sources(cx: &Ctx) -> Outcome {
    let (empty, source, target) = (cx.repo(), cx.repo(), cx.repo());
    let digest = source.push_blob(&cx.bytes(500)).await?;
    let post = cx
        .post(target.uploads())
        .query("mount", &digest)
        .query("from", &empty.name);
    let reply = post.query("from", &source.name).send().await?;
    reply.status_in(&[StatusCode::CREATED, StatusCode::ACCEPTED])?;
    Ok(())
}

async fn blob_only_in_third_repository(cx: &Ctx) -> Outcome {
    let (third, source, target) = (cx.repo(), cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = third.push_blob(&bytes).await?;
    source.push_blob(&cx.bytes(10)).await?;
    let reply = mount(&target, &digest, Some(&source.name)).await?;
    reply.status_in(&[StatusCode::CREATED, StatusCode::ACCEPTED])?;
    if reply.code() == StatusCode::CREATED {
        return target.blob_is(&digest, &bytes).await;
    }
    target.blob_is_absent(&digest).await
}

async fn sha512(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = source.push_blob_as(&bytes, Alg::Sha512).await?;
    let reply = mount(&target, &digest, Some(&source.name)).await?;
    let location = reply.status(StatusCode::CREATED)?.location()?;
    ensure!(location == target.blob(&digest), "Location is {location:?}");
    target.blob_is(&digest, &bytes).await
}

async fn mounted_blob_can_be_referenced(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let image = source.image_parts().await?;
    for digest in [&image.config, &image.layer] {
        mount(&target, digest, Some(&source.name))
            .await?
            .status(StatusCode::CREATED)?;
    }
    target.push("v1", &image.manifest).await?;
    target.manifest_is("v1", &image.manifest).await
}

async fn both_keep_working(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(500);
    let digest = source.push_blob(&bytes).await?;
    mount(&target, &digest, Some(&source.name))
        .await?
        .status(StatusCode::CREATED)?;
    source.blob_is(&digest, &bytes).await?;
    target.blob_is(&digest, &bytes).await
}

async fn origin_hint_is_ignored(cx: &Ctx) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let digest = source.push_blob(&cx.bytes(500)).await?;
    let post = cx
        .post(target.uploads())
        .query("mount", &digest)
        .query("from", &source.name);
    post.query("origin", "registry.example")
        .expect(StatusCode::CREATED)
        .await?;
    let post = cx
        .post(target.uploads())
        .query("mount", &Alg::Sha256.of_nothing());
    let reply = post
        .query("from", &source.name)
        .query("origin", "a.example")
        .send()
        .await?;
    is_fallback(&target, &reply)
}
