//! PATCH: streamed and chunked uploads.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    failure::{Failure, Outcome, Within as _, ensure, fail},
    repo::{Upload, content_range},
};

case_table! { "patch";
    Must chunk_is_202_with_location_and_range: "A chunk answers 202, the Location to continue at, and Range: 0-<last byte of the blob so far>.";
    Must range_counts_the_whole_blob: "After every chunk, Range ends at the last byte of the whole upload, not of the chunk.";
    Must chunks_in_order_make_the_blob: "Chunks with Content-Range, in order, make up the blob.";
    Must first_chunk_past_zero_is_416: "A first chunk that does not start at 0 is refused with 416.";
    Must out_of_order_is_416: "A chunk that starts beyond what was received is refused with 416.";
    Must repeated_chunk_is_416: "A chunk that was already received is refused with 416.";
    Must overlapping_chunk_is_416: "A chunk that starts before the end of what was received is refused with 416.";
    Practice refusal_tells_where_to_go_on: "A 416 carries Location and Range, so that a client can resume from it.";
    Must refused_bytes_are_not_kept: "Nothing of a refused chunk is kept.";
    Must continue_after_refusal: "After a 416 the upload goes on from the Location of its status.";
    Must stale_location_is_416: "A chunk sent to the Location of an earlier state is refused with 416.";
    Must stale_location_still_tells_status: "The Location of an earlier state still answers the upload's status.";
    Practice repeated_stream_is_not_appended_twice: "A streamed PATCH replayed to an old Location is refused, not appended twice.";
    Should length_mismatch_is_refused: "A Content-Range of another length than the body is refused, and nothing is kept.";
    Practice malformed_content_range_is_refused: "A malformed Content-Range is refused, and nothing is kept.";
    Practice content_range_with_unit: "Content-Range in the form of HTTP (bytes a-b/*) is understood.";
    Practice stream_without_content_range: "A PATCH without Content-Range is appended at the end.";
    Practice stream_of_unknown_length: "A PATCH of unknown length is appended at the end.";
    Practice several_streams: "Several PATCHes without Content-Range are appended one after the other.";
    Practice any_content_type: "The Content-Type of a chunk is ignored.";
    Practice empty_chunk: "A PATCH without bytes changes nothing and answers 202.";
    Practice single_bytes: "Chunks may be as small as one byte.";
    Must unknown_session_is_404: "A PATCH to a session that does not exist is 404 BLOB_UPLOAD_UNKNOWN.";
    Must closed_session_is_404: "A PATCH to a session that was closed is 404 BLOB_UPLOAD_UNKNOWN.";
    Practice interrupted_stream_can_be_resumed: "What arrived before a client broke off is kept, and the upload resumes behind it.";
    Practice interrupted_known_length_can_be_resumed: "The same when the client had announced a length.";
    Practice large_stream: "A stream of 24 MiB passes whatever body limits frameworks have.";
    Practice large_chunk: "A chunk of 8 MiB with Content-Range is accepted, not 416.";
    Practice range_has_no_unit: "The Range header of an upload has no unit: docker could not read it.";
    Must offset_beyond_any_file_is_refused: "A Content-Range near the end of 64 bits is refused, not wrapped around.";
}

async fn chunk_is_202_with_location_and_range(cx: &Ctx) -> Outcome {
    let upload = cx.repo().start().await?;
    let reply = upload
        .patch_at(0, &cx.bytes(1234))
        .expect(StatusCode::ACCEPTED)
        .await?;
    reply.location()?;
    reply.header_is("range", "0-1233")?;
    Ok(())
}

async fn range_counts_the_whole_blob(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    for (start, length, range) in [(0, 100, "0-99"), (100, 1, "0-100"), (101, 2000, "0-2100")] {
        upload
            .append_at(start, &cx.bytes(length))
            .await?
            .header_is("range", range)?;
        upload
            .status()
            .expect(StatusCode::NO_CONTENT)
            .await?
            .header_is("range", range)?;
    }
    Ok(())
}

