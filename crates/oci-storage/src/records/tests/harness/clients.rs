//! What clients do, and what they push.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use oci_core::error::StoreError;
use oci_core::store::{
    AppendMode, BlobPayload, BlobStore, BlobUpload, ManifestStore, PutManifest, ReadRange,
    TagWrite, UploadOptions, UploadScope,
};
use oci_core::{Digest, Manifest, RepositoryName, Tag};

use crate::records::Records;

pub(crate) fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

pub(crate) fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(crate) fn scope() -> UploadScope {
    UploadScope::new(repository("r"), "somebody")
}

/// Content that no other seed has.
pub(crate) fn content(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| seed ^ u8::try_from(at % 251).unwrap())
        .collect()
}

pub(crate) async fn append(
    upload: &mut Box<dyn BlobUpload>,
    bytes: &[u8],
) -> Result<u64, StoreError> {
    let pieces: Vec<_> = bytes
        .chunks(7_000)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let mut pieces = std::pin::pin!(stream::iter(pieces));
    upload
        .append(pieces.as_mut(), AppendMode::Progressive)
        .await
}

/// Pushes a blob in one go.
pub(crate) async fn push_blob(store: &Records, bytes: &[u8]) -> Result<Digest, StoreError> {
    let digest = Digest::sha256(bytes);
    let options = UploadOptions::expecting(digest);
    let mut upload = store.begin_upload(&scope(), &options).await?;
    append(&mut upload, bytes).await?;
    upload.commit(&digest, &repository("r")).await?;
    Ok(digest)
}

/// Pushes a blob over a session, as most clients do.
pub(crate) async fn push_blob_by_session(
    store: &Records,
    bytes: &[u8],
) -> Result<Digest, StoreError> {
    let digest = Digest::sha256(bytes);
    let mut upload = store
        .begin_upload(&scope(), &UploadOptions::default())
        .await?;
    upload.checkpoint().await?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    append(&mut upload, first).await?;
    upload.checkpoint().await?;
    append(&mut upload, second).await?;
    upload.commit(&digest, &repository("r")).await?;
    Ok(digest)
}

pub(crate) async fn read_blob(store: &Records, digest: &Digest) -> Result<Vec<u8>, StoreError> {
    match BlobStore::read(store, digest, ReadRange::Whole)
        .await?
        .payload
    {
        BlobPayload::Bytes(bytes) => Ok(bytes.to_vec()),
        BlobPayload::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all)
        }
        other => panic!("{other:?}"),
    }
}

/// An image of two blobs.
pub(crate) fn image(config: &[u8], layer: &[u8], note: &str, subject: Option<&Digest>) -> Manifest {
    let descriptor = |bytes: &[u8], kind: &str| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::sha256(bytes),
            "size": bytes.len(),
        })
    };
    let mut document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor(config, "config.v1+json"),
        "layers": [descriptor(layer, "layer.v1.tar")],
        "annotations": {"note": note},
    });
    if let Some(subject) = subject {
        document["subject"] = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": subject,
            "size": 7,
        });
    }
    Manifest::parse(document.to_string().into(), None).unwrap()
}

pub(crate) async fn put(
    store: &Records,
    manifest: &Manifest,
    tags: &[TagWrite],
) -> Result<Digest, StoreError> {
    let name = repository("r");
    let digest = Digest::sha256(manifest.bytes());
    let mut put = PutManifest::new(&name, &digest, manifest);
    put.references = manifest.references();
    put.tags = tags;
    store.put(put).await?;
    Ok(digest)
}

/// An index of one manifest.
pub(crate) fn index(child: &Manifest) -> Manifest {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": child.manifest_type().as_str(),
            "digest": Digest::sha256(child.bytes()),
            "size": child.size(),
        }],
    });
    Manifest::parse(document.to_string().into(), None).unwrap()
}
