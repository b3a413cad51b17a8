//! Every style of push, in both algorithms, with good and bad digests.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    ctx::Ctx,
    digest::Alg,
    documents::EMPTY_JSON,
    failure::{Outcome, ensure},
    reply::Reply,
    repo::{Repo, Upload, content_range},
};

/// The same table for each algorithm.
macro_rules! tables {
    ($($area:literal $table:ident $alg:expr;)*) => {
        $(tables! { @table $area $table $alg;
            get_missing "GET and HEAD of a blob nobody pushed are 404.";
            post_only "A blob in the body of one POST, or 202 and a session that takes it.";
            post_put "POST, then PUT with the whole blob.";
            chunked_single "POST, one PATCH with Content-Range, PUT.";
            stream "POST, one PATCH of unknown length, PUT.";
            mount "A mount from another repository.";
            mount_anonymous "A mount that names no source.";
            mount_missing "A mount of what is nowhere is 202, and the session takes the blob.";
            cancel "POST, then DELETE: the session is gone.";
            chunked_multi "POST, several PATCHes with Content-Range, PUT.";
            chunked_multi_and_put "POST, PATCHes, and the last chunk in the PUT.";
            out_of_order "A chunk out of order is 416; then the upload goes on from its status.";
            out_of_order_and_put "The same, with the last chunk in the PUT.";
            ranges "Ranges of the blob.";
            empty "The blob of no bytes.";
            empty_json "The blob {}.";
            bad_digest_post_only "A bad digest in a single POST is 400, there or in the PUT after it.";
            bad_digest_post_put "A bad digest in a monolithic PUT is 400.";
            bad_digest_chunked "A bad digest after chunks is 400.";
            bad_digest_chunked_and_put "A bad digest with a last chunk in the PUT is 400.";
            bad_digest_stream "A bad digest after a stream is 400.";
        })*
    };
    (@table $area:literal $table:ident $alg:expr; $($name:ident $what:literal;)*) => {
        pub(crate) static $table: &[$crate::case::Case] = &[$($crate::case::Case {
            name: concat!($area, ".", stringify!($name)),
            area: $area,
            what: $what,
            level: $crate::case::Level::Must,
            needs: &[],
            run: |cx| Box::pin($name(cx, $alg)),
        }),*];
    };
}

tables! {
    "blobs_sha256" SHA256 Alg::Sha256;
    "blobs_sha512" SHA512 Alg::Sha512;
}

/// The 201 that ends a push: the Location serves the bytes, the digest is the one given.
async fn is_created(repo: &Repo<'_>, reply: &Reply, digest: &str, bytes: &[u8]) -> Outcome {
    reply.status(StatusCode::CREATED)?;
    reply.header_is("docker-content-digest", digest)?;
    repo.cx
        .get(reply.location()?)
        .expect(StatusCode::OK)
        .await?
        .body_is(bytes)?;
    let head = repo.head_blob(digest).expect(StatusCode::OK).await?;
    ensure!(
        head.content_length()? == bytes.len() as u64,
        "HEAD has another length"
    );
    head.header_is("docker-content-digest", digest)?;
    let get = repo.get_blob(digest).expect(StatusCode::OK).await?;
    get.body_is(bytes)?
        .header_is("docker-content-digest", digest)?;
    Ok(())
}

async fn get_missing(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    repo.push_blob_as(&cx.bytes(5), alg).await?;
    repo.blob_is_absent(&alg.of(&cx.bytes(6))).await
}

