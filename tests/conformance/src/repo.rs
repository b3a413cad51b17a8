//! A repository as clients see it, and the pushes most cases start with.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::{
    ctx::Ctx,
    digest::{Alg, sha256},
    documents::{Document, OCI_MANIFEST, descriptor, image_manifest},
    failure::{Failure, Within as _},
    reply::{Reply, strings},
    request::Req,
};

/// What clients accept: both families of manifests and anything else.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, */*";

/// A repository name and the requests on it.
#[derive(Debug, Clone)]
pub(crate) struct Repo<'a> {
    pub(crate) cx: &'a Ctx,
    pub(crate) name: String,
}

/// An image whose parts are all pushed.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) manifest: Document,
    pub(crate) digest: String,
    pub(crate) config: String,
    pub(crate) layer: String,
    pub(crate) layer_bytes: Bytes,
}

/// An upload session, followed from Location to Location.
#[derive(Debug, Clone)]
pub(crate) struct Upload<'a> {
    pub(crate) cx: &'a Ctx,
    pub(crate) location: String,
}

impl<'a> Repo<'a> {
    pub(crate) fn new(cx: &'a Ctx, name: String) -> Self {
        Self { cx, name }
    }

    pub(crate) fn uploads(&self) -> String {
        format!("/v2/{}/blobs/uploads/", self.name)
    }

    pub(crate) fn blob(&self, digest: &str) -> String {
        format!("/v2/{}/blobs/{digest}", self.name)
    }

    pub(crate) fn manifest(&self, reference: &str) -> String {
        format!("/v2/{}/manifests/{reference}", self.name)
    }

    pub(crate) fn tags(&self) -> String {
        format!("/v2/{}/tags/list", self.name)
    }

    pub(crate) fn referrers(&self, digest: &str) -> String {
        format!("/v2/{}/referrers/{digest}", self.name)
    }

    pub(crate) fn get_blob(&self, digest: &str) -> Req<'a> {
        self.cx.get(self.blob(digest))
    }

    pub(crate) fn head_blob(&self, digest: &str) -> Req<'a> {
        self.cx.head(self.blob(digest))
    }

    /// GET of a manifest with the `Accept` that clients send.
    pub(crate) fn get_manifest(&self, reference: &str) -> Req<'a> {
        self.cx
            .get(self.manifest(reference))
            .header("accept", ACCEPT)
    }

    /// HEAD of a manifest with the `Accept` that clients send.
    pub(crate) fn head_manifest(&self, reference: &str) -> Req<'a> {
        self.cx
            .head(self.manifest(reference))
            .header("accept", ACCEPT)
    }

    /// PUT of a manifest, not sent yet.
    pub(crate) fn put_manifest(&self, reference: &str, document: &Document) -> Req<'a> {
        self.cx
            .put(self.manifest(reference))
            .header("content-type", &document.media_type)
            .body(document.bytes.clone())
    }

    /// Opens an upload session.
    pub(crate) async fn start(&self) -> Result<Upload<'a>, Failure> {
        let reply = self
            .cx
            .post(self.uploads())
            .expect(StatusCode::ACCEPTED)
            .await?;
        Ok(Upload {
            cx: self.cx,
            location: reply.location()?,
        })
    }

    /// Pushes a blob in one PUT and returns its sha256 digest.
    pub(crate) async fn push_blob(&self, bytes: &Bytes) -> Result<String, Failure> {
        self.push_blob_as(bytes, Alg::Sha256).await
    }

    /// Pushes a blob in one PUT and returns its digest.
    pub(crate) async fn push_blob_as(&self, bytes: &Bytes, alg: Alg) -> Result<String, Failure> {
        let digest = alg.of(bytes);
        let upload = self.start().await.within("pushing a blob")?;
        let reply = upload.put(&digest, bytes.clone()).send().await?;
        reply.status(StatusCode::CREATED).within("pushing a blob")?;
        Ok(digest)
    }

    /// Pushes a manifest, which must succeed.
    pub(crate) async fn push(
        &self,
        reference: &str,
        document: &Document,
    ) -> Result<Reply, Failure> {
        let reply = self.put_manifest(reference, document).send().await?;
        reply
            .status(StatusCode::CREATED)
            .within("pushing a manifest")?;
        Ok(reply)
    }

    /// Pushes a manifest by its digest, which must succeed, and returns the digest.
    pub(crate) async fn push_untagged(&self, document: &Document) -> Result<String, Failure> {
        let digest = document.digest();
        self.push(&digest, document).await?;
        Ok(digest)
    }

    /// Pushes the blobs of an image, not its manifest.
    pub(crate) async fn image_parts(&self) -> Result<Image, Failure> {
        let layer_bytes = self.cx.bytes(1000);
        let layer = self.push_blob(&layer_bytes).await?;
        let config_bytes = Bytes::from(format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{layer}"]}}}}"#
        ));
        let config = self.push_blob(&config_bytes).await?;
        let manifest = Document::json(
            OCI_MANIFEST,
            &image_manifest(
                descriptor("application/vnd.oci.image.config.v1+json", &config_bytes),
                vec![descriptor(
                    "application/vnd.oci.image.layer.v1.tar",
                    &layer_bytes,
                )],
            ),
        );
        let digest = manifest.digest();
        Ok(Image {
            manifest,
            digest,
            config,
            layer,
            layer_bytes,
        })
    }

    /// Pushes an image nobody has pushed before, under this tag or digest-only.
    pub(crate) async fn image(&self, tag: Option<&str>) -> Result<Image, Failure> {
        let image = self.image_parts().await?;
        self.push(tag.unwrap_or(&image.digest), &image.manifest)
            .await?;
        Ok(image)
    }

    /// The tags of the repository, as listed without parameters.
    pub(crate) async fn list_tags(&self) -> Result<Vec<String>, Failure> {
        let reply = self.cx.get(self.tags()).expect(StatusCode::OK).await?;
        tags_of(&reply)
    }

    /// Every descriptor of the referrers of `digest`, following Links.
    pub(crate) async fn list_referrers(&self, digest: &str) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut next = Some(self.referrers(digest));
        while let Some(target) = next {
            let reply = self.cx.get(target).expect(StatusCode::OK).await?;
            found.extend(manifests_of(&reply)?);
            next = reply.next_link()?;
        }
        Ok(found)
    }

    /// Fails unless the blob is absent.
    pub(crate) async fn blob_is_absent(&self, digest: &str) -> Result<(), Failure> {
        self.get_blob(digest)
            .send()
            .await?
            .error(StatusCode::NOT_FOUND, &["BLOB_UNKNOWN"])?;
        self.head_blob(digest).expect(StatusCode::NOT_FOUND).await?;
        Ok(())
    }

    /// Fails unless the blob can be pulled and is exactly `bytes`.
    pub(crate) async fn blob_is(&self, digest: &str, bytes: &[u8]) -> Result<(), Failure> {
        let reply = self.get_blob(digest).expect(StatusCode::OK).await?;
        reply.body_digest_is(bytes.len() as u64, &sha256(bytes))?;
        Ok(())
    }

    /// Fails unless the manifest can be pulled and is exactly `document`.
    pub(crate) async fn manifest_is(
        &self,
        reference: &str,
        document: &Document,
    ) -> Result<(), Failure> {
        let reply = self.get_manifest(reference).expect(StatusCode::OK).await?;
        reply
            .body_is(&document.bytes)?
            .header_is("content-type", &document.media_type)?;
        Ok(())
    }
}

