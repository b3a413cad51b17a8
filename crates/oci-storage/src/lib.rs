//! Storage engines of an embeddable OCI registry.
//!
//! * `filesystem`: a directory in the layout of CNCF Distribution (`registry:2`, `registry:3`),
//!   durable and safe for two processes at once. The default.
//! * `records`: compare-and-swap records and immutable extents, for object stores and databases.
//! * `object`: records and extents in a bucket: S3, Google Cloud Storage, Azure.
//! * `sled`: the `records` engine on an embedded database, for one process.
//!
//! # Features
//!
//! * `filesystem` (default): the filesystem engine.
//! * `records` (default): the records engine.
//! * `s3`, `gcs`, `azure` (off): buckets of these services; each brings an HTTP client.
//! * `object-store` (off): what they have in common, and a bucket in memory for tests.
//! * `sled` (off): the adapter of the records engine to the embedded database sled.
//! * `testing` (off): fault injection, for tests.

#[cfg(feature = "filesystem")]
pub mod filesystem;
#[cfg(feature = "object-store")]
pub mod object;
#[cfg(feature = "records")]
pub mod records;
#[cfg(feature = "sled")]
pub mod sled;
