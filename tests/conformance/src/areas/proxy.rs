//! What proxies add to requests does not leak into answers.

use http::{Method, StatusCode};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::sha256,
    failure::{Outcome, Within as _, ensure},
    request::Req,
};

case_table! { "proxy";
    Practice locations_are_paths: "Every Location of a push is a path, whatever Host and forwarded headers say.";
    Practice links_are_paths: "Link is a path, whatever Host and forwarded headers say.";
    Practice rewrite_headers_are_ignored: "X-Original-URL and its kin do not change what is served.";
    Practice method_override_is_ignored: "X-HTTP-Method-Override does not change the method.";
    Practice host_is_not_reflected: "An odd Host appears nowhere in an answer.";
    Practice hop_by_hop_headers: "Connection: close and friends are no reason to fail.";
    Practice tracing_headers: "Tracing headers of any form are no reason to fail.";
    Practice no_wildcard_cors_with_credentials: "A foreign Origin is not given access with credentials.";
}

const EVIL: &str = "evil.example";

/// The request as an untrusted proxy would forward it.
fn forwarded(request: Req<'_>) -> Req<'_> {
    request
        .header("x-forwarded-host", EVIL)
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-port", "666")
        .header("x-forwarded-prefix", "/evil")
        .header("x-forwarded-for", "10.0.0.1")
        .header("forwarded", "for=10.0.0.1;host=evil.example;proto=https")
}

async fn locations_are_paths(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let bytes = cx.bytes(20);
    let is_path = |location: &str| {
        ensure!(location.starts_with("/v2/"), "Location is {location:?}");
        Ok(())
    };
    let reply = forwarded(cx.post(repo.uploads()))
        .expect(StatusCode::ACCEPTED)
        .await?;
    is_path(reply.header("location")?)?;
    let mut upload = repo.start().await?;
    let patch = forwarded(upload.patch().body(bytes.clone()));
    let reply = patch.expect(StatusCode::ACCEPTED).await?;
    is_path(reply.header("location")?)?;
    upload.location = reply.location()?;
    let reply = forwarded(upload.status())
        .expect(StatusCode::NO_CONTENT)
        .await?;
    is_path(reply.header("location")?)?;
    let put = forwarded(upload.put(&sha256(&bytes), bytes::Bytes::new()));
    let reply = put.expect(StatusCode::CREATED).await?;
    is_path(reply.header("location")?)?;
    let put = forwarded(repo.put_manifest("v1", &image.manifest));
    let reply = put.expect(StatusCode::CREATED).await?;
    is_path(reply.header("location")?)?;
    let other = cx.repo();
    let post = cx
        .post(other.uploads())
        .query("mount", &image.layer)
        .query("from", &repo.name);
    let reply = forwarded(post).expect(StatusCode::CREATED).await?;
    is_path(reply.header("location")?)
}

async fn links_are_paths(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    repo.push("b", &image.manifest).await?;
    let get = forwarded(cx.get(format!("{}?n=1", repo.tags())));
    let reply = get.expect(StatusCode::OK).await?;
    let link = reply.next_link()?;
    ensure!(
        link.is_some_and(|link| link.starts_with(&repo.tags())),
        "{}",
        reply.failure("Link")
    );
    Ok(())
}

async fn rewrite_headers_are_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for name in [
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-uri",
        "x-original-uri",
    ] {
        let get = repo.get_blob(&image.layer).header(name, "/v2/");
        let reply = get.expect(StatusCode::OK).await.within(name)?;
        reply.body_is(&image.layer_bytes)?;
    }
    Ok(())
}

async fn method_override_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for method in [Method::GET, Method::POST] {
        for name in [
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
        ] {
            let request = cx
                .request(method.clone(), repo.manifest("v1"))
                .header(name, "DELETE");
            request.send().await?;
        }
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn host_is_not_reflected(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for request in [
        cx.post(repo.uploads()),
        cx.get(format!("{}?n=1", repo.tags())),
        repo.get_manifest("absent"),
        cx.get("/v2/"),
    ] {
        let reply = request.header("host", EVIL).send().await?;
        ensure!(
            !reply.text().contains(EVIL),
            "{}",
            reply.failure("the body repeats Host")
        );
        for (name, value) in reply.headers() {
            let value = String::from_utf8_lossy(value.as_bytes());
            ensure!(
                !value.contains(EVIL),
                "{}",
                reply.failure(format!("{name}: {value}"))
            );
        }
    }
    Ok(())
}

async fn hop_by_hop_headers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let get = cx
        .get(repo.tags())
        .header("via", "1.1 proxy")
        .header("max-forwards", "3");
    get.header("x-request-id", "a\tb")
        .header("te", "trailers")
        .expect(StatusCode::OK)
        .await?;
    Ok(())
}

async fn tracing_headers(cx: &Ctx) -> Outcome {
    for value in [
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "rubbish",
        "",
    ] {
        let get = cx
            .get("/v2/")
            .header("traceparent", value)
            .header("tracestate", "a=b,c");
        get.header("user-agent", "x\u{1b}[31m\u{202e}".replace('\u{1b}', "%1b"))
            .expect(StatusCode::OK)
            .await
            .within(value)?;
    }
    Ok(())
}

async fn no_wildcard_cors_with_credentials(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for request in [
        cx.get(repo.tags()),
        cx.request(Method::OPTIONS, repo.tags())
            .header("access-control-request-method", "DELETE")
            .header("access-control-request-headers", "authorization"),
    ] {
        let reply = request
            .header("origin", "https://evil.example")
            .send()
            .await?;
        let origin = reply.maybe("access-control-allow-origin");
        let credentials = reply.maybe("access-control-allow-credentials") == Some("true");
        ensure!(
            !credentials || !origin.is_some_and(|origin| origin == "*" || origin.contains(EVIL)),
            "{}",
            reply.failure(format!("allows {origin:?} with credentials"))
        );
    }
    Ok(())
}
