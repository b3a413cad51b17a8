//! GET and HEAD of blobs.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, EMPTY_SHA256},
    failure::{Failure, Outcome, Within as _, ensure, fail},
    repo::Repo,
};

case_table! { "blobs_pull";
    Must get_returns_the_bytes: "GET of a pushed blob answers 200 with exactly its bytes.";
    Must get_has_digest_header: "GET and HEAD answer Docker-Content-Digest with the digest asked for.";
    Must head_has_content_length: "HEAD answers 200 with the blob's size in Content-Length and no body.";
    Practice get_has_content_length: "GET answers Content-Length, so that clients can show and check progress.";
    Practice content_type_is_octet_stream: "A blob is application/octet-stream: it may be anything.";
    Must unknown_blob_is_404: "A blob that is not in the repository is 404 BLOB_UNKNOWN.";
    Must unknown_repository_is_404: "A blob of a repository nobody has pushed to is 404.";
    Practice head_error_has_no_digest_of_another: "A 404 to HEAD carries neither a digest nor the length of a blob.";
    Should range_table: "Ranges answer 206 with the bytes asked for, clamped to the blob, and a matching Content-Range.";
    Should range_past_the_end_is_416: "A range that starts at or past the end is 416 with Content-Range: bytes */length.";
    Should reversed_range_is_416: "A range whose end is before its start is refused with 416.";
    Practice nonsense_range_is_harmless: "A Range that is no byte range is ignored or refused, never a partial answer.";
    Practice range_error_is_well_framed: "A 416 carries the framing of its own body, not the blob's length, type or digest.";
    Practice several_ranges: "Several ranges answer the whole blob, or a correct multipart/byteranges.";
    Practice a_thousand_ranges: "A Range header of a thousand parts costs no more than the blob.";
    Practice accept_ranges: "Blobs say Accept-Ranges: bytes.";
    Practice range_on_an_empty_blob_is_200: "A range on a blob of no bytes is ignored.";
    Practice head_ignores_range: "HEAD with a Range tells the whole length, or a correct part.";
    Practice if_range: "If-Range with the current ETag honours the range; with another it sends everything.";
    Practice etag_is_the_digest: "ETag is the quoted digest.";
    Practice if_none_match_is_304: "If-None-Match with the blob's ETag answers 304 without a body.";
    Practice if_none_match_of_another_is_200: "If-None-Match with other tags answers the blob.";
    Practice cache_control: "Blobs never change, and Cache-Control says so for at least a day.";
    Practice no_content_coding: "A blob is sent as it is, whatever Accept-Encoding offers.";
    Practice not_sniffed_by_browsers: "Blobs carry X-Content-Type-Options: nosniff.";
    Practice sandboxed_in_browsers: "Blobs carry a Content-Security-Policy that lets nothing run.";
    Practice empty_blob: "The blob of no bytes is served with Content-Length 0.";
    Practice parts_put_together: "The parts of a blob, fetched side by side, make up the blob.";
    Practice bad_digest_is_refused: "GET with a malformed digest is 400 DIGEST_INVALID or 404, in the error envelope.";
    Must manifests_are_not_leaked_as_blobs: "A manifest asked for as a blob is 404 or its exact bytes.";
    Practice visible_at_once: "After 201 the blob is there for HEAD, GET and ranges at once.";
}

async fn get_returns_the_bytes(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for length in [1, 2, 1023, 70_000, 3_000_000] {
        let bytes = cx.bytes(length);
        let digest = repo.push_blob(&bytes).await?;
        repo.blob_is(&digest, &bytes).await.within(length)?;
    }
    Ok(())
}

async fn get_has_digest_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(900)).await?;
    for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
        let reply = request.expect(StatusCode::OK).await?;
        reply.header_is("docker-content-digest", &digest)?;
    }
    Ok(())
}

async fn head_has_content_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(901)).await?;
    let reply = repo.head_blob(&digest).expect(StatusCode::OK).await?;
    ensure!(
        reply.content_length()? == 901,
        "Content-Length is {}",
        reply.content_length()?
    );
    ensure!(reply.length() == 0, "HEAD was answered with a body");
    Ok(())
}

async fn get_has_content_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(902)).await?;
    let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
    ensure!(
        reply.content_length()? == 902,
        "Content-Length is {}",
        reply.content_length()?
    );
    Ok(())
}

async fn content_type_is_octet_stream(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let html = format!("<html><script>alert('{}')</script></html>", cx.word());
    let digest = repo.push_blob(&html.into()).await?;
    for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
        let reply = request.expect(StatusCode::OK).await?;
        reply.header_is("content-type", "application/octet-stream")?;
    }
    Ok(())
}

