//! Every operation of a registry that needs both planes of storage.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::Identity;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::hooks::{Event, Hooks, NoHooks, StoreCall};
use crate::manifest::Manifest;
use crate::name::RepositoryName;
use crate::runtime::{BlockingPool, ReadBuffers, ThreadPool};
use crate::store::{BlobRead, BlobStore, BlobStream, ManifestStore, UploadScope};

mod check;
mod collect;
mod copy;
mod delete;
mod list;
mod pull;
mod push;
mod referrers;
mod stream;
mod upload;

pub use check::{CheckOptions, CheckReport, Finding, FindingKind};
pub use collect::Collections;
pub use copy::{CopyProblem, CopyReport};
pub use pull::Intent;
pub use push::{PushManifest, PushedManifest};
pub use referrers::{ReferrersPage, ReferrersRequest};
pub use upload::MountSource;

/// A registry over two stores. Cloning is cheap and shares everything.
///
/// The operations are what HTTP handlers, in-process callers and maintenance all use. They do not
/// authorise: whoever calls them has decided that the [`Identity`] may. They do enforce limits, switches
/// such as read-only mode, and the host's [`Hooks`].
///
/// ```
/// use oci_core::memory::MemoryStore;
/// use oci_core::{Identity, Reference, Registry};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new(MemoryStore::new());
/// let repository = "team/app".parse()?;
/// let missing = registry.manifest(&Identity::anonymous(), &repository, &"latest".parse()?).await;
/// assert!(missing.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

impl Registry {
    /// A registry over one store that is both planes, with default options.
    pub fn new<S: BlobStore + ManifestStore>(store: S) -> Self {
        Self::builder(store).build()
    }

    /// Options for a registry over one store that is both planes.
    pub fn builder<S: BlobStore + ManifestStore>(store: S) -> RegistryBuilder {
        let store = Arc::new(store);
        Self::with_planes(Arc::clone(&store) as Arc<dyn BlobStore>, store)
    }

    /// Options for a registry over two stores.
    pub fn with_planes(
        blobs: Arc<dyn BlobStore>,
        manifests: Arc<dyn ManifestStore>,
    ) -> RegistryBuilder {
        RegistryBuilder {
            blobs,
            manifests,
            hooks: Arc::new(NoHooks::default()),
            pool: None,
            read_buffers: ReadBuffers::default(),
            limits: Limits::default(),
            deletes: Switch::On,
            writes: Switch::On,
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The content plane.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.inner.blobs
    }

    /// The metadata plane.
    pub fn manifests(&self) -> &Arc<dyn ManifestStore> {
        &self.inner.manifests
    }

    /// The threads that blocking reads run on.
    pub fn pool(&self) -> &Arc<dyn BlockingPool> {
        &self.inner.pool
    }

    /// The bytes of an opened blob as a stream, read with the registry's threads and buffers.
    pub fn stream(&self, read: BlobRead) -> BlobStream {
        read.into_stream(Arc::clone(&self.inner.pool), &self.inner.read_buffers)
    }

    /// Whether manifests, tags and blobs can be deleted.
    pub fn deletes_enabled(&self) -> bool {
        matches!(self.inner.deletes, Switch::On) && self.writes_enabled()
    }

    /// Whether anything can be pushed.
    pub fn writes_enabled(&self) -> bool {
        matches!(self.inner.writes, Switch::On)
    }

    fn check_writable(&self) -> Result<(), RegistryError> {
        self.inner.writes.check("the registry is read-only")
    }

    fn check_deletable(&self) -> Result<(), RegistryError> {
        self.check_writable()?;
        self.inner.deletes.check("deleting is switched off")
    }

    fn emit(&self, identity: &Identity, event: &Event) {
        self.inner.hooks.after(identity, event);
    }

    /// Waits for a store, and tells the hooks how long that took if they want to know.
    async fn timed<T>(
        &self,
        call: StoreCall,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        if !self.inner.observed {
            return answer.await;
        }
        let begun = Instant::now();
        let answer = answer.await;
        let hooks = &self.inner.hooks;
        hooks.store_call(call, begun.elapsed(), answer.as_ref().err());
        answer
    }
}

/// Options of a [`Registry`].
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct RegistryBuilder {
    blobs: Arc<dyn BlobStore>,
    manifests: Arc<dyn ManifestStore>,
    hooks: Arc<dyn Hooks>,
    pool: Option<Arc<dyn BlockingPool>>,
    read_buffers: ReadBuffers,
    limits: Limits,
    deletes: Switch,
    writes: Switch,
}

impl RegistryBuilder {
    /// The host's policies and reactions; none by default.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Arc::new(hooks);
        self
    }

