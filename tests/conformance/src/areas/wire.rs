//! What only shows on a bare connection.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    failure::{Failure, Outcome, Within as _, ensure},
    transport::{HttpTransport, Protocol, Transport as _, raw::RawConnection},
};

case_table! { "wire";
    Practice early_416_is_seen [Socket]: "A client that sends all of a refused 1 MiB chunk before it reads gets the 416, not a reset.";
    Practice early_404_is_seen [Socket]: "The same for 1 MiB to a session that does not exist.";
    Practice early_413_is_seen [Socket]: "A client that reads while it sends an oversized manifest gets the 413.";
    Practice announced_gigabyte_is_413 [Socket]: "A manifest that announces a gigabyte is refused with 413 before it is sent.";
    Must expect_continue [Socket]: "A client that waits for 100 Continue gets it, and its body is taken.";
    Practice expect_continue_refused [Socket]: "A client that waits for 100 Continue with a request that will fail gets the error instead.";
    Must length_and_chunked [Socket]: "A request with both Content-Length and Transfer-Encoding is refused, or ends its connection.";
    Must ambiguous_framing_is_refused [Socket]: "Requests whose length is ambiguous are refused, and nothing after them is answered.";
    Practice folded_headers_are_refused [Socket]: "A header folded over two lines is refused.";
    Must broken_chunks_are_refused [Socket]: "A chunked body with impossible chunk sizes stores nothing, and nothing after it is answered.";
    Practice huge_header_is_refused [Socket]: "A header of a megabyte is refused, and the server goes on.";
    Practice thousands_of_headers_are_refused [Socket]: "Ten thousand headers are refused, and the server goes on.";
    Practice hang_up_and_resume [Socket]: "A client that hangs up in the middle of a body resumes on a new connection.";
    Practice hang_up_during_download [Socket]: "Clients that hang up in the middle of a download do no harm.";
    Practice hang_up_before_the_answer [Socket]: "Clients that hang up right after their request do no harm.";
    Must keep_alive [Socket]: "A connection serves several requests, errors and HEAD among them, each well framed.";
    Must pipelining [Socket]: "Requests sent without waiting are answered in order.";
    Practice http_1_0 [Socket]: "An HTTP/1.0 request is answered without chunked framing.";
    Must absolute_form [Socket]: "A request target in absolute form is the same path.";
    Practice odd_hosts [Socket]: "A Host header with a path, query or fragment in it changes nothing.";
    Practice put_without_length [Socket]: "A closing PUT that has neither a length nor a body is taken as empty.";
    Must chunk_extensions_and_trailers [Socket]: "Chunk extensions and trailers are read over.";
    Practice slow_body [Socket]: "A body that arrives slowly, in small pieces, is taken.";
    Must control_characters_are_refused [Socket]: "Control characters in a header or the target are refused.";
    Practice http_2 [Socket]: "HTTP/2 with prior knowledge is spoken on the plain port.";
    Must head_is_not_chunked [Socket]: "HEAD of a blob tells the length and sends nothing.";
    Practice status_101_is_not_given [Socket]: "An Upgrade that nobody asked the server to support is ignored.";
}

/// A connection, and the head of a request to it.
async fn open(cx: &Ctx, head: &str) -> Result<RawConnection, Failure> {
    let mut connection = cx.connect().await?;
    connection.write(request(cx, head).as_bytes()).await?;
    Ok(connection)
}

