//! A registry that demands credentials for everything.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Method, StatusCode};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    failure::{Outcome, Within as _, ensure},
    reply::Reply,
    request::Req,
};

case_table! { "auth";
    Must probe_is_401_with_challenge [Credentials]: "GET /v2/ without credentials answers 401, WWW-Authenticate and UNAUTHORIZED.";
    Practice challenge_is_well_formed [Credentials]: "The challenge is one Basic or Bearer with quoted parameters, and no error at first.";
    Practice version_header_on_401 [Credentials]: "The 401 carries Docker-Distribution-Api-Version.";
    Must valid_credentials [Credentials]: "With valid credentials the probe answers 200.";
    Must wrong_password [Credentials]: "A wrong password answers 401.";
    Must unknown_user [Credentials]: "An unknown user answers 401, like a wrong password.";
    Must every_endpoint_is_guarded [Credentials]: "No endpoint answers anything but 401 without credentials.";
    Must every_spelling_is_guarded [Credentials]: "No spelling of a listing is answered without credentials.";
    Practice existence_is_not_revealed [Credentials]: "Without credentials, what exists and what does not are answered alike.";
    Must malformed_credentials [Credentials]: "Malformed Authorization headers answer 401 or 400.";
    Practice two_authorizations [Credentials]: "Two Authorization headers are refused, even if one is valid.";
    Must scheme_has_no_case [Credentials]: "The name of the scheme is compared without regard to case.";
    Must head_401_has_no_body [Credentials]: "A 401 to HEAD has no body and the same challenge.";
    Practice early_401_is_seen [Credentials, Socket]: "A client that sends 1 MiB without credentials gets the 401, not a reset.";
    Practice http_1_0_is_guarded [Credentials, Socket]: "HTTP/1.0 and absolute targets are guarded too.";
    Practice long_credentials [Credentials]: "Credentials of many kilobytes answer 401, 400 or 431.";
    Must push_and_pull [Credentials]: "With credentials, push and pull work.";
    Practice credentials_are_not_echoed [Credentials]: "A refusal does not repeat what was sent.";
}

fn with_authorization<'a>(request: Req<'a>, value: &str) -> Req<'a> {
    request.anonymous().header("authorization", value)
}

fn is_401(reply: &Reply) -> Outcome {
    reply.status(StatusCode::UNAUTHORIZED)?;
    reply.header("www-authenticate")?;
    reply.error_code_in(&["UNAUTHORIZED"])?;
    Ok(())
}

async fn probe_is_401_with_challenge(cx: &Ctx) -> Outcome {
    is_401(&cx.get("/v2/").anonymous().send().await?)
}

async fn challenge_is_well_formed(cx: &Ctx) -> Outcome {
    let reply = cx.get("/v2/").anonymous().send().await?;
    let challenge = reply.header("www-authenticate")?;
    let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
    ensure!(
        scheme == "Basic" || scheme == "Bearer",
        "the challenge is {challenge:?}"
    );
    ensure!(
        parameters.starts_with("realm=\""),
        "the challenge is {challenge:?}"
    );
    ensure!(
        !parameters.contains("error="),
        "an error at first: {challenge:?}"
    );
    if scheme == "Bearer" {
        ensure!(
            parameters.contains("realm=\"http"),
            "a relative realm: {challenge:?}"
        );
    }
    Ok(())
}

async fn version_header_on_401(cx: &Ctx) -> Outcome {
    let reply = cx
        .get("/v2/")
        .anonymous()
        .expect(StatusCode::UNAUTHORIZED)
        .await?;
    reply.header_is("docker-distribution-api-version", "registry/2.0")?;
    Ok(())
}

