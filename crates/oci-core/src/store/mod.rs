//! The two planes of storage that a backend provides: content and metadata.
//!
//! [`BlobStore`] keeps bytes by their digest, and unfinished uploads. [`ManifestStore`] keeps
//! repositories, manifests, tags, referrers and which blob is visible where. Any two combine; one type
//! may be both. The module docs of each trait state its contracts, and the test kit (feature
//! `testkit`) has a test for every one of them.

mod blob;
mod collect;
mod manifest;
mod page;
mod presign;
mod upload;

pub use blob::{
    BlobMeta, BlobPayload, BlobRead, BlobStore, BlobStream, Capabilities, Claim, FileRange,
    ReadRange,
};
pub use collect::{
    Amount, Brake, Candidate, CandidateKind, CollectEnd, CollectObserver, CollectOptions,
    Collected, Phase,
};
pub use manifest::{
    ManifestStore, PutManifest, StoredManifest, TagPrecondition, TagState, TagWrite,
};
pub use page::{Page, PageRequest};
pub use presign::{PresignOptions, PresignedRead, PresignedReads};
pub use upload::{
    AppendMode, BlobUpload, CommittedBlob, ContentStream, UploadId, UploadIdError, UploadOptions,
    UploadScope, UploadStatus,
};