async fn chunks_in_order_make_the_blob(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let bytes = cx.bytes(5000);
    for (index, chunk) in bytes.chunks(1024).enumerate() {
        upload
            .append_at(index * 1024, &Bytes::copy_from_slice(chunk))
            .await?;
    }
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

/// A session that has received `first`.
async fn started_with<'a>(cx: &'a Ctx, first: &Bytes) -> Result<Upload<'a>, Failure> {
    let mut upload = cx.repo().start().await?;
    upload.append_at(0, first).await?;
    Ok(upload)
}

async fn first_chunk_past_zero_is_416(cx: &Ctx) -> Outcome {
    let upload = cx.repo().start().await?;
    let reply = upload.patch_at(1, &cx.bytes(1024)).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.has_received(0).await?;
    Ok(())
}

async fn out_of_order_is_416(cx: &Ctx) -> Outcome {
    let upload = started_with(cx, &cx.bytes(1024)).await?;
    for start in [1025, 2048, 100_000] {
        let reply = upload.patch_at(start, &cx.bytes(1024)).send().await?;
        reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    }
    upload.has_received(1024).await?;
    Ok(())
}

async fn repeated_chunk_is_416(cx: &Ctx) -> Outcome {
    let first = cx.bytes(1024);
    let upload = started_with(cx, &first).await?;
    let reply = upload.patch_at(0, &first).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.has_received(1024).await?;
    Ok(())
}

async fn overlapping_chunk_is_416(cx: &Ctx) -> Outcome {
    let upload = started_with(cx, &cx.bytes(1024)).await?;
    for start in [1, 512, 1023] {
        let reply = upload.patch_at(start, &cx.bytes(1024)).send().await?;
        reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    }
    upload.has_received(1024).await?;
    Ok(())
}

async fn refusal_tells_where_to_go_on(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, second) = (cx.bytes(1024), cx.bytes(500));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    let reply = upload.patch_at(4000, &second).send().await?;
    reply
        .status(StatusCode::RANGE_NOT_SATISFIABLE)?
        .received_is(1024)?;
    upload.location = reply.location()?;
    upload.append_at(1024, &second).await?;
    upload.finish(&sha256(&[first, second].concat())).await?;
    Ok(())
}

async fn refused_bytes_are_not_kept(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, second) = (cx.bytes(1024), cx.bytes(500));
    let mut upload = repo.start().await?;
    upload.append_at(0, &first).await?;
    for start in [0, 512, 2000] {
        let reply = upload.patch_at(start, &cx.bytes(700)).send().await?;
        reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    }
    upload.append_at(1024, &second).await?;
    let bytes = [first, second].concat();
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn continue_after_refusal(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (first, second) = (cx.bytes(1024), cx.bytes(500));
    let mut upload = repo.start().await?;
    let reply = upload.patch_at(1024, &second).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.location = upload.has_received(0).await?.location()?;
    upload.append_at(0, &first).await?;
    upload.location = upload.has_received(1024).await?.location()?;
    upload.append_at(1024, &second).await?;
    upload.finish(&sha256(&[first, second].concat())).await?;
    Ok(())
}

async fn stale_location_is_416(cx: &Ctx) -> Outcome {
    let first = cx.bytes(1024);
    let mut upload = cx.repo().start().await?;
    let stale = upload.clone();
    upload.append_at(0, &first).await?;
    let reply = stale.patch_at(0, &first).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.has_received(1024).await?;
    Ok(())
}

async fn stale_location_still_tells_status(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    let stale = upload.clone();
    upload.append_at(0, &cx.bytes(1024)).await?;
    upload.append_at(1024, &cx.bytes(1024)).await?;
    let reply = stale.has_received(2048).await?;
    // What it answers is good to continue at.
    upload.location = reply.location()?;
    upload.append_at(2048, &cx.bytes(1024)).await?;
    Ok(())
}