async fn valid_credentials(cx: &Ctx) -> Outcome {
    cx.get("/v2/").expect(StatusCode::OK).await?;
    cx.head("/v2/").expect(StatusCode::OK).await?;
    Ok(())
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn wrong_password(cx: &Ctx) -> Outcome {
    let user = &cx.needed_credentials()?.user;
    let password = &cx.needed_credentials()?.password;
    let longer = format!("{password}x");
    let nul = format!("{password}\0x");
    let shorter = password
        .get(..password.len().saturating_sub(1))
        .unwrap_or_default();
    for wrong in [
        "wrong",
        "",
        shorter,
        &longer,
        &nul,
        &password.to_uppercase(),
    ] {
        let reply = with_authorization(cx.get("/v2/"), &basic(user, wrong))
            .send()
            .await?;
        is_401(&reply).within(wrong)?;
    }
    Ok(())
}

async fn unknown_user(cx: &Ctx) -> Outcome {
    let user = &cx.needed_credentials()?.user;
    let password = &cx.needed_credentials()?.password;
    let wrong = with_authorization(cx.get("/v2/"), &basic(user, "wrong"))
        .send()
        .await?;
    for other in ["nobody", "", &user.to_uppercase(), &format!("{user} ")] {
        let reply = with_authorization(cx.get("/v2/"), &basic(other, password))
            .send()
            .await?;
        is_401(&reply).within(other)?;
        ensure!(reply.body() == wrong.body(), "the two refusals differ");
    }
    Ok(())
}

async fn every_endpoint_is_guarded(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let upload = repo.start().await?;
    let bytes = cx.bytes(10);
    for request in [
        repo.get_manifest("v1"),
        repo.head_manifest("v1"),
        repo.get_manifest(&image.digest),
        repo.get_blob(&image.layer),
        repo.head_blob(&image.layer),
        cx.get(repo.tags()),
        cx.get(repo.referrers(&image.digest)),
        cx.get("/v2/_catalog"),
        cx.get("/v2/_oci/ext/discover"),
        cx.get(format!("/v2/{}/_oci/ext/discover", repo.name)),
        cx.post(repo.uploads()),
        cx.post(cx.repo().uploads())
            .query("mount", &image.layer)
            .query("from", &repo.name),
        cx.post(repo.uploads())
            .query("digest", &sha256(&bytes))
            .body(bytes.clone()),
        upload.status(),
        upload.patch().body(bytes.clone()),
        upload.put(&sha256(&bytes), bytes.clone()),
        upload.cancel(),
        repo.put_manifest("v2", &image.manifest),
        cx.delete(repo.manifest("v1")),
        cx.delete(repo.manifest(&image.digest)),
        cx.delete(repo.blob(&image.layer)),
    ] {
        let reply = request.anonymous().send().await?;
        reply.status(StatusCode::UNAUTHORIZED)?;
        reply.header("www-authenticate")?;
    }
    repo.manifest_is("v1", &image.manifest).await?;
    repo.blob_is(&image.layer, &image.layer_bytes).await?;
    upload.has_received(0).await?;
    Ok(())
}

async fn every_spelling_is_guarded(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for target in [
        "/v2/_catalog".to_owned(),
        "/v2/_catalog/".to_owned(),
        "/v2//_catalog".to_owned(),
        "//v2/_catalog".to_owned(),
        "/v2/%5fcatalog".to_owned(),
        "/v2/%5Fcatalog?n=1".to_owned(),
        "/v2/./_catalog".to_owned(),
        "/v2/x/../_catalog".to_owned(),
        "/V2/_catalog".to_owned(),
        "/v2/_catalog;x".to_owned(),
        format!("{}/", repo.tags()),
        repo.tags().replace("/tags/", "//tags/"),
        repo.tags().replace("/list", "/%6cist"),
        repo.manifest("v1").replace("/manifests/", "/%6danifests/"),
        repo.referrers(&image.digest).replace(':', "%3A"),
        repo.blob(&image.layer).replace(':', "%3a"),
    ] {
        for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::POST] {
            // OPTIONS may say which methods there are, and no more.
            let may_succeed = method == Method::OPTIONS;
            let reply = cx.request(method, &target).anonymous().send().await?;
            let lists = [
                "\"tags\"",
                "\"repositories\"",
                "\"manifests\"",
                "\"layers\"",
            ];
            let text = reply.text();
            ensure!(
                (may_succeed && reply.length() == 0)
                    || (!reply.code().is_success()
                        && !lists.iter().any(|word| text.contains(word))),
                "{}",
                reply.failure("answered without credentials")
            );
        }
    }
    Ok(())
}

async fn existence_is_not_revealed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let (absent, nothing) = (cx.repo(), Alg::Sha256.of_nothing());
    for (here, there) in [
        (repo.manifest("v1"), repo.manifest("v2")),
        (repo.manifest("v1"), absent.manifest("v1")),
        (repo.tags(), absent.tags()),
        (repo.blob(&image.layer), repo.blob(&nothing)),
        (repo.referrers(&image.digest), absent.referrers(&nothing)),
    ] {
        let here = cx.get(here).anonymous().send().await?;
        let there = cx.get(there).anonymous().send().await?;
        here.status(StatusCode::UNAUTHORIZED)?;
        there.status(StatusCode::UNAUTHORIZED)?;
        // Names of the request may be repeated; nothing else may differ.
        let neutral = |reply: &Reply| {
            let text = reply
                .text()
                .replace(&repo.name, "N")
                .replace(&absent.name, "N");
            text.replace(&image.digest, "D")
                .replace(&image.layer, "D")
                .replace(&nothing, "D")
        };
        let tagless = |text: String| text.replace("v1", "T").replace("v2", "T");
        ensure!(
            tagless(neutral(&here)) == tagless(neutral(&there)),
            "{:?} and {:?}",
            here.text(),
            there.text()
        );
    }
    Ok(())
}

