//! The referrers API.

use http::StatusCode;
use serde_json::{Value, json};

use super::manifests_push::artifact_of;
use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{
        Document, EMPTY_JSON, OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
        descriptor, descriptor_of_nothing, image_index, image_manifest, with,
    },
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
    repo::{Image, Repo, manifests_of},
};

case_table! { "referrers";
    Must response_is_an_index: "Referrers answer 200 with an image index: type, schemaVersion, mediaType and manifests.";
    Must none_is_an_empty_index: "A manifest nobody refers to has an empty list of referrers.";
    Must unknown_digest_is_an_empty_index: "A digest that is not in the repository answers 200 with an empty list.";
    Must unknown_repository_is_an_empty_index: "A repository nobody has pushed to answers 200 with an empty list.";
    Must probe_with_zeros: "The probe that clients send, a digest of zeros, answers 200 with an empty list.";
    Must malformed_digest_is_400: "A malformed digest answers 400.";
    Must descriptor_fields: "An entry has the media type, digest, size, artifactType and annotations of the referrer.";
    Must annotations_are_omitted_when_absent: "An entry of a referrer without annotations has none.";
    Must artifact_type_of_image: "Without artifactType, an image's entry has the media type of its config.";
    Must artifact_type_of_index: "Without artifactType, an index's entry has none.";
    Must index_as_referrer: "An index with a subject is listed, with its artifactType and annotations.";
    Should filter_by_type: "?artifactType= lists only entries of that type, and says so in OCI-Filters-Applied.";
    Should filter_without_match: "A filter that matches nothing answers an empty list, and still says it was applied.";
    Practice several_types: "Several artifactType parameters are joined by or, or none is claimed to be applied.";
    Practice unknown_filter_is_ignored: "A parameter that is no filter is ignored and not claimed.";
    Must no_filter_no_header: "Without a filter nothing is claimed to be applied.";
    Must same_repository_only: "Referrers in other repositories are not listed.";
    Must missing_subject: "A referrer that was pushed before its subject, or without one, is listed.";
    Must every_push_is_listed: "Referrers pushed by tag and by digest are listed, each once.";
    Practice many_referrers: "A hundred referrers are all listed, following Links.";
    Must long_lists_come_in_pages: "A list larger than a manifest may be comes in pages with Links that keep the filter.";
    Must deleted_referrer_is_gone [Deletes]: "A deleted referrer is not listed any more.";
    Must referrers_outlive_the_subject [Deletes]: "When the subject is deleted, its referrers are still listed.";
    Practice retagging_changes_nothing: "Moving or deleting a referrer's tag does not change the list.";
    Must entries_are_pullable: "Every listed digest can be pulled and refers to the subject.";
    Must tag_schema_is_an_ordinary_tag: "The tag that old clients keep referrers under is stored and listed like any tag.";
    Must tag_schema_entries_are_listed_once: "A referrer that an old client also listed under the tag appears once.";
    Practice tag_schema_entries_are_verified: "What the tag lists but does not refer to the subject is not a referrer.";
    Must sha512_subject: "A subject named by its sha512 digest has its own referrers.";
    Must chain: "A referrer can have referrers.";
    Practice docker_types: "A referrer of Docker's image manifests is listed by the subject's digest.";
    Practice encoded_filter: "The filter's value may be percent-encoded.";
    Practice content_length: "The list has Content-Length and no parameters in its type.";
}

async fn list(repo: &Repo<'_>, digest: &str, query: &str) -> Result<Reply, Failure> {
    let reply = repo
        .cx
        .get(format!("{}{query}", repo.referrers(digest)))
        .send()
        .await?;
    reply
        .status(StatusCode::OK)?
        .header_is("content-type", OCI_INDEX)?;
    Ok(reply)
}

/// The digests of a list, sorted.
fn digests(entries: &[Value]) -> Vec<String> {
    let mut digests: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry["digest"].as_str().map(str::to_owned))
        .collect();
    digests.sort();
    digests
}

fn sorted(mut digests: Vec<String>) -> Vec<String> {
    digests.sort();
    digests
}

/// Pushes a referrer of `image` by digest.
async fn referrer(repo: &Repo<'_>, image: &Image, kind: &str) -> Result<String, Failure> {
    let artifact = artifact_of(repo, image.manifest.descriptor(), kind).await?;
    repo.push_untagged(&artifact).await
}

