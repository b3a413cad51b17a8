//! PUT of manifests that must be refused.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::manifests_push::value_of;
use crate::{
    case::case_table,
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{
        DOCKER_LIST, DOCKER_MANIFEST, Document, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST,
        descriptor, descriptor_of_nothing, image_index, with, without,
    },
    failure::{Failure, Outcome, Within as _, ensure},
    reply::Reply,
    repo::Repo,
};

case_table! { "manifests_push";
    Must digest_mismatch_is_400: "PUT to a digest that is not that of the body answers 400 DIGEST_INVALID and stores nothing.";
    Should not_json_is_400: "A body that is no JSON object answers 400 MANIFEST_INVALID.";
    Practice not_strict_json_is_400: "NaN, trailing data, a byte order mark and broken UTF-8 answer 400 MANIFEST_INVALID.";
    Practice duplicate_names_are_400: "A JSON object that names a field twice answers 400 MANIFEST_INVALID.";
    Should media_type_mismatch_is_400: "A mediaType that differs from Content-Type answers 400 MANIFEST_INVALID.";
    Practice type_confusion_is_400: "A document with both layers and manifests answers 400 MANIFEST_INVALID.";
    Practice not_a_manifest_is_400: "A Content-Type that is no manifest answers 400, not 415, which docker does not understand.";
    Practice unspecific_content_type: "A Content-Type that says nothing, as curl sends, leaves it to the document, or is 400.";
    Practice schema1_is_400: "Docker's schema 1 answers 400 MANIFEST_INVALID.";
    Practice bad_descriptors_are_400: "Negative, fractional or huge sizes and malformed digests answer 400.";
    Practice missing_parts_are_400: "A manifest without config, layers or manifests of the right form answers 400 MANIFEST_INVALID.";
    Must missing_blob: "A manifest that refers to a blob the repository lacks is refused with MANIFEST_BLOB_UNKNOWN.";
    Practice missing_blob_is_404: "The status for missing references is 404, with one error per digest and detail.digest.";
    Must missing_config: "A missing config is a missing reference.";
    Must missing_child: "An index that refers to a manifest the repository lacks is refused with MANIFEST_BLOB_UNKNOWN.";
    Practice refused_manifest_is_not_stored: "A refused manifest is stored neither under its digest nor under the tag, and the tag keeps its old one.";
    Practice wrong_size_is_missing: "A reference whose size is not that of the blob is refused.";
    Practice nested_too_deep_is_400: "JSON nested beyond reason answers 400 MANIFEST_INVALID.";
    Practice many_descriptors: "Tens of thousands of descriptors are answered, not choked on.";
    Practice absurd_strings_are_400: "A digest of a megabyte answers 400.";
    Practice empty_body_is_400: "PUT without a body answers 400 MANIFEST_INVALID.";
    Practice null_collections: "null instead of a list is refused or read as empty, never a server error.";
}

async fn digest_mismatch_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let mut bytes = image.manifest.bytes.to_vec();
    bytes.extend_from_slice(b"   ");
    let other = Document::new(OCI_MANIFEST, bytes);
    let reply = repo.put_manifest(&image.digest, &other).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    let sha512 = image.manifest.digest_as(Alg::Sha512);
    let reply = repo.put_manifest(&sha512, &other).send().await?;
    reply.error(StatusCode::BAD_REQUEST, &["DIGEST_INVALID"])?;
    for digest in [&image.digest, &other.digest(), &sha512] {
        repo.head_manifest(digest)
            .expect(StatusCode::NOT_FOUND)
            .await?;
    }
    Ok(())
}

/// PUT of `bytes` as `media_type`, which must be refused as an invalid manifest.
async fn is_invalid(repo: &Repo<'_>, media_type: &str, bytes: impl Into<Bytes>) -> Outcome {
    let reply = repo
        .put_manifest("bad", &Document::new(media_type, bytes))
        .send()
        .await?;
    reply.error(StatusCode::BAD_REQUEST, &["MANIFEST_INVALID"])?;
    Ok(())
}

async fn not_json_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for body in [
        "",
        "blah",
        "<html/>",
        "[]",
        "null",
        "7",
        "\"text\"",
        "{",
        "{\"schemaVersion\":2",
    ] {
        for media_type in [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST] {
            is_invalid(&repo, media_type, body)
                .await
                .within(format!("{body:?}"))?;
        }
    }
    Ok(())
}