async fn repeated_stream_is_not_appended_twice(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(1024);
    let mut upload = repo.start().await?;
    let stale = upload.clone();
    upload.append(&bytes).await?;
    let reply = stale.patch().chunks([bytes.clone()]).send().await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    upload.has_received(1024).await?;
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn length_mismatch_is_refused(cx: &Ctx) -> Outcome {
    let upload = started_with(cx, &cx.bytes(100)).await?;
    for (range, length) in [("100-199", 50), ("100-149", 100), ("100-100", 2)] {
        let patch = upload
            .patch()
            .header("content-range", range)
            .body(cx.bytes(length));
        let reply = patch.send().await?;
        reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
        upload.has_received(100).await.within(range)?;
    }
    // The same when the length only shows at the end of a stream.
    let patch = upload
        .patch()
        .header("content-range", "100-199")
        .chunks([cx.bytes(30)]);
    let reply = patch.send().await?;
    reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
    Ok(())
}

async fn malformed_content_range_is_refused(cx: &Ctx) -> Outcome {
    let upload = started_with(cx, &cx.bytes(100)).await?;
    for range in [
        "abc",
        "100",
        "100-",
        "-199",
        "199-100",
        "100--199",
        "+100-+199",
        "0x64-0xc7",
        "100-199-",
        "100 - 199",
        "1e2-199",
        "items 100-199/200",
        "",
    ] {
        let patch = upload
            .patch()
            .header("content-range", range)
            .body(cx.bytes(100));
        let reply = patch.send().await?;
        reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
        upload.has_received(100).await.within(range)?;
    }
    Ok(())
}

async fn content_range_with_unit(cx: &Ctx) -> Outcome {
    let mut upload = started_with(cx, &cx.bytes(100)).await?;
    let patch = upload
        .patch()
        .header("content-range", "bytes 100-149/*")
        .body(cx.bytes(50));
    let reply = patch.expect(StatusCode::ACCEPTED).await?;
    upload.location = reply.location()?;
    upload.has_received(150).await?;
    Ok(())
}

async fn stream_without_content_range(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(3000);
    let mut upload = repo.start().await?;
    upload.append(&bytes).await?.header_is("range", "0-2999")?;
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn stream_of_unknown_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let chunks: Vec<Bytes> = [1, 4096, 17, 100_000].map(|length| cx.bytes(length)).into();
    let bytes = chunks.concat();
    let mut upload = repo.start().await?;
    let reply = upload
        .patch()
        .chunks(chunks)
        .expect(StatusCode::ACCEPTED)
        .await?;
    reply.received_is(bytes.len() as u64)?;
    upload.location = reply.location()?;
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn several_streams(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let mut whole = Vec::new();
    for length in [10, 2000, 1, 300] {
        let bytes = cx.bytes(length);
        whole.extend_from_slice(&bytes);
        let reply = upload
            .patch()
            .chunks([bytes])
            .expect(StatusCode::ACCEPTED)
            .await?;
        reply.received_is(whole.len() as u64)?;
        upload.location = reply.location()?;
    }
    upload.finish(&sha256(&whole)).await?;
    repo.blob_is(&sha256(&whole), &whole).await
}

async fn any_content_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for media_type in [
        "text/plain",
        "application/json",
        "application/x-www-form-urlencoded",
        "",
    ] {
        let upload = repo.start().await?;
        let mut patch = cx.patch(upload.location).body(cx.bytes(100));
        if !media_type.is_empty() {
            patch = patch.header("content-type", media_type);
        }
        patch
            .expect(StatusCode::ACCEPTED)
            .await
            .within(media_type)?
            .received_is(100)?;
    }
    Ok(())
}

async fn empty_chunk(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    let mut upload = repo.start().await?;
    upload.append(&Bytes::new()).await?.received_is(0)?;
    upload.append(&bytes).await?;
    upload.append(&Bytes::new()).await?.received_is(100)?;
    upload.finish(&sha256(&bytes)).await?;
    Ok(())
}

async fn single_bytes(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(24);
    let mut upload = repo.start().await?;
    for (index, byte) in bytes.iter().enumerate() {
        let reply = upload
            .append_at(index, &Bytes::copy_from_slice(&[*byte]))
            .await?;
        reply.header_is("range", &format!("0-{index}"))?;
    }
    upload.finish(&sha256(&bytes)).await?;
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn unknown_session_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(5)).await?;
    let target = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    let reply = cx.patch(target).body(cx.bytes(10)).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

async fn closed_session_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    let mut upload = repo.start().await?;
    upload.append(&bytes).await?;
    upload.finish(&sha256(&bytes)).await?;
    let reply = upload.patch().body(bytes).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UPLOAD_UNKNOWN"])?;
    Ok(())
}

