//! The plainest store that keeps every contract: ordered maps behind one lock.
//!
//! It is for tests, for first steps, and to read: each contract of [`BlobStore`] and [`ManifestStore`]
//! is a few lines here. The model-based tests compare every other store with it.
//!
//! [`BlobStore`]: crate::BlobStore
//! [`ManifestStore`]: crate::ManifestStore

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::descriptor::Descriptor;
use crate::digest::{Algorithm, Digest};
use crate::media_type::ManifestType;
use crate::name::{RepositoryName, Tag};
use crate::runtime::{Clock, IdSource, SystemClock, SystemIds};
use crate::store::{UploadId, UploadScope};

mod blobs;
mod manifests;

/// A store in memory. Clones share their content, which is gone with the last one.
///
/// Blobs are held whole, so it is not for large images.
#[derive(Clone)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock::new()))
    }

    /// An empty store whose uploads and tags age by `clock`.
    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::default(),
            clock,
            ids: Arc::new(SystemIds::new()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No operation leaves the maps half-changed across a call that could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("MemoryStore")
            .field("blobs", &state.blobs.len())
            .field("repositories", &state.repositories.len())
            .field("uploads", &state.uploads.len())
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<Digest, Bytes>,
    repositories: BTreeMap<RepositoryName, Repository>,
    uploads: BTreeMap<UploadId, Session>,
}

#[derive(Default)]
struct Repository {
    /// Whether a manifest was ever put here: then it is known, even when empty.
    known: bool,
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, (ManifestType, Bytes)>,
    tags: BTreeMap<Tag, Target>,
    /// By subject, then by referrer.
    referrers: BTreeMap<Digest, BTreeMap<Digest, Descriptor>>,
}

/// What a tag points to.
#[derive(Clone, Copy)]
struct Target {
    to: Digest,
    /// When it was pushed last.
    pushed: SystemTime,
}

/// What of an upload outlives its writer.
struct Session {
    scope: UploadScope,
    algorithm: Algorithm,
    content: Vec<u8>,
    /// Whether a writer is at work.
    taken: bool,
    touched: SystemTime,
}