/// A request line and headers, completed by host and credentials.
fn request(cx: &Ctx, head: &str) -> String {
    let (line, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let separator = if headers.is_empty() { "" } else { "\r\n" };
    format!(
        "{line}\r\nHost: {}\r\n{}{headers}{separator}\r\n",
        cx.raw_host(),
        cx.raw_authorization()
    )
}

async fn early_416_is_seen(cx: &Ctx) -> Outcome {
    for _ in 0..5 {
        let upload = cx.repo().start().await?;
        let body = cx.bytes(1 << 20);
        let head = format!(
            "PATCH {} HTTP/1.1\r\nContent-Length: {}\r\nContent-Range: 5000-{}\r\nContent-Type: application/octet-stream",
            upload.location,
            body.len(),
            4999 + body.len()
        );
        let mut connection = open(cx, &head).await?;
        connection
            .write(&body)
            .await
            .within("while sending the refused body")?;
        let response = connection.response(false).await?;
        ensure!(
            response.status == StatusCode::RANGE_NOT_SATISFIABLE,
            "answered {}: {}",
            response.status,
            String::from_utf8_lossy(&response.body)
        );
        upload.has_received(0).await?;
    }
    Ok(())
}

async fn early_404_is_seen(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for method in ["PATCH", "PUT"] {
        let body = cx.bytes(1 << 20);
        let head = format!(
            "{method} {}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11?digest={} HTTP/1.1\r\nContent-Length: {}",
            repo.uploads(),
            sha256(&body),
            body.len()
        );
        let mut connection = open(cx, &head).await?;
        connection
            .write(&body)
            .await
            .within("while sending the refused body")?;
        let response = connection.response(false).await?;
        ensure!(
            response.status == StatusCode::NOT_FOUND,
            "answered {}",
            response.status
        );
    }
    Ok(())
}

async fn early_413_is_seen(cx: &Ctx) -> Outcome {
    let body = Bytes::from(vec![b' '; 6 << 20]);
    let head = format!(
        "PUT {} HTTP/1.1\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: {}",
        cx.repo().manifest("large"),
        body.len()
    );
    let connection = open(cx, &head).await?;
    let (mut reader, mut writer) = connection.split();
    // Whether the server takes all of it is its own affair; the answer must arrive.
    let send = async move {
        drop(writer.write_all(&body).await);
        writer
    };
    let (response, _writer) = tokio::join!(reader.response(false), send);
    let status = response?.status;
    ensure!(status == StatusCode::PAYLOAD_TOO_LARGE, "answered {status}");
    Ok(())
}

async fn announced_gigabyte_is_413(cx: &Ctx) -> Outcome {
    let head = format!(
        "PUT {} HTTP/1.1\r\nContent-Type: application/vnd.oci.image.index.v1+json\r\nContent-Length: 1073741824",
        cx.repo().manifest("large")
    );
    let mut connection = open(cx, &head).await?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::PAYLOAD_TOO_LARGE,
        "answered {}",
        response.status
    );
    Ok(())
}

async fn expect_continue(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    let body = cx.bytes(5000);
    let head = format!(
        "PUT {}{}digest={} HTTP/1.1\r\nContent-Length: 5000\r\nExpect: 100-continue",
        upload.location,
        if upload.location.contains('?') {
            '&'
        } else {
            '?'
        },
        sha256(&body)
    );
    let mut connection = open(cx, &head).await?;
    let interim = connection
        .response(false)
        .await
        .within("waiting for 100 Continue")?;
    ensure!(
        interim.status == StatusCode::CONTINUE,
        "answered {} first",
        interim.status
    );
    connection.write(&body).await?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::CREATED,
        "answered {}",
        response.status
    );
    repo.blob_is(&sha256(&body), &body).await
}

async fn expect_continue_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    let unknown = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    for (target, headers, status) in [
        (unknown.as_str(), "", StatusCode::NOT_FOUND),
        (
            &upload.location,
            "\r\nContent-Range: 7-106",
            StatusCode::RANGE_NOT_SATISFIABLE,
        ),
    ] {
        let head = format!(
            "PATCH {target} HTTP/1.1\r\nContent-Length: 100\r\nExpect: 100-continue{headers}"
        );
        let mut connection = open(cx, &head).await?;
        let response = connection.response(false).await?;
        ensure!(
            response.status == status,
            "answered {}, expected {status}",
            response.status
        );
    }
    Ok(())
}

/// Sends `bytes`, and a second request right behind: the first must not succeed with the second
/// answered too, because then two servers in a row could disagree about where it begins.
async fn is_the_end(cx: &Ctx, bytes: &str) -> Outcome {
    let mut connection = cx.connect().await?;
    let behind = request(cx, "GET /v2/ HTTP/1.1");
    connection
        .write(format!("{bytes}{behind}").as_bytes())
        .await?;
    let Some(response) = connection.response_or_close().await? else {
        return Ok(());
    };
    let refused =
        response.status.is_client_error() || response.status == StatusCode::NOT_IMPLEMENTED;
    ensure!(refused, "answered {}", response.status);
    ensure!(
        connection.is_closed_soon().await,
        "the connection stays open after {}",
        response.status
    );
    Ok(())
}