/// Breaks off in the middle, then resumes where the status says.
async fn interrupted(cx: &Ctx, announce: bool) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let whole = cx.bytes(3 << 20);
    let sent = 2 << 20;
    let pieces: Vec<Bytes> = (0..sent)
        .step_by(1 << 16)
        .map(|at| whole.slice(at..at + (1 << 16)))
        .collect();
    let declared = announce.then_some(whole.len() as u64);
    drop(
        upload
            .patch()
            .broken_off(declared, pieces)
            .attempt()
            .await?,
    );

    // The server may need a moment to notice, and to let go of the session.
    let mut kept = 0;
    for attempt in 0..50 {
        let reply = upload.status().expect(StatusCode::NO_CONTENT).await?;
        upload.location = reply.location()?;
        kept = usize::try_from(reply.range_end()? + 1).unwrap_or(0);
        if reply.maybe("range") == Some("0-0") {
            kept = 0;
        }
        ensure!(kept <= sent, "{kept} bytes received, {sent} sent");
        let rest = whole.slice(kept..);
        let reply = upload.patch_at(kept, &rest).send().await?;
        if reply.code() == StatusCode::ACCEPTED {
            upload.location = reply.location()?;
            break;
        }
        // The interrupted request may still hold the session, or still be writing.
        reply.status_in(&[
            StatusCode::CONFLICT,
            StatusCode::LOCKED,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::RANGE_NOT_SATISFIABLE,
        ])?;
        if attempt == 49 {
            fail!("the session of an interrupted PATCH is still held after ten seconds");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    upload.finish(&sha256(&whole)).await?;
    repo.blob_is(&sha256(&whole), &whole).await?;
    ensure!(
        kept > 0,
        "nothing was kept of {sent} bytes that had arrived"
    );
    Ok(())
}

async fn interrupted_stream_can_be_resumed(cx: &Ctx) -> Outcome {
    interrupted(cx, false).await
}

async fn interrupted_known_length_can_be_resumed(cx: &Ctx) -> Outcome {
    interrupted(cx, true).await
}

async fn large_stream(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let piece = cx.bytes(1 << 20);
    let pieces = vec![piece; 24];
    let digest = Alg::Sha256.of(&pieces.concat());
    let mut upload = repo.start().await?;
    let reply = upload
        .patch()
        .chunks(pieces)
        .expect(StatusCode::ACCEPTED)
        .await?;
    reply.received_is(24 << 20)?;
    upload.location = reply.location()?;
    upload.finish(&digest).await?;
    let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
    reply.body_digest_is(24 << 20, &digest)?;
    Ok(())
}

async fn large_chunk(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    let bytes = cx.bytes(8 << 20);
    upload.append_at(0, &bytes).await?;
    upload.finish(&sha256(&bytes)).await?;
    Ok(())
}

async fn range_has_no_unit(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let post = cx.post(repo.uploads()).expect(StatusCode::ACCEPTED).await?;
    let mut upload = Upload {
        cx,
        location: post.location()?,
    };
    let patch = upload.append(&cx.bytes(10)).await?;
    let status = upload.status().expect(StatusCode::NO_CONTENT).await?;
    for reply in [post, patch, status] {
        let range = reply.header("range")?;
        ensure!(range.starts_with("0-"), "Range is {range:?}");
    }
    Ok(())
}

async fn offset_beyond_any_file_is_refused(cx: &Ctx) -> Outcome {
    let upload = started_with(cx, &cx.bytes(100)).await?;
    for range in [
        "9223372036854775807-9223372036854775907".to_owned(),
        "18446744073709551515-18446744073709551615".to_owned(),
        "18446744073709551716-18446744073709551815".to_owned(),
        "0-18446744073709551615".to_owned(),
        content_range(usize::MAX - 100, &cx.bytes(100)),
    ] {
        let patch = upload
            .patch()
            .header("content-range", &range)
            .body(cx.bytes(100));
        let reply = patch.send().await?;
        reply.status_in(&[StatusCode::RANGE_NOT_SATISFIABLE, StatusCode::BAD_REQUEST])?;
        upload.has_received(100).await.within(&range)?;
    }
    Ok(())
}