async fn not_strict_json_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let text = String::from_utf8_lossy(&image.manifest.bytes).into_owned();
    let nan = text.replacen('{', "{\"x\":NaN,", 1);
    is_invalid(&repo, OCI_MANIFEST, nan).await.within("NaN")?;
    is_invalid(&repo, OCI_MANIFEST, format!("{text} x"))
        .await
        .within("trailing data")?;
    is_invalid(&repo, OCI_MANIFEST, format!("{text}{text}"))
        .await
        .within("two documents")?;
    is_invalid(&repo, OCI_MANIFEST, format!("\u{feff}{text}"))
        .await
        .within("mark")?;
    let mut broken = text.replacen('{', "{\"x\":\"?\",", 1).into_bytes();
    if let Some(byte) = broken.iter_mut().find(|byte| **byte == b'?') {
        *byte = 0xff;
    }
    is_invalid(&repo, OCI_MANIFEST, broken)
        .await
        .within("broken UTF-8")
}

async fn duplicate_names_are_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let text = String::from_utf8_lossy(&image.manifest.bytes).into_owned();
    for twice in [
        format!("{{\"mediaType\":\"{OCI_INDEX}\","),
        "{\"layers\":[],".to_owned(),
        "{\"config\":{},".to_owned(),
        "{\"schemaVersion\":1,".to_owned(),
    ] {
        let body = text.replacen('{', &twice, 1);
        is_invalid(&repo, OCI_MANIFEST, body).await.within(twice)?;
    }
    Ok(())
}

async fn media_type_mismatch_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let index = Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()]));
    for (document, other) in [
        (&image.manifest, OCI_INDEX),
        (&image.manifest, DOCKER_MANIFEST),
        (&index, OCI_MANIFEST),
        (&index, DOCKER_LIST),
    ] {
        is_invalid(&repo, other, document.bytes.clone())
            .await
            .within(other)?;
    }
    Ok(())
}

async fn type_confusion_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let both = with(
        value_of(&image)?,
        "manifests",
        json!([image.manifest.descriptor()]),
    );
    is_invalid(&repo, OCI_MANIFEST, both.to_string())
        .await
        .within("as a manifest")?;
    let both = without(both, "mediaType");
    for media_type in [OCI_MANIFEST, OCI_INDEX] {
        is_invalid(&repo, media_type, both.to_string())
            .await
            .within(media_type)?;
    }
    Ok(())
}

async fn not_a_manifest_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for media_type in [OCI_CONFIG, OCI_LAYER, "image/png", "nonsense"] {
        is_invalid(&repo, media_type, image.manifest.bytes.clone())
            .await
            .within(media_type)?;
    }
    Ok(())
}

async fn unspecific_content_type(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for media_type in [
        "application/json",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "text/plain",
    ] {
        let document = Document::new(media_type, image.manifest.bytes.clone());
        let reply = repo.put_manifest("v1", &document).send().await?;
        reply
            .status_in(&[StatusCode::CREATED, StatusCode::BAD_REQUEST])
            .within(media_type)?;
        if reply.code() == StatusCode::CREATED {
            repo.manifest_is("v1", &image.manifest)
                .await
                .within(media_type)?;
        } else {
            reply
                .error_code_in(&["MANIFEST_INVALID"])
                .within(media_type)?;
        }
    }
    Ok(())
}

async fn schema1_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let body = json!({
        "schemaVersion": 1, "name": repo.name, "tag": "v1", "architecture": "amd64",
        "fsLayers": [], "history": [], "signatures": [],
    });
    for media_type in [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ] {
        is_invalid(&repo, media_type, body.to_string())
            .await
            .within(media_type)?;
    }
    Ok(())
}