    /// The threads for blocking reads; by default a [`ThreadPool`] of its own.
    pub fn pool(mut self, pool: Arc<dyn BlockingPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The memory that blobs are read into; 32 MiB by default.
    pub fn read_buffers(mut self, buffers: ReadBuffers) -> Self {
        self.read_buffers = buffers;
        self
    }

    /// Limits other than the defaults.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Refuses deletes. `hint` says how to allow them, for the person who reads the error.
    pub fn without_deletes(mut self, hint: impl Into<String>) -> Self {
        self.deletes = Switch::Off(hint.into());
        self
    }

    /// Refuses every write. `hint` says why or how to end it.
    pub fn read_only(mut self, hint: impl Into<String>) -> Self {
        self.writes = Switch::Off(hint.into());
        self
    }

    /// The registry.
    pub fn build(self) -> Registry {
        let pool = self.pool.unwrap_or_else(|| Arc::new(ThreadPool::default()));
        Registry {
            inner: Arc::new(Inner {
                observed: self.hooks.observes_store_calls(),
                blobs: self.blobs,
                manifests: self.manifests,
                hooks: self.hooks,
                pool,
                read_buffers: self.read_buffers,
                limits: self.limits,
                deletes: self.deletes,
                writes: self.writes,
                collections: collect::Totals::default(),
            }),
        }
    }
}

/// Bounds on what clients can make a registry hold.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest manifest in bytes; 4 MiB.
    pub manifest_size: usize,
    /// How many tags one push may name by query parameter; 100.
    pub tags_per_push: usize,
    /// How many references a manifest may have through all its children; 100,000.
    pub references: usize,
    /// How many uploads may be open in all; 10,000.
    pub uploads: u64,
    /// How many uploads one named principal may have open; 1,000.
    pub uploads_per_principal: u64,
    /// The most repositories on a page of the catalog; 1,000.
    pub repositories_per_page: usize,
    /// The most tags on a page of tags; 1,000.
    pub tags_per_page: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest_size: Manifest::DEFAULT_MAX_SIZE,
            tags_per_push: 100,
            references: 100_000,
            uploads: 10_000,
            uploads_per_principal: 1_000,
            repositories_per_page: 1_000,
            tags_per_page: 1_000,
        }
    }
}

#[derive(Debug)]
struct Inner {
    blobs: Arc<dyn BlobStore>,
    manifests: Arc<dyn ManifestStore>,
    hooks: Arc<dyn Hooks>,
    /// Whether the hooks want to hear of calls to the stores.
    observed: bool,
    pool: Arc<dyn BlockingPool>,
    read_buffers: ReadBuffers,
    limits: Limits,
    deletes: Switch,
    writes: Switch,
    collections: collect::Totals,
}

#[derive(Debug)]
enum Switch {
    On,
    Off(String),
}

impl Switch {
    fn check(&self, what: &str) -> Result<(), RegistryError> {
        match self {
            Self::On => Ok(()),
            Self::Off(hint) => Err(RegistryError::new(
                ErrorCode::Unsupported,
                format!("{what}; {hint}"),
            )),
        }
    }
}

fn scope(identity: &Identity, repository: &RepositoryName) -> UploadScope {
    UploadScope::new(repository.clone(), identity.name().unwrap_or_default())
}

/// Turns "not found" into `code` and maps the rest.
fn or(code: ErrorCode) -> impl Fn(StoreError) -> RegistryError {
    move |error| RegistryError::from_store(error, code)
}

/// How long clients wait before they ask again after 429.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