async fn length_and_chunked(cx: &Ctx) -> Outcome {
    let target = cx.repo().uploads();
    let head = request(
        cx,
        &format!("POST {target} HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked"),
    );
    let mut connection = cx.connect().await?;
    let behind = request(cx, "GET /v2/ HTTP/1.1");
    connection
        .write(format!("{head}0\r\n\r\n{behind}").as_bytes())
        .await?;
    if let Some(response) = connection.response_or_close().await? {
        ensure!(
            !response.status.is_server_error() || response.status == StatusCode::NOT_IMPLEMENTED,
            "answered {}",
            response.status
        );
        ensure!(
            connection.is_closed_soon().await,
            "a second request on the connection is served"
        );
    }
    Ok(())
}

async fn ambiguous_framing_is_refused(cx: &Ctx) -> Outcome {
    let target = cx.repo().uploads();
    for headers in [
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: +4",
        "Content-Length: -4",
        "Content-Length: 4x",
        "Content-Length: 0x4",
        "Content-Length: 99999999999999999999999",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, chunked, gzip",
        "Content-Length : 4",
        " Content-Length: 4",
    ] {
        let head = request(cx, &format!("POST {target} HTTP/1.1\r\n{headers}"));
        is_the_end(cx, &format!("{head}abcd"))
            .await
            .within(format!("{headers:?}"))?;
    }
    Ok(())
}

async fn folded_headers_are_refused(cx: &Ctx) -> Outcome {
    let target = cx.repo().uploads();
    let head = request(
        cx,
        &format!("POST {target} HTTP/1.1\r\nX-Folded: a\r\n b\r\nContent-Length: 4"),
    );
    is_the_end(cx, &format!("{head}abcd")).await
}

async fn broken_chunks_are_refused(cx: &Ctx) -> Outcome {
    for body in [
        "10000000000000000\r\nabcd\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabcd\r\n0\r\n\r\n",
        "-4\r\nabcd\r\n0\r\n\r\n",
        "0x4\r\nabcd\r\n0\r\n\r\n",
        "4 4\r\nabcd\r\n0\r\n\r\n",
        "zz\r\nabcd\r\n0\r\n\r\n",
        "\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcdXX0\r\n\r\n",
    ] {
        let repo = cx.repo();
        let upload = repo.start().await?;
        let digest = sha256(b"abcd");
        let separator = if upload.location.contains('?') {
            '&'
        } else {
            '?'
        };
        let head = format!(
            "PUT {}{separator}digest={digest} HTTP/1.1\r\nTransfer-Encoding: chunked",
            upload.location
        );
        let bytes = format!("{}{body}", request(cx, &head));
        let mut connection = cx.connect().await?;
        connection.write(bytes.as_bytes()).await?;
        if let Some(response) = connection.response_or_close().await.unwrap_or(None) {
            ensure!(
                !response.status.is_success(),
                "{body:?} was answered {}",
                response.status
            );
        }
        drop(connection);
        repo.head_blob(&digest)
            .expect(StatusCode::NOT_FOUND)
            .await
            .within(format!("{body:?}"))?;
    }
    Ok(())
}

/// Sends a head that no server should take, and checks that it is refused.
async fn is_refused(cx: &Ctx, headers: &str) -> Outcome {
    let mut connection = cx.connect().await?;
    let head = request(cx, &format!("GET /v2/ HTTP/1.1\r\n{headers}"));
    // The server may stop reading, or close, at any point of this.
    drop(connection.write(head.as_bytes()).await);
    if let Ok(Some(response)) = connection.response_or_close().await {
        let refused = response.status.is_client_error();
        ensure!(refused, "answered {}", response.status);
    }
    cx.get("/v2/")
        .expect(StatusCode::OK)
        .await
        .within("afterwards")?;
    Ok(())
}

