//! Listing tags.

use futures_util::future::try_join_all;
use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
    repo::{Repo, tags_of},
};

case_table! { "tags";
    Must list_has_name_and_tags: "tags/list answers 200 with the repository's name and its tags, in application/json.";
    Must unknown_repository_is_404: "tags/list of a repository nobody has pushed to is 404 NAME_UNKNOWN.";
    Must tags_are_in_order: "Tags are sorted: by byte, or without regard to case.";
    Must n_limits_the_page: "n is the most that a page holds, and a page that is cut has a Link to the rest.";
    Must n_of_zero_is_empty: "n=0 answers an empty list and no Link.";
    Must last_continues_after_a_tag: "last is the tag after which the list goes on, with or without n.";
    Practice last_need_not_exist: "last is compared by value, whether or not there is such a tag.";
    Practice last_beyond_the_end: "last at or beyond the last tag answers an empty list without a Link.";
    Must links_lead_to_everything: "Following the Links visits every tag once, in order.";
    Practice no_link_to_an_empty_page: "When the tags end with the page there is no Link.";
    Practice link_is_a_path: "Link is a path in brackets with rel=\"next\", and keeps n.";
    Practice bad_n_is_400: "An n that is no number of items is 400 PAGINATION_NUMBER_INVALID.";
    Practice huge_n_is_capped: "An n beyond any page size answers a page, never an error or a page without bound.";
    Practice pages_are_bounded: "More than a thousand tags come in pages, with or without n.";
    Practice repeated_n_is_harmless: "n given twice is refused or one of the two is used.";
    Practice untagged_repository: "A repository that has manifests but no tags lists none, as a list.";
    Must digests_are_not_tags: "Manifests pushed by digest are not listed.";
    Practice tag_is_listed_once: "A tag that moves is listed once.";
    Practice all_tags_deleted [Deletes]: "After its last tag was deleted, a repository lists no tags, with 200.";
    Must deleted_tag_is_not_listed [Deletes]: "A deleted tag is gone from the list at once.";
    Practice name_is_exact: "The name in the answer is the full repository name.";
    Practice prefixes_do_not_leak: "Repositories whose names begin alike do not share tags.";
}

/// A repository whose one manifest has these tags.
async fn tagged<'a>(cx: &'a Ctx, tags: &[&str]) -> Result<Repo<'a>, Failure> {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    for tag in tags {
        repo.push(tag, &image.manifest).await?;
    }
    Ok(repo)
}

/// One page of the list.
async fn page(repo: &Repo<'_>, query: &str) -> Result<(Vec<String>, Option<String>), Failure> {
    let reply = repo
        .cx
        .get(format!("{}?{query}", repo.tags()))
        .expect(StatusCode::OK)
        .await?;
    Ok((tags_of(&reply)?, reply.next_link()?))
}

async fn list_has_name_and_tags(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["v1", "v2"]).await?;
    let reply = cx.get(repo.tags()).expect(StatusCode::OK).await?;
    let media_type = reply.header("content-type")?;
    ensure!(
        media_type.starts_with("application/json"),
        "Content-Type is {media_type:?}"
    );
    ensure!(
        reply.json()?["name"] == repo.name,
        "name is {}",
        reply.json()?["name"]
    );
    ensure!(
        tags_of(&reply)? == ["v1", "v2"],
        "tags are {:?}",
        tags_of(&reply)?
    );
    Ok(())
}

async fn unknown_repository_is_404(cx: &Ctx) -> Outcome {
    let reply = cx.get(cx.repo().tags()).send().await?;
    reply.error(StatusCode::NOT_FOUND, &["NAME_UNKNOWN"])?;
    Ok(())
}

fn is_sorted(tags: &[String]) -> bool {
    let folded: Vec<String> = tags.iter().map(|tag| tag.to_lowercase()).collect();
    tags.is_sorted() || folded.is_sorted()
}

async fn tags_are_in_order(cx: &Ctx) -> Outcome {
    let tags = [
        "b", "B", "a", "_x", "1", "10", "2", "a-b", "a.b", "a_b", "aa", "A", "z",
    ];
    let repo = tagged(cx, &tags).await?;
    let listed = repo.list_tags().await?;
    ensure!(is_sorted(&listed), "tags are {listed:?}");
    let (mut found, mut pushed) = (listed, tags.to_vec());
    found.sort();
    pushed.sort_unstable();
    ensure!(found == pushed, "listed {found:?}, pushed {pushed:?}");
    Ok(())
}

async fn n_limits_the_page(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c", "d", "e"]).await?;
    for n in 1..=4 {
        let (tags, link) = page(&repo, &format!("n={n}")).await?;
        ensure!(
            tags.len() <= n && !tags.is_empty(),
            "n={n} answers {tags:?}"
        );
        ensure!(
            link.is_some(),
            "n={n} answers {tags:?} without a Link to the rest"
        );
    }
    let (tags, _) = page(&repo, "n=100").await?;
    ensure!(tags.len() == 5, "n=100 answers {tags:?}");
    Ok(())
}