async fn bad_descriptors_are_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let value = value_of(&image)?;
    let good = descriptor(OCI_LAYER, &image.layer_bytes);
    for (field, content) in [
        ("size", json!(-1)),
        ("size", json!(1.5)),
        ("size", json!(9_223_372_036_854_775_808_u64)),
        ("size", json!("1000")),
        ("size", json!(null)),
        ("digest", json!("sha256:abc")),
        ("digest", json!("")),
        ("digest", json!(7)),
        ("digest", json!("../../etc/passwd")),
        ("digest", json!(image.layer.to_uppercase())),
        ("mediaType", json!(7)),
    ] {
        let bad = with(good.clone(), field, content.clone());
        let manifest = with(value.clone(), "layers", json!([bad]));
        let reply = repo
            .put_manifest("bad", &Document::json(OCI_MANIFEST, &manifest))
            .send()
            .await?;
        reply
            .error(
                StatusCode::BAD_REQUEST,
                &["MANIFEST_INVALID", "DIGEST_INVALID"],
            )
            .within(format!("{field} {content}"))?;
    }
    for field in ["digest", "size"] {
        let manifest = with(
            value.clone(),
            "layers",
            json!([without(good.clone(), field)]),
        );
        let reply = repo
            .put_manifest("bad", &Document::json(OCI_MANIFEST, &manifest))
            .send()
            .await?;
        reply
            .error(
                StatusCode::BAD_REQUEST,
                &["MANIFEST_INVALID", "DIGEST_INVALID"],
            )
            .within(format!("no {field}"))?;
    }
    Ok(())
}

async fn missing_parts_are_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let value = value_of(&image)?;
    for broken in [
        without(value.clone(), "config"),
        with(value.clone(), "config", json!([])),
        with(value.clone(), "config", json!("text")),
        with(value.clone(), "layers", json!({})),
        with(value.clone(), "layers", json!("text")),
        with(value.clone(), "layers", json!([7])),
        with(value.clone(), "schemaVersion", json!("2")),
        with(value.clone(), "subject", json!("text")),
        with(value.clone(), "annotations", json!([])),
    ] {
        is_invalid(&repo, OCI_MANIFEST, broken.to_string())
            .await
            .within(&broken)?;
    }
    for broken in [
        without(image_index(vec![]), "manifests"),
        with(image_index(vec![]), "manifests", json!({})),
        with(image_index(vec![]), "manifests", json!([7])),
    ] {
        is_invalid(&repo, OCI_INDEX, broken.to_string())
            .await
            .within(&broken)?;
    }
    Ok(())
}

async fn missing_blob(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let absent = cx.bytes(99);
    let layers = json!([
        descriptor(OCI_LAYER, &image.layer_bytes),
        descriptor(OCI_LAYER, &absent)
    ]);
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "layers", layers));
    for reference in ["v1".to_owned(), document.digest()] {
        let reply = repo.put_manifest(&reference, &document).send().await?;
        reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
        reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN"])?;
    }
    Ok(())
}

/// The digests that a refusal names, one per error.
fn missing_digests(reply: &Reply) -> Result<Vec<String>, Failure> {
    reply.error(StatusCode::NOT_FOUND, &["MANIFEST_BLOB_UNKNOWN"])?;
    let json = reply.json()?;
    let errors = json["errors"].as_array().cloned().unwrap_or_default();
    errors
        .iter()
        .map(|error| {
            let digest = error["detail"]["digest"].as_str().map(str::to_owned);
            digest.ok_or_else(|| reply.failure("an error without detail.digest"))
        })
        .collect()
}

async fn missing_blob_is_404(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let absent = [cx.bytes(11), cx.bytes(22)];
    let layers = [&image.layer_bytes, &absent[0], &absent[1], &absent[0]];
    let layers: Vec<Value> = layers
        .iter()
        .map(|bytes| descriptor(OCI_LAYER, bytes))
        .collect();
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!(layers)),
    );
    let reply = repo.put_manifest("v1", &document).send().await?;
    let mut found = missing_digests(&reply)?;
    let mut expected: Vec<String> = absent.iter().map(|bytes| sha256(bytes)).collect();
    found.sort();
    expected.sort();
    ensure!(
        found == expected,
        "the errors name {found:?}, missing are {expected:?}"
    );
    Ok(())
}

async fn missing_config(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let config = descriptor(OCI_CONFIG, &cx.bytes(44));
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "config", config));
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN"])?;
    Ok(())
}

async fn missing_child(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let absent = descriptor_of_nothing(OCI_MANIFEST, &Alg::Sha256.of_nothing());
    let index = Document::json(
        OCI_INDEX,
        &image_index(vec![image.manifest.descriptor(), absent]),
    );
    let reply = repo.put_manifest("v1", &index).send().await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN"])?;
    // A child that is in another repository only is missing here.
    let other = cx.repo();
    let reply = other
        .put_manifest(
            "v1",
            &Document::json(OCI_INDEX, &image_index(vec![image.manifest.descriptor()])),
        )
        .send()
        .await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN"])?;
    Ok(())
}