async fn huge_header_is_refused(cx: &Ctx) -> Outcome {
    is_refused(cx, &format!("X-Filler: {}", "x".repeat(3 << 20))).await
}

async fn thousands_of_headers_are_refused(cx: &Ctx) -> Outcome {
    let headers: Vec<String> = (0..200_000)
        .map(|number| format!("X-{number}: y"))
        .collect();
    is_refused(cx, &headers.join("\r\n")).await
}

async fn hang_up_and_resume(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let mut upload = repo.start().await?;
    let whole = cx.bytes(4 << 20);
    let mut kept = 0_usize;
    // Three connections break off, the fourth finishes.
    for round in 0..3 {
        let rest = whole.slice(kept..);
        let head = format!(
            "PATCH {} HTTP/1.1\r\nContent-Length: {}\r\nContent-Range: {kept}-{}\r\nContent-Type: application/octet-stream",
            upload.location,
            rest.len(),
            whole.len() - 1
        );
        let mut connection = open(cx, &head).await?;
        let part = rest.slice(..rest.len() / 3);
        drop(connection.write(&part).await);
        drop(connection);
        let most = kept + part.len();
        // What was received may take a moment to settle.
        let mut last = None;
        for _ in 0..40 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let reply = upload
                .status()
                .expect(StatusCode::NO_CONTENT)
                .await
                .within(round)?;
            let range = reply.header("range")?.to_owned();
            upload.location = reply.location()?;
            let end = usize::try_from(reply.range_end()? + 1).unwrap_or(0);
            let settled = last.as_ref() == Some(&range);
            kept = if range == "0-0" { 0 } else { end };
            last = Some(range);
            if settled {
                break;
            }
        }
        ensure!(kept <= most, "{kept} bytes received, {most} sent");
    }
    let mut reply = upload.patch_at(kept, &whole.slice(kept..)).send().await?;
    for _ in 0..50 {
        if reply.code() == StatusCode::ACCEPTED {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        let status = upload.status().expect(StatusCode::NO_CONTENT).await?;
        upload.location = status.location()?;
        kept = usize::try_from(status.range_end()? + 1).unwrap_or(0);
        reply = upload.patch_at(kept, &whole.slice(kept..)).send().await?;
    }
    reply.status(StatusCode::ACCEPTED)?;
    upload.location = reply.location()?;
    upload.finish(&sha256(&whole)).await?;
    repo.blob_is(&sha256(&whole), &whole).await
}

async fn hang_up_during_download(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(4 << 20);
    let digest = repo.push_blob(&bytes).await?;
    for start in 0..20 {
        let head = format!(
            "GET {} HTTP/1.1\r\nRange: bytes={}-",
            repo.blob(&digest),
            start * 100_000
        );
        let mut connection = open(cx, &head).await?;
        let closed = connection.response_or_close();
        // Read a little at most, then leave.
        drop(tokio::time::timeout(Duration::from_millis(5), closed).await);
    }
    repo.blob_is(&digest, &bytes).await
}

