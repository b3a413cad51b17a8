//! Listing repositories.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    failure::{Failure, Outcome, Within as _, ensure},
    reply::{Reply, strings},
};

case_table! { "catalog";
    Practice lists_repositories: "GET /v2/_catalog answers 200 with the names of repositories.";
    Practice order_is_by_byte: "Names are in byte order.";
    Practice pages: "n, last and Link page through all names, each once.";
    Practice n_of_zero_is_empty: "n=0 answers an empty list and no Link.";
    Practice bad_n_is_400: "An n that is no number of items is 400 PAGINATION_NUMBER_INVALID.";
    Practice huge_n_is_bounded: "An n of a million million answers at most a thousand names, or is 400.";
    Practice nested_repositories: "A repository and one below it are both listed.";
    Practice uploads_are_no_repositories: "A repository in which only an upload was begun is not listed.";
    Practice head: "HEAD answers like GET.";
}

fn names_of(reply: &Reply) -> Result<Vec<String>, Failure> {
    reply.status(StatusCode::OK)?;
    strings(reply.json()?.get("repositories")).map_err(|error| reply.failure(error))
}

/// All names that begin with `prefix`, found by paging from just before it.
async fn below(cx: &Ctx, prefix: &str, n: usize) -> Result<Vec<String>, Failure> {
    let mut found: Vec<String> = Vec::new();
    let mut next = Some(format!("/v2/_catalog?n={n}&last={prefix}"));
    while let Some(target) = next {
        let reply = cx.get(target).send().await?;
        let names = names_of(&reply)?;
        ensure!(names.len() <= n, "{} names for n={n}", names.len());
        next = reply.next_link()?;
        if !names.last().is_some_and(|name| name.starts_with(prefix)) {
            next = None;
        }
        found.extend(names.into_iter().filter(|name| name.starts_with(prefix)));
    }
    Ok(found)
}

async fn repositories(cx: &Ctx, suffixes: &[&str]) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    for suffix in suffixes {
        let repo = cx.repo_exactly(format!("{}/{suffix}", cx.prefix()));
        repo.image(Some("v1")).await?;
        names.push(repo.name);
    }
    Ok(names)
}

async fn lists_repositories(cx: &Ctx) -> Outcome {
    let names = repositories(cx, &["a", "b"]).await?;
    let reply = cx
        .get(format!("/v2/_catalog?last={}", cx.prefix()))
        .send()
        .await?;
    let media_type = reply.header("content-type")?;
    ensure!(
        media_type.starts_with("application/json"),
        "Content-Type is {media_type:?}"
    );
    let found = names_of(&reply)?;
    ensure!(
        found.starts_with(&names),
        "after {}: {found:?}",
        cx.prefix()
    );
    Ok(())
}

async fn order_is_by_byte(cx: &Ctx) -> Outcome {
    let mut names = repositories(cx, &["b", "a/b", "a", "a-b", "a.b", "a_b", "a0", "1"]).await?;
    names.sort();
    let found = below(cx, cx.prefix(), 100).await?;
    ensure!(found == names, "listed {found:?}, expected {names:?}");
    Ok(())
}

async fn pages(cx: &Ctx) -> Outcome {
    let names = repositories(cx, &["a", "b", "c", "d", "e"]).await?;
    for n in [1, 2, 3, 5, 1000] {
        let found = below(cx, cx.prefix(), n).await.within(n)?;
        ensure!(found == names, "n={n} leads to {found:?}");
    }
    Ok(())
}

async fn n_of_zero_is_empty(cx: &Ctx) -> Outcome {
    repositories(cx, &["a"]).await?;
    let reply = cx.get("/v2/_catalog?n=0").send().await?;
    ensure!(names_of(&reply)?.is_empty(), "{}", reply.text());
    ensure!(reply.next_link()?.is_none(), "n=0 has a Link");
    Ok(())
}

async fn bad_n_is_400(cx: &Ctx) -> Outcome {
    for n in ["-1", "abc", "", "1.5"] {
        let reply = cx.get(format!("/v2/_catalog?n={n}")).send().await?;
        reply
            .error(StatusCode::BAD_REQUEST, &["PAGINATION_NUMBER_INVALID"])
            .within(n)?;
    }
    Ok(())
}

async fn huge_n_is_bounded(cx: &Ctx) -> Outcome {
    repositories(cx, &["a"]).await?;
    for n in ["1000000000000", "9223372036854775807"] {
        let reply = cx.get(format!("/v2/_catalog?n={n}")).send().await?;
        reply.status_in(&[StatusCode::OK, StatusCode::BAD_REQUEST])?;
        if reply.code() == StatusCode::OK {
            let count = names_of(&reply)?.len();
            ensure!(count <= 1000, "{count} names");
        }
    }
    Ok(())
}

async fn nested_repositories(cx: &Ctx) -> Outcome {
    let names = repositories(cx, &["a", "a/b", "a/b/c"]).await?;
    let found = below(cx, cx.prefix(), 10).await?;
    ensure!(found == names, "listed {found:?}");
    Ok(())
}

async fn uploads_are_no_repositories(cx: &Ctx) -> Outcome {
    let names = repositories(cx, &["a", "c"]).await?;
    let mut upload = cx
        .repo_exactly(format!("{}/b", cx.prefix()))
        .start()
        .await?;
    upload.append(&cx.bytes(10)).await?;
    let found = below(cx, cx.prefix(), 10).await?;
    ensure!(found == names, "listed {found:?}");
    Ok(())
}

async fn head(cx: &Ctx) -> Outcome {
    cx.head("/v2/_catalog?n=1").expect(StatusCode::OK).await?;
    Ok(())
}
