//! Names, tags and digests, and how a path is split into them.

use http::StatusCode;

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::OCI_MANIFEST,
    failure::{Outcome, Within as _, ensure},
    repo::Repo,
};

case_table! { "grammar";
    Must names_of_the_grammar_work: "Every name the grammar allows is a repository: dots, dashes, underscores, any depth.";
    Must a_single_component_is_a_name: "A repository name may be a single component.";
    Must names_outside_the_grammar_are_refused: "A name outside the grammar is refused with 400 NAME_INVALID.";
    Should long_names: "A name of 200 characters works, one of 256 is refused with NAME_INVALID.";
    Must tags_of_the_grammar_work: "Every tag the grammar allows can be pushed and pulled, up to 128 characters.";
    Must tags_outside_the_grammar_are_refused: "A tag outside the grammar is refused on PUT with 400, and absent on GET.";
    Must malformed_digest_in_put_is_400: "PUT of a manifest to a malformed digest answers 400 DIGEST_INVALID.";
    Must malformed_digest_in_get_is_refused: "GET or HEAD of a malformed digest is 400 or 404, never a server error.";
    Must malformed_digest_of_referrers_is_400: "Referrers of a malformed digest answer 400.";
    Must malformed_digest_of_upload_is_400: "Closing an upload with a malformed digest answers 400 DIGEST_INVALID.";
    Practice malformed_digest_of_delete_is_refused: "DELETE of a malformed digest is 400 or 404, in the error envelope.";
    Must names_that_look_like_endpoints: "Names may contain blobs, manifests, tags, uploads, referrers and list, anywhere.";
    Practice encoded_digest_in_path: "A digest in a path may be percent-encoded (sha256%3A…).";
    Practice encoded_digest_in_query: "A digest in a query may be percent-encoded.";
    Practice encoded_name: "Percent-encoding is decoded exactly once.";
    Practice encoded_slash_in_name: "%2F in a name is the same name or none, never another.";
    Practice traversal_is_harmless: "No encoding of .. or of a control character escapes, or breaks the server.";
    Practice empty_components: "Empty path components are refused, not skipped.";
    Practice dot_components: "Components . and .. are refused, not resolved.";
    Practice endpoint_words_alone: "Paths made of endpoint words alone are refused, or parsed from the right end.";
    Practice queries_that_are_not_utf8: "A query that is not UTF-8 is refused or ignored, never a server error.";
    Practice case_matters: "Tags that differ in case are different tags.";
}

/// POST, tags/list, a manifest, a blob and the referrers under this name.
async fn every_endpoint_under(
    cx: &Ctx,
    name: &str,
) -> Result<Vec<crate::reply::Reply>, crate::Failure> {
    let repo = cx.repo_exactly(name);
    let digest = Alg::Sha256.of_nothing();
    Ok(vec![
        cx.post(repo.uploads()).send().await?,
        cx.get(repo.tags()).send().await?,
        repo.get_manifest("latest").send().await?,
        repo.get_blob(&digest).send().await?,
        cx.get(repo.referrers(&digest)).send().await?,
    ])
}

/// Pushes, lists and pulls an image.
async fn round_trip(repo: &Repo<'_>) -> Outcome {
    let image = repo.image(Some("latest")).await?;
    repo.blob_is(&image.layer, &image.layer_bytes).await?;
    repo.manifest_is("latest", &image.manifest).await?;
    repo.manifest_is(&image.digest, &image.manifest).await?;
    ensure!(
        repo.list_tags().await? == ["latest"],
        "tags are {:?}",
        repo.list_tags().await?
    );
    Ok(())
}

async fn names_of_the_grammar_work(cx: &Ctx) -> Outcome {
    for suffix in [
        "a",
        "0",
        "a---b",
        "a__b",
        "a_b",
        "a.b",
        "a-b",
        "a.b_c-d__e",
        "1/2/3/4/5/6/7/8",
        "x/y.z/w",
        "a-------------b",
        "library",
    ] {
        round_trip(&cx.repo_named(suffix)).await.within(suffix)?;
    }
    Ok(())
}

async fn a_single_component_is_a_name(cx: &Ctx) -> Outcome {
    round_trip(&cx.repo_exactly(cx.word())).await
}

