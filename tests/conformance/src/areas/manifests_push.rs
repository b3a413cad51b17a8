//! PUT of manifests that must be taken.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{
        DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, Document, EMPTY_JSON,
        OCI_CONFIG, OCI_EMPTY, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor,
        descriptor_of_nothing, image_index, image_manifest, with, without,
    },
    failure::{Failure, Outcome, Within as _},
    repo::{Image, Repo},
};

case_table! { "manifests_push";
    Must by_tag_is_201: "PUT by tag answers 201 and a Location that serves the manifest.";
    Must by_digest_is_201: "PUT by digest answers 201 and a Location that serves the manifest.";
    Practice location_names_the_digest: "The Location of a push by tag names the digest, as a path.";
    Practice digest_header: "PUT answers Docker-Content-Digest, without which docker fails a push.";
    Must bytes_are_kept: "Whitespace, order and unknown fields are kept: what is stored is what was sent.";
    Practice field_names_have_case: "Layers is not layers: JSON names are compared with regard to case.";
    Must data_fields_are_kept: "Descriptors with embedded data are kept as they are.";
    Must without_media_type: "A document without mediaType is stored under its Content-Type.";
    Practice content_type_with_parameters: "Parameters of Content-Type are ignored.";
    Practice content_type_in_other_case: "Media types are compared without regard to case, or refused as invalid.";
    Practice without_content_type: "Without Content-Type the document says itself what it is.";
    Must by_sha512: "PUT to a sha512 digest stores and serves the manifest under it.";
    Must docker_image: "Docker's image manifest is accepted and served as such.";
    Must docker_list: "Docker's manifest list is accepted and served as such.";
    Must unknown_types_are_accepted: "Unknown artifactType, config and layer media types are never an error.";
    Must no_layers: "A manifest without layers is accepted.";
    Must empty_index: "An index without manifests is accepted.";
    Must foreign_layers: "Layers that may not be distributed need not be there.";
    Practice layers_with_urls: "Layers that say where else they are need not be there.";
    Practice descriptors_in_unknown_algorithms: "A descriptor in an unknown algorithm is accepted where the content is not needed.";
    Must subject_need_not_exist: "A manifest whose subject is absent is accepted.";
    Must oci_subject_header: "A push of an image manifest with a subject answers OCI-Subject with the subject's digest.";
    Must oci_subject_header_of_index: "A push of an index with a subject answers OCI-Subject.";
    Must no_oci_subject_without_subject: "A push without a subject answers no OCI-Subject.";
    Must tag_moves: "A tag that is pushed again names the new manifest, and the old one stays under its digest.";
    Must same_manifest_again: "Pushing a manifest that is there already succeeds.";
    Must same_manifest_under_many_tags: "One manifest may have many tags.";
    Must tag_after_digest: "A manifest pushed by digest can be tagged by pushing it again.";
    Must image_then_index: "An image may be replaced by an index under the same tag, and back.";
    Practice streamed_manifest: "A manifest of unknown length is accepted.";
    Practice visible_at_once: "After 201 the manifest is there for HEAD and GET at once.";
    Practice reference_shared_by_many: "A descriptor may occur several times in one manifest.";
}

async fn by_tag_is_201(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let reply = repo.push("v1", &image.manifest).await?;
    let get = cx.get(reply.location()?).header("accept", OCI_MANIFEST);
    get.expect(StatusCode::OK)
        .await?
        .body_is(&image.manifest.bytes)?;
    Ok(())
}

async fn by_digest_is_201(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let reply = repo.push(&image.digest, &image.manifest).await?;
    let get = cx.get(reply.location()?).header("accept", OCI_MANIFEST);
    get.expect(StatusCode::OK)
        .await?
        .body_is(&image.manifest.bytes)?;
    Ok(())
}

async fn location_names_the_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for reference in ["v1", image.digest.as_str()] {
        let reply = repo.push(reference, &image.manifest).await?;
        reply.header_is("location", &repo.manifest(&image.digest))?;
    }
    Ok(())
}

async fn digest_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for reference in ["v1", image.digest.as_str()] {
        let reply = repo.push(reference, &image.manifest).await?;
        reply.header_is("docker-content-digest", &image.digest)?;
    }
    Ok(())
}

