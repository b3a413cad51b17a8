//! Several tags in one push: `PUT /manifests/<digest>?tag=a&tag=b`.

use http::{HeaderMap, StatusCode};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::Alg,
    documents::Document,
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
    repo::Repo,
};

case_table! { "tag_params";
    May one_tag: "A push by digest with ?tag= tags the manifest and answers OCI-Tag.";
    May several_tags: "Every accepted tag is listed in OCI-Tag and can be pulled.";
    Should at_least_ten: "Ten tags in one push are accepted.";
    Practice a_hundred: "A hundred tags in one push are accepted.";
    Practice few_headers: "A hundred tags do not make a hundred headers, which proxies and clients refuse.";
    May too_many_is_414: "More than a hundred tags in one push answer 414.";
    Practice nothing_is_written_when_one_is_malformed: "A malformed tag refuses the whole push: 400, and no tag moves.";
    Practice with_a_tag_path_is_400: "?tag= on a push by tag answers 400.";
    Must no_oci_tag_without_parameter: "A push without ?tag= answers no OCI-Tag.";
    May existing_tags_move: "Tags that exist move to the pushed manifest.";
    May sha512: "A manifest pushed by sha512 digest is tagged this way.";
    Practice repeated_tag: "The same tag twice is the same as once.";
    Practice encoded_tag: "A tag in the query may be percent-encoded.";
    Practice digest_is_still_checked: "With ?tag= the digest is still checked: 400, and no tag moves.";
}

/// The tags of all OCI-Tag headers.
fn accepted(headers: &HeaderMap) -> Vec<String> {
    let mut tags: Vec<String> = headers
        .get_all("oci-tag")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().to_owned())
        .collect();
    tags.sort();
    tags
}

/// A push by digest that names these tags.
async fn push(
    repo: &Repo<'_>,
    digest: &str,
    document: &Document,
    tags: &[String],
) -> Result<Reply, Failure> {
    let mut put = repo.put_manifest(digest, document);
    for tag in tags {
        put = put.query("tag", tag);
    }
    put.send().await
}

/// Pushes one manifest with `tags` and checks that all of them are accepted and work.
async fn all_accepted(cx: &Ctx, alg: Alg, tags: &[String]) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = image.manifest.digest_as(alg);
    let reply = push(&repo, &digest, &image.manifest, tags).await?;
    reply.status(StatusCode::CREATED)?;
    let mut expected = tags.to_vec();
    expected.sort();
    let found = accepted(reply.headers());
    ensure!(
        found == expected,
        "OCI-Tag lists {found:?}, pushed were {expected:?}"
    );
    for tag in tags {
        repo.manifest_is(tag, &image.manifest).await.within(tag)?;
    }
    let listed = repo.list_tags().await?;
    ensure!(listed == expected, "tags are {listed:?}");
    Ok(())
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number:03}")).collect()
}

async fn one_tag(cx: &Ctx) -> Outcome {
    all_accepted(cx, Alg::Sha256, &numbered(1)).await
}

async fn several_tags(cx: &Ctx) -> Outcome {
    all_accepted(cx, Alg::Sha256, &numbered(3)).await
}

async fn at_least_ten(cx: &Ctx) -> Outcome {
    all_accepted(cx, Alg::Sha256, &numbered(10)).await
}

async fn a_hundred(cx: &Ctx) -> Outcome {
    all_accepted(cx, Alg::Sha256, &numbered(100)).await
}

async fn few_headers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let reply = push(&repo, &image.digest, &image.manifest, &numbered(100)).await?;
    reply.status(StatusCode::CREATED)?;
    let count = reply.headers().len();
    ensure!(
        count <= 64,
        "{count} headers: OCI-Tag can list several tags in one"
    );
    Ok(())
}

async fn too_many_is_414(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("own")).await?;
    let reply = push(&repo, &image.digest, &image.manifest, &numbered(101)).await?;
    reply.status(StatusCode::URI_TOO_LONG)?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["own"], "tags are {tags:?}");
    Ok(())
}

async fn nothing_is_written_when_one_is_malformed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("own")).await?;
    let too_long = "t".repeat(129);
    for bad in ["-x", "", "a%20b", "a/b", "a%3Ab", &too_long] {
        let tags = ["good".to_owned(), bad.to_owned(), "fine".to_owned()];
        let reply = push(&repo, &image.digest, &image.manifest, &tags).await?;
        reply
            .status(StatusCode::BAD_REQUEST)
            .within(bad)?
            .error_codes()?;
    }
    let tags = repo.list_tags().await?;
    ensure!(tags == ["own"], "tags are {tags:?}");
    Ok(())
}

async fn with_a_tag_path_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("own")).await?;
    let reply = push(&repo, "v1", &image.manifest, &numbered(1)).await?;
    reply.status(StatusCode::BAD_REQUEST)?.error_codes()?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["own"], "tags are {tags:?}");
    Ok(())
}

async fn no_oci_tag_without_parameter(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    repo.push(&image.digest, &image.manifest)
        .await?
        .no_header("oci-tag")?;
    Ok(())
}

async fn existing_tags_move(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let old = repo.image(Some("t000")).await?;
    let new = repo.image_parts().await?;
    push(&repo, &new.digest, &new.manifest, &numbered(2))
        .await?
        .status(StatusCode::CREATED)?;
    repo.manifest_is("t000", &new.manifest).await?;
    repo.manifest_is("t001", &new.manifest).await?;
    repo.manifest_is(&old.digest, &old.manifest).await
}

async fn sha512(cx: &Ctx) -> Outcome {
    all_accepted(cx, Alg::Sha512, &numbered(3)).await
}

async fn repeated_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let tags = ["same".to_owned(), "same".to_owned()];
    let reply = push(&repo, &image.digest, &image.manifest, &tags).await?;
    reply.status(StatusCode::CREATED)?;
    ensure!(
        accepted(reply.headers()).contains(&"same".to_owned()),
        "OCI-Tag lacks the tag"
    );
    let tags = repo.list_tags().await?;
    ensure!(tags == ["same"], "tags are {tags:?}");
    Ok(())
}

async fn encoded_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let reply = push(
        &repo,
        &image.digest,
        &image.manifest,
        &["v%31%2E0".to_owned()],
    )
    .await?;
    reply.status(StatusCode::CREATED)?;
    ensure!(
        accepted(reply.headers()) == ["v1.0"],
        "OCI-Tag is {:?}",
        accepted(reply.headers())
    );
    repo.manifest_is("v1.0", &image.manifest).await
}

async fn digest_is_still_checked(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("own")).await?;
    let nothing = Alg::Sha256.of_nothing();
    let reply = push(&repo, &nothing, &image.manifest, &numbered(2)).await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["own"], "tags are {tags:?}");
    Ok(())
}