async fn n_of_zero_is_empty(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b"]).await?;
    for query in ["n=0", "n=0&last=a"] {
        let (tags, link) = page(&repo, query).await.within(query)?;
        ensure!(tags.is_empty(), "{query} answers {tags:?}");
        ensure!(link.is_none(), "{query} has a Link");
    }
    Ok(())
}

async fn last_continues_after_a_tag(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c", "d"]).await?;
    let (tags, link) = page(&repo, "last=b").await?;
    ensure!(tags == ["c", "d"], "last=b answers {tags:?}");
    ensure!(link.is_none(), "last=b has a Link");
    let (tags, link) = page(&repo, "n=1&last=b").await?;
    ensure!(tags == ["c"], "n=1&last=b answers {tags:?}");
    ensure!(link.is_some(), "n=1&last=b has no Link");
    let (tags, _) = page(&repo, "last=a&n=2").await?;
    ensure!(tags == ["b", "c"], "last=a&n=2 answers {tags:?}");
    Ok(())
}

async fn last_need_not_exist(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "c", "e"]).await?;
    for (last, expected) in [
        ("b", vec!["c", "e"]),
        ("d", vec!["e"]),
        ("0", vec!["a", "c", "e"]),
    ] {
        let (tags, _) = page(&repo, &format!("last={last}")).await?;
        ensure!(tags == expected, "last={last} answers {tags:?}");
        let (tags, _) = page(&repo, &format!("n=1&last={last}")).await?;
        ensure!(
            tags.first().map(String::as_str) == expected.first().copied(),
            "{last}: {tags:?}"
        );
    }
    let (tags, _) = page(&repo, "last=").await?;
    ensure!(tags.len() == 3, "an empty last answers {tags:?}");
    Ok(())
}

async fn last_beyond_the_end(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b"]).await?;
    for query in ["last=b", "last=z", "n=5&last=b", "n=1&last=zzz"] {
        let (tags, link) = page(&repo, query).await.within(query)?;
        ensure!(
            tags.is_empty() && link.is_none(),
            "{query} answers {tags:?}, Link {link:?}"
        );
    }
    Ok(())
}

/// Follows Links from `start` to the end.
async fn walk(cx: &Ctx, start: String) -> Result<(Vec<String>, Vec<Reply>), Failure> {
    let (mut tags, mut replies) = (Vec::new(), Vec::new());
    let mut next = Some(start);
    while let Some(target) = next {
        let reply = cx.get(target).expect(StatusCode::OK).await?;
        tags.extend(tags_of(&reply)?);
        next = reply.next_link()?;
        replies.push(reply);
        ensure!(replies.len() < 5000, "the Links do not end");
    }
    Ok((tags, replies))
}