async fn unknown_blob_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(10)).await?;
    repo.blob_is_absent(&Alg::Sha256.of(&cx.bytes(11))).await
}

async fn unknown_repository_is_404(cx: &Ctx) -> Outcome {
    let reply = cx.repo().get_blob(&Alg::Sha256.of_nothing()).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["BLOB_UNKNOWN", "NAME_UNKNOWN"])?;
    Ok(())
}

async fn head_error_has_no_digest_of_another(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.push_blob(&cx.bytes(4000)).await?;
    let reply = repo
        .head_blob(&Alg::Sha256.of_nothing())
        .expect(StatusCode::NOT_FOUND)
        .await?;
    reply
        .no_header("docker-content-digest")?
        .no_header("etag")?
        .no_header("accept-ranges")?;
    Ok(())
}

/// A pushed blob and its bytes.
async fn blob(cx: &Ctx, length: usize) -> Result<(Repo<'_>, String, bytes::Bytes), Failure> {
    let repo = cx.repo();
    let bytes = cx.bytes(length);
    let digest = repo.push_blob(&bytes).await?;
    Ok((repo, digest, bytes))
}

async fn range_table(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 4096).await?;
    for (range, start, end) in [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 4095),
        ("bytes=-500", 3596, 4095),
        ("bytes=2000-5000", 2000, 4095),
        ("bytes=0-0", 0, 0),
        ("bytes=4095-4095", 4095, 4095),
        ("bytes=0-", 0, 4095),
        ("bytes=0-4095", 0, 4095),
        ("bytes=-1", 4095, 4095),
        ("bytes=-9999", 0, 4095),
        ("bytes=4095-18446744073709551614", 4095, 4095),
    ] {
        let reply = repo.get_blob(&digest).header("range", range).send().await?;
        reply.status(StatusCode::PARTIAL_CONTENT)?;
        reply.header_is("content-range", &format!("bytes {start}-{end}/4096"))?;
        reply.header_is("content-length", &(end - start + 1).to_string())?;
        let Some(part) = bytes.get(start..=end) else {
            fail!("the table is wrong")
        };
        reply.body_is(part)?;
    }
    Ok(())
}

async fn range_past_the_end_is_416(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 4096).await?;
    for range in [
        "bytes=4096-",
        "bytes=5000-10000",
        "bytes=4096-4096",
        "bytes=-0",
    ] {
        let reply = repo.get_blob(&digest).header("range", range).send().await?;
        reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
        reply.header_is("content-range", "bytes */4096")?;
    }
    Ok(())
}

async fn reversed_range_is_416(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 4096).await?;
    let reply = repo
        .get_blob(&digest)
        .header("range", "bytes=500-0")
        .send()
        .await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    Ok(())
}

async fn nonsense_range_is_harmless(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 300).await?;
    for range in [
        "bytes=abc",
        "bytes=",
        "bytes",
        "items=0-5",
        "bytes=1-2-3",
        "bytes=--5",
        "bytes=0x1-5",
        "bytes=99999999999999999999999-",
        "=0-1",
    ] {
        let reply = repo.get_blob(&digest).header("range", range).send().await?;
        reply.status_in(&[StatusCode::OK, StatusCode::RANGE_NOT_SATISFIABLE])?;
        if reply.code() == StatusCode::OK {
            reply.body_is(&bytes)?;
        }
    }
    Ok(())
}

async fn range_error_is_well_framed(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 4096).await?;
    let reply = repo
        .get_blob(&digest)
        .header("range", "bytes=9000-")
        .send()
        .await?;
    reply.status(StatusCode::RANGE_NOT_SATISFIABLE)?;
    reply
        .no_header("docker-content-digest")?
        .no_header("etag")?;
    if reply.maybe("content-length").is_some() {
        ensure!(
            reply.content_length()? == reply.length(),
            "a length that is not the body's"
        );
    }
    if reply.length() > 0 {
        reply.error_codes()?;
    }
    Ok(())
}