async fn hang_up_before_the_answer(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for _ in 0..20 {
        for head in [
            format!("GET {} HTTP/1.1", repo.manifest("v1")),
            format!("POST {} HTTP/1.1\r\nContent-Length: 0", repo.uploads()),
            format!("GET {} HTTP/1.1", repo.blob(&image.layer)),
        ] {
            drop(open(cx, &head).await?);
        }
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn keep_alive(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let accept = "\r\nAccept: application/vnd.oci.image.manifest.v1+json";
    let etag = format!("{accept}\r\nIf-None-Match: \"{}\"", image.digest);
    let out_of_range = "\r\nRange: bytes=99999-";
    let mut connection = cx.connect().await?;
    for (method, target, headers, status) in [
        ("GET", "/v2/".to_owned(), "", 200),
        ("HEAD", repo.manifest("v1"), accept, 200),
        ("GET", repo.manifest("v1"), accept, 200),
        ("GET", repo.manifest("absent"), accept, 404),
        ("HEAD", repo.manifest("absent"), accept, 404),
        ("GET", repo.manifest("v1"), &etag, 304),
        ("HEAD", repo.blob(&image.layer), "", 200),
        ("GET", repo.blob(&image.layer), out_of_range, 416),
        ("GET", repo.blob(&Alg::Sha256.of_nothing()), "", 404),
        ("GET", repo.blob(&image.layer), "\r\nRange: bytes=0-9", 206),
        ("POST", repo.uploads(), "\r\nContent-Length: 0", 202),
        ("GET", repo.tags(), "", 200),
    ] {
        let what = format!("{method} {target}");
        let head = request(cx, &format!("{what} HTTP/1.1{headers}"));
        connection.write(head.as_bytes()).await.within(&what)?;
        let response = connection.response(method == "HEAD").await.within(&what)?;
        ensure!(
            response.status.as_u16() == status,
            "{what} was answered {}",
            response.status
        );
    }
    Ok(())
}

async fn pipelining(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let mut connection = cx.connect().await?;
    let mut bytes = String::new();
    for number in 0..10 {
        let range = format!("Range: bytes={number}-{number}");
        bytes += &request(
            cx,
            &format!("GET {} HTTP/1.1\r\n{range}", repo.blob(&image.layer)),
        );
    }
    connection.write(bytes.as_bytes()).await?;
    for number in 0..10 {
        let response = connection.response(false).await.within(number)?;
        ensure!(
            Some(response.body.as_slice()) == image.layer_bytes.get(number..=number),
            "answer {number} is {} {:?}",
            response.status,
            response.body
        );
    }
    Ok(())
}

async fn http_1_0(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(300_000);
    let digest = repo.push_blob(&bytes).await?;
    let mut connection = open(cx, &format!("GET {} HTTP/1.0", repo.blob(&digest))).await?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::OK,
        "answered {}",
        response.status
    );
    ensure!(
        !response.headers.contains_key("transfer-encoding"),
        "chunked to HTTP/1.0"
    );
    ensure!(response.body == bytes, "the body is not the blob");
    Ok(())
}

async fn absolute_form(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for host in [cx.raw_host(), "evil.example".to_owned()] {
        let head = format!("GET http://{host}{} HTTP/1.1", repo.tags());
        let response = open(cx, &head).await?.response(false).await?;
        ensure!(
            response.status == StatusCode::OK,
            "answered {}",
            response.status
        );
        let body = String::from_utf8_lossy(&response.body).into_owned();
        ensure!(body.contains(&repo.name), "answered {body}");
    }
    Ok(())
}

async fn odd_hosts(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for host in [
        "x/", "x?", "x#", "x/v2/y", "user@x", "x:99999", "", "[::1", "x y",
    ] {
        let bytes = format!(
            "POST {} HTTP/1.1\r\nHost: {host}\r\n{}Content-Length: 0\r\n\r\n",
            repo.uploads(),
            cx.raw_authorization()
        );
        let mut connection = cx.connect().await?;
        connection.write(bytes.as_bytes()).await?;
        let response = connection.response(false).await.within(host)?;
        let status = response.status;
        ensure!(
            status == StatusCode::ACCEPTED || status == StatusCode::BAD_REQUEST,
            "{host}: {status}"
        );
        if let Some(location) = response.headers.get("location") {
            let location = String::from_utf8_lossy(location.as_bytes()).into_owned();
            ensure!(
                location.starts_with(&repo.uploads()),
                "{host}: Location is {location}"
            );
        }
    }
    Ok(())
}

async fn put_without_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    let mut upload = repo.start().await?;
    upload.append(&bytes).await?;
    let separator = if upload.location.contains('?') {
        '&'
    } else {
        '?'
    };
    let head = format!(
        "PUT {}{separator}digest={} HTTP/1.1",
        upload.location,
        sha256(&bytes)
    );
    let response = open(cx, &head).await?.response(false).await?;
    ensure!(
        response.status == StatusCode::CREATED,
        "answered {}",
        response.status
    );
    repo.blob_is(&sha256(&bytes), &bytes).await
}

