//! The core of an embeddable OCI registry.
//!
//! * Vocabulary: [`Digest`], [`RepositoryName`], [`Tag`], [`Reference`], [`Manifest`], [`Descriptor`].
//! * What a backend provides: [`BlobStore`] for content, [`ManifestStore`] for metadata.
//! * Who may do what: [`Authenticator`] and [`Authorizer`]; what the host adds: [`Hooks`].
//! * [`Registry`]: every operation that needs both planes. HTTP handlers, in-process callers and
//!   maintenance all go through it.
//! * [`memory::MemoryStore`]: the plainest store that keeps every contract.
//!
//! The crate starts no threads or tasks unless used, installs nothing global and needs no async runtime.
//!
//! # Features
//!
//! * `testkit` (off): the contract tests for authors of backends, see `oci_core::testkit`.

pub mod auth;
pub mod digest;
pub mod error;
pub mod hooks;
pub mod manifest;
pub mod memory;
pub mod registry;
pub mod runtime;
pub mod store;
#[cfg(feature = "testkit")]
pub mod testkit;

mod descriptor;
mod media_type;
mod name;
#[cfg(any(test, feature = "testkit"))]
mod testing;

pub use auth::{Access, Action, Authenticator, Authorizer, Decision, Identity};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, DigestError, Hasher, HasherState, HasherStateError};
pub use error::{BoxError, ErrorCode, ErrorEntry, RegistryError, StoreError};
pub use hooks::{Event, Hooks, NoHooks, Operation, StoreCall};
pub use manifest::{Manifest, ManifestError, ManifestReference, ReferenceKind, Subject};
pub use media_type::ManifestType;
pub use name::{NameError, Reference, ReferenceError, RepositoryName, Tag, TagError};
pub use registry::Registry;
pub use store::{BlobStore, BlobUpload, ManifestStore};
