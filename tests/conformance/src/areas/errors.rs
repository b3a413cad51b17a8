//! The error envelope, and methods that endpoints do not have.

use http::{Method, StatusCode};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::Alg,
    documents::{Document, OCI_MANIFEST},
    failure::{Failure, Outcome, ensure},
    reply::Reply,
};

case_table! { "errors";
    Must envelope: "Errors are {\"errors\":[{\"code\",\"message\",\"detail\"}]} in application/json, with codes of the table.";
    Practice messages: "Every error has a message for people, because clients print it.";
    Must head_errors_have_no_body: "Errors to HEAD have the status that GET has, and no body.";
    Practice framing: "An error's Content-Length is that of its body.";
    Practice unsupported_methods_are_405: "A method that an endpoint does not have is 405, with Allow and UNSUPPORTED.";
    Practice invented_methods_are_refused: "A method that nobody has is 405, 501 or 400, not served.";
    Practice options_is_harmless: "OPTIONS and TRACE change nothing and reveal nothing.";
    Practice nothing_of_the_store_leaks: "Errors do not show paths or internals of the server.";
    Practice error_then_success: "After an error the same request with the fault mended succeeds.";
    Practice input_is_not_reflected_raw: "An error repeats input as JSON in a type that no browser renders.";
}

/// One reply of each kind of client error.
async fn errors(cx: &Ctx) -> Result<Vec<(Reply, &'static str)>, Failure> {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let nothing = Alg::Sha256.of_nothing();
    let broken = Document::new(OCI_MANIFEST, "{");
    let upload = repo.start().await?;
    let unknown = format!("{}0b9d5dc1-6c50-4b3a-9a4e-1c6f3f1f7c11", repo.uploads());
    let upper = format!("/v2/{}/UPPER/tags/list", cx.prefix());
    Ok(vec![
        (repo.get_blob(&nothing).send().await?, "BLOB_UNKNOWN"),
        (cx.get(unknown).send().await?, "BLOB_UPLOAD_UNKNOWN"),
        (
            upload.put(&nothing, cx.bytes(9)).send().await?,
            "DIGEST_INVALID",
        ),
        (
            repo.put_manifest("x", &broken).send().await?,
            "MANIFEST_INVALID",
        ),
        (
            repo.put_manifest(&nothing, &image.manifest).send().await?,
            "DIGEST_INVALID",
        ),
        (
            repo.get_manifest("absent").send().await?,
            "MANIFEST_UNKNOWN",
        ),
        (cx.get(cx.repo().tags()).send().await?, "NAME_UNKNOWN"),
        (cx.get(upper).send().await?, "NAME_INVALID"),
    ])
}

async fn envelope(cx: &Ctx) -> Outcome {
    for (reply, code) in errors(cx).await? {
        ensure!(
            reply.code().is_client_error(),
            "{}",
            reply.failure("expected an error")
        );
        reply.error_code_in(&[code])?;
    }
    Ok(())
}

async fn messages(cx: &Ctx) -> Outcome {
    for (reply, _) in errors(cx).await? {
        reply.error_codes()?;
        let json = reply.json()?;
        let message = json["errors"][0]["message"].as_str().unwrap_or_default();
        ensure!(
            message.len() > 3,
            "{}",
            reply.failure("an error without a message")
        );
    }
    Ok(())
}

async fn head_errors_have_no_body(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for target in [
        repo.blob(&Alg::Sha256.of_nothing()),
        repo.manifest(&Alg::Sha256.of_nothing()),
        repo.manifest("absent"),
        repo.blob("sha256:bad"),
        repo.manifest("sha256:bad"),
        format!("/v2/{}/UPPER/manifests/x", cx.prefix()),
    ] {
        let (get, head) = (
            cx.get(&target).send().await?,
            cx.head(&target).send().await?,
        );
        ensure!(
            get.code() == head.code(),
            "{target}: GET {}, HEAD {}",
            get.code(),
            head.code()
        );
        ensure!(head.length() == 0, "{target}: a body to HEAD");
    }
    Ok(())
}

async fn framing(cx: &Ctx) -> Outcome {
    for (reply, _) in errors(cx).await? {
        ensure!(
            reply.content_length()? == reply.length(),
            "{}",
            reply.failure("wrong length")
        );
    }
    Ok(())
}

