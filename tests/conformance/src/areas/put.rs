//! PUT: closing an upload.

use bytes::Bytes;
use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, EMPTY_SHA256, sha256},
    failure::{Outcome, Within as _, ensure},
    repo::content_range,
};

case_table! { "put";
    Must monolithic_is_201_with_location: "A session closed with the whole blob answers 201 and the Location of the blob.";
    Must location_is_pullable: "The Location of the 201 serves exactly the bytes.";
    Practice digest_header: "The 201 carries Docker-Content-Digest and no body.";
    Must final_chunk_with_content_range: "The closing PUT may carry the last chunk, with Content-Range.";
    Must final_chunk_without_content_range: "The closing PUT may carry the last bytes, without Content-Range.";
    Must out_of_order_final_chunk_is_416: "A closing PUT whose Content-Range starts elsewhere is 416, and nothing of it is kept.";
    Practice refusal_tells_where_to_go_on: "The 416 of a closing PUT carries Location and Range.";
    Practice body_of_unknown_length: "The closing PUT may carry a body of unknown length.";
    Must empty_blob: "The blob of no bytes can be pushed.";
    Should missing_digest_is_400: "A closing PUT without a digest answers 400 DIGEST_INVALID, and the session goes on.";
    Should mismatch_is_400: "A closing PUT whose digest is not that of the bytes answers 400 DIGEST_INVALID.";
    Must mismatch_stores_nothing: "After a mismatch neither digest is in the repository.";
    Should unsupported_algorithm_is_400: "A digest in an algorithm the registry does not compute answers 400 DIGEST_INVALID.";
    Practice failed_put_rolls_back: "A closing PUT that failed leaves the session at its earlier offset, and a retry succeeds.";
    Practice interrupted_put_rolls_back: "A closing PUT that broke off leaves the session at its earlier offset.";
    Practice replay_after_success_is_201: "A closing PUT repeated after its answer was lost answers 201 again.";
    Practice two_digests_are_refused: "A closing PUT with two different digests is 400.";
    Must unknown_session_is_404: "Closing a session that does not exist is 404 BLOB_UPLOAD_UNKNOWN.";
    Practice existing_blob_again: "Pushing a blob that is there already succeeds.";
    Practice wrong_bytes_for_an_existing_digest: "Pushing other bytes under the digest of a blob that exists is 400, and the blob stays.";
    Practice stale_location_is_416: "A closing PUT with bytes to the Location of an earlier state is refused.";
    Practice any_content_type: "The Content-Type of the closing PUT is ignored.";
    Practice large_monolithic: "A PUT of 24 MiB passes whatever body limits frameworks have.";
    Practice same_bytes_under_both_algorithms: "The same bytes can be pushed under sha256 and sha512.";
    Should length_mismatch_of_final_chunk_is_refused: "A closing PUT whose Content-Range has another length than its body is refused.";
    Practice malformed_content_range_is_refused: "A closing PUT with a malformed Content-Range is refused and keeps nothing.";
    Practice empty_final_chunk_after_chunks: "A closing PUT without bytes after chunks answers 201.";
}

async fn monolithic_is_201_with_location(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    let upload = repo.start().await?;
    let reply = upload
        .put(&sha256(&bytes), bytes)
        .expect(StatusCode::CREATED)
        .await?;
    reply.location()?;
    Ok(())
}

async fn location_is_pullable(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    let upload = repo.start().await?;
    let reply = upload
        .put(&sha256(&bytes), bytes.clone())
        .expect(StatusCode::CREATED)
        .await?;
    cx.get(reply.location()?)
        .expect(StatusCode::OK)
        .await?
        .body_is(&bytes)?;
    Ok(())
}

async fn digest_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for alg in [Alg::Sha256, Alg::Sha512] {
        let bytes = cx.bytes(1000);
        let upload = repo.start().await?;
        let reply = upload
            .put(&alg.of(&bytes), bytes.clone())
            .expect(StatusCode::CREATED)
            .await?;
        reply
            .header_is("docker-content-digest", &alg.of(&bytes))
            .within(alg)?;
        ensure!(reply.length() == 0, "a body of {} bytes", reply.length());
    }
    Ok(())
}

