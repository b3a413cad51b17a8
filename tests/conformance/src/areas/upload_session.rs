//! POST: opening a session, or pushing a blob in a single request.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    failure::{Outcome, Within as _, ensure},
    repo::Upload,
};

case_table! { "upload_session";
    Must post_is_202_with_location: "POST to the uploads endpoint answers 202 and a Location to continue at.";
    Practice location_is_a_path: "Location is a path, so that no proxy, port or scheme can make it wrong.";
    Must sessions_are_distinct: "Two POSTs open two sessions.";
    Practice upload_headers: "The 202 carries Docker-Upload-UUID, Range: 0-0 and no body.";
    Practice without_the_trailing_slash: "POST to /blobs/uploads works as /blobs/uploads/ does.";
    Practice content_type_of_post_is_ignored: "An empty POST may carry any Content-Type.";
    Should chunk_minimum_is_a_number: "OCI-Chunk-Min-Length, if sent, is a number of bytes.";
    Practice query_of_location_survives_rewriting: "Parameters may be added to Location before or after its own, and re-encoded.";
    Should single_post: "POST with ?digest= and the blob as its body creates the blob: 201 and its Location.";
    Should single_post_streamed: "POST with ?digest= may carry a body of unknown length.";
    Should single_post_bad_digest: "POST with ?digest= and other bytes answers 400 DIGEST_INVALID and stores nothing.";
    Should single_post_malformed_digest: "POST with a digest that is none answers 400 DIGEST_INVALID.";
    Practice single_post_without_body: "POST with ?digest= of a blob and no body does not create it.";
    Practice single_post_again: "Pushing a blob again in one POST succeeds.";
    Should declared_sha512: "POST with ?digest-algorithm=sha512 opens a session that a sha512 digest closes.";
    Should declared_sha256: "POST with ?digest-algorithm=sha256 opens a session that a sha256 digest closes.";
    Should unknown_algorithm_is_400: "POST with a digest-algorithm the registry does not support answers 400.";
    Must undeclared_sha512: "A session opened without a digest-algorithm can be closed by a sha512 digest.";
    Practice many_sessions: "A client may have many sessions open at once, all of them usable.";
    Practice post_creates_no_repository: "Opening a session does not make an empty repository appear in tag lists.";
}

async fn post_is_202_with_location(cx: &Ctx) -> Outcome {
    let reply = cx
        .post(cx.repo().uploads())
        .expect(StatusCode::ACCEPTED)
        .await?;
    reply.location()?;
    Ok(())
}

async fn location_is_a_path(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let reply = cx.post(repo.uploads()).expect(StatusCode::ACCEPTED).await?;
    let location = reply.header("location")?;
    ensure!(
        location.starts_with(&repo.uploads()),
        "Location is {location:?}"
    );
    Ok(())
}

async fn sessions_are_distinct(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, second) = (cx.bytes(100), cx.bytes(200));
    let (mut one, mut two) = (repo.start().await?, repo.start().await?);
    ensure!(
        one.location != two.location,
        "both sessions are {:?}",
        one.location
    );
    one.append(&first).await?;
    two.append(&second).await?;
    one.finish(&sha256(&first)).await?;
    two.finish(&sha256(&second)).await?;
    Ok(())
}

async fn upload_headers(cx: &Ctx) -> Outcome {
    let reply = cx
        .post(cx.repo().uploads())
        .expect(StatusCode::ACCEPTED)
        .await?;
    let id = reply.header("docker-upload-uuid")?;
    ensure!(!id.is_empty(), "Docker-Upload-UUID is empty");
    ensure!(
        reply.location()?.contains(id),
        "Location does not hold the id {id:?}"
    );
    reply.header_is("range", "0-0")?;
    ensure!(
        reply.content_length()? == 0,
        "Content-Length is {}",
        reply.content_length()?
    );
    Ok(())
}

async fn without_the_trailing_slash(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let target = format!("/v2/{}/blobs/uploads", repo.name);
    let reply = cx.post(target).expect(StatusCode::ACCEPTED).await?;
    let bytes = cx.bytes(64);
    let upload = Upload {
        cx,
        location: reply.location()?,
    };
    upload
        .put(&sha256(&bytes), bytes)
        .expect(StatusCode::CREATED)
        .await?;
    Ok(())
}

async fn content_type_of_post_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for media_type in [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        let post = cx.post(repo.uploads()).header("content-type", media_type);
        post.expect(StatusCode::ACCEPTED).await.within(media_type)?;
    }
    Ok(())
}

async fn chunk_minimum_is_a_number(cx: &Ctx) -> Outcome {
    let reply = cx
        .post(cx.repo().uploads())
        .expect(StatusCode::ACCEPTED)
        .await?;
    if let Some(minimum) = reply.maybe("oci-chunk-min-length") {
        ensure!(
            minimum.parse::<u64>().is_ok(),
            "OCI-Chunk-Min-Length is {minimum:?}"
        );
    }
    Ok(())
}