async fn several_ranges(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 4096).await?;
    let wanted = [(0, 9), (20, 29), (4090, 4095)];
    let reply = repo
        .get_blob(&digest)
        .header("range", "bytes=0-9,20-29,4090-9999")
        .send()
        .await?;
    reply.status_in(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT])?;
    if reply.code() == StatusCode::OK {
        reply.body_is(&bytes)?;
        return Ok(());
    }
    let boundary = reply
        .header("content-type")?
        .strip_prefix("multipart/byteranges; boundary=")
        .map(|boundary| boundary.trim_matches('"').to_owned());
    let Some(boundary) = boundary else {
        return Err(reply.failure("a 206 to several ranges must be multipart/byteranges"));
    };
    ensure!(
        reply.content_length()? == reply.length(),
        "Content-Length of the multipart is wrong"
    );
    let mut rest = reply.body();
    for (start, end) in wanted {
        let marker = format!("--{boundary}\r\n");
        let Some(at) = find(rest, marker.as_bytes()) else {
            return Err(reply.failure(format!("no part for {start}-{end}")));
        };
        rest = rest.get(at + marker.len()..).unwrap_or_default();
        let Some(split) = find(rest, b"\r\n\r\n") else {
            return Err(reply.failure("a part without the end of its headers"));
        };
        let head = String::from_utf8_lossy(rest.get(..split).unwrap_or_default()).to_lowercase();
        let range = format!("content-range: bytes {start}-{end}/4096");
        ensure!(
            head.contains(&range),
            "the part's headers are {head:?}, expected {range:?}"
        );
        let body = rest.get(split + 4..).unwrap_or_default();
        ensure!(
            body.get(..end - start + 1) == bytes.get(start..=end),
            "the part for {start}-{end} holds other bytes"
        );
        rest = body.get(end - start + 1..).unwrap_or_default();
    }
    let last = format!("\r\n--{boundary}--");
    ensure!(
        rest.starts_with(last.as_bytes()),
        "the multipart does not end with {last:?}"
    );
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

async fn a_thousand_ranges(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 50_000).await?;
    // Each part is almost the whole blob: answering them all would send fifty megabytes.
    let parts: Vec<String> = (0..1000).map(|start| format!("{start}-")).collect();
    let reply = repo
        .get_blob(&digest)
        .header("range", format!("bytes={}", parts.join(",")))
        .send();
    let reply = reply.await?;
    reply.status_in(&[
        StatusCode::OK,
        StatusCode::PARTIAL_CONTENT,
        StatusCode::RANGE_NOT_SATISFIABLE,
        StatusCode::BAD_REQUEST,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    ])?;
    ensure!(
        reply.length() <= 200_000,
        "{} bytes for a blob of 50000",
        reply.length()
    );
    Ok(())
}

async fn accept_ranges(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
        request
            .expect(StatusCode::OK)
            .await?
            .header_is("accept-ranges", "bytes")?;
    }
    Ok(())
}

async fn range_on_an_empty_blob_is_200(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 0).await?;
    for range in ["bytes=0-", "bytes=0-0", "bytes=-5"] {
        let reply = repo
            .get_blob(&digest)
            .header("range", range)
            .expect(StatusCode::OK)
            .await?;
        reply.body_is(b"")?.no_header("content-range")?;
    }
    Ok(())
}

async fn head_ignores_range(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 500).await?;
    let reply = repo
        .head_blob(&digest)
        .header("range", "bytes=100-199")
        .send()
        .await?;
    reply.status_in(&[StatusCode::OK, StatusCode::PARTIAL_CONTENT])?;
    let length = reply.content_length()?;
    if reply.code() == StatusCode::OK {
        ensure!(length == 500, "Content-Length is {length}");
    } else {
        ensure!(length == 100, "Content-Length is {length}");
        reply.header_is("content-range", "bytes 100-199/500")?;
    }
    Ok(())
}

async fn if_range(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 500).await?;
    let part = |etag: &str| {
        repo.get_blob(&digest)
            .header("range", "bytes=0-9")
            .header("if-range", etag)
            .send()
    };
    let reply = repo.head_blob(&digest).expect(StatusCode::OK).await?;
    let etag = reply.header("etag")?.to_owned();
    part(&etag).await?.status(StatusCode::PARTIAL_CONTENT)?;
    part("\"another\"")
        .await?
        .status(StatusCode::OK)?
        .body_is(&bytes)?;
    Ok(())
}

async fn etag_is_the_digest(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
        request
            .expect(StatusCode::OK)
            .await?
            .header_is("etag", &format!("\"{digest}\""))?;
    }
    Ok(())
}

async fn if_none_match_is_304(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    let etag = repo
        .head_blob(&digest)
        .expect(StatusCode::OK)
        .await?
        .header("etag")?
        .to_owned();
    for condition in [
        etag.clone(),
        format!("\"other\", {etag}"),
        format!("W/{etag}"),
        "*".into(),
    ] {
        for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
            let reply = request.header("if-none-match", &condition).send().await?;
            reply.status(StatusCode::NOT_MODIFIED)?;
            ensure!(
                reply.length() == 0,
                "304 with a body of {} bytes",
                reply.length()
            );
            reply.header_is("etag", &etag)?;
        }
    }
    // The condition comes before the range.
    let reply = repo
        .get_blob(&digest)
        .header("if-none-match", &etag)
        .header("range", "bytes=0-1");
    reply.expect(StatusCode::NOT_MODIFIED).await?;
    Ok(())
}