fn is_empty_index(reply: &Reply) -> Outcome {
    let json = reply.json()?;
    ensure!(
        json["schemaVersion"] == 2,
        "schemaVersion is {}",
        json["schemaVersion"]
    );
    ensure!(
        json["mediaType"] == OCI_INDEX,
        "mediaType is {}",
        json["mediaType"]
    );
    ensure!(
        json["manifests"] == json!([]),
        "manifests is {}",
        json["manifests"]
    );
    ensure!(reply.next_link()?.is_none(), "an empty list with a Link");
    Ok(())
}

async fn response_is_an_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    referrer(&repo, &image, "application/vnd.example.sig").await?;
    let reply = list(&repo, &image.digest, "").await?;
    let json = reply.json()?;
    ensure!(
        json["schemaVersion"] == 2,
        "schemaVersion is {}",
        json["schemaVersion"]
    );
    ensure!(
        json["mediaType"] == OCI_INDEX,
        "mediaType is {}",
        json["mediaType"]
    );
    ensure!(
        manifests_of(&reply)?.len() == 1,
        "manifests is {}",
        json["manifests"]
    );
    Ok(())
}

async fn none_is_an_empty_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    is_empty_index(&list(&repo, &image.digest, "").await?)
}

async fn unknown_digest_is_an_empty_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    repo.image(Some("v1")).await?;
    is_empty_index(&list(&repo, &sha256(&cx.bytes(9)), "").await?)?;
    is_empty_index(&list(&repo, &Alg::Sha512.of(&cx.bytes(9)), "").await?)
}

async fn unknown_repository_is_an_empty_index(cx: &Ctx) -> Outcome {
    is_empty_index(&list(&cx.repo(), &sha256(&cx.bytes(9)), "").await?)
}

async fn probe_with_zeros(cx: &Ctx) -> Outcome {
    is_empty_index(&list(&cx.repo(), &Alg::Sha256.of_nothing(), "").await?)
}

async fn malformed_digest_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for digest in ["sha256:abc", "latest", "md5:x"] {
        let reply = cx.get(repo.referrers(digest)).send().await?;
        reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    }
    Ok(())
}

async fn descriptor_fields(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(
        &repo,
        image.manifest.descriptor(),
        "application/vnd.example.a",
    )
    .await?;
    let value: Value =
        serde_json::from_slice(&artifact.bytes).map_err(|error| Failure::new(error.to_string()))?;
    let annotations = json!({"org.example.key": "a \"value\" with ümläuts", "b": ""});
    let artifact = Document::json(
        OCI_MANIFEST,
        &with(value, "annotations", annotations.clone()),
    );
    let digest = repo.push_untagged(&artifact).await?;
    let entries = repo.list_referrers(&image.digest).await?;
    let expected = json!([{
        "mediaType": OCI_MANIFEST,
        "digest": digest,
        "size": artifact.bytes.len(),
        "artifactType": "application/vnd.example.a",
        "annotations": annotations,
    }]);
    ensure!(
        json!(entries) == expected,
        "entries are {}, expected {expected}",
        json!(entries)
    );
    Ok(())
}

/// The only referrer of a fresh image, made by `make` from the image's descriptor.
async fn only_entry(
    cx: &Ctx,
    media_type: &str,
    make: impl Fn(Value) -> Value,
) -> Result<Value, Failure> {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    repo.push_blob(&bytes::Bytes::from_static(EMPTY_JSON))
        .await?;
    let document = Document::json(media_type, &make(image.manifest.descriptor()));
    repo.push_untagged(&document).await?;
    let entries = repo.list_referrers(&image.digest).await?;
    ensure!(entries.len() == 1, "entries are {}", json!(entries));
    entries
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new("no entry"))
}

async fn annotations_are_omitted_when_absent(cx: &Ctx) -> Outcome {
    let entry = only_entry(cx, OCI_MANIFEST, |subject| {
        let manifest = image_manifest(descriptor(OCI_EMPTY, EMPTY_JSON), vec![]);
        with(
            with(manifest, "artifactType", json!("a/b")),
            "subject",
            subject,
        )
    });
    let entry = entry.await?;
    ensure!(entry.get("annotations").is_none(), "the entry is {entry}");
    Ok(())
}

async fn artifact_type_of_image(cx: &Ctx) -> Outcome {
    let entry = only_entry(cx, OCI_MANIFEST, |subject| {
        with(
            image_manifest(descriptor(OCI_CONFIG, EMPTY_JSON), vec![]),
            "subject",
            subject,
        )
    });
    let entry = entry.await?;
    ensure!(entry["artifactType"] == OCI_CONFIG, "the entry is {entry}");
    Ok(())
}