async fn final_chunk_with_content_range(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(1000), cx.bytes(500));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    let bytes = [first, last.clone()].concat();
    let range = content_range(1000, &last);
    let put = upload
        .put(&sha256(&bytes), last)
        .header("content-range", range);
    put.expect(StatusCode::CREATED).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn final_chunk_without_content_range(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(1000), cx.bytes(500));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    let bytes = [first, last.clone()].concat();
    upload
        .put(&sha256(&bytes), last)
        .expect(StatusCode::CREATED)
        .await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn out_of_order_final_chunk_is_416(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(1000), cx.bytes(500));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    let bytes = [first, last.clone()].concat();
    let digest = sha256(&bytes);
    for start in [0, 999, 1001, 5000] {
        let range = content_range(start, &last);
        let put = upload
            .put(&digest, last.clone())
            .header("content-range", range);
        put.expect(StatusCode::RANGE_NOT_SATISFIABLE)
            .await
            .within(start)?;
        upload.location = upload.has_received(1000).await.within(start)?.location()?;
    }
    let range = content_range(1000, &last);
    let put = upload.put(&digest, last).header("content-range", range);
    put.expect(StatusCode::CREATED).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn refusal_tells_where_to_go_on(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    upload.append_at(0, &cx.bytes(1000)).await?;
    let put = upload
        .put(EMPTY_SHA256, cx.bytes(10))
        .header("content-range", "2000-2009");
    let reply = put.expect(StatusCode::RANGE_NOT_SATISFIABLE).await?;
    reply.received_is(1000)?;
    upload.location = reply.location()?;
    upload.has_received(1000).await?;
    Ok(())
}

async fn body_of_unknown_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(1000), cx.bytes(500));
    let bytes = [first.clone(), last.clone()].concat();
    let upload = repo.start().await?;
    let put = cx
        .put(upload.location)
        .query("digest", &sha256(&bytes))
        .chunks([first, last]);
    put.expect(StatusCode::CREATED).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn empty_blob(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    upload
        .put(EMPTY_SHA256, Bytes::new())
        .expect(StatusCode::CREATED)
        .await?;
    let reply = repo.get_blob(EMPTY_SHA256).expect(StatusCode::OK).await?;
    ensure!(
        reply.length() == 0,
        "the empty blob has {} bytes",
        reply.length()
    );
    // And streamed, as a body of no chunks.
    let other = cx.repo();
    let upload = other.start().await?;
    let put = cx
        .put(upload.location)
        .query("digest", EMPTY_SHA256)
        .chunks([]);
    put.expect(StatusCode::CREATED).await?;
    other.head_blob(EMPTY_SHA256).expect(StatusCode::OK).await?;
    Ok(())
}

async fn missing_digest_is_400(cx: &Ctx) -> Outcome {
    let bytes = cx.bytes(1000);
    let mut upload = cx.repo().start().await?;
    upload.append(&bytes).await?;
    let reply = cx.put(upload.location.clone()).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    let reply = upload.put("", Bytes::new()).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    upload.has_received(1000).await?;
    upload.finish(&sha256(&bytes)).await?;
    Ok(())
}

async fn mismatch_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = sha256(&cx.bytes(1000));
    // Whole blob in the PUT.
    let upload = repo.start().await?;
    let reply = upload.put(&digest, cx.bytes(1000)).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    // Streamed before the PUT.
    let mut upload = repo.start().await?;
    upload.append(&cx.bytes(1000)).await?;
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    // Last chunk in the PUT.
    let mut upload = repo.start().await?;
    upload.append_at(0, &cx.bytes(500)).await?;
    let put = upload
        .put(&digest, cx.bytes(500))
        .header("content-range", "500-999");
    put.send()
        .await?
        .error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    // Nothing at all.
    let upload = repo.start().await?;
    let reply = upload.put(&digest, Bytes::new()).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    Ok(())
}

async fn mismatch_stores_nothing(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (sent, named) = (cx.bytes(1000), cx.bytes(1000));
    let upload = repo.start().await?;
    let reply = upload.put(&sha256(&named), sent.clone()).send().await?;
    reply.status(StatusCode::BAD_REQUEST)?;
    repo.push_blob(&cx.bytes(3)).await?;
    repo.blob_is_absent(&sha256(&named)).await?;
    repo.blob_is_absent(&sha256(&sent)).await
}

async fn unsupported_algorithm_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    for digest in [
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "sha256+b64:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564",
    ] {
        let reply = upload.put(digest, Bytes::new()).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn failed_put_rolls_back(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(70_000), cx.bytes(130_000));
    let bytes = [first.clone(), last.clone()].concat();
    let digest = sha256(&bytes);
    let mut upload = repo.start().await?;
    upload.append(&first).await?;
    for _ in 0..2 {
        let reply = upload.put(&digest, cx.bytes(130_000)).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
        upload.location = upload.has_received(70_000).await?.location()?;
    }
    upload
        .put(&digest, last)
        .expect(StatusCode::CREATED)
        .await?;
    repo.blob_is(&digest, &bytes).await
}

async fn interrupted_put_rolls_back(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, last) = (cx.bytes(70_000), cx.bytes(1 << 20));
    let bytes = [first.clone(), last.clone()].concat();
    let digest = sha256(&bytes);
    let mut upload = repo.start().await?;
    upload.append(&first).await?;
    let put = cx.put(upload.location.clone()).query("digest", &digest);
    let part = last.slice(..last.len() / 2);
    drop(
        put.broken_off(Some(last.len() as u64), [part])
            .attempt()
            .await?,
    );
    // The server may need a moment to notice.
    for attempt in 0..50 {
        let reply = upload.status().expect(StatusCode::NO_CONTENT).await?;
        upload.location = reply.location()?;
        let reply = upload.put(&digest, last.clone()).send().await?;
        if reply.code() == StatusCode::CREATED {
            break;
        }
        let busy = [
            StatusCode::CONFLICT,
            StatusCode::LOCKED,
            StatusCode::TOO_MANY_REQUESTS,
        ];
        ensure!(
            attempt < 49
                && (busy.contains(&reply.code())
                    || reply.code() == StatusCode::RANGE_NOT_SATISFIABLE),
            "{}",
            reply.failure("the retry of an interrupted PUT must succeed")
        );
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    repo.blob_is(&digest, &bytes).await
}

