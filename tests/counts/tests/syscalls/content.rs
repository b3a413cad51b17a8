//! Blobs and manifests that all lie in one directory of the store.
//!
//! Which of the 256 directories a digest falls into decides whether one has to be made, which would
//! make every count depend on chance. After the first push this one is there.

use registry_benches::content;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The first byte of every digest.
const DIRECTORY: u8 = 0x5a;

#[derive(Clone)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) digest: String,
}

/// `length` bytes, other ones for each `seed`.
pub(crate) fn blob(seed: u64, length: usize) -> Content {
    let mut bytes = content(length, seed).to_vec();
    let fixed = length - size_of::<u64>();
    let front = Sha256::new_with_prefix(&bytes[..fixed]);
    for tail in 0_u64.. {
        let hash = front.clone().chain_update(tail.to_le_bytes()).finalize();
        if hash[0] == DIRECTORY {
            bytes[fixed..].copy_from_slice(&tail.to_le_bytes());
            return Content {
                bytes,
                digest: digest(&hash),
            };
        }
    }
    unreachable!("one hash in 256 is right")
}

/// An image manifest over `config` and `layer`, other ones for each `seed`.
pub(crate) fn manifest(
    seed: u64,
    config: &Content,
    layer: &Content,
    subject: Option<&Content>,
) -> Content {
    for n in 0_u64.. {
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.digest,
                "size": config.bytes.len(),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer.digest,
                "size": layer.bytes.len(),
            }],
            "annotations": { "n": format!("{seed}.{n}") },
        });
        if let Some(subject) = subject {
            document["subject"] = json!({
                "mediaType": MANIFEST_TYPE,
                "digest": subject.digest,
                "size": subject.bytes.len(),
            });
        }
        let bytes = document.to_string().into_bytes();
        let hash = Sha256::digest(&bytes);
        if hash[0] == DIRECTORY {
            let digest = digest(&hash);
            return Content { bytes, digest };
        }
    }
    unreachable!("one hash in 256 is right")
}

fn digest(hash: &[u8]) -> String {
    use std::fmt::Write as _;

    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