async fn post_only(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2048);
    let digest = alg.of(&bytes);
    let post = cx
        .post(repo.uploads())
        .query("digest", &digest)
        .body(bytes.clone());
    let mut reply = post.send().await?;
    if reply.code() == StatusCode::ACCEPTED {
        let upload = Upload {
            cx,
            location: reply.location()?,
        };
        reply = upload.put(&digest, bytes.clone()).send().await?;
    }
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn post_put(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2048);
    let digest = alg.of(&bytes);
    let upload = repo.start().await?;
    let reply = upload.put(&digest, bytes.clone()).send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn chunked_single(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2048);
    let mut upload = repo.start().await?;
    upload.append_at(0, &bytes).await?.received_is(2048)?;
    let digest = alg.of(&bytes);
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn stream(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2048);
    let mut upload = repo.start().await?;
    let pieces = [bytes.slice(..1000), bytes.slice(1000..)];
    let reply = upload
        .patch()
        .chunks(pieces)
        .expect(StatusCode::ACCEPTED)
        .await?;
    upload.location = reply.location()?;
    let digest = alg.of(&bytes);
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn mount(cx: &Ctx, alg: Alg) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(2048);
    let digest = source.push_blob_as(&bytes, alg).await?;
    let post = cx
        .post(target.uploads())
        .query("mount", &digest)
        .query("from", &source.name);
    let reply = post.send().await?;
    is_created(&target, &reply, &digest, &bytes).await
}

async fn mount_anonymous(cx: &Ctx, alg: Alg) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    let bytes = cx.bytes(2048);
    let digest = source.push_blob_as(&bytes, alg).await?;
    let reply = cx
        .post(target.uploads())
        .query("mount", &digest)
        .send()
        .await?;
    is_created(&target, &reply, &digest, &bytes).await
}

async fn mount_missing(cx: &Ctx, alg: Alg) -> Outcome {
    let (source, target) = (cx.repo(), cx.repo());
    source.push_blob(&cx.bytes(5)).await?;
    let bytes = cx.bytes(2048);
    let digest = alg.of(&bytes);
    let post = cx
        .post(target.uploads())
        .query("mount", &digest)
        .query("from", &source.name);
    let reply = post.expect(StatusCode::ACCEPTED).await?;
    let upload = Upload {
        cx,
        location: reply.location()?,
    };
    let reply = upload.put(&digest, bytes.clone()).send().await?;
    is_created(&target, &reply, &digest, &bytes).await
}

async fn cancel(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(2048);
    let mut upload = repo.start().await?;
    upload.append(&bytes).await?;
    upload.cancel().expect(StatusCode::NO_CONTENT).await?;
    upload.status().expect(StatusCode::NOT_FOUND).await?;
    upload
        .put(&alg.of(&bytes), bytes)
        .expect(StatusCode::NOT_FOUND)
        .await?;
    Ok(())
}

async fn chunked_multi(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(4000);
    let mut upload = repo.start().await?;
    for (start, end) in [(0, 1024), (1024, 2048), (2048, 4000)] {
        upload
            .append_at(start, &bytes.slice(start..end))
            .await?
            .received_is(end as u64)?;
    }
    let digest = alg.of(&bytes);
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn chunked_multi_and_put(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(3000);
    let mut upload = repo.start().await?;
    for (start, end) in [(0, 1024), (1024, 2048)] {
        upload.append_at(start, &bytes.slice(start..end)).await?;
    }
    let last = bytes.slice(2048..);
    let digest = alg.of(&bytes);
    let range = content_range(2048, &last);
    let reply = upload
        .put(&digest, last)
        .header("content-range", range)
        .send()
        .await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

/// Sends chunks out of order, then the first two of three in order.
async fn disorder<'a>(repo: &Repo<'a>, bytes: &Bytes) -> Result<Upload<'a>, crate::Failure> {
    let (first, second) = (bytes.slice(..1024), bytes.slice(1024..2048));
    let mut upload = repo.start().await?;
    let refused = StatusCode::RANGE_NOT_SATISFIABLE;
    upload.patch_at(1024, &second).expect(refused).await?;
    upload.location = upload.has_received(0).await?.location()?;
    upload.append_at(0, &first).await?;
    upload.patch_at(0, &first).expect(refused).await?;
    upload.patch_at(2048, &second).expect(refused).await?;
    upload.location = upload.has_received(1024).await?.location()?;
    upload.append_at(1024, &second).await?;
    Ok(upload)
}