async fn unsupported_methods_are_405(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let upload = repo.start().await?;
    let none = &[Method::POST, Method::PATCH][..];
    for (target, methods, allowed) in [
        (repo.manifest("v1"), none, "GET"),
        (
            repo.blob(&image.layer),
            &[Method::POST, Method::PUT, Method::PATCH][..],
            "GET",
        ),
        (
            repo.tags(),
            &[Method::POST, Method::PUT, Method::PATCH, Method::DELETE][..],
            "GET",
        ),
        (
            repo.referrers(&image.digest),
            &[Method::POST, Method::PUT, Method::PATCH, Method::DELETE][..],
            "GET",
        ),
        (
            repo.uploads(),
            &[Method::PUT, Method::PATCH, Method::DELETE][..],
            "POST",
        ),
        (upload.location, &[Method::POST][..], "PATCH"),
    ] {
        for method in methods {
            let reply = cx.request(method.clone(), &target).send().await?;
            reply.error(StatusCode::METHOD_NOT_ALLOWED, &["UNSUPPORTED"])?;
            let allow = reply.header("allow")?;
            let list: Vec<&str> = allow.split(',').map(str::trim).collect();
            ensure!(
                list.contains(&allowed),
                "{}",
                reply.failure(format!("Allow is {allow:?}"))
            );
            ensure!(
                !list.contains(&method.as_str()),
                "{}",
                reply.failure(format!("Allow is {allow:?}"))
            );
        }
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn invented_methods_are_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for name in ["PROPFIND", "BREW", "get", "MOVE"] {
        let method = Method::from_bytes(name.as_bytes())
            .map_err(|error| Failure::new(format!("{name}: {error}")))?;
        for target in [repo.manifest("v1"), repo.blob(&image.layer), repo.tags()] {
            let reply = cx.request(method.clone(), target).attempt().await?;
            let Ok(reply) = reply else { continue };
            ensure!(
                matches!(reply.code().as_u16(), 400 | 405 | 501),
                "{}",
                reply.failure("expected 405, 501 or 400")
            );
        }
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn options_is_harmless(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for method in [Method::OPTIONS, Method::TRACE] {
        for target in [repo.manifest("v1"), repo.blob(&image.layer), repo.tags()] {
            let request = cx
                .request(method.clone(), target)
                .header("x-secret", "canary");
            let reply = request.send().await?;
            ensure!(
                !reply.text().contains("canary"),
                "{method} repeats the request"
            );
            ensure!(
                reply.text() != String::from_utf8_lossy(&image.layer_bytes),
                "{method} serves"
            );
        }
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn nothing_of_the_store_leaks(cx: &Ctx) -> Outcome {
    for (reply, _) in errors(cx).await? {
        let text = reply.text();
        for word in [
            "/var/",
            "/tmp/",
            "/home/",
            "_manifests",
            "_layers",
            "os error",
            "panicked",
            ".rs:",
        ] {
            ensure!(
                !text.contains(word),
                "{}",
                reply.failure(format!("the error shows {word:?}"))
            );
        }
    }
    Ok(())
}

async fn error_then_success(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for _ in 0..3 {
        let broken = Document::new(OCI_MANIFEST, "{");
        repo.put_manifest("v1", &broken)
            .expect(StatusCode::BAD_REQUEST)
            .await?;
        repo.push("v1", &image.manifest).await?;
        repo.manifest_is("v1", &image.manifest).await?;
    }
    Ok(())
}

async fn input_is_not_reflected_raw(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for target in [
        repo.manifest("%3Cscript%3Ealert(1)%3C%2Fscript%3E"),
        repo.blob("%3Cimg%20src=x%20onerror=alert(1)%3E"),
        format!("/v2/{}/%3Cb%3E/tags/list", cx.prefix()),
        format!("{}?n=%3Cscript%3E", repo.tags()),
    ] {
        let reply = cx.get(target).send().await?;
        ensure!(
            reply.code().is_client_error(),
            "{}",
            reply.failure("expected an error")
        );
        let media_type = reply.header("content-type")?;
        ensure!(!media_type.contains("html"), "an error in {media_type}");
        reply.error_codes()?;
    }
    Ok(())
}
