//! `GET /v2/`: does this server speak the API?

use http::{Method, StatusCode};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::Alg,
    failure::{Outcome, ensure},
};

case_table! { "base";
    Must get_is_200: "GET /v2/ answers 200 when the API is spoken and the caller may use it.";
    Must head_is_200: "HEAD /v2/ answers like GET, without a body.";
    Practice body_is_a_json_object: "The body of GET /v2/ is a JSON object in application/json.";
    Practice version_header: "Every answer carries Docker-Distribution-Api-Version: registry/2.0, errors included.";
    Practice without_the_slash: "/v2 without its slash is served, or redirected to /v2/.";
    Practice unknown_path_is_404_json: "A path that is no endpoint answers 404 in the error envelope.";
    Practice query_is_ignored: "An unknown query parameter on the probe changes nothing.";
    Practice other_methods_are_405: "POST, PUT, PATCH and DELETE on /v2/ answer 405 and say what is allowed.";
}

async fn get_is_200(cx: &Ctx) -> Outcome {
    cx.get("/v2/").expect(StatusCode::OK).await?;
    Ok(())
}

async fn head_is_200(cx: &Ctx) -> Outcome {
    let get = cx.get("/v2/").expect(StatusCode::OK).await?;
    let head = cx.head("/v2/").expect(StatusCode::OK).await?;
    if let (Ok(length), Some(_)) = (get.content_length(), head.maybe("content-length")) {
        ensure!(
            head.content_length()? == length,
            "HEAD and GET differ in Content-Length"
        );
    }
    Ok(())
}

async fn body_is_a_json_object(cx: &Ctx) -> Outcome {
    let reply = cx.get("/v2/").expect(StatusCode::OK).await?;
    let media_type = reply.header("content-type")?;
    ensure!(
        media_type.starts_with("application/json"),
        "Content-Type is {media_type:?}"
    );
    ensure!(reply.json()?.is_object(), "the body is {:?}", reply.text());
    Ok(())
}

async fn version_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v")).await?;
    let nothing = Alg::Sha256.of_nothing();
    for target in [
        "/v2/".to_owned(),
        repo.blob(&image.layer),
        repo.manifest("v"),
        repo.tags(),
        repo.blob(&nothing),
        repo.manifest("absent"),
    ] {
        let reply = cx.get(target).send().await?;
        reply.header_is("docker-distribution-api-version", "registry/2.0")?;
    }
    let reply = cx.post(repo.uploads()).send().await?;
    reply.header_is("docker-distribution-api-version", "registry/2.0")?;
    Ok(())
}

async fn without_the_slash(cx: &Ctx) -> Outcome {
    let reply = cx.get("/v2").send().await?;
    reply.status_in(&[
        StatusCode::OK,
        StatusCode::MOVED_PERMANENTLY,
        StatusCode::PERMANENT_REDIRECT,
    ])?;
    if reply.code().is_redirection() {
        ensure!(
            reply.location()? == "/v2/",
            "redirected to {:?}",
            reply.location()?
        );
    }
    Ok(())
}

async fn unknown_path_is_404_json(cx: &Ctx) -> Outcome {
    for target in ["/v2/nothing-of-the-kind", "/v2/a/b/c/nothing/of/the/kind"] {
        let reply = cx.get(target).expect(StatusCode::NOT_FOUND).await?;
        reply.error_codes()?;
    }
    Ok(())
}

async fn query_is_ignored(cx: &Ctx) -> Outcome {
    cx.get("/v2/?ns=registry.example&x=%ff")
        .expect(StatusCode::OK)
        .await?;
    Ok(())
}

async fn other_methods_are_405(cx: &Ctx) -> Outcome {
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let reply = cx
            .request(method, "/v2/")
            .expect(StatusCode::METHOD_NOT_ALLOWED)
            .await?;
        let allow = reply.header("allow")?;
        ensure!(allow.contains("GET"), "Allow is {allow:?}");
    }
    Ok(())
}