impl<'a> Upload<'a> {
    /// A PATCH to the current Location, not sent yet.
    pub(crate) fn patch(&self) -> Req<'a> {
        self.cx
            .patch(self.location.clone())
            .header("content-type", "application/octet-stream")
    }

    /// A PATCH of `bytes` that says where they belong.
    pub(crate) fn patch_at(&self, start: usize, bytes: &Bytes) -> Req<'a> {
        self.patch()
            .header("content-range", content_range(start, bytes))
            .body(bytes.clone())
    }

    /// The closing PUT, with a body if `bytes` is not empty.
    pub(crate) fn put(&self, digest: &str, bytes: impl Into<Bytes>) -> Req<'a> {
        self.cx
            .put(self.location.clone())
            .header("content-type", "application/octet-stream")
            .query("digest", digest)
            .body(bytes)
    }

    pub(crate) fn status(&self) -> Req<'a> {
        self.cx.get(self.location.clone())
    }

    pub(crate) fn cancel(&self) -> Req<'a> {
        self.cx.delete(self.location.clone())
    }

    /// Sends a PATCH that must succeed and moves on to the Location it answers.
    pub(crate) async fn append(&mut self, bytes: &Bytes) -> Result<Reply, Failure> {
        let reply = self
            .patch()
            .body(bytes.clone())
            .expect(StatusCode::ACCEPTED)
            .await?;
        self.location = reply.location()?;
        Ok(reply)
    }

    /// Sends a PATCH with `Content-Range` that must succeed and moves on.
    pub(crate) async fn append_at(
        &mut self,
        start: usize,
        bytes: &Bytes,
    ) -> Result<Reply, Failure> {
        let reply = self
            .patch_at(start, bytes)
            .expect(StatusCode::ACCEPTED)
            .await?;
        self.location = reply.location()?;
        Ok(reply)
    }

    /// Closes the session with an empty body, which must succeed.
    pub(crate) async fn finish(&self, digest: &str) -> Result<Reply, Failure> {
        self.put(digest, Bytes::new())
            .expect(StatusCode::CREATED)
            .await
    }

    /// Fails unless the session says that it has received this many bytes.
    pub(crate) async fn has_received(&self, received: u64) -> Result<Reply, Failure> {
        let reply = self.status().expect(StatusCode::NO_CONTENT).await?;
        reply.received_is(received)?;
        Ok(reply)
    }
}

/// `<start>-<end>`, both inclusive.
pub(crate) fn content_range(start: usize, bytes: &[u8]) -> String {
    format!("{start}-{}", (start + bytes.len()).saturating_sub(1))
}

/// The tags of a tags/list response.
pub(crate) fn tags_of(reply: &Reply) -> Result<Vec<String>, Failure> {
    strings(reply.json()?.get("tags")).map_err(|error| reply.failure(error))
}

/// The descriptors of an index response.
pub(crate) fn manifests_of(reply: &Reply) -> Result<Vec<Value>, Failure> {
    let json = reply.json()?;
    let manifests = json.get("manifests").and_then(Value::as_array);
    manifests
        .cloned()
        .ok_or_else(|| reply.failure("no list of manifests in the index"))
}
