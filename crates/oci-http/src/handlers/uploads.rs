//! `blobs/uploads/`: OCI distribution-spec, "Pushing Blobs" and "Mounting a blob from another
//! repository".

use http::StatusCode;
use oci_core::registry::MountSource;
use oci_core::store::{UploadId, UploadOptions};
use oci_core::{Action, Digest, ErrorCode, RegistryError, RepositoryName};

use super::Exchange;
use crate::endpoint::{Endpoint, Mount, MountFrom, UploadStart};
use crate::range::ContentRange;
use crate::request::{OfLength, RequestBody};
use crate::response::{EmptyRange, Failure, Reply};

/// POST: mounts a blob, takes one in whole, or begins a session.
pub(super) async fn begin(
    x: &Exchange<'_>,
    body: &mut RequestBody,
    repository: &RepositoryName,
    start: &UploadStart,
) -> Result<Reply, Failure> {
    if let Some(mount) = &start.mount {
        if let Some(source) = mount_source(x, mount).await? {
            let mounted = x
                .registry
                .mount_blob(x.identity(), repository, &mount.digest, &source)
                .await?;
            if let Some(blob) = mounted {
                return Ok(created(x, repository, &blob.digest));
            }
        }
    } else if let Some(digest) = &start.digest {
        // Without a body the client can only mean to send it next.
        let nothing = Digest::of(digest.algorithm(), b"");
        if body.length() != Some(0) || *digest == nothing {
            let blob = x
                .registry
                .push_blob(x.identity(), repository, digest, body.stream())
                .await?;
            return Ok(created(x, repository, &blob.digest));
        }
    }
    let digest = start
        .digest
        .or(start.mount.as_ref().map(|mount| mount.digest));
    let algorithm = start.algorithm.or(digest.map(|digest| digest.algorithm()));
    let options = UploadOptions::new(algorithm.unwrap_or_default());
    let status = x
        .registry
        .begin_upload(x.identity(), repository, &options)
        .await?;
    let session = Session::new(repository, &status.id, None);
    Ok(Reply::new(StatusCode::ACCEPTED).upload(
        x.links,
        &session.at(status.offset),
        status.offset,
        EmptyRange::Zero,
    ))
}

/// Where the blob may be taken from. `None` if the caller may not read there: whether the blob exists
/// is not for them to know, and they upload it instead.
async fn mount_source(
    x: &Exchange<'_>,
    mount: &Mount,
) -> Result<Option<MountSource>, RegistryError> {
    let (allowed, source) = match &mount.from {
        MountFrom::Anywhere => (x.caller.may_pull_everything().await?, MountSource::Anywhere),
        MountFrom::Repository(from) => (
            x.caller.may_in(from, Action::Pull).await?,
            MountSource::Repository(from.clone()),
        ),
        MountFrom::Malformed(_) => return Ok(None),
    };
    Ok(allowed.then_some(source))
}

/// 201 for a blob that is in the repository now.
fn created(x: &Exchange<'_>, repository: &RepositoryName, digest: &Digest) -> Reply {
    let location = Endpoint::Blob {
        repository: repository.clone(),
        digest: *digest,
    };
    Reply::new(StatusCode::CREATED)
        .location(x.links, &location)
        .digest(digest)
}