async fn names_outside_the_grammar_are_refused(cx: &Ctx) -> Outcome {
    for bad in [
        "a___b",
        "a..b",
        "-a",
        "a-",
        ".a",
        "a.",
        "_a",
        "a_",
        "A",
        "aB",
        "a._b",
        "a.-b",
        "a-_b",
        "a+b",
        "a@b",
        "a~b",
        "a/A/b",
        "a/-/b",
        "_uploads",
        "a/_manifests",
        "%C3%A4",
        "a%20b",
        "a$b",
        "a!b",
        "a,b",
        "a*b",
        "(a)",
        "a=b",
        "a'b",
    ] {
        let name = format!("{}/{bad}", cx.prefix());
        for reply in every_endpoint_under(cx, &name).await.within(bad)? {
            reply.error(StatusCode::BAD_REQUEST, &["NAME_INVALID"])?;
        }
    }
    Ok(())
}

async fn long_names(cx: &Ctx) -> Outcome {
    let fill = |length: usize| {
        let mut name = format!("{}/", cx.prefix());
        name.push_str(&"x".repeat(length.saturating_sub(name.len())));
        name
    };
    round_trip(&cx.repo_exactly(fill(200))).await?;
    for length in [256, 300, 2000] {
        for reply in every_endpoint_under(cx, &fill(length)).await? {
            reply
                .error(StatusCode::BAD_REQUEST, &["NAME_INVALID"])
                .within(length)?;
        }
    }
    Ok(())
}

async fn tags_of_the_grammar_work(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let longest = "t".repeat(128);
    for tag in [
        "a",
        "A",
        "0",
        "_",
        "__",
        "1.0.0-rc.1_x",
        "a-",
        "a.",
        "_.-",
        "latest",
        "LATEST",
        "list",
        "tags",
        "sha256-abc",
        "uploads",
        &longest,
    ] {
        repo.push(tag, &image.manifest).await.within(tag)?;
        repo.manifest_is(tag, &image.manifest).await.within(tag)?;
    }
    Ok(())
}

async fn tags_outside_the_grammar_are_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let too_long = "t".repeat(129);
    for tag in [
        "-a", ".a", "a+b", "a%20b", "a@b", "%C3%A4", "a~b", "a$b", &too_long,
    ] {
        let reply = repo.put_manifest(tag, &image.manifest).send().await?;
        reply.status(StatusCode::BAD_REQUEST)?.error_codes()?;
        let reply = repo.get_manifest(tag).send().await?;
        reply
            .status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?
            .error_codes()?;
    }
    cx.get(repo.tags())
        .send()
        .await?
        .status_in(&[StatusCode::OK, StatusCode::NOT_FOUND])?;
    Ok(())
}

/// Strings with a colon that are not digests a registry can use.
fn malformed_digests() -> Vec<String> {
    let hex = "0123456789abcdef".repeat(4);
    vec![
        "sha256:baddigeststring".into(),
        "sha256:".into(),
        format!(":{hex}"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", hex.get(..63).unwrap_or_default()),
        format!("sha256:{hex}0"),
        format!("sha256:{}g", hex.get(..63).unwrap_or_default()),
        format!("SHA256:{hex}"),
        format!("sha512:{hex}"),
        "md5:d41d8cd98f00b204e9800998ecf8427e".into(),
        format!("sha256:sha256:{hex}"),
        format!("sha256:{hex}:x"),
        format!("sha256+:{hex}"),
        "sha256:..%2F..%2Fx".into(),
    ]
}

async fn malformed_digest_in_put_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for digest in malformed_digests() {
        let reply = repo.put_manifest(&digest, &image.manifest).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn malformed_digest_in_get_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("x")).await?;
    for digest in malformed_digests() {
        for request in [
            repo.get_manifest(&digest),
            repo.head_manifest(&digest),
            repo.get_blob(&digest),
            repo.head_blob(&digest),
        ] {
            let reply = request.send().await?;
            reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
            reply.error_codes()?;
        }
    }
    Ok(())
}