async fn bytes_are_kept(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let value: Value = serde_json::from_slice(&image.manifest.bytes)
        .map_err(|error| Failure::new(error.to_string()))?;
    let pretty = serde_json::to_string_pretty(&value).unwrap_or_default();
    let odd = format!(
        " \r\n\t{}\n\n ",
        pretty.replace(
            "\"schemaVersion\": 2",
            "\"x-custom\": {\"b\": 1.50, \"a\": [\"\\u00e9\\/\"]},\n \"schemaVersion\"\n:\n2"
        )
    );
    let document = Document::new(OCI_MANIFEST, odd);
    repo.push("odd", &document).await?;
    repo.manifest_is("odd", &document).await?;
    repo.manifest_is(&document.digest(), &document).await
}

async fn field_names_have_case(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let odd = with(value_of(&image)?, "Layers", json!("not layers"));
    let document = Document::json(OCI_MANIFEST, &with(odd, "MediaType", json!("text/plain")));
    repo.push("odd", &document).await?;
    repo.manifest_is("odd", &document).await
}

async fn data_fields_are_kept(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let config = Bytes::from_static(EMPTY_JSON);
    repo.push_blob(&config).await?;
    let with_data = with(descriptor(OCI_EMPTY, &config), "data", json!("e30="));
    let document = Document::json(
        OCI_MANIFEST,
        &image_manifest(with_data.clone(), vec![with_data]),
    );
    repo.push("data", &document).await?;
    repo.manifest_is("data", &document).await
}

/// The JSON of a pushed image's manifest.
pub(crate) fn value_of(image: &Image) -> Result<Value, Failure> {
    serde_json::from_slice(&image.manifest.bytes).map_err(|error| Failure::new(error.to_string()))
}

async fn without_media_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let manifest = Document::json(OCI_MANIFEST, &without(value_of(&image)?, "mediaType"));
    repo.push("image", &manifest).await?;
    repo.manifest_is("image", &manifest).await?;
    let index = without(image_index(vec![image.manifest.descriptor()]), "mediaType");
    let index = Document::json(OCI_INDEX, &index);
    repo.push("index", &index).await?;
    repo.manifest_is("index", &index).await
}

async fn content_type_with_parameters(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for parameters in ["; charset=utf-8", ";charset=UTF-8;x=\"y\"", " ; a=b"] {
        let put = cx
            .put(repo.manifest("v1"))
            .header("content-type", format!("{OCI_MANIFEST}{parameters}"))
            .body(image.manifest.bytes.clone());
        put.expect(StatusCode::CREATED).await.within(parameters)?;
        repo.manifest_is("v1", &image.manifest)
            .await
            .within(parameters)?;
    }
    Ok(())
}

async fn content_type_in_other_case(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let document = Document::new(&OCI_MANIFEST.to_uppercase(), image.manifest.bytes.clone());
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.status_in(&[StatusCode::CREATED, StatusCode::BAD_REQUEST])?;
    if reply.code() == StatusCode::BAD_REQUEST {
        reply.error_code_in(&["MANIFEST_INVALID"])?;
    }
    Ok(())
}

async fn without_content_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let bare = Document::json(OCI_MANIFEST, &without(value_of(&image)?, "mediaType"));
    for document in [&image.manifest, &bare] {
        let put = cx.put(repo.manifest("v1")).body(document.bytes.clone());
        put.expect(StatusCode::CREATED).await?;
        repo.manifest_is("v1", document).await?;
    }
    let index = Document::json(OCI_INDEX, &image_index(vec![bare.descriptor()]));
    let put = cx.put(repo.manifest("index")).body(index.bytes.clone());
    put.expect(StatusCode::CREATED).await?;
    repo.manifest_is("index", &index).await
}

async fn by_sha512(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = image.manifest.digest_as(Alg::Sha512);
    let reply = repo.push(&digest, &image.manifest).await?;
    reply.header_is("docker-content-digest", &digest)?;
    let get = cx.get(reply.location()?).header("accept", OCI_MANIFEST);
    get.expect(StatusCode::OK)
        .await?
        .body_is(&image.manifest.bytes)?;
    repo.manifest_is(&digest, &image.manifest).await
}

