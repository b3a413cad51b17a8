//! What a request addresses. The only place that reads a path or a query.

use oci_core::digest::{Algorithm, DigestError};
use oci_core::store::{UploadId, UploadIdError};
use oci_core::{Digest, NameError, Reference, RepositoryName, Tag, TagError};

mod format;
mod parse;
mod query;
#[cfg(test)]
mod tests;

/// One resource of the registry API, with the parameters that it understands.
///
/// It is parsed once per request. Authorisation and the operation then act on this same value, so
/// they cannot disagree about what a path means.
///
/// [`Display`](std::fmt::Display) writes the path and query that parse to the same value again.
///
/// ```
/// use oci_http::Endpoint;
///
/// // Repository names have slashes, so paths are read from the right end.
/// let endpoint = Endpoint::parse("/v2/team/tags/list/tags/list", Some("n=2&last=a"))?;
/// let Endpoint::Tags { repository, page, .. } = &endpoint else { panic!() };
/// assert_eq!(repository.as_str(), "team/tags/list");
/// assert_eq!(page.n, Some(2));
/// assert_eq!(endpoint.to_string(), "/v2/team/tags/list/tags/list?n=2&last=a");
/// # Ok::<(), oci_http::EndpointError>(())
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Endpoint {
    /// `/v2/`: does this server speak the API?
    Base,
    /// `/v2/<name>/blobs/<digest>`
    #[non_exhaustive]
    Blob {
        /// The repository.
        repository: RepositoryName,
        /// The blob.
        digest: Digest,
    },
    /// `/v2/_catalog`: the repositories.
    #[non_exhaustive]
    Catalog {
        /// The part of the listing.
        page: PageQuery,
    },
    /// `/v2/_oci/ext/discover` and `/v2/<name>/_oci/ext/discover`: the extensions.
    #[non_exhaustive]
    Extensions {
        /// The repository, if asked for one.
        repository: Option<RepositoryName>,
    },
    /// `/v2/<name>/manifests/<tag-or-digest>`
    #[non_exhaustive]
    Manifest {
        /// The repository.
        repository: RepositoryName,
        /// The tag or digest.
        reference: Reference,
        /// Further tags for a push by digest: `tag`, repeatable. In order, without repetition.
        tags: Vec<Tag>,
    },
    /// `/v2/<name>/referrers/<digest>`
    #[non_exhaustive]
    Referrers {
        /// The repository.
        repository: RepositoryName,
        /// The subject.
        subject: Digest,
        /// The artifact types wanted, all if empty: `artifactType`, repeatable.
        artifact_types: Vec<String>,
        /// Only those after this digest: `last`.
        last: Option<String>,
    },
    /// `/v2/<name>/tags/list`
    #[non_exhaustive]
    Tags {
        /// The repository.
        repository: RepositoryName,
        /// The part of the listing.
        page: PageQuery,
    },
    /// `/v2/<name>/blobs/uploads/<id>`: an upload session.
    #[non_exhaustive]
    Upload {
        /// The repository.
        repository: RepositoryName,
        /// The session.
        id: UploadId,
        /// Where the session stood when this location was handed out: `_state`.
        state: Option<u64>,
        /// What the content will be: `digest`.
        digest: Option<Digest>,
    },
    /// `/v2/<name>/blobs/uploads/`: begins uploads.
    #[non_exhaustive]
    Uploads {
        /// The repository.
        repository: RepositoryName,
        /// How it begins.
        start: UploadStart,
    },
}

impl Endpoint {
    /// Reads a path, as it stands in the request target and without any prefix before `/v2`, and its
    /// query.
    ///
    /// Percent-encoding is decoded once, after the path was split at its slashes: an encoded slash is
    /// part of a name, and no name may have one. Of parameters that are given more than once, `tag` and
    /// `artifactType` are lists, two different `digest`s are an error, and else the first counts.
    /// Unknown parameters are ignored.
    ///
    /// # Errors
    /// If the path is no endpoint, or some part of it or of the query breaks its grammar.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, EndpointError> {
        parse::endpoint(path, query.unwrap_or_default())
    }

    /// The repository that is addressed, if it is one.
    pub fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Base | Self::Catalog { .. } => None,
            Self::Extensions { repository } => repository.as_ref(),
            Self::Blob { repository, .. }
            | Self::Manifest { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::Tags { repository, .. }
            | Self::Upload { repository, .. }
            | Self::Uploads { repository, .. } => Some(repository),
        }
    }

    /// A short fixed name for metrics and traces, for example `manifest`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Blob { .. } => "blob",
            Self::Catalog { .. } => "catalog",
            Self::Extensions { .. } => "extensions",
            Self::Manifest { .. } => "manifest",
            Self::Referrers { .. } => "referrers",
            Self::Tags { .. } => "tags",
            Self::Upload { .. } => "upload",
            Self::Uploads { .. } => "uploads",
        }
    }
}

/// The part of a listing that is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct PageQuery {
    /// The most entries to return; more digits than fit count as the largest number.
    pub n: Option<usize>,
    /// Only entries after this text.
    pub last: Option<String>,
}

/// How an upload begins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct UploadStart {
    /// The blob to mount from another repository: `mount` and `from`.
    pub mount: Option<Mount>,
    /// What the body is, for a push in a single request: `digest`.
    pub digest: Option<Digest>,
    /// What to hash with: `digest-algorithm`.
    pub algorithm: Option<Algorithm>,
}

/// A blob to mount.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Mount {
    /// Which.
    pub digest: Digest,
    /// From where.
    pub from: MountFrom,
}

/// Where a blob is to be mounted from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MountFrom {
    /// The client names no repository.
    Anywhere,
    /// What the client names is no repository name, so nothing can be mounted from it.
    Malformed(String),
    /// This repository.
    Repository(RepositoryName),
}

/// Why a path and query are no endpoint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// A digest breaks its grammar or its algorithm is not supported.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Two digests that differ.
    #[error("`digest` is given more than once, with different values")]
    DigestConflict,
    /// A repository name breaks its grammar.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Nothing of the registry API has this path.
    #[error(
        "no endpoint of the registry API has this path; see OCI distribution-spec, \"Endpoints\""
    )]
    NotFound,
    /// `n` is no number.
    #[error("`n` is the number of entries wanted, in decimal digits")]
    PageSize,
    /// A tag breaks its grammar.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// An id that this registry never gave out.
    #[error(transparent)]
    UploadId(#[from] UploadIdError),
}
