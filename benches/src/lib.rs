//! What the benches share: content, documents, and a client without a network.
//!
//! ```console
//! cargo bench -p registry-benches                        # everything
//! cargo bench -p registry-benches --bench uploads        # one of them
//! cargo bench -p registry-benches -- --test              # each body once: do they work?
//! cargo bench -p registry-benches -- --save-baseline x   # then, after a change: --baseline x
//! ```
//!
//! Figures of a shared machine drift by a factor of two: compare two builds in one sitting, and take
//! ratios for results.

mod client;
mod endpoints;

pub use client::{Client, Failed};
pub use endpoints::{Answered, EndpointRequest, endpoints};

use bytes::Bytes;
use oci_core::Digest;
use serde_json::json;

/// `length` bytes that do not repeat early; `seed` tells contents apart.
pub fn content(length: usize, seed: u64) -> Bytes {
    // xorshift64: as fast as memory, and the same on every machine.
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

/// An image manifest with so many layers, as clients write it.
pub fn image_manifest(layers: usize) -> Bytes {
    let layers: Vec<_> = (0_u64..)
        .take(layers)
        .map(|n| {
            json!({
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": Digest::sha256(&n.to_le_bytes()),
                "size": 30_000_000 + n,
                "annotations": { "org.opencontainers.image.title": format!("layer {n}") },
            })
        })
        .collect();
    let document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::sha256(b"config"),
            "size": 7023,
        },
        "layers": layers,
        "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
    });
    document.to_string().into()
}

/// An index over so many platforms.
pub fn image_index(manifests: usize) -> Bytes {
    let manifests: Vec<_> = (0_u64..)
        .take(manifests)
        .map(|n| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": Digest::sha256(&n.to_le_bytes()),
                "size": 1100 + n,
                "platform": { "architecture": format!("arch{n}"), "os": "linux" },
            })
        })
        .collect();
    let document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    document.to_string().into()
}