/// Pushes the blobs of an image and returns a Docker manifest of them.
async fn docker_manifest(repo: &Repo<'_>) -> Result<Document, Failure> {
    let layer = repo.cx.bytes(700);
    let config = Bytes::from(format!("{{\"os\":\"linux\",\"x\":\"{}\"}}", repo.cx.word()));
    repo.push_blob(&layer).await?;
    repo.push_blob(&config).await?;
    let value = image_manifest(
        descriptor(DOCKER_CONFIG, &config),
        vec![descriptor(DOCKER_LAYER, &layer)],
    );
    Ok(Document::json(
        DOCKER_MANIFEST,
        &with(value, "mediaType", json!(DOCKER_MANIFEST)),
    ))
}

async fn docker_image(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let document = docker_manifest(&repo).await?;
    repo.push("v1", &document).await?;
    repo.manifest_is("v1", &document).await?;
    repo.manifest_is(&document.digest(), &document).await
}

async fn docker_list(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let child = docker_manifest(&repo).await?;
    repo.push_untagged(&child).await?;
    let platform = json!({"architecture": "amd64", "os": "linux"});
    let list = image_index(vec![with(child.descriptor(), "platform", platform)]);
    let list = Document::json(DOCKER_LIST, &with(list, "mediaType", json!(DOCKER_LIST)));
    repo.push("v1", &list).await?;
    repo.manifest_is("v1", &list).await
}

async fn unknown_types_are_accepted(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let (config, layer) = (cx.bytes(10), cx.bytes(20));
    repo.push_blob(&config).await?;
    repo.push_blob(&layer).await?;
    let manifest = image_manifest(
        descriptor("application/vnd.example.unheard-of.config+toml", &config),
        vec![descriptor("video/x-unheard-of", &layer)],
    );
    let manifest = with(
        manifest,
        "artifactType",
        json!("application/vnd.example.never+seen"),
    );
    let document = Document::json(OCI_MANIFEST, &manifest);
    repo.push("v1", &document).await?;
    repo.manifest_is("v1", &document).await?;
    let index = with(
        image_index(vec![document.descriptor()]),
        "artifactType",
        json!("x/y"),
    );
    let index = Document::json(OCI_INDEX, &index);
    repo.push("v2", &index).await?;
    repo.manifest_is("v2", &index).await
}

async fn no_layers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let config = cx.bytes(33);
    repo.push_blob(&config).await?;
    let document = Document::json(
        OCI_MANIFEST,
        &image_manifest(descriptor(OCI_CONFIG, &config), vec![]),
    );
    repo.push("v1", &document).await?;
    repo.manifest_is("v1", &document).await
}

async fn empty_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let index = with(image_index(vec![]), "annotations", json!({"x": cx.word()}));
    let index = Document::json(OCI_INDEX, &index);
    repo.push("v1", &index).await?;
    repo.manifest_is("v1", &index).await
}

async fn foreign_layers(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for media_type in [
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    ] {
        let image = repo.image_parts().await?;
        let layers = json!([
            descriptor(OCI_LAYER, &image.layer_bytes),
            descriptor(media_type, &cx.bytes(66))
        ]);
        let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "layers", layers));
        repo.push("v1", &document).await.within(media_type)?;
        repo.manifest_is("v1", &document).await?;
    }
    let docker = docker_manifest(&repo).await?;
    let value: Value =
        serde_json::from_slice(&docker.bytes).map_err(|error| Failure::new(error.to_string()))?;
    let foreign = descriptor(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        &cx.bytes(77),
    );
    let foreign = with(foreign, "urls", json!(["https://layers.example/x"]));
    let document = Document::json(DOCKER_MANIFEST, &with(value, "layers", json!([foreign])));
    repo.push("v2", &document).await?;
    repo.manifest_is("v2", &document).await
}

async fn layers_with_urls(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let elsewhere = with(
        descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &cx.bytes(88)),
        "urls",
        json!(["https://layers.example/y"]),
    );
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!([elsewhere])),
    );
    repo.push("v1", &document).await?;
    repo.manifest_is("v1", &document).await
}

async fn descriptors_in_unknown_algorithms(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = format!("blake3:{}", "ab".repeat(32));
    let subject = descriptor_of_nothing(OCI_MANIFEST, &digest);
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "subject", subject));
    repo.push("v1", &document).await.within("subject")?;
    repo.manifest_is("v1", &document).await?;
    let foreign = descriptor_of_nothing(
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
    );
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!([foreign])),
    );
    repo.push("v2", &document).await.within("foreign layer")?;
    repo.manifest_is("v2", &document).await
}