async fn links_lead_to_everything(cx: &Ctx) -> Outcome {
    let names: Vec<String> = (0..17).map(|number| format!("t{number:02}")).collect();
    let repo = tagged(cx, &names.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    for n in [1, 2, 5, 16, 17, 18] {
        let (tags, replies) = walk(cx, format!("{}?n={n}", repo.tags())).await?;
        ensure!(tags == names, "n={n} leads to {tags:?}");
        for reply in replies {
            ensure!(
                tags_of(&reply)?.len() <= n,
                "a page of n={n} is {:?}",
                reply.text()
            );
        }
    }
    Ok(())
}

async fn no_link_to_an_empty_page(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c", "d"]).await?;
    for query in ["n=4", "n=5", "n=2&last=b", "n=1&last=c"] {
        let (tags, link) = page(&repo, query).await?;
        ensure!(
            tags.last().is_some_and(|tag| tag == "d"),
            "{query} answers {tags:?}"
        );
        ensure!(
            link.is_none(),
            "{query} ends the list and has the Link {link:?}"
        );
    }
    Ok(())
}

async fn link_is_a_path(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c"]).await?;
    let reply = cx
        .get(format!("{}?n=1", repo.tags()))
        .expect(StatusCode::OK)
        .await?;
    let Some(link) = reply.next_link()? else {
        return Err(reply.failure("no Link"));
    };
    let Some((path, query)) = link.split_once('?') else {
        return Err(reply.failure(format!("the Link {link:?} has no query")));
    };
    ensure!(path == repo.tags(), "the Link goes to {path:?}");
    ensure!(
        query.split('&').any(|part| part == "n=1"),
        "the Link's query is {query:?}"
    );
    ensure!(
        query.split('&').any(|part| part == "last=a"),
        "the Link's query is {query:?}"
    );
    Ok(())
}

async fn bad_n_is_400(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a"]).await?;
    for n in ["-1", "abc", "", "1.5", "0x10", "1e3", "+", "%20"] {
        let reply = cx.get(format!("{}?n={n}", repo.tags())).send().await?;
        reply
            .error(StatusCode::BAD_REQUEST, &["PAGINATION_NUMBER_INVALID"])
            .within(n)?;
    }
    Ok(())
}

async fn huge_n_is_capped(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b"]).await?;
    for n in ["1001", "100000", "1000000000000", "9223372036854775807"] {
        let (tags, link) = page(&repo, &format!("n={n}")).await.within(n)?;
        ensure!(
            tags == ["a", "b"] && link.is_none(),
            "n={n} answers {tags:?}, Link {link:?}"
        );
    }
    let reply = cx
        .get(format!("{}?n=99999999999999999999999", repo.tags()))
        .send()
        .await?;
    reply.status_in(&[StatusCode::OK, StatusCode::BAD_REQUEST])?;
    Ok(())
}

async fn pages_are_bounded(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    // One each: pushes of one manifest at a time get in each other's way in stores without locks, and that is
    // not what this is about.
    let images = try_join_all((0..16).map(|_| repo.image(None))).await?;
    let names: Vec<String> = (0..1005).map(|number| format!("t{number:04}")).collect();
    for batch in names.chunks(images.len()) {
        let pushes = batch.iter().zip(&images);
        let pushes = pushes.map(|(tag, image)| repo.push(tag, &image.manifest));
        try_join_all(pushes).await?;
    }
    for query in ["", "?n=100000"] {
        let (tags, replies) = walk(cx, format!("{}{query}", repo.tags())).await?;
        ensure!(
            tags == names,
            "{query:?} leads to {} of {} tags",
            tags.len(),
            names.len()
        );
        for reply in replies {
            let count = tags_of(&reply)?.len();
            ensure!(count <= 1000, "a page of {count} tags for {query:?}");
        }
    }
    Ok(())
}

async fn repeated_n_is_harmless(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c"]).await?;
    let reply = cx.get(format!("{}?n=1&n=2", repo.tags())).send().await?;
    reply.status_in(&[StatusCode::OK, StatusCode::BAD_REQUEST])?;
    Ok(())
}

async fn untagged_repository(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &[]).await?;
    let reply = cx.get(repo.tags()).expect(StatusCode::OK).await?;
    ensure!(
        tags_of(&reply)?.is_empty(),
        "tags are {:?}",
        tags_of(&reply)?
    );
    Ok(())
}

async fn digests_are_not_tags(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["v1"]).await?;
    repo.image(None).await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["v1"], "tags are {tags:?}");
    Ok(())
}

async fn tag_is_listed_once(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for _ in 0..3 {
        repo.image(Some("moving")).await?;
    }
    let tags = repo.list_tags().await?;
    ensure!(tags == ["moving"], "tags are {tags:?}");
    Ok(())
}

async fn all_tags_deleted(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b"]).await?;
    for tag in ["a", "b"] {
        cx.delete(repo.manifest(tag))
            .expect(StatusCode::ACCEPTED)
            .await?;
    }
    let reply = cx.get(repo.tags()).expect(StatusCode::OK).await?;
    ensure!(
        tags_of(&reply)?.is_empty(),
        "tags are {:?}",
        tags_of(&reply)?
    );
    ensure!(
        reply.json()?["name"] == repo.name,
        "name is {}",
        reply.json()?["name"]
    );
    Ok(())
}

async fn deleted_tag_is_not_listed(cx: &Ctx) -> Outcome {
    let repo = tagged(cx, &["a", "b", "c"]).await?;
    cx.delete(repo.manifest("b"))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["a", "c"], "tags are {tags:?}");
    let (tags, _) = page(&repo, "n=1&last=a").await?;
    ensure!(tags == ["c"], "n=1&last=a answers {tags:?}");
    Ok(())
}

async fn name_is_exact(cx: &Ctx) -> Outcome {
    let repo = cx.repo_named("deep/er/name");
    repo.image(Some("a")).await?;
    let reply = cx.get(repo.tags()).expect(StatusCode::OK).await?;
    ensure!(
        reply.json()?["name"] == repo.name,
        "name is {}",
        reply.json()?["name"]
    );
    Ok(())
}

async fn prefixes_do_not_leak(cx: &Ctx) -> Outcome {
    let short = cx.repo_named("ab");
    let names = [
        format!("{}c", short.name),
        format!("{}/c", short.name),
        format!("{}-c", short.name),
    ];
    short.image(Some("own")).await?;
    for name in &names {
        cx.repo_exactly(name).image(Some("other")).await?;
    }
    let tags = short.list_tags().await?;
    ensure!(tags == ["own"], "tags are {tags:?}");
    for name in names {
        let tags = cx.repo_exactly(name).list_tags().await?;
        ensure!(tags == ["other"], "tags are {tags:?}");
    }
    Ok(())
}