/// An upload session as a request names it.
pub(super) struct Session<'a> {
    repository: &'a RepositoryName,
    id: &'a UploadId,
    /// Where the client believes it to stand, by the location it uses. Every location says so: a
    /// stream that is sent again, after its answer was lost, is noticed and not appended twice.
    state: Option<u64>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        repository: &'a RepositoryName,
        id: &'a UploadId,
        state: Option<u64>,
    ) -> Self {
        Self {
            repository,
            id,
            state,
        }
    }

    /// PATCH: appends the body.
    pub(super) async fn append(
        self,
        x: &Exchange<'_>,
        body: &mut RequestBody,
    ) -> Result<Reply, Failure> {
        let range = content_range(x, body)?;
        let start = range.map(ContentRange::start).or(self.state);
        let appended = if let Some(length) = range.and_then(ContentRange::length) {
            let mut content = OfLength::new(body, length);
            let appended = x
                .registry
                .append_upload(
                    x.identity(),
                    self.repository,
                    self.id,
                    start,
                    content.stream(),
                )
                .await;
            size_checked(appended, &content)
        } else {
            x.registry
                .append_upload(x.identity(), self.repository, self.id, start, body.stream())
                .await
        };
        let status = appended.map_err(|error| self.failure(x, error))?;
        Ok(self.reply(x, StatusCode::ACCEPTED, status.offset, EmptyRange::Zero))
    }

    /// PUT: appends the rest, if there is one, and makes the blob.
    pub(super) async fn finish(
        self,
        x: &Exchange<'_>,
        body: &mut RequestBody,
        digest: Option<&Digest>,
    ) -> Result<Reply, Failure> {
        let Some(digest) = digest else {
            return Err(Failure::new(
                ErrorCode::DigestInvalid,
                "closing an upload needs `digest` in the query, for example `digest=sha256:…`",
            ));
        };
        let range = content_range(x, body)?;
        // Without a body nothing can be appended twice, and the digest decides.
        let state = self.state.filter(|_| body.length() != Some(0));
        let start = range.map(ContentRange::start).or(state);
        let finished = if let Some(length) = range.and_then(ContentRange::length) {
            let mut content = OfLength::new(body, length);
            let finished = x
                .registry
                .finish_upload(
                    x.identity(),
                    self.repository,
                    self.id,
                    start,
                    digest,
                    content.stream(),
                )
                .await;
            size_checked(finished, &content)
        } else {
            x.registry
                .finish_upload(
                    x.identity(),
                    self.repository,
                    self.id,
                    start,
                    digest,
                    body.stream(),
                )
                .await
        };
        let blob = finished.map_err(|error| self.failure(x, error))?;
        Ok(created(x, self.repository, &blob.digest))
    }

    /// GET: how far it is. Any location of the session will do, however old.
    pub(super) async fn status(self, x: &Exchange<'_>) -> Result<Reply, Failure> {
        let status = x
            .registry
            .upload_status(x.identity(), self.repository, self.id)
            .await?;
        Ok(self.reply(
            x,
            StatusCode::NO_CONTENT,
            status.offset,
            EmptyRange::MinusOne,
        ))
    }

    /// DELETE: ends it.
    pub(super) async fn cancel(self, x: &Exchange<'_>) -> Result<Reply, Failure> {
        x.registry
            .cancel_upload(x.identity(), self.repository, self.id)
            .await?;
        Ok(Reply::new(StatusCode::NO_CONTENT))
    }

    fn at(&self, offset: u64) -> Endpoint {
        Endpoint::Upload {
            repository: self.repository.clone(),
            id: self.id.clone(),
            state: Some(offset),
            digest: None,
        }
    }

    fn reply(&self, x: &Exchange<'_>, status: StatusCode, offset: u64, empty: EmptyRange) -> Reply {
        Reply::new(status).upload(x.links, &self.at(offset), offset, empty)
    }

    /// Adds to an error where the session stands, so that the client can go on from there.
    fn failure(&self, x: &Exchange<'_>, error: RegistryError) -> Failure {
        let offset = error.upload_offset();
        let failure = Failure::from(error);
        match offset {
            None => failure,
            Some(offset) => failure.with(|reply| {
                reply.upload(x.links, &self.at(offset), offset, EmptyRange::MinusOne)
            }),
        }
    }
}

/// The `Content-Range`, if it fits the body as far as that can be told before reading it.
fn content_range(x: &Exchange<'_>, body: &RequestBody) -> Result<Option<ContentRange>, Failure> {
    let Some(range) = ContentRange::of(&x.head.headers)? else {
        return Ok(None);
    };
    let fits = match (range.length(), body.length()) {
        (Some(announced), Some(sent)) => announced == sent,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if fits {
        Ok(Some(range))
    } else {
        Err(wrong_size().into())
    }
}

/// The store only sees that the content broke off; here it is known why.
fn size_checked<T>(
    result: Result<T, RegistryError>,
    content: &OfLength<'_>,
) -> Result<T, RegistryError> {
    result.map_err(|error| match error.upload_offset() {
        _ if !content.is_wrong() => error,
        Some(offset) => wrong_size().with_upload_offset(offset),
        None => wrong_size(),
    })
}

fn wrong_size() -> RegistryError {
    RegistryError::new(
        ErrorCode::SizeInvalid,
        "the body has another length than Content-Range says; both ends of the range are included",
    )
}
