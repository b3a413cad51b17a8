//! Storage engines of an embeddable OCI registry.
//!
//! * `filesystem`: a directory in the layout of CNCF Distribution (`registry:2`, `registry:3`),
//!   durable and safe for two processes at once. The default.
//! * `records`: compare-and-swap records and immutable extents, for object stores and databases.
//! * `sled`: the `records` engine on an embedded database, for one process.
//!
//! # Features
//!
//! * `filesystem` (default): the filesystem engine.
//! * `records` (default): the records engine.
//! * `sled` (off): the adapter of the records engine to the embedded database sled.
//! * `testing` (off): fault injection, for tests.

#[cfg(feature = "filesystem")]
pub mod filesystem;
#[cfg(feature = "records")]
pub mod records;
#[cfg(feature = "sled")]
pub mod sled;