async fn chunk_extensions_and_trailers(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nContent-Type: application/octet-stream",
        upload.location
    );
    let mut connection = open(cx, &head).await?;
    let body = "5;name=value\r\nhello\r\n6;x=\"y\"\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n";
    connection.write(body.as_bytes()).await?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::ACCEPTED,
        "answered {}",
        response.status
    );
    let range = response
        .headers
        .get("range")
        .map(|value| value.as_bytes().to_vec());
    ensure!(range.as_deref() == Some(b"0-10"), "Range is {range:?}");
    let location = response
        .headers
        .get("location")
        .and_then(|value| value.to_str().ok());
    let path =
        location.and_then(|location| location.find("/v2/").and_then(|at| location.get(at..)));
    upload.location = path.unwrap_or_default().to_owned();
    upload.finish(&sha256(b"hello world")).await?;
    Ok(())
}

async fn slow_body(cx: &Ctx) -> Outcome {
    let upload = cx.repo().start().await?;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nContent-Length: 40\r\nContent-Type: application/octet-stream",
        upload.location
    );
    let mut connection = open(cx, &head).await?;
    for _ in 0..40 {
        connection.write(b"x").await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::ACCEPTED,
        "answered {}",
        response.status
    );
    Ok(())
}

async fn control_characters_are_refused(cx: &Ctx) -> Outcome {
    for bytes in [
        request(cx, "GET /v2/ HTTP/1.1\r\nX-Nul: a\0b"),
        request(cx, "GET /v2/\0 HTTP/1.1"),
        request(cx, "GET /v2/\u{1} HTTP/1.1"),
        request(cx, "GET /v2/ x HTTP/1.1"),
        request(cx, "GET /v2/ HTTP/9.9"),
        request(cx, "G\u{1}T /v2/ HTTP/1.1"),
    ] {
        let mut connection = cx.connect().await?;
        connection.write(bytes.as_bytes()).await?;
        if let Some(response) = connection.response_or_close().await? {
            let status = response.status;
            ensure!(
                status.is_client_error() || matches!(status.as_u16(), 501 | 505),
                "{bytes:?} was answered {status}"
            );
        }
    }
    Ok(())
}

async fn http_2(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let url = format!("http://{}", cx.raw_host());
    let client = HttpTransport::new(&url, Protocol::Http2)
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    let mut request = http::Request::get(repo.blob(&image.layer));
    if let Some(credentials) = cx.credentials() {
        request = request.header("authorization", credentials.basic());
    }
    let request = request
        .body(crate::Payload::Empty)
        .map_err(|error| Failure::new(error.to_string()))?;
    let response = client
        .send(request)
        .await
        .map_err(|error| Failure::new(error.to_string()))?;
    ensure!(
        response.version == http::Version::HTTP_2,
        "spoke {:?}",
        response.version
    );
    ensure!(
        response.status == StatusCode::OK,
        "answered {}",
        response.status
    );
    ensure!(
        response.body == image.layer_bytes,
        "the body is not the blob"
    );
    Ok(())
}

async fn head_is_not_chunked(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let digest = repo.push_blob(&cx.bytes(100_000)).await?;
    let mut connection = open(cx, &format!("HEAD {} HTTP/1.1", repo.blob(&digest))).await?;
    let response = connection.response(true).await?;
    let length = response
        .headers
        .get("content-length")
        .map(|value| value.as_bytes().to_vec());
    ensure!(
        length.as_deref() == Some(b"100000"),
        "Content-Length is {length:?}"
    );
    ensure!(
        !response.headers.contains_key("transfer-encoding"),
        "HEAD is chunked"
    );
    // The next response follows at once: nothing of the blob was sent.
    connection
        .write(request(cx, "GET /v2/ HTTP/1.1").as_bytes())
        .await?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::OK,
        "answered {}",
        response.status
    );
    Ok(())
}

async fn status_101_is_not_given(cx: &Ctx) -> Outcome {
    for upgrade in ["websocket", "h2c", "TLS/1.0"] {
        let head = format!("GET /v2/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: {upgrade}");
        let response = open(cx, &head)
            .await?
            .response(false)
            .await
            .within(upgrade)?;
        ensure!(
            response.status == StatusCode::OK,
            "{upgrade} was answered {}",
            response.status
        );
    }
    Ok(())
}