/// An artifact that refers to `subject`, with its blobs pushed.
pub(crate) async fn artifact_of(
    repo: &Repo<'_>,
    subject: Value,
    artifact_type: &str,
) -> Result<Document, Failure> {
    let empty = Bytes::from_static(EMPTY_JSON);
    let layer = repo.cx.bytes(40);
    repo.push_blob(&empty).await?;
    repo.push_blob(&layer).await?;
    let manifest = image_manifest(
        descriptor(OCI_EMPTY, &empty),
        vec![descriptor("text/plain", &layer)],
    );
    let manifest = with(manifest, "artifactType", json!(artifact_type));
    Ok(Document::json(
        OCI_MANIFEST,
        &with(manifest, "subject", subject),
    ))
}

async fn subject_need_not_exist(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let subject = descriptor_of_nothing(OCI_MANIFEST, &sha256(&cx.bytes(9)));
    let artifact = artifact_of(&repo, subject, "application/vnd.example.sig").await?;
    let digest = repo.push_untagged(&artifact).await?;
    repo.manifest_is(&digest, &artifact).await
}

async fn oci_subject_header(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let artifact = artifact_of(
        &repo,
        image.manifest.descriptor(),
        "application/vnd.example.sig",
    )
    .await?;
    for reference in [artifact.digest(), "signed".to_owned()] {
        let reply = repo.push(&reference, &artifact).await?;
        reply.header_is("oci-subject", &image.digest)?;
    }
    Ok(())
}

async fn oci_subject_header_of_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let index = with(image_index(vec![]), "subject", image.manifest.descriptor());
    let reply = repo
        .push("index", &Document::json(OCI_INDEX, &index))
        .await?;
    reply.header_is("oci-subject", &image.digest)?;
    Ok(())
}

async fn no_oci_subject_without_subject(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    repo.push("v1", &image.manifest)
        .await?
        .no_header("oci-subject")?;
    Ok(())
}

async fn tag_moves(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let old = repo.image(Some("latest")).await?;
    let new = repo.image(Some("latest")).await?;
    repo.manifest_is("latest", &new.manifest).await?;
    repo.manifest_is(&old.digest, &old.manifest).await?;
    repo.push("latest", &old.manifest).await?;
    repo.manifest_is("latest", &old.manifest).await
}

async fn same_manifest_again(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    for reference in ["v1", image.digest.as_str(), "v1"] {
        repo.push(reference, &image.manifest).await?;
    }
    repo.manifest_is("v1", &image.manifest).await
}

async fn same_manifest_under_many_tags(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    for number in 0..20 {
        repo.push(&format!("v{number}"), &image.manifest).await?;
    }
    for number in 0..20 {
        repo.manifest_is(&format!("v{number}"), &image.manifest)
            .await?;
    }
    Ok(())
}

async fn tag_after_digest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    repo.head_manifest("v1")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.push("v1", &image.manifest).await?;
    repo.manifest_is("v1", &image.manifest).await
}

async fn image_then_index(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()]));
    repo.push("v1", &index).await?;
    repo.manifest_is("v1", &index).await?;
    repo.push("v1", &image.manifest).await?;
    repo.manifest_is("v1", &image.manifest).await
}

async fn streamed_manifest(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let bytes = &image.manifest.bytes;
    let half = bytes.len() / 2;
    let put = cx
        .put(repo.manifest("v1"))
        .header("content-type", OCI_MANIFEST)
        .chunks([bytes.slice(..half), bytes.slice(half..)]);
    put.expect(StatusCode::CREATED).await?;
    repo.manifest_is("v1", &image.manifest).await
}

async fn visible_at_once(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for number in 0..10 {
        let image = repo.image(Some("moving")).await.within(number)?;
        let head = repo.head_manifest("moving").expect(StatusCode::OK).await?;
        head.header_is("docker-content-digest", &image.digest)?;
        repo.manifest_is(&image.digest, &image.manifest).await?;
    }
    Ok(())
}

async fn reference_shared_by_many(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let layer = descriptor(OCI_LAYER, &image.layer_bytes);
    let layers = json!([layer.clone(), layer.clone(), layer]);
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "layers", layers));
    repo.push("image", &document).await?;
    let child = image.manifest.descriptor();
    let index = Document::json(OCI_INDEX, &image_index(vec![child.clone(), child]));
    repo.push("index", &index).await?;
    repo.manifest_is("index", &index).await
}
