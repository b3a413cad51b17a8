//! The configuration: Distribution's file schema 0.1 and its `REGISTRY_*` variables.
//!
//! ```
//! use registryd::config::{Loader, Source};
//!
//! let loaded = Loader::new()
//!     .text("config.yml", "version: 0.1\nstorage: inmemory\nhttp: {addr: ':5000'}\n")
//!     .variables([("REGISTRY_HTTP_ADDR", "127.0.0.1:5001")])
//!     .load()?;
//! assert_eq!(loaded.config.http.addr.to_string(), "127.0.0.1:5001");
//! assert_eq!(
//!     loaded.sources.of("http.addr").to_string(),
//!     "environment variable REGISTRY_HTTP_ADDR"
//! );
//! assert_eq!(loaded.sources.of("storage.inmemory").to_string(), "config.yml:2:10");
//! assert_eq!(loaded.sources.of("catalog.maxentries"), &Source::Default);
//! # Ok::<(), registryd::config::LoadError>(())
//! ```
//!
//! A configuration passes through these steps, and what is wrong in any of them is reported
//! together:
//!
//! 1. `yaml`: text to a tree in which every value knows its line and column;
//! 2. `env`: variables over the tree, by the names in the schema;
//! 3. `check`: the tree against the schema (`schema`, `keys`): unknown and unsupported keys, values
//!    of the wrong kind;
//! 4. `rules`: what concerns several keys at once;
//! 5. [`Config`], the typed result.

mod addr;
mod buckets;
mod check;
mod diagnostic;
mod duration;
mod env;
mod exposure;
mod json_schema;
mod keys;
mod links;
mod loader;
mod model;
mod protection;
mod rules;
mod schema;
mod show;
mod source;
mod suggest;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

pub use addr::{ListenAddr, ListenAddrError};
pub use buckets::{Azure, AzureIdentity, AzureIdentityKind, Gcs, S3};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub(crate) use duration::{format as format_duration, parse as parse_duration};
pub use json_schema::json_schema;
pub use loader::{LoadError, Loaded, Loader};
pub use model::{
    AccessLog, Auth, Cache, Catalog, ClientAuth, Config, Debug, Delete, Filesystem, Gc, Health,
    HealthFile, HealthHttp, HealthStorage, HealthTcp, Htpasswd, Http, Http2, KeepTags, LetsEncrypt,
    LocalTls, Log, LogFormatter, LogLevel, Maintenance, Policy, PolicyRepository, Prometheus,
    ReadOnly, Redirect, Retention, RetentionPolicy, Secret, Sled, Storage, StorageDriver,
    TagLookup, Tags, Tls, TlsSource, TlsVersion, UploadPurging, Validation, ValidationManifests,
    ValidationUrls,
};
pub use show::Show;
pub use source::{Position, Source, Sources};