async fn refused_manifest_is_not_stored(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(Some("v1")).await?;
    let layers = json!([descriptor(OCI_LAYER, &cx.bytes(55))]);
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "layers", layers));
    let reply = repo.put_manifest("v1", &document).send().await?;
    ensure!(
        reply.code().is_client_error(),
        "{}",
        reply.failure("expected a refusal")
    );
    is_invalid(&repo, OCI_MANIFEST, "{").await?;
    repo.manifest_is("v1", &image.manifest).await?;
    repo.head_manifest(&document.digest())
        .expect(StatusCode::NOT_FOUND)
        .await?;
    repo.head_manifest("bad")
        .expect(StatusCode::NOT_FOUND)
        .await?;
    let tags = repo.list_tags().await?;
    ensure!(tags == ["v1"], "tags are {tags:?}");
    Ok(())
}

async fn wrong_size_is_missing(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let wrong = with(
        descriptor(OCI_LAYER, &image.layer_bytes),
        "size",
        json!(999),
    );
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!([wrong])),
    );
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    reply.error_code_in(&["MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID", "SIZE_INVALID"])?;
    Ok(())
}

async fn nested_too_deep_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    for depth in [200, 100_000] {
        let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!("{{\"schemaVersion\":2,\"x\":{deep},\"manifests\":[]}}");
        is_invalid(&repo, OCI_INDEX, body).await.within(depth)?;
    }
    cx.get("/v2/")
        .expect(StatusCode::OK)
        .await
        .within("afterwards")?;
    Ok(())
}

async fn many_descriptors(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image(None).await?;
    let layers = vec![descriptor(OCI_LAYER, &image.layer_bytes); 25_000];
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!(layers)),
    );
    ensure!(
        document.bytes.len() < 4 << 20,
        "the document has {} bytes",
        document.bytes.len()
    );
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.status_in(&[StatusCode::CREATED, StatusCode::BAD_REQUEST])?;
    // Twenty thousand different ones, none of which is there.
    let layers: Vec<Value> = (0..20_000)
        .map(|number| descriptor_of_nothing(OCI_LAYER, &format!("sha256:{number:064x}")))
        .collect();
    let document = Document::json(
        OCI_MANIFEST,
        &with(value_of(&image)?, "layers", json!(layers)),
    );
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.status_in(&[StatusCode::NOT_FOUND, StatusCode::BAD_REQUEST])?;
    Ok(())
}

async fn absurd_strings_are_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    let digest = format!("sha256:{}", "a".repeat(1 << 20));
    let layers = json!([with(descriptor(OCI_LAYER, b"x"), "digest", json!(digest))]);
    let document = Document::json(OCI_MANIFEST, &with(value_of(&image)?, "layers", layers));
    let reply = repo.put_manifest("v1", &document).send().await?;
    reply.error(
        StatusCode::BAD_REQUEST,
        &["MANIFEST_INVALID", "DIGEST_INVALID"],
    )?;
    ensure!(
        reply.length() < 1 << 16,
        "the error repeats {} bytes",
        reply.length()
    );
    Ok(())
}

async fn empty_body_is_400(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let put = cx
        .put(repo.manifest("v1"))
        .header("content-type", OCI_MANIFEST);
    put.send()
        .await?
        .error(StatusCode::BAD_REQUEST, &["MANIFEST_INVALID"])?;
    let put = cx.put(repo.manifest("v1"));
    put.send()
        .await?
        .error(StatusCode::BAD_REQUEST, &["MANIFEST_INVALID"])?;
    Ok(())
}

async fn null_collections(cx: &Ctx) -> Outcome {
    let repo = cx.repo();
    let image = repo.image_parts().await?;
    for field in ["layers", "annotations", "subject"] {
        let value = with(value_of(&image)?, field, json!(null));
        let reply = repo
            .put_manifest("v1", &Document::json(OCI_MANIFEST, &value))
            .send()
            .await?;
        reply
            .status_in(&[StatusCode::CREATED, StatusCode::BAD_REQUEST])
            .within(field)?;
    }
    let value = with(image_index(vec![]), "manifests", json!(null));
    let reply = repo
        .put_manifest("v2", &Document::json(OCI_INDEX, &value))
        .send()
        .await?;
    reply.status_in(&[StatusCode::CREATED, StatusCode::BAD_REQUEST])?;
    Ok(())
}