async fn malformed_digest_of_referrers_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("x")).await?;
    for digest in malformed_digests()
        .into_iter()
        .chain(["latest".into(), "x".into()])
    {
        let reply = cx.get(repo.referrers(&digest)).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn malformed_digest_of_upload_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for digest in malformed_digests() {
        let upload = repo.start().await?;
        let reply = upload.put(&digest, cx.bytes(10)).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn malformed_digest_of_delete_is_refused(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("x")).await?;
    for digest in malformed_digests() {
        for target in [repo.blob(&digest), repo.manifest(&digest)] {
            let reply = cx.delete(target).send().await?;
            reply.status_in(&[
                StatusCode::BAD_REQUEST,
                StatusCode::NOT_FOUND,
                StatusCode::METHOD_NOT_ALLOWED,
            ])?;
            reply.error_codes()?;
        }
    }
    Ok(())
}

async fn names_that_look_like_endpoints(cx: &Ctx) -> Outcome {
    for suffix in [
        "blobs",
        "manifests",
        "tags",
        "uploads",
        "referrers",
        "list",
        "v2",
        "blobs/uploads",
        "tags/list",
        "x/manifests/y",
        "x/tags/list/tags/list",
        "manifests/latest",
        "blobs/uploads/blobs/uploads",
        "referrers/x",
        "tag/manifests/history",
        "catalog",
    ] {
        let repo = cx.repo_named(suffix);
        round_trip(&repo).await.within(suffix)?;
        let bytes = cx.bytes(20);
        let mut upload = repo.start().await?;
        upload.append(&bytes).await.within(suffix)?;
        upload.has_received(20).await.within(suffix)?;
        upload.finish(&sha256(&bytes)).await.within(suffix)?;
        let digest = Alg::Sha256.of_nothing();
        let reply = cx.get(repo.referrers(&digest)).send().await?;
        reply.status_in(&[StatusCode::OK, StatusCode::NOT_FOUND])?;
    }
    Ok(())
}

async fn encoded_digest_in_path(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let encoded = image.digest.replace(':', "%3A");
    repo.get_manifest(&encoded)
        .expect(StatusCode::OK)
        .await?
        .body_is(&image.manifest.bytes)?;
    let encoded = image.layer.replace(':', "%3a");
    repo.get_blob(&encoded)
        .expect(StatusCode::OK)
        .await?
        .body_is(&image.layer_bytes)?;
    Ok(())
}

async fn encoded_digest_in_query(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let bytes = cx.bytes(50);
    let digest = sha256(&bytes);
    let upload = repo.start().await?;
    let put = upload.put(&digest.replace(':', "%3A"), bytes.clone());
    put.expect(StatusCode::CREATED).await?;
    repo.blob_is(&digest, &bytes).await
}

async fn encoded_name(cx: &Ctx) -> Outcome {
    let repo = cx.repo_named("abc");
    let image = repo.image(Some("t1")).await?;
    let once = repo.manifest("%74%31").replace("/abc/", "/%61bc/");
    cx.get(&once)
        .header("accept", "*/*")
        .header("accept", OCI_MANIFEST)
        .expect(StatusCode::OK)
        .await?
        .body_is(&image.manifest.bytes)?;
    let twice = repo.manifest("t1").replace("/abc/", "/%2561bc/");
    let reply = cx.get(twice).send().await?;
    reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
    Ok(())
}

async fn encoded_slash_in_name(cx: &Ctx) -> Outcome {
    let repo = cx.repo_named("deep/abc");
    let image = repo.image(Some("t1")).await?;
    let target = repo.manifest("t1").replace("/deep/abc/", "/deep%2Fabc/");
    let reply = cx.get(target).send().await?;
    reply.status_in(&[
        StatusCode::OK,
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
    ])?;
    if reply.code() == StatusCode::OK {
        reply.body_is(&image.manifest.bytes)?;
    }
    Ok(())
}

async fn traversal_is_harmless(cx: &Ctx) -> Outcome {
    let name = cx.repo().name;
    for target in [
        "/%2F%2F..%2F..%2Fetc%2Fpasswd".to_owned(),
        "/v2/%2F%2F..%2F..%2Fetc%2Fpasswd".to_owned(),
        format!("/v2/{name}%2f..%2f..%2fb/manifests/x"),
        format!("/v2/{name}/%2e%2e/b/manifests/x"),
        format!("/v2/{name}/..%2fb/tags/list"),
        format!("/v2/{name}/manifests/..%2f..%2fx"),
        format!("/v2/{name}/manifests/%2e%2e"),
        format!("/v2/{name}/blobs/sha256:..%2f..%2f..%2f..%2fetc%2fpasswd"),
        format!("/v2/{name}/blobs/..%5c..%5cx"),
        format!("/v2/{name}\\..\\b/tags/list"),
        format!("/v2/{name};x/tags/list"),
        format!("/v2/{name}/%00/tags/list"),
        format!("/v2/{name}/manifests/x%00"),
        format!("/v2/{name}/manifests/x%0d%0aSet-Cookie:a"),
        format!("/v2/{name}/%c0%ae%c0%ae/tags/list"),
        format!("/v2/{name}/%ff%fe/tags/list"),
        format!("/v2/{name}/%/tags/list"),
        format!("/v2/{name}/%zz/tags/list"),
        format!("/v2/{name}/%252e%252e/tags/list"),
        format!("/v2/{name}/blobs/uploads/..%2f..%2fx"),
        format!("/v2/{name}/blobs/uploads/%2e%2e"),
        format!("/v2/{name}/referrers/..%2fx"),
    ] {
        for request in [cx.get(&target), cx.head(&target), cx.delete(&target)] {
            let reply = request.send().await?;
            reply.status_in(&[
                StatusCode::BAD_REQUEST,
                StatusCode::NOT_FOUND,
                StatusCode::METHOD_NOT_ALLOWED,
            ])?;
            reply.no_header("set-cookie")?;
        }
    }
    Ok(())
}

async fn empty_components(cx: &Ctx) -> Outcome {
    let repo = cx.repo_named("abc");
    repo.image(Some("t")).await?;
    for target in [
        "/v2//tags/list".to_owned(),
        "/v2//manifests/t".to_owned(),
        repo.manifest("t").replace("/abc/", "//abc/"),
        repo.manifest("t").replace("/manifests/", "//manifests/"),
        repo.manifest("t").replace("/manifests/", "/manifests//"),
        repo.tags().replace("/list", "//list"),
        format!("/{}", repo.manifest("t")),
        repo.manifest(""),
        repo.blob(""),
        repo.referrers(""),
    ] {
        let reply = cx.get(&target).send().await?;
        reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
    }
    Ok(())
}

async fn dot_components(cx: &Ctx) -> Outcome {
    let repo = cx.repo_named("abc");
    repo.image(Some("t")).await?;
    for target in [
        repo.manifest("t").replace("/abc/", "/./abc/"),
        repo.manifest("t").replace("/abc/", "/x/../abc/"),
        repo.manifest("t").replace("/v2/", "/v2/../v2/"),
        repo.manifest(".."),
        repo.manifest("."),
        repo.blob(".."),
        format!("{}..", repo.uploads()),
    ] {
        let reply = cx.get(&target).send().await?;
        reply.status_in(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND])?;
    }
    Ok(())
}

async fn endpoint_words_alone(cx: &Ctx) -> Outcome {
    for target in [
        "/v2/tags/list",
        "/v2/manifests/x",
        "/v2/blobs/uploads/",
        "/v2/blobs/uploads/x",
        "/v2/_manifests/tags/list",
        "/v2/_catalog/tags/list",
        "/v2/../tags/list",
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

async fn queries_that_are_not_utf8(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("t")).await?;
    for target in [
        format!("{}?last=%ff%fe", repo.tags()),
        format!("{}?n=%ff", repo.tags()),
        format!("{}?%ff=%ff", repo.manifest("t")),
        format!("{}?artifactType=%ff", repo.referrers(&image.digest)),
        format!("{}?&&&==&", repo.tags()),
        format!("{}?%", repo.tags()),
    ] {
        let reply = cx.get(target).send().await?;
        reply.status_in(&[
            StatusCode::OK,
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
        ])?;
    }
    Ok(())
}

async fn case_matters(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let lower = repo.image(Some("same")).await?;
    let upper = repo.image(Some("SAME")).await?;
    repo.manifest_is("same", &lower.manifest).await?;
    repo.manifest_is("SAME", &upper.manifest).await
}
