use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn parse(document: &Value, content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    Manifest::parse(document.to_string().into(), content_type)
}

fn blob(content: &str) -> Value {
    let digest = Digest::sha256(content.as_bytes());
    json!({"mediaType": "application/x", "digest": digest.to_string(), "size": content.len()})
}

fn image() -> Value {
    json!({"schemaVersion": 2, "mediaType": OCI_IMAGE, "config": blob("c"), "layers": [blob("l")]})
}

#[test]
fn an_image_names_its_config_and_layers() {
    let manifest = parse(&image(), Some(OCI_IMAGE)).unwrap();
    let digests: Vec<_> = manifest
        .references()
        .iter()
        .map(|r| (r.kind, r.digest, r.size))
        .collect();
    assert_eq!(
        digests,
        [
            (ReferenceKind::Blob, Digest::sha256(b"c"), 1),
            (ReferenceKind::Blob, Digest::sha256(b"l"), 1)
        ]
    );
    assert_eq!(
        manifest.artifact_type(),
        Some("application/x"),
        "falls back to the config's type"
    );
}

#[test]
fn types_that_only_the_shape_tells() {
    let mut document = image();
    document.as_object_mut().unwrap().remove("mediaType");
    assert_eq!(
        parse(&document, None).unwrap().manifest_type(),
        ManifestType::OciImage
    );
    let unspecific = parse(&document, Some("application/json; charset=utf-8")).unwrap();
    assert_eq!(unspecific.manifest_type(), ManifestType::OciImage);
    let index = json!({"schemaVersion": 2, "manifests": []});
    assert_eq!(
        parse(&index, None).unwrap().manifest_type(),
        ManifestType::OciIndex
    );
    assert!(matches!(
        parse(&document, Some(DOCKER_IMAGE)),
        Err(ManifestError::MissingMediaType { .. })
    ));
    assert!(matches!(
        parse(&document, Some(OCI_INDEX)),
        Err(ManifestError::Shape { .. })
    ));
}

#[test]
fn no_document_is_two_things_at_once() {
    let mut both = image();
    both["manifests"] = json!([]);
    assert!(matches!(
        parse(&both, None),
        Err(ManifestError::Ambiguous { field: "config" })
    ));
    assert!(matches!(
        parse(&image(), Some(OCI_INDEX)),
        Err(ManifestError::ContentType { .. })
    ));
    let mut index = image();
    index["mediaType"] = json!(OCI_INDEX);
    assert!(matches!(
        parse(&index, None),
        Err(ManifestError::Shape { .. })
    ));
    // `null` is how some encoders write an empty list; it decides nothing.
    let mut nulls = image();
    nulls["manifests"] = Value::Null;
    nulls["layers"] = Value::Null;
    assert_eq!(parse(&nulls, None).unwrap().references().len(), 1);
}

#[test]
fn an_untyped_document_is_read_alike_with_and_without_its_header() {
    // The store reads types back from the bytes, so what a header alone claims must follow from them.
    let bare = json!({"schemaVersion": 2, "config": blob("c")});
    assert!(parse(&bare, Some(OCI_INDEX)).is_err());
    let null = json!({"schemaVersion": 2, "manifests": null});
    assert!(matches!(
        parse(&null, Some(OCI_INDEX)),
        Err(ManifestError::Shape { .. })
    ));
    let typed = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": null});
    assert!(
        parse(&typed, None).is_ok(),
        "an empty list, as Go writes it"
    );
    let nothing = json!({"schemaVersion": 2, "mediaType": OCI_INDEX});
    assert!(parse(&nothing, None).is_err());
    let nothing = json!({"schemaVersion": 2});
    assert!(matches!(
        parse(&nothing, Some(OCI_INDEX)),
        Err(ManifestError::Shape { .. })
    ));
    assert!(matches!(
        parse(&nothing, None),
        Err(ManifestError::MissingConfig)
    ));
}

#[test]
fn content_that_lives_elsewhere_is_not_required() {
    let mut foreign = image();
    foreign["layers"] = json!([
        {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "size": 1,
         "digest": Digest::sha256(b"f").to_string(), "urls": ["https://example.com/f"]},
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "size": 1,
         "digest": Digest::sha256(b"g").to_string()},
        {"mediaType": "application/x", "size": 1, "digest": "blake3:".to_owned() + &"a".repeat(64)},
    ]);
    assert_eq!(
        parse(&foreign, None).unwrap().references().len(),
        1,
        "only the config"
    );
    assert_eq!(
        parse(&foreign, None).unwrap().elsewhere(),
        [Digest::sha256(b"f"), Digest::sha256(b"g")]
    );
}

#[test]
fn subject_and_annotations() {
    let mut document = image();
    document["subject"] = blob("s");
    document["artifactType"] = json!("application/vnd.example");
    document["annotations"] = json!({"k": "v"});
    let manifest = parse(&document, None).unwrap();
    assert_eq!(
        manifest.subject().unwrap().digest(),
        Some(&Digest::sha256(b"s"))
    );
    let descriptor = manifest.descriptor(Digest::sha256(b"m"));
    assert_eq!(
        descriptor.artifact_type.as_deref(),
        Some("application/vnd.example")
    );
    assert_eq!(descriptor.annotations["k"], "v");
}

#[test]
fn an_index_without_artifact_type_has_none() {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [blob("m")]});
    let manifest = parse(&index, None).unwrap();
    assert_eq!(manifest.artifact_type(), None);
    assert_eq!(manifest.references()[0].kind, ReferenceKind::Manifest);
}

#[test]
fn malformed_documents_are_refused_with_a_reason() {
    let config = blob("c").to_string();
    for (text, expected) in [
        (String::new(), "not valid JSON"),
        ("\u{feff}{}".to_owned(), "not valid JSON"),
        (image().to_string() + "x", "not valid JSON"),
        (r#"{"schemaVersion":1}"#.to_owned(), "schemaVersion"),
        (r#"{"schemaVersion":2,"schemaVersion":2}"#.to_owned(), "stands twice"),
        (format!(r#"{{"schemaVersion":2,"config":{config},"x":{{"y":1,"y":2}}}}"#), "stands twice"),
        (format!(r#"{{"schemaVersion":2,"config":{config},"n":NaN}}"#), "not valid JSON"),
        (r#"{"schemaVersion":2,"config":{"digest":"sha256:x","size":1}}"#.to_owned(), "`config`"),
        (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, config.replace(":1}", ":-1}")), "`layers[0]`"),
        (format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, config.replace(":1}", ":1.5}")), "`layers[0]`"),
        (format!(r#"{{"schemaVersion":2,"config":{}}}"#, config.replace(":1}", ":9223372036854775808}")), "`config`"),
        (format!(r#"{{"schemaVersion":2,"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200)), "recursion"),
        (r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v1+prettyjws"}"#.to_owned(), "not supported"),
    ] {
        let expected_config_size = text.clone();
        let error = Manifest::parse(text.into(), None).expect_err(&expected_config_size).to_string();
        assert!(error.contains(expected), "{expected_config_size}: {error}");
    }
    assert!(matches!(
        Manifest::parse(vec![b'"', 0xff, b'"'].into(), None),
        Err(ManifestError::NotUtf8)
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, content_type: Option<String>) {
        let _ = Manifest::parse(bytes.into(), content_type.as_deref());
    }

    #[test]
    fn bytes_are_kept_exactly(pad in "[ \n\t]{0,20}") {
        let text = format!("{pad}{}{pad}", image());
        let manifest = Manifest::parse(text.clone().into(), None).unwrap();
        prop_assert_eq!(manifest.bytes(), text.as_bytes());
    }
}