async fn replay_after_success_is_201(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    let digest = sha256(&bytes);
    let upload = repo.start().await?;
    upload
        .put(&digest, bytes.clone())
        .expect(StatusCode::CREATED)
        .await?;
    upload
        .put(&digest, bytes.clone())
        .expect(StatusCode::CREATED)
        .await?;
    // The same for a session that was filled before.
    let bytes = cx.bytes(1000);
    let digest = sha256(&bytes);
    let mut upload = repo.start().await?;
    upload.append(&bytes).await?;
    upload.finish(&digest).await?;
    let reply = upload.finish(&digest).await?;
    ensure!(
        reply.location()? == repo.blob(&digest),
        "Location is {:?}",
        reply.location()?
    );
    // A digest that was not stored is still an unknown session.
    let reply = upload
        .put(&Alg::Sha256.of_nothing(), Bytes::new())
        .send()
        .await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn two_digests_are_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    let upload = repo.start().await?;
    let put = upload
        .put(&sha256(&bytes), bytes)
        .query("digest", EMPTY_SHA256);
    put.send()
        .await?
        .error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    Ok(())
}

async fn unknown_session_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(5)).await?;
    let bytes = cx.bytes(10);
    let target = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    let reply = cx
        .put(target)
        .query("digest", &sha256(&bytes))
        .body(bytes)
        .send()
        .await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn existing_blob_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    for _ in 0..3 {
        let digest = repo.push_blob(&bytes).await?;
        repo.blob_is(&digest, &bytes).await?;
    }
    Ok(())
}

async fn wrong_bytes_for_an_existing_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    let digest = repo.push_blob(&bytes).await?;
    let upload = repo.start().await?;
    let reply = upload.put(&digest, cx.bytes(1000)).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    repo.blob_is(&digest, &bytes).await
}

async fn stale_location_is_416(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    let mut upload = repo.start().await?;
    let stale = upload.clone();
    upload.append(&bytes).await?;
    let reply = stale.put(&sha256(&bytes), bytes.clone()).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.has_received(1000).await?;
    upload.finish(&sha256(&bytes)).await?;
    Ok(())
}

async fn any_content_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for media_type in [
        "application/json",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        let bytes = cx.bytes(100);
        let upload = repo.start().await?;
        let put = cx
            .put(upload.location)
            .query("digest", &sha256(&bytes))
            .body(bytes);
        put.header("content-type", media_type)
            .expect(StatusCode::CREATED)
            .await?;
    }
    Ok(())
}

async fn large_monolithic(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(24 << 20);
    let digest = repo.push_blob(&bytes).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn same_bytes_under_both_algorithms(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1000);
    for alg in [Alg::Sha256, Alg::Sha512] {
        let digest = repo.push_blob_as(&bytes, alg).await?;
        let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
        reply
            .body_is(&bytes)?
            .header_is("docker-content-digest", &digest)?;
    }
    Ok(())
}

async fn length_mismatch_of_final_chunk_is_refused(cx: &Ctx) -> Outcome {
    let (first, last) = (cx.bytes(100), cx.bytes(50));
    let digest = sha256(&[first.clone(), last.clone()].concat());
    let mut upload = cx.repo().start().await?;
    upload.append(&first).await?;
    for range in ["100-199", "100-148", "100-150"] {
        let put = upload
            .put(&digest, last.clone())
            .header("content-range", range);
        let reply = put.send().await?;
        reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
        upload.location = upload.has_received(100).await.within(range)?.location()?;
    }
    upload
        .put(&digest, last)
        .expect(StatusCode::CREATED)
        .await?;
    Ok(())
}

async fn malformed_content_range_is_refused(cx: &Ctx) -> Outcome {
    let (first, last) = (cx.bytes(100), cx.bytes(50));
    let digest = sha256(&[first.clone(), last.clone()].concat());
    let mut upload = cx.repo().start().await?;
    upload.append(&first).await?;
    for range in ["x", "100", "149-100", "-100", "100-99999999999999999999"] {
        let put = upload
            .put(&digest, last.clone())
            .header("content-range", range);
        let reply = put.send().await?;
        reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
        upload.location = upload.has_received(100).await.within(range)?.location()?;
    }
    Ok(())
}

async fn empty_final_chunk_after_chunks(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, second) = (cx.bytes(100), cx.bytes(50));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    upload.append_at(100, &second).await?;
    let bytes = [first, second].concat();
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}