async fn artifact_type_of_index(cx: &Ctx) -> Outcome {
    let entry = only_entry(cx, OCI_INDEX, |subject| {
        with(image_index(vec![]), "subject", subject)
    });
    let entry = entry.await?;
    ensure!(entry.get("artifactType").is_none(), "the entry is {entry}");
    ensure!(entry["mediaType"] == OCI_INDEX, "the entry is {entry}");
    Ok(())
}

async fn index_as_referrer(cx: &Ctx) -> Outcome {
    let entry = only_entry(cx, OCI_INDEX, |subject| {
        let index = with(
            image_index(vec![]),
            "artifactType",
            json!("application/vnd.example.set"),
        );
        with(
            with(index, "annotations", json!({"k": "v"})),
            "subject",
            subject,
        )
    });
    let entry = entry.await?;
    ensure!(
        entry["artifactType"] == "application/vnd.example.set",
        "the entry is {entry}"
    );
    ensure!(
        entry["annotations"] == json!({"k": "v"}),
        "the entry is {entry}"
    );
    Ok(())
}

async fn filter_by_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let wanted = referrer(&repo, &image, "application/vnd.example.sbom").await?;
    referrer(&repo, &image, "application/vnd.example.sig").await?;
    let reply = list(
        &repo,
        &image.digest,
        "?artifactType=application/vnd.example.sbom",
    )
    .await?;
    reply.header_is("oci-filters-applied", "artifactType")?;
    let found = digests(&manifests_of(&reply)?);
    ensure!(found == [wanted], "filtered to {found:?}");
    // The type of an image without one is that of its config, for the filter too.
    let plain = with(
        image_manifest(descriptor(OCI_CONFIG, EMPTY_JSON), vec![]),
        "subject",
        image.manifest.descriptor(),
    );
    let plain = repo
        .push_untagged(&Document::json(OCI_MANIFEST, &plain))
        .await?;
    let query = format!("?artifactType={OCI_CONFIG}").replace('+', "%2B");
    let reply = list(&repo, &image.digest, &query).await?;
    let found = digests(&manifests_of(&reply)?);
    ensure!(found == [plain], "filtered by config type to {found:?}");
    Ok(())
}

async fn filter_without_match(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    referrer(&repo, &image, "application/vnd.example.sig").await?;
    let reply = list(&repo, &image.digest, "?artifactType=no/such").await?;
    reply.header_is("oci-filters-applied", "artifactType")?;
    is_empty_index(&reply)?;
    let reply = list(
        &cx.repo(),
        &Alg::Sha256.of_nothing(),
        "?artifactType=no/such",
    )
    .await?;
    reply.header_is("oci-filters-applied", "artifactType")?;
    is_empty_index(&reply)
}

async fn several_types(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let one = referrer(&repo, &image, "x/one").await?;
    let two = referrer(&repo, &image, "x/two").await?;
    let three = referrer(&repo, &image, "x/three").await?;
    let reply = list(
        &repo,
        &image.digest,
        "?artifactType=x/one&artifactType=x/two",
    )
    .await?;
    let found = digests(&manifests_of(&reply)?);
    if reply.maybe("oci-filters-applied").is_some() {
        ensure!(found == sorted(vec![one, two]), "filtered to {found:?}");
    } else {
        ensure!(
            found == sorted(vec![one, two, three]),
            "unfiltered list is {found:?}"
        );
    }
    Ok(())
}

async fn unknown_filter_is_ignored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let digest = referrer(&repo, &image, "x/one").await?;
    let reply = list(&repo, &image.digest, "?color=green&ARTIFACTTYPE=x/two").await?;
    reply.no_header("oci-filters-applied")?;
    let found = digests(&manifests_of(&reply)?);
    ensure!(found == [digest], "the list is {found:?}");
    Ok(())
}

async fn no_filter_no_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    list(&repo, &image.digest, "")
        .await?
        .no_header("oci-filters-applied")?;
    Ok(())
}

async fn same_repository_only(cx: &Ctx) -> Outcome {
    let (repo, other) = (cx.repo(), cx.repo());
    let image = repo.image(Some("v1")).await?;
    referrer(&other, &image, "x/one").await?;
    is_empty_index(&list(&repo, &image.digest, "").await?)?;
    let found = other.list_referrers(&image.digest).await?;
    ensure!(
        found.len() == 1,
        "the other repository lists {}",
        json!(found)
    );
    Ok(())
}