async fn out_of_order(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(3000);
    let mut upload = disorder(&repo, &bytes).await?;
    upload.append_at(2048, &bytes.slice(2048..)).await?;
    let digest = alg.of(&bytes);
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn out_of_order_and_put(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(3000);
    let mut upload = disorder(&repo, &bytes).await?;
    let last = bytes.slice(2048..);
    let digest = alg.of(&bytes);
    let wrong = upload
        .put(&digest, last.clone())
        .header("content-range", "1024-1975");
    wrong.expect(StatusCode::RANGE_NOT_SATISFIABLE).await?;
    upload.location = upload.has_received(2048).await?.location()?;
    let put = upload
        .put(&digest, last.clone())
        .header("content-range", content_range(2048, &last));
    let reply = put.send().await?;
    is_created(&repo, &reply, &digest, &bytes).await
}

async fn ranges(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(4096);
    let digest = repo.push_blob_as(&bytes, alg).await?;
    for (range, part) in [
        ("bytes=500-1499", Some(500..1500)),
        ("bytes=500-", Some(500..4096)),
        ("bytes=-500", Some(3596..4096)),
        ("bytes=2000-5000", Some(2000..4096)),
        ("bytes=500-0", None),
        ("bytes=5000-10000", None),
    ] {
        let reply = repo.get_blob(&digest).header("range", range).send().await?;
        let Some(part) = part else {
            reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
            continue;
        };
        reply
            .status(StatusCode::PARTIAL_CONTENT)?
            .body_is(&bytes.slice(part.clone()))?;
        let expected = format!("bytes {}-{}/4096", part.start, part.end - 1);
        reply.header_is("content-range", &expected)?;
    }
    Ok(())
}

async fn empty(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(b"");
    let upload = repo.start().await?;
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_created(&repo, &reply, &digest, b"").await
}

async fn empty_json(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(EMPTY_JSON);
    let upload = repo.start().await?;
    let reply = upload.put(&digest, EMPTY_JSON).send().await?;
    is_created(&repo, &reply, &digest, EMPTY_JSON).await
}

/// The 400 to a digest that is not that of the bytes; neither is stored.
async fn is_refused(repo: &Repo<'_>, reply: &Reply, digest: &str) -> Outcome {
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    repo.head_blob(digest).expect(StatusCode::NOT_FOUND).await?;
    Ok(())
}

async fn bad_digest_post_only(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(&cx.bytes(2048));
    let post = cx
        .post(repo.uploads())
        .query("digest", &digest)
        .body(cx.bytes(2048));
    let mut reply = post.send().await?;
    if reply.code() == StatusCode::ACCEPTED {
        let upload = Upload {
            cx,
            location: reply.location()?,
        };
        reply = upload.put(&digest, cx.bytes(2048)).send().await?;
    }
    is_refused(&repo, &reply, &digest).await
}

async fn bad_digest_post_put(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(&cx.bytes(2048));
    let reply = repo
        .start()
        .await?
        .put(&digest, cx.bytes(2048))
        .send()
        .await?;
    is_refused(&repo, &reply, &digest).await
}

async fn bad_digest_chunked(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(&cx.bytes(2048));
    let mut upload = repo.start().await?;
    upload.append_at(0, &cx.bytes(1024)).await?;
    upload.append_at(1024, &cx.bytes(1024)).await?;
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_refused(&repo, &reply, &digest).await
}

async fn bad_digest_chunked_and_put(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(&cx.bytes(2048));
    let mut upload = repo.start().await?;
    upload.append_at(0, &cx.bytes(1024)).await?;
    let put = upload
        .put(&digest, cx.bytes(1024))
        .header("content-range", "1024-2047");
    is_refused(&repo, &put.send().await?, &digest).await
}

async fn bad_digest_stream(cx: &Ctx, alg: Alg) -> Outcome {
    let repo = cx.repo();
    let digest = alg.of(&cx.bytes(2048));
    let mut upload = repo.start().await?;
    let patch = upload.patch().chunks([cx.bytes(2048)]);
    upload.location = patch.expect(StatusCode::ACCEPTED).await?.location()?;
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    is_refused(&repo, &reply, &digest).await
}
