//! Content, manifests and short cuts that the cases share.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use serde_json::json;

use super::Stores;
use crate::digest::{Algorithm, Digest};
use crate::error::{BoxError, StoreError};
use crate::manifest::{Manifest, ManifestReference, ReferenceKind};
use crate::name::{RepositoryName, Tag};
use crate::store::{
    AppendMode, BlobMeta, BlobPayload, BlobRead, ContentStream, PutManifest, ReadRange, TagWrite,
    UploadOptions, UploadScope,
};

/// A stream of given pieces, which may end with an error and is pending before each piece once, as a
/// network is.
#[derive(Debug)]
pub struct Pieces {
    pieces: VecDeque<Result<Bytes, BoxError>>,
    pending: bool,
}

impl Pieces {
    /// Breaks off with an error after the pieces.
    #[must_use]
    pub fn then_fail(mut self) -> Self {
        self.pieces.push_back(Err("the client hung up".into()));
        self
    }
}

/// Cuts `content` into pieces of `length` bytes.
pub fn pieces(content: &[u8], length: usize) -> Pieces {
    let pieces = content
        .chunks(length)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Pieces {
        pieces,
        pending: false,
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pending = !self.pending;
        if self.pending {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.pieces.pop_front())
    }
}

/// A stream as upload sessions take it.
pub(super) fn as_content<S>(stream: &mut S) -> ContentStream<'_>
where
    S: Stream<Item = Result<Bytes, BoxError>> + Send + Unpin,
{
    let stream: Pin<&mut S> = Pin::new(stream);
    stream
}

/// `length` bytes that no other `seed` gives.
pub(super) fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        content.extend_from_slice(&next());
    }
    content.truncate(length);
    content
}

pub(super) fn repository(name: &str) -> RepositoryName {
    name.parse().expect("a repository name")
}

pub(super) fn tag(name: &str) -> Tag {
    name.parse().expect("a tag")
}

pub(super) fn scope(repository: &RepositoryName) -> UploadScope {
    UploadScope::new(repository.clone(), "somebody")
}

pub(super) fn sha256() -> UploadOptions {
    UploadOptions::new(Algorithm::Sha256)
}

impl Stores {
    /// Pushes a blob into a repository.
    pub(super) async fn push(&self, repository: &RepositoryName, content: &[u8]) -> BlobMeta {
        let digest = Digest::sha256(content);
        self.push_as(repository, content, &digest)
            .await
            .expect("a push succeeds")
    }

    pub(super) async fn push_as(
        &self,
        repository: &RepositoryName,
        content: &[u8],
        digest: &Digest,
    ) -> Result<BlobMeta, StoreError> {
        let mut upload = self
            .blobs
            .begin_upload(&scope(repository), &sha256())
            .await?;
        let mut stream = pieces(content, 100_000);
        upload
            .append(as_content(&mut stream), AppendMode::Atomic)
            .await?;
        let committed = upload.commit(digest, repository).await?;
        if !committed.linked {
            self.manifests
                .link_blob(repository, &committed.blob)
                .await?;
        }
        Ok(committed.blob)
    }

    /// Reads a whole blob.
    pub(super) async fn content(&self, digest: &Digest) -> Vec<u8> {
        gather(
            self.blobs
                .read(digest, ReadRange::Whole)
                .await
                .expect("the blob is there"),
        )
        .await
    }

    /// Puts a manifest with its direct references.
    pub(super) async fn put(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        tags: &[TagWrite],
    ) -> Result<Digest, StoreError> {
        let digest = Digest::sha256(manifest.bytes());
        self.put_as(repository, manifest, &digest, tags).await?;
        Ok(digest)
    }

    pub(super) async fn put_as(
        &self,
        repository: &RepositoryName,
        manifest: &Manifest,
        digest: &Digest,
        tags: &[TagWrite],
    ) -> Result<(), StoreError> {
        let mut put = PutManifest::new(repository, digest, manifest);
        put.references = manifest.references();
        put.tags = tags;
        self.manifests.put(put).await
    }

    /// Pushes the blobs of [`image`] and puts it.
    pub(super) async fn push_image(
        &self,
        repository: &RepositoryName,
        seed: u64,
        tags: &[&str],
    ) -> Digest {
        for blob in image_blobs(seed) {
            self.push(repository, &blob).await;
        }
        let tags: Vec<_> = tags.iter().map(|name| TagWrite::any(tag(name))).collect();
        self.put(repository, &image(seed, None), &tags)
            .await
            .expect("an image with its blobs is accepted")
    }
}

/// Reads an opened blob to its end. Files are read in place: these are tests.
pub(super) async fn gather(read: BlobRead) -> Vec<u8> {
    use std::io::{Read, Seek, SeekFrom};
    let length = read.range.end - read.range.start;
    let bytes = match read.payload {
        BlobPayload::Bytes(bytes) => bytes.to_vec(),
        BlobPayload::File(mut part) => {
            let mut bytes = Vec::new();
            part.file.seek(SeekFrom::Start(part.range.start)).unwrap();
            part.file
                .take(part.range.end - part.range.start)
                .read_to_end(&mut bytes)
                .unwrap();
            bytes
        }
        BlobPayload::Stream(mut stream) => {
            let mut bytes = Vec::new();
            while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
                bytes.extend_from_slice(&piece.expect("a stored blob is readable"));
            }
            bytes
        }
    };
    assert_eq!(
        bytes.len() as u64,
        length,
        "a read yields exactly the range it names"
    );
    bytes
}

/// The config and the layer of [`image`].
pub(super) fn image_blobs(seed: u64) -> [Vec<u8>; 2] {
    [content(seed, 40), content(seed + 1_000_000, 3000)]
}

/// An image manifest of its own for each `seed`.
pub(super) fn image(seed: u64, subject: Option<&Digest>) -> Manifest {
    let describe = |content: &[u8]| json!({"mediaType": "application/octet-stream", "digest": Digest::sha256(content).to_string(), "size": content.len()});
    let [config, layer] = image_blobs(seed);
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": describe(&config),
        "layers": [describe(&layer)],
        "annotations": {"seed": seed.to_string()},
    });
    if let Some(subject) = subject {
        document["subject"] = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": subject.to_string(), "size": 7,
        });
    }
    Manifest::parse(document.to_string().into(), None).expect("the kit's manifests are valid")
}

/// An index of one child.
pub(super) fn index(child: &Manifest) -> Manifest {
    let document = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": child.manifest_type().as_str(),
            "digest": Digest::sha256(child.bytes()).to_string(),
            "size": child.size(),
        }],
    });
    Manifest::parse(document.to_string().into(), None).expect("the kit's manifests are valid")
}

pub(super) fn blob_reference(blob: &BlobMeta) -> ManifestReference {
    ManifestReference::new(ReferenceKind::Blob, blob.digest, blob.size)
}