async fn query_of_location_survives_rewriting(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for style in ["after", "before", "encoded", "stranger"] {
        let mut upload = repo.start().await?;
        let bytes = cx.bytes(128);
        upload.append(&bytes).await?;
        let digest = sha256(&bytes);
        let (path, own) = upload
            .location
            .split_once('?')
            .unwrap_or((&upload.location, ""));
        let and = if own.is_empty() { "" } else { "&" };
        let target = match style {
            "after" => format!("{path}?{own}{and}digest={digest}"),
            "before" => format!("{path}?digest={digest}{and}{own}"),
            "encoded" => {
                format!("{path}?digest={}{and}{own}", digest.replace(':', "%3A"))
            }
            _ => format!("{path}?x-id=PutObject&digest={digest}{and}{own}&"),
        };
        cx.put(target)
            .expect(StatusCode::CREATED)
            .await
            .within(style)?;
        repo.blob_is(&digest, &bytes).await.within(style)?;
    }
    Ok(())
}

async fn single_post(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for length in [1, 1000, 3_000_000] {
        let bytes = cx.bytes(length);
        let digest = sha256(&bytes);
        let post = cx
            .post(repo.uploads())
            .query("digest", &digest)
            .header("content-type", "application/octet-stream")
            .body(bytes.clone());
        let reply = post.expect(StatusCode::CREATED).await.within(length)?;
        reply.header_is("docker-content-digest", &digest)?;
        cx.get(reply.location()?)
            .expect(StatusCode::OK)
            .await?
            .body_is(&bytes)?;
    }
    Ok(())
}

async fn single_post_streamed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (head, tail) = (cx.bytes(700), cx.bytes(300));
    let bytes = [head.as_ref(), tail.as_ref()].concat();
    let digest = sha256(&bytes);
    let post = cx
        .post(repo.uploads())
        .query("digest", &digest)
        .chunks([head, tail]);
    post.expect(StatusCode::CREATED).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn single_post_bad_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (bytes, other) = (cx.bytes(500), cx.bytes(500));
    let post = cx
        .post(repo.uploads())
        .query("digest", &sha256(&other))
        .body(bytes.clone());
    post.send()
        .await?
        .error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    repo.blob_is_absent(&sha256(&other)).await?;
    repo.blob_is_absent(&sha256(&bytes)).await
}

async fn single_post_malformed_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for digest in [
        "sha256:abc",
        "nonsense",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "",
    ] {
        let post = cx
            .post(repo.uploads())
            .query("digest", digest)
            .body(cx.bytes(10));
        post.send()
            .await?
            .error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn single_post_without_body(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = sha256(&cx.bytes(500));
    let reply = cx
        .post(repo.uploads())
        .query("digest", &digest)
        .send()
        .await?;
    reply.status_in(&[StatusCode::ACCEPTED, StatusCode::BAD_REQUEST])?;
    repo.blob_is_absent(&digest).await
}

async fn single_post_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(500);
    let digest = repo.push_blob(&bytes).await?;
    let post = cx
        .post(repo.uploads())
        .query("digest", &digest)
        .body(bytes.clone());
    post.expect(StatusCode::CREATED).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn declared(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let post = cx
        .post(repo.uploads())
        .query("digest-algorithm", &alg.to_string());
    let reply = post.expect(StatusCode::ACCEPTED).await?;
    let mut upload = Upload {
        cx,
        location: reply.location()?,
    };
    let (head, tail) = (cx.bytes(700), cx.bytes(300));
    upload.append_at(0, &head).await?;
    upload.append_at(700, &tail).await?;
    let bytes = [head, tail].concat();
    let digest = alg.of(&bytes);
    upload
        .finish(&digest)
        .await?
        .header_is("docker-content-digest", &digest)?;
    repo.blob_is(&digest, &bytes).await
}

async fn declared_sha512(cx: &Ctx) -> Outcome {
    declared(cx, Alg::Sha512).await
}

async fn declared_sha256(cx: &Ctx) -> Outcome {
    declared(cx, Alg::Sha256).await
}

async fn unknown_algorithm_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for algorithm in ["md5", "sha1", "nonsense", "SHA256", "", "sha256:"] {
        let reply = cx
            .post(repo.uploads())
            .query("digest-algorithm", algorithm)
            .send()
            .await?;
        reply.status(StatusCode::BAD_REQUEST).within(algorithm)?;
        reply.error_codes()?;
    }
    Ok(())
}

async fn undeclared_sha512(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let (head, tail) = (cx.bytes(1000), cx.bytes(500));
    upload.append(&head).await?;
    upload.append(&tail).await?;
    let bytes = [head, tail].concat();
    let digest = Alg::Sha512.of(&bytes);
    upload.finish(&digest).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn many_sessions(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut upload = repo.start().await?;
        let bytes = cx.bytes(40);
        upload.append(&bytes).await?;
        open.push((upload, bytes));
    }
    for (upload, bytes) in open.into_iter().rev() {
        upload.finish(&sha256(&bytes)).await?;
    }
    Ok(())
}

async fn post_creates_no_repository(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    cx.get(repo.tags())
        .send()
        .await?
        .error(StatusCode::NOT_FOUND, &["NAME_UNKNOWN"])?;
    upload
        .put(&sha256(b"x"), Bytes::from_static(b"x"))
        .expect(StatusCode::CREATED)
        .await?;
    Ok(())
}