async fn missing_subject(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = referrer(&repo, &image, "x/early").await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [digest.clone()], "before the subject: {found:?}");
    repo.push("v1", &image.manifest).await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [digest], "after the subject: {found:?}");
    Ok(())
}

async fn every_push_is_listed(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(&repo, image.manifest.descriptor(), "x/one").await?;
    for reference in ["one".to_owned(), "two".to_owned(), artifact.digest()] {
        repo.push(&reference, &artifact).await?;
    }
    let other = referrer(&repo, &image, "x/two").await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(
        found == sorted(vec![artifact.digest(), other]),
        "the list is {found:?}"
    );
    Ok(())
}

async fn many_referrers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let mut expected = Vec::new();
    for number in 0..100 {
        let index = with(
            image_index(vec![]),
            "annotations",
            json!({"n": number.to_string()}),
        );
        let index = with(index, "subject", image.manifest.descriptor());
        expected.push(
            repo.push_untagged(&Document::json(OCI_INDEX, &index))
                .await?,
        );
    }
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(
        found == sorted(expected),
        "{} of 100 are listed",
        found.len()
    );
    Ok(())
}

async fn long_lists_come_in_pages(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let mut expected = Vec::new();
    for number in 0..5 {
        let filler = format!("{number}{}", "x".repeat(1_900_000));
        let index = with(
            image_index(vec![]),
            "annotations",
            json!({"filler": filler}),
        );
        let index = with(
            index,
            "artifactType",
            json!(if number < 4 { "x/big" } else { "x/other" }),
        );
        let index = with(index, "subject", image.manifest.descriptor());
        expected.push(
            repo.push_untagged(&Document::json(OCI_INDEX, &index))
                .await?,
        );
    }
    for (query, count) in [("", 5), ("?artifactType=x/big", 4)] {
        let wanted = sorted(expected.iter().take(count).cloned().collect());
        let (mut found, mut pages) = (Vec::new(), 0);
        let mut next = Some(format!("{}{query}", repo.referrers(&image.digest)));
        while let Some(target) = next {
            let reply = cx.get(target).expect(StatusCode::OK).await?;
            ensure!(
                reply.length() <= 4 << 20,
                "a page of {} bytes",
                reply.length()
            );
            if !query.is_empty() {
                reply.header_is("oci-filters-applied", "artifactType")?;
            }
            found.extend(manifests_of(&reply)?);
            next = reply.next_link()?;
            pages += 1;
            ensure!(pages <= 10, "the Links do not end");
        }
        ensure!(
            digests(&found) == wanted,
            "{query:?} lists {} in {pages} pages",
            found.len()
        );
        ensure!(pages > 1, "{} bytes in one page", wanted.len() * 1_900_000);
    }
    Ok(())
}

async fn deleted_referrer_is_gone(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let kept = referrer(&repo, &image, "x/kept").await?;
    let gone = referrer(&repo, &image, "x/gone").await?;
    cx.delete(repo.manifest(&gone))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [kept], "the list is {found:?}");
    Ok(())
}

async fn referrers_outlive_the_subject(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let digest = referrer(&repo, &image, "x/one").await?;
    cx.delete(repo.manifest(&image.digest))
        .expect(StatusCode::ACCEPTED)
        .await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [digest], "the list is {found:?}");
    Ok(())
}

async fn retagging_changes_nothing(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(&repo, image.manifest.descriptor(), "x/one").await?;
    repo.push("sig", &artifact).await?;
    repo.push("sig", &image.manifest).await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [artifact.digest()], "the list is {found:?}");
    Ok(())
}

async fn entries_are_pullable(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for number in 0..3 {
        referrer(&repo, &image, &format!("x/t{number}")).await?;
    }
    let entries = repo.list_referrers(&image.digest).await?;
    ensure!(entries.len() == 3, "{} entries", entries.len());
    for entry in entries {
        let digest = entry["digest"].as_str().unwrap_or_default();
        let reply = repo.get_manifest(digest).expect(StatusCode::OK).await?;
        ensure!(
            reply.json()?["subject"]["digest"] == image.digest,
            "{digest} has another subject"
        );
        ensure!(entry["size"] == reply.length(), "{digest} has another size");
    }
    Ok(())
}

/// The tag under which clients without the API keep the referrers of `digest`.
fn schema_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

