//! Extension discovery.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    failure::{Outcome, ensure},
    reply::Reply,
};

case_table! { "extensions";
    May discover: "GET /v2/_oci/ext/discover answers 200 with a list of extensions.";
    May discover_in_a_repository: "GET /v2/<name>/_oci/ext/discover answers 200 with a list of extensions.";
    May unknown_extension_is_refused: "An extension that does not exist is refused in the error envelope.";
    Practice discover_is_read_only: "Discovery has no other methods.";
}

fn lists_extensions(reply: &Reply) -> Outcome {
    reply.status(StatusCode::OK)?;
    let media_type = reply.header("content-type")?;
    ensure!(
        media_type.starts_with("application/json"),
        "Content-Type is {media_type:?}"
    );
    let json = reply.json()?;
    let Some(extensions) = json["extensions"].as_array() else {
        return Err(reply.failure("no list of extensions"));
    };
    for extension in extensions {
        let name = extension["name"].as_str().unwrap_or_default();
        ensure!(
            name.starts_with('_'),
            "{}",
            reply.failure(format!("an extension {extension}"))
        );
        ensure!(
            extension["endpoints"].is_array(),
            "{}",
            reply.failure("no list of endpoints")
        );
    }
    Ok(())
}

async fn discover(cx: &Ctx) -> Outcome {
    lists_extensions(&cx.get("/v2/_oci/ext/discover").send().await?)
}

async fn discover_in_a_repository(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    lists_extensions(
        &cx.get(format!("/v2/{}/_oci/ext/discover", repo.name))
            .send()
            .await?,
    )
}

async fn unknown_extension_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    for target in [
        "/v2/_nothing/of/this".to_owned(),
        "/v2/_oci/ext/nothing".to_owned(),
        format!("/v2/{}/_nothing/of/this", repo.name),
    ] {
        let reply = cx.get(target).send().await?;
        reply.status_in(&[
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
        ])?;
        reply.error_codes()?;
    }
    Ok(())
}

async fn discover_is_read_only(cx: &Ctx) -> Outcome {
    let reply = cx.delete("/v2/_oci/ext/discover").send().await?;
    reply.status_in(&[StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_FOUND])?;
    Ok(())
}