async fn if_none_match_of_another_is_200(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 30).await?;
    for condition in [
        format!("\"{EMPTY_SHA256}\""),
        "W/\"x\"".into(),
        "rubbish".into(),
    ] {
        let reply = repo
            .get_blob(&digest)
            .header("if-none-match", &condition)
            .send()
            .await?;
        reply.status(StatusCode::OK)?.body_is(&bytes)?;
    }
    Ok(())
}

async fn cache_control(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
    let value = reply.header("cache-control")?;
    let age = value
        .split(',')
        .find_map(|part| part.trim().strip_prefix("max-age="))
        .and_then(|seconds| seconds.parse::<u64>().ok());
    ensure!(
        age.is_some_and(|age| age >= 86_400),
        "Cache-Control is {value:?}"
    );
    Ok(())
}

async fn no_content_coding(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = bytes::Bytes::from(cx.word().repeat(5000));
    let digest = repo.push_blob(&bytes).await?;
    let reply = repo
        .get_blob(&digest)
        .header("accept-encoding", "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5")
        .expect(StatusCode::OK)
        .await?;
    reply.no_header("content-encoding")?.body_is(&bytes)?;
    ensure!(
        reply.content_length()? == bytes.len() as u64,
        "Content-Length is not the blob's"
    );
    Ok(())
}

async fn not_sniffed_by_browsers(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
    reply.header_is("x-content-type-options", "nosniff")?;
    Ok(())
}

async fn sandboxed_in_browsers(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 30).await?;
    let reply = repo.get_blob(&digest).expect(StatusCode::OK).await?;
    let policy = reply.header("content-security-policy")?;
    ensure!(
        policy.contains("default-src 'none'"),
        "Content-Security-Policy is {policy:?}"
    );
    ensure!(
        policy.contains("sandbox"),
        "Content-Security-Policy is {policy:?}"
    );
    Ok(())
}

async fn empty_blob(cx: &Ctx) -> Outcome {
    let (repo, digest, _) = blob(cx, 0).await?;
    ensure!(digest == EMPTY_SHA256, "the suite computed {digest}");
    for request in [repo.get_blob(&digest), repo.head_blob(&digest)] {
        let reply = request.expect(StatusCode::OK).await?;
        ensure!(
            reply.content_length()? == 0,
            "Content-Length is {}",
            reply.content_length()?
        );
        reply.body_is(b"")?;
    }
    Ok(())
}

async fn parts_put_together(cx: &Ctx) -> Outcome {
    let (repo, digest, bytes) = blob(cx, 1_000_000).await?;
    let step = 130_000;
    let parts = (0..bytes.len()).step_by(step).map(|start| {
        let range = format!("bytes={start}-{}", start + step - 1);
        repo.get_blob(&digest)
            .header("range", range)
            .expect(StatusCode::PARTIAL_CONTENT)
    });
    let mut whole = Vec::new();
    for part in futures_util::future::join_all(parts).await {
        whole.extend_from_slice(part?.body());
    }
    ensure!(whole == bytes, "the parts do not make up the blob");
    Ok(())
}

async fn bad_digest_is_refused(cx: &Ctx) -> Outcome {
    let (repo, ..) = blob(cx, 30).await?;
    for digest in [
        "sha256:abc",
        "sha256:",
        "md5:d41d8cd98f00b204e9800998ecf8427e",
        "latest",
    ] {
        let reply = repo.get_blob(digest).send().await?;
        reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
        reply.error_codes()?;
    }
    Ok(())
}

async fn manifests_are_not_leaked_as_blobs(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let reply = repo.get_blob(&image.digest).send().await?;
    reply.status_in(&[StatusCode::OK, StatusCode::NOT_FOUND])?;
    if reply.code() == StatusCode::OK {
        reply.body_is(&image.manifest.bytes)?;
    }
    Ok(())
}

async fn visible_at_once(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for length in [1, 5000, 200_000] {
        let bytes = cx.bytes(length);
        let digest = repo.push_blob(&bytes).await?;
        repo.head_blob(&digest).expect(StatusCode::OK).await?;
        let reply = repo
            .get_blob(&digest)
            .header("range", "bytes=0-0")
            .send()
            .await?;
        reply
            .status(StatusCode::PARTIAL_CONTENT)?
            .body_is(bytes.get(..1).unwrap_or_default())?;
    }
    Ok(())
}