async fn tag_schema_is_an_ordinary_tag(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(&repo, image.manifest.descriptor(), "x/one").await?;
    repo.push_untagged(&artifact).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![artifact.descriptor()]));
    let tag = schema_tag(&image.digest);
    repo.push(&tag, &index).await?;
    repo.manifest_is(&tag, &index).await?;
    let tags = repo.list_tags().await?;
    ensure!(tags.contains(&tag), "tags are {tags:?}");
    Ok(())
}

async fn tag_schema_entries_are_listed_once(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(&repo, image.manifest.descriptor(), "x/one").await?;
    let digest = repo.push_untagged(&artifact).await?;
    let entry = with(artifact.descriptor(), "artifactType", json!("x/one"));
    let index = Document::json(OCI_INDEX, &image_index(vec![entry]));
    repo.push(&schema_tag(&image.digest), &index).await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [digest], "the list is {found:?}");
    Ok(())
}

async fn tag_schema_entries_are_verified(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let stranger = repo.image(None).await?;
    let entry = with(
        stranger.manifest.descriptor(),
        "artifactType",
        json!("x/forged"),
    );
    let index = Document::json(OCI_INDEX, &image_index(vec![entry]));
    repo.push(&schema_tag(&image.digest), &index).await?;
    is_empty_index(&list(&repo, &image.digest, "").await?).within("an entry without a subject")?;
    // Nor does an image under that tag, instead of an index, break the list.
    repo.push(&schema_tag(&image.digest), &stranger.manifest)
        .await?;
    is_empty_index(&list(&repo, &image.digest, "").await?).within("an image under the tag")
}

async fn sha512_subject(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = image.manifest.digest_as(Alg::Sha512);
    repo.push(&digest, &image.manifest).await?;
    let artifact = artifact_of(&repo, image.manifest.descriptor_as(Alg::Sha512), "x/one").await?;
    let reply = repo
        .push(&artifact.digest_as(Alg::Sha512), &artifact)
        .await?;
    reply.header_is("oci-subject", &digest)?;
    let entries = repo.list_referrers(&digest).await?;
    ensure!(
        digests(&entries) == [artifact.digest_as(Alg::Sha512)],
        "the list is {}",
        json!(entries)
    );
    Ok(())
}

async fn chain(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let first = artifact_of(&repo, image.manifest.descriptor(), "x/sbom").await?;
    repo.push_untagged(&first).await?;
    let second = artifact_of(&repo, first.descriptor(), "x/sig").await?;
    repo.push_untagged(&second).await?;
    let found = digests(&repo.list_referrers(&image.digest).await?);
    ensure!(found == [first.digest()], "of the image: {found:?}");
    let found = digests(&repo.list_referrers(&first.digest()).await?);
    ensure!(found == [second.digest()], "of the referrer: {found:?}");
    Ok(())
}

async fn docker_types(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let subject = descriptor_of_nothing(docker, &sha256(&cx.bytes(5)));
    let digest = subject["digest"].as_str().unwrap_or_default().to_owned();
    let artifact = artifact_of(&repo, subject, "x/one").await?;
    let pushed = repo.push_untagged(&artifact).await?;
    let found = digests(&repo.list_referrers(&digest).await?);
    ensure!(found == [pushed], "the list is {found:?}");
    Ok(())
}

async fn encoded_filter(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let digest = referrer(&repo, &image, "application/vnd.example+json").await?;
    referrer(&repo, &image, "application/other").await?;
    for query in [
        "?artifactType=application%2Fvnd.example%2Bjson",
        "?%61rtifactType=application/vnd.example%2bjson",
    ] {
        let reply = list(&repo, &image.digest, query).await?;
        let found = digests(&manifests_of(&reply)?);
        ensure!(found == [digest.clone()], "{query} lists {found:?}");
    }
    Ok(())
}

async fn content_length(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let layer = cx.bytes(5);
    repo.push_blob(&layer).await?;
    repo.push_blob(&bytes::Bytes::from_static(EMPTY_JSON))
        .await?;
    let subject = descriptor_of_nothing(OCI_MANIFEST, &sha256(&layer));
    let manifest = image_manifest(
        descriptor(OCI_EMPTY, EMPTY_JSON),
        vec![descriptor(OCI_LAYER, &layer)],
    );
    repo.push_untagged(&Document::json(
        OCI_MANIFEST,
        &with(manifest, "subject", subject),
    ))
    .await?;
    let reply = list(&repo, &sha256(&layer), "").await?;
    ensure!(
        reply.content_length()? == reply.length(),
        "Content-Length is not the body's"
    );
    Ok(())
}
