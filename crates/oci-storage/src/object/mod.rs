//! The records engine on object storage: S3 and what speaks like it, Google Cloud Storage, Azure Blob
//! Storage.
//!
//! [`ObjectRecords`] and [`ObjectExtents`] put records and extents of [`records`](crate::records) into one
//! [`Bucket`]. Any number of processes may use it at once if the service keeps what [`probe()`] asks of it;
//! there is no lock service and no session that has to come back to the process that began it.
//!
//! ```
//! use oci_storage::object::{Bucket, probe};
//! use oci_storage::records::RecordsOptions;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bucket = Bucket::in_memory();
//! let verdict = probe(&bucket).await?;
//! assert!(verdict.is_shared());
//! let store = bucket.records(&verdict, RecordsOptions::default());
//! # drop(store);
//! # Ok(())
//! # }
//! ```
//!
//! Everything here needs a tokio runtime with time enabled, and so does what the engine goes on with after
//! its caller has left: set [`RecordsOptions::spawn`](crate::records::RecordsOptions::spawn).
//!
//! # Conditional writes and answers that got lost
//!
//! A record is written with `If-None-Match: *` or `If-Match`. The HTTP client tries again by itself after a
//! 5xx or a broken connection, and may then be refused because of its own first try. So each try of a
//! conditional write is noted (`watch`), and a refusal counts as one only if no try before it may have been
//! carried out. Everything else is ambiguous, and the engine reads back.

mod bucket;
mod extents;
mod failure;
mod import;
mod probe;
mod records;
mod service;

#[cfg(feature = "azure")]
mod azure;
#[cfg(feature = "gcs")]
mod gcs;
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
mod http;
#[cfg(feature = "s3")]
mod s3;

pub use bucket::{Bucket, RequestCounts};
pub use extents::ObjectExtents;
pub use failure::{BucketError, Trouble};
pub use import::{ImportOptions, ImportProblem, ImportReport, Imported};
pub use probe::{Shortcoming, Verdict, probe};
pub use records::ObjectRecords;

#[cfg(feature = "azure")]
pub use azure::{AzureCredentials, AzureOptions};
#[cfg(feature = "gcs")]
pub use gcs::{GcsCredentials, GcsOptions};
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub use http::HttpOptions;
#[cfg(feature = "s3")]
pub use s3::{S3Encryption, S3Options};
