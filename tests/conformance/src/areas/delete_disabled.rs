//! A registry that is configured to refuse deletes.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    failure::{Outcome, ensure},
    reply::Reply,
};

case_table! { "delete_disabled";
    Must manifest_is_refused [NoDeletes]: "DELETE of a manifest by digest is refused with UNSUPPORTED, and it is still there.";
    Must tag_is_refused [NoDeletes]: "DELETE of a tag is refused with UNSUPPORTED, and it is still there.";
    Must blob_is_refused [NoDeletes]: "DELETE of a blob is refused with UNSUPPORTED, and it is still there.";
    Must referrer_is_refused [NoDeletes]: "DELETE of a referrer is refused, and it is still listed.";
    Practice nothing_is_revealed [NoDeletes]: "DELETE of what does not exist is refused like any other, or is 404.";
    Should uploads_can_be_cancelled [NoDeletes]: "Cancelling an upload is no delete: 204.";
}

/// 405, or 400: both are in the text.
fn refused(reply: &Reply) -> Outcome {
    reply.status_in(&[StatusCode::METHOD_NOT_ALLOWED, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["UNSUPPORTED"])?;
    Ok(())
}

async fn manifest_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    refused(&cx.delete(repo.manifest(&image.digest)).send().await?)?;
    repo.manifest_is(&image.digest, &image.manifest).await?;
    repo.manifest_is("a", &image.manifest).await
}

async fn tag_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    refused(&cx.delete(repo.manifest("a")).send().await?)?;
    repo.manifest_is("a", &image.manifest).await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["a"], "tags are {tags:?}");
    Ok(())
}

async fn blob_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(100);
    let digest = repo.push_blob(&bytes).await?;
    refused(&cx.delete(repo.blob(&digest)).send().await?)?;
    repo.blob_is(&digest, &bytes).await
}

async fn referrer_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("a")).await?;
    let subject = image.manifest.descriptor();
    let artifact = super::manifests_push::artifact_of(&repo, subject, "x/one").await?;
    let digest = repo.push_untagged(&artifact).await?;
    refused(&cx.delete(repo.manifest(&digest)).send().await?)?;
    let found = repo.list_referrers(&image.digest).await?;
    ensure!(found.len() == 1, "{} referrers are listed", found.len());
    Ok(())
}

async fn nothing_is_revealed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let nothing = crate::digest::Alg::Sha256.of_nothing();
    for target in [
        repo.manifest(&nothing),
        repo.manifest("a"),
        repo.blob(&nothing),
    ] {
        let reply = cx.delete(target).send().await?;
        if reply.code() != StatusCode::NOT_FOUND {
            refused(&reply)?;
        }
    }
    Ok(())
}

async fn uploads_can_be_cancelled(cx: &Ctx) -> Outcome {
    let mut upload = cx.repo().start().await?;
    upload.append(&cx.bytes(10)).await?;
    upload.cancel().expect(StatusCode::NO_CONTENT).await?;
    upload.status().expect(StatusCode::NOT_FOUND).await?;
    Ok(())
}
