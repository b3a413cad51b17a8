//! Manifests: the bytes are kept, reading twice says the same, and what it says is in the document.
//!
//! The first byte of the input chooses a `Content-Type`.
#![no_main]

use std::collections::HashSet;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oci_core::{Digest, Manifest, ManifestType, ReferenceKind};
use serde_json::Value;

const CONTENT_TYPES: [Option<&str>; 8] = [
    None,
    Some("application/vnd.oci.image.manifest.v1+json"),
    Some("application/vnd.oci.image.index.v1+json"),
    Some("application/vnd.docker.distribution.manifest.v2+json"),
    Some("application/vnd.docker.distribution.manifest.list.v2+json"),
    Some("application/json"),
    Some("application/octet-stream; charset=utf-8"),
    Some("text/html"),
];

fuzz_target!(|input: &[u8]| {
    let Some((choice, document)) = input.split_first() else {
        return;
    };
    let content_type = CONTENT_TYPES[usize::from(*choice) % CONTENT_TYPES.len()];
    let bytes = Bytes::copy_from_slice(document);
    let Ok(manifest) = Manifest::parse(bytes.clone(), content_type) else {
        return;
    };
    assert_eq!(manifest.bytes(), &bytes);
    assert_eq!(manifest.size(), bytes.len() as u64);

    // Another pair of eyes on the same document.
    let value: Value = serde_json::from_slice(&bytes).expect("what was accepted is JSON");
    let mut named = HashSet::new();
    for field in ["config", "layers", "manifests"] {
        match &value[field] {
            Value::Array(descriptors) => named.extend(descriptors.iter().filter_map(descriptor)),
            other => named.extend(descriptor(other)),
        }
    }
    let is_index = manifest.manifest_type().is_index();
    let kind = if is_index {
        ReferenceKind::Manifest
    } else {
        ReferenceKind::Blob
    };
    for reference in manifest.references() {
        assert_eq!(reference.kind, kind);
        assert!(
            named.contains(&(reference.digest, reference.size)),
            "{reference:?}"
        );
    }
    // It cannot be taken for the other shape.
    let is_list = !value["manifests"].is_null();
    let is_image = !value["config"].is_null() || !value["layers"].is_null();
    assert!(if is_index { !is_image } else { !is_list });
    assert_eq!(
        manifest.subject().map(|subject| subject.as_str()),
        value["subject"]["digest"].as_str()
    );

    // Every pull reads it back from its bytes alone, and then with its own type in the header.
    for content_type in [None, Some(manifest.manifest_type().as_str())] {
        let again = Manifest::parse(bytes.clone(), content_type);
        let again = again.expect("what was accepted once is accepted again");
        assert_eq!(again.manifest_type(), manifest.manifest_type());
        assert_eq!(again.references(), manifest.references());
        assert_eq!(again.subject(), manifest.subject());
        assert_eq!(again.artifact_type(), manifest.artifact_type());
        assert_eq!(again.annotations(), manifest.annotations());
    }
    assert_eq!(
        ManifestType::from_media_type(manifest.manifest_type().as_str()),
        Some(manifest.manifest_type())
    );
    let listed = manifest.descriptor(Digest::sha256(&bytes));
    assert_eq!(listed.size, bytes.len() as u64);
});

fn descriptor(value: &Value) -> Option<(Digest, u64)> {
    Some((
        value["digest"].as_str()?.parse().ok()?,
        value["size"].as_u64()?,
    ))
}
