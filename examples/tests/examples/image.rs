//! An image to push: a config, one layer and a manifest.

use bytes::Bytes;
use oci_core::Digest;
use serde_json::json;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Image {
    pub(crate) config: Bytes,
    pub(crate) layer: Bytes,
    pub(crate) manifest: Bytes,
}

impl Image {
    /// An image called `name` with a layer of 9 MiB: more than frameworks let through by default, more
    /// than fits into one part of any backend here, and easily compressed.
    pub(crate) fn new(name: &str) -> Self {
        let config =
            json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"name": name}}});
        let config = Bytes::from(config.to_string());
        let layer: Bytes = name.bytes().cycle().take(LAYER).collect();
        let descriptor = |media_type: &str, content: &Bytes| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{media_type}"),
                "digest": Digest::sha256(content),
                "size": content.len(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("config.v1+json", &config),
            "layers": [descriptor("layer.v1.tar", &layer)],
        });
        Self {
            config,
            layer,
            manifest: manifest.to_string().into(),
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }
}

/// In bytes.
const LAYER: usize = 9 << 20;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
