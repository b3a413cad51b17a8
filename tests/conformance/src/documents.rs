//! Manifests, in both families of media types.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::digest::{Alg, sha256};

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// The bytes of the image-spec's empty JSON descriptor.
pub(crate) const EMPTY_JSON: &[u8] = b"{}";

/// A manifest's bytes and the media type they are pushed with.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

impl Document {
    pub(crate) fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self {
            media_type: media_type.to_owned(),
            bytes: bytes.into(),
        }
    }

    pub(crate) fn json(media_type: &str, value: &Value) -> Self {
        Self::new(media_type, value.to_string())
    }

    pub(crate) fn digest(&self) -> String {
        sha256(&self.bytes)
    }

    pub(crate) fn digest_as(&self, alg: Alg) -> String {
        alg.of(&self.bytes)
    }

    /// The descriptor of this document.
    pub(crate) fn descriptor(&self) -> Value {
        descriptor(&self.media_type, &self.bytes)
    }

    /// The descriptor of this document, with a digest in `alg`.
    pub(crate) fn descriptor_as(&self, alg: Alg) -> Value {
        descriptor_as(&self.media_type, &self.bytes, alg)
    }
}

pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    descriptor_as(media_type, bytes, Alg::Sha256)
}

pub(crate) fn descriptor_as(media_type: &str, bytes: &[u8], alg: Alg) -> Value {
    json!({"mediaType": media_type, "digest": alg.of(bytes), "size": bytes.len()})
}

/// A descriptor of something that exists nowhere.
pub(crate) fn descriptor_of_nothing(media_type: &str, digest: &str) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": 1234})
}

pub(crate) fn image_manifest(config: Value, layers: Vec<Value>) -> Value {
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST});
    with(with(manifest, "config", config), "layers", layers.into())
}

pub(crate) fn image_index(manifests: Vec<Value>) -> Value {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX});
    with(index, "manifests", manifests.into())
}

/// `value` with a field added or replaced.
pub(crate) fn with(mut value: Value, field: &str, content: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert(field.to_owned(), content);
    }
    value
}

/// `value` without a field.
pub(crate) fn without(mut value: Value, field: &str) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.remove(field);
    }
    value
}