async fn malformed_credentials(cx: &Ctx) -> Outcome {
    let no_colon = format!("Basic {}", STANDARD.encode("nocolon"));
    let not_utf8 = format!("Basic {}", STANDARD.encode(b"\xff\xfe:\xff"));
    for value in [
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic YQ",
        &no_colon,
        &not_utf8,
        "Bearer",
        "Bearer x",
        "Bearer a.b.c",
        "Digest username=\"x\"",
        "Negotiate abc",
        "",
        ":",
    ] {
        let reply = with_authorization(cx.get("/v2/"), value).send().await?;
        reply
            .status_in(&[StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST])
            .within(value)?;
    }
    let reply = cx
        .get("/v2/")
        .anonymous()
        .header("authorization", b"Basic \xff\xfe")
        .send()
        .await?;
    reply.status_in(&[StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST])?;
    Ok(())
}

async fn two_authorizations(cx: &Ctx) -> Outcome {
    let valid = cx.needed_credentials()?.basic();
    let wrong = basic("nobody", "x");
    for (first, second) in [(&valid, &wrong), (&wrong, &valid)] {
        let request = with_authorization(cx.get("/v2/"), first).header("authorization", second);
        let reply = request.send().await?;
        reply.status_in(&[StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST])?;
    }
    Ok(())
}

async fn scheme_has_no_case(cx: &Ctx) -> Outcome {
    let valid = cx.needed_credentials()?.basic();
    for scheme in ["basic", "BASIC", "bAsIc"] {
        let value = valid.replacen("Basic", scheme, 1);
        with_authorization(cx.get("/v2/"), &value)
            .expect(StatusCode::OK)
            .await?;
    }
    Ok(())
}

async fn head_401_has_no_body(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    let get = repo
        .get_manifest("v1")
        .anonymous()
        .expect(StatusCode::UNAUTHORIZED)
        .await?;
    let head = repo
        .head_manifest("v1")
        .anonymous()
        .expect(StatusCode::UNAUTHORIZED)
        .await?;
    ensure!(head.length() == 0, "a body to HEAD");
    head.header_is("www-authenticate", get.header("www-authenticate")?)?;
    Ok(())
}

async fn early_401_is_seen(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let upload = repo.start().await?;
    let body = cx.bytes(1 << 20);
    let mut connection = cx.connect().await?;
    let head = format!(
        "PATCH {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
        upload.location,
        cx.raw_host(),
        body.len()
    );
    connection.write(head.as_bytes()).await?;
    connection
        .write(&body)
        .await
        .within("while sending the refused body")?;
    let response = connection.response(false).await?;
    ensure!(
        response.status == StatusCode::UNAUTHORIZED,
        "answered {}",
        response.status
    );
    upload.has_received(0).await?;
    Ok(())
}

async fn http_1_0_is_guarded(cx: &Ctx) -> Outcome {
    let host = cx.raw_host();
    for head in [
        "GET /v2/_catalog HTTP/1.0\r\n\r\n".to_owned(),
        format!("GET http://{host}/v2/_catalog HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET http://other.example/v2/_catalog HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /v2/_catalog HTTP/1.1\r\nHost: {host}/v2/?\r\n\r\n"),
    ] {
        let mut connection = cx.connect().await?;
        connection.write(head.as_bytes()).await?;
        let response = connection.response(false).await.within(&head)?;
        let status = response.status;
        ensure!(
            status == StatusCode::UNAUTHORIZED || status == StatusCode::BAD_REQUEST,
            "{head:?} was answered {status}"
        );
    }
    Ok(())
}

async fn long_credentials(cx: &Ctx) -> Outcome {
    let user = &cx.needed_credentials()?.user;
    for value in [
        basic(user, &"x".repeat(4096)),
        format!("Bearer {}", ".".repeat(60_000)),
    ] {
        let reply = with_authorization(cx.get("/v2/"), &value).send().await?;
        ensure!(
            matches!(reply.code().as_u16(), 400 | 401 | 431),
            "{}",
            reply.failure("expected 400, 401 or 431")
        );
    }
    Ok(())
}

async fn push_and_pull(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    repo.manifest_is("v1", &image.manifest).await?;
    repo.blob_is(&image.layer, &image.layer_bytes).await
}

async fn credentials_are_not_echoed(cx: &Ctx) -> Outcome {
    let value = basic("canary-user", "canary-password");
    let reply = with_authorization(cx.get("/v2/"), &value).send().await?;
    let mut seen = reply.text();
    for header in reply.headers().values() {
        seen.push_str(&String::from_utf8_lossy(header.as_bytes()));
    }
    let token = value.trim_start_matches("Basic ");
    ensure!(
        !seen.contains("canary-password") && !seen.contains(token),
        "{}",
        reply.failure("the refusal repeats the credentials")
    );
    Ok(())
}
