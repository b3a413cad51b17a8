//! Responses. The only place that writes headers.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LINK, LOCATION, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use oci_core::store::UploadId;
use oci_core::{Digest, Identity, ManifestType, RegistryError, Tag};
use serde::Serialize;

use crate::conditions::entity_tag;
use crate::endpoint::Endpoint;

mod body;
mod error;
mod links;

pub use body::RegistryBody;
pub(crate) use error::Failure;
pub use links::ClientOrigin;
pub(crate) use links::{Links, Origin};

/// A response that is being put together.
#[derive(Debug)]
pub(crate) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: RegistryBody,
    error: Option<Arc<RegistryError>>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::with_capacity(HEADERS),
            body: RegistryBody::empty(),
            error: None,
        }
    }

    /// 200 with a JSON document.
    pub(crate) fn json(document: &impl Serialize) -> Self {
        let mut reply = Self::new(StatusCode::OK);
        reply.set(CONTENT_TYPE, Some(json_type()));
        // Our own documents of strings and numbers always serialise.
        reply.body = RegistryBody::once(serde_json::to_vec(document).unwrap_or_default());
        reply
    }

    /// The content of a manifest, or its head.
    pub(crate) fn manifest(manifest_type: ManifestType, digest: &Digest, cache: Cache) -> Self {
        let mut reply = Self::new(StatusCode::OK).entity(digest, cache);
        let media_type = HeaderValue::from_static(manifest_type.as_str());
        reply.set(CONTENT_TYPE, Some(media_type));
        reply.set(
            X_CONTENT_TYPE_OPTIONS,
            Some(HeaderValue::from_static("nosniff")),
        );
        reply
    }

    /// The content of a blob, or its head. A blob may be anything, a web page included: browsers are
    /// kept from believing that this registry wrote it.
    pub(crate) fn blob(digest: &Digest) -> Self {
        let mut reply = Self::new(StatusCode::OK).entity(digest, Cache::Immutable);
        for (name, value) in [
            (CONTENT_TYPE, "application/octet-stream"),
            (ACCEPT_RANGES, "bytes"),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        ] {
            reply.set(name, Some(HeaderValue::from_static(value)));
        }
        reply
    }

    /// 307: the content is at `url` for a while. `None` if that cannot be written in a header.
    pub(crate) fn redirect(digest: &Digest, url: &str) -> Option<Self> {
        let mut reply = Self::new(StatusCode::TEMPORARY_REDIRECT).digest(digest);
        reply.set(LOCATION, Some(HeaderValue::try_from(url).ok()?));
        // The address expires, and is for this caller.
        reply.set(CACHE_CONTROL, Some(HeaderValue::from_static("no-store")));
        Some(reply)
    }

    /// 304: the client has the content.
    pub(crate) fn not_modified(digest: &Digest, cache: Cache) -> Self {
        Self::new(StatusCode::NOT_MODIFIED).entity(digest, cache)
    }

    /// An upload session that holds `offset` bytes, and where it goes on.
    ///
    /// `Range` counts from the first byte of the blob and has no unit: that is what docker reads.
    pub(crate) fn upload(
        mut self,
        links: &Links,
        session: &Endpoint,
        offset: u64,
        empty: EmptyRange,
    ) -> Self {
        if let Endpoint::Upload { id, .. } = session {
            self.set(UPLOAD_UUID, upload_id(id));
        }
        let range = match (offset.checked_sub(1), empty) {
            (Some(last), _) => format!("0-{last}"),
            (None, EmptyRange::Zero) => "0-0".to_owned(),
            (None, EmptyRange::MinusOne) => "0--1".to_owned(),
        };
        self.set(RANGE, HeaderValue::try_from(range).ok());
        self.location(links, session)
    }

    pub(crate) fn location(mut self, links: &Links, endpoint: &Endpoint) -> Self {
        self.set(LOCATION, links.location(endpoint));
        self
    }

    pub(crate) fn next(mut self, links: &Links, endpoint: Option<&Endpoint>) -> Self {
        self.set(LINK, endpoint.and_then(|endpoint| links.next(endpoint)));
        self
    }

    pub(crate) fn digest(mut self, digest: &Digest) -> Self {
        self.set(
            CONTENT_DIGEST,
            HeaderValue::try_from(digest.to_string()).ok(),
        );
        self
    }

    /// Which subject will list this manifest among its referrers.
    pub(crate) fn subject(mut self, subject: Option<&str>) -> Self {
        self.set(OCI_SUBJECT, subject.and_then(|text| text.parse().ok()));
        self
    }

    /// The tags that a push by digest has written: one header each, and lists if there are many, because
    /// clients take no more than a hundred headers.
    pub(crate) fn tags(mut self, tags: &[Tag]) -> Self {
        for tags in tags.chunks(tags.len().div_ceil(OCI_TAG_HEADERS).max(1)) {
            let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
            if let Ok(value) = HeaderValue::try_from(names.join(", ")) {
                self.headers.append(OCI_TAG, value);
            }
        }
        self
    }

    /// That the listing was filtered by artifact type.
    pub(crate) fn filtered(mut self, filtered: bool) -> Self {
        let value = filtered.then_some(HeaderValue::from_static("artifactType"));
        self.set(OCI_FILTERS_APPLIED, value);
        self
    }

    pub(crate) fn index_type(mut self) -> Self {
        let media_type = HeaderValue::from_static(ManifestType::OciIndex.as_str());
        self.set(CONTENT_TYPE, Some(media_type));
        self
    }

    /// 206 with `range` of `size` bytes.
    pub(crate) fn partial(mut self, range: &std::ops::Range<u64>, size: u64) -> Self {
        self.status = StatusCode::PARTIAL_CONTENT;
        let last = range.end.saturating_sub(1);
        let value = format!("bytes {}-{last}/{size}", range.start);
        self.set(CONTENT_RANGE, HeaderValue::try_from(value).ok());
        self
    }

    pub(crate) fn body(mut self, body: RegistryBody) -> Self {
        self.body = body;
        self
    }

    /// A response to HEAD that a GET would answer with `length` bytes.
    pub(crate) fn length(mut self, length: u64) -> Self {
        self.set(CONTENT_LENGTH, Some(HeaderValue::from(length)));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Drops the body, as the answer to HEAD; its length stays known.
    pub(crate) fn into_head(self) -> Self {
        if self.headers.contains_key(CONTENT_LENGTH) || self.is_bodiless() {
            return self.body(RegistryBody::empty());
        }
        let length = self.body.remaining();
        self.length(length).body(RegistryBody::empty())
    }

    /// The finished response. `keep_alive` is false if some of the request was left unread, so that
    /// the connection cannot be used again.
    pub(crate) fn finish(
        mut self,
        identity: Option<Identity>,
        keep_alive: bool,
    ) -> Response<RegistryBody> {
        self.set(API_VERSION, Some(HeaderValue::from_static("registry/2.0")));
        if !self.headers.contains_key(CONTENT_LENGTH) && !self.is_bodiless() {
            self.set(
                CONTENT_LENGTH,
                Some(HeaderValue::from(self.body.remaining())),
            );
        }
        if !keep_alive {
            self.set(CONNECTION, Some(HeaderValue::from_static("close")));
        }
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        if let Some(error) = self.error {
            response.extensions_mut().insert(error);
        }
        if let Some(identity) = identity {
            response.extensions_mut().insert(identity);
        }
        response
    }

    /// Whether HTTP itself rules out a body, and with it a length.
    fn is_bodiless(&self) -> bool {
        matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        )
    }

    /// Which content this is, and how long it may be kept.
    fn entity(mut self, digest: &Digest, cache: Cache) -> Self {
        // The digest is the entity tag without its quotation marks: one text serves both.
        let tag = Bytes::from(entity_tag(digest));
        let digest = tag.slice(1..tag.len().saturating_sub(1).max(1));
        self.set(CONTENT_DIGEST, HeaderValue::from_maybe_shared(digest).ok());
        self.set(ETAG, HeaderValue::from_maybe_shared(tag).ok());
        let cache = match cache {
            Cache::Immutable => "max-age=31536000, immutable",
            Cache::Revalidate => "no-cache",
        };
        self.set(CACHE_CONTROL, Some(HeaderValue::from_static(cache)));
        self
    }

    fn set(&mut self, name: HeaderName, value: Option<HeaderValue>) {
        if let Some(value) = value {
            self.headers.insert(name, value);
        }
    }
}

/// How long caches may keep content.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cache {
    /// For ever: it was asked for by digest.
    Immutable,
    /// Only as long as the registry confirms it: a tag moves.
    Revalidate,
}

/// How `Range` says that an upload holds nothing, for which there is no right form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EmptyRange {
    /// `0--1`, where clients look to see how many bytes they need not send again: one that read `0-0`
    /// would leave out the first byte.
    MinusOne,
    /// `0-0`, where docker looks, which takes an end before the start for an error.
    Zero,
}

fn json_type() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

fn upload_id(id: &UploadId) -> Option<HeaderValue> {
    HeaderValue::try_from(id.as_str()).ok()
}

/// As many as most responses have, with those that a server adds, so that the map never grows.
const HEADERS: usize = 12;
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// How many `OCI-Tag` headers one response has at most.
const OCI_TAG_HEADERS: usize = 50;
const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
