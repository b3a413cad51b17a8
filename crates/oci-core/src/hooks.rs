//! Where a host takes part: it may veto an operation before it happens, and hears of it afterwards.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

use crate::auth::Identity;
use crate::digest::Digest;
use crate::error::{RegistryError, StoreError};
use crate::manifest::Manifest;
use crate::name::{Reference, RepositoryName, Tag};

/// Policies, quotas and reactions of the host. Every method has a default that does nothing.
///
/// ```
/// use async_trait::async_trait;
/// use oci_core::{ErrorCode, Hooks, Identity, Operation, RegistryError};
///
/// #[derive(Debug)]
/// struct ReleasesAreFinal;
///
/// #[async_trait]
/// impl Hooks for ReleasesAreFinal {
///     async fn before(&self, _: &Identity, operation: &Operation<'_>) -> Result<(), RegistryError> {
///         match operation {
///             Operation::DeleteManifest { repository, .. } if repository.as_str().starts_with("release/") => {
///                 Err(RegistryError::new(ErrorCode::Denied, "releases are kept for ever"))
///             }
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait Hooks: Debug + Send + Sync + 'static {
    /// Asked before an operation takes effect, after authorisation. An error refuses it, as it is.
    async fn before(
        &self,
        identity: &Identity,
        operation: &Operation<'_>,
    ) -> Result<(), RegistryError> {
        let _ = (identity, operation);
        Ok(())
    }

    /// Told after an operation took effect. Runs on the request's task: hand long work on.
    fn after(&self, identity: &Identity, event: &Event) {
        let _ = (identity, event);
    }

    /// Whether [`store_call`](Self::store_call) wants to be told. Asked once, when the registry is built;
    /// calls are timed only if so.
    fn observes_store_calls(&self) -> bool {
        false
    }

    /// Told how long a store took to answer, and what went wrong. That something was not found is an
    /// error here, too. A call whose future was dropped is not told of.
    fn store_call(&self, call: StoreCall, took: Duration, error: Option<&StoreError>) {
        let _ = (call, took, error);
    }
}

/// A call that a registry makes to one of its stores.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreCall {
    /// Bytes were appended to an upload. The time includes waiting for the client.
    AppendUpload,
    /// An upload was begun.
    BeginUpload,
    /// An upload became a blob.
    CommitUpload,
    /// A manifest, tag or link to a blob was removed.
    Delete,
    /// Repositories, tags or referrers were listed.
    List,
    /// A manifest was stored.
    PutManifest,
    /// A blob was opened.
    ReadBlob,
    /// A manifest was read.
    ReadManifest,
    /// A tag was looked up.
    ResolveTag,
    /// A blob was looked for.
    StatBlob,
}

/// Hooks that do nothing.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct NoHooks;

#[async_trait]
impl Hooks for NoHooks {}

/// An operation that is about to take effect.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// An upload of `size` bytes will become a blob, if its digest is right.
    CommitBlob {
        /// Where it is pushed.
        repository: &'a RepositoryName,
        /// What the client claims.
        digest: &'a Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// A blob will leave a repository.
    DeleteBlob {
        /// Where.
        repository: &'a RepositoryName,
        /// Which.
        digest: &'a Digest,
    },
    /// A manifest and all its tags, or one tag, will go.
    DeleteManifest {
        /// Where.
        repository: &'a RepositoryName,
        /// Which.
        reference: &'a Reference,
    },
    /// A blob of one repository will be linked into another.
    MountBlob {
        /// Where it shall be visible.
        repository: &'a RepositoryName,
        /// Which.
        digest: &'a Digest,
    },
    /// A manifest will become visible.
    PutManifest {
        /// Where.
        repository: &'a RepositoryName,
        /// Its digest.
        digest: &'a Digest,
        /// Its content.
        manifest: &'a Manifest,
        /// The tags that will point to it.
        tags: &'a [Tag],
    },
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A blob was pushed.
    BlobPushed {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Its length in bytes.
        size: u64,
    },
    /// A blob was mounted from another repository.
    BlobMounted {
        /// Where it is visible now.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// Where it came from, if the client or the registry knew.
        from: Option<RepositoryName>,
    },
    /// A blob left a repository.
    BlobDeleted {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
    },
    /// A manifest was read.
    ManifestPulled {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// As it was asked for.
        reference: Reference,
    },
    /// A manifest was pushed.
    ManifestPushed {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// The tags that point to it since.
        tags: Vec<Tag>,
    },
    /// A manifest was deleted.
    ManifestDeleted {
        /// Where.
        repository: RepositoryName,
        /// Which.
        digest: Digest,
        /// The tags that went with it.
        tags: Vec<Tag>,
    },
    /// A tag was deleted; the manifest stays.
    TagDeleted {
        /// Where.
        repository: RepositoryName,
        /// Which.
        tag: Tag,
        /// What it pointed to.
        digest: Digest,
    },
}
