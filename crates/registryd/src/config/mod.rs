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
mod check;
mod diagnostic;
mod duration;
mod env;
mod keys;
mod links;
mod loader;
mod model;
mod rules;
mod schema;
mod source;
mod suggest;
mod tree;
mod yaml;

#[cfg(test)]
mod tests;

pub use addr::{ListenAddr, ListenAddrError};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use loader::{LoadError, Loaded, Loader};
pub use model::{
    AccessLog, Auth, Cache, Catalog, ClientAuth, Config, Debug, Delete, Filesystem, Health,
    HealthFile, HealthHttp, HealthStorage, HealthTcp, Htpasswd, Http, Http2, LocalTls, Log,
    LogFormatter, LogLevel, Maintenance, ReadOnly, Redirect, Secret, Storage, StorageDriver,
    TagLookup, Tags, Tls, TlsSource, TlsVersion, UploadPurging,
};
pub use source::{Position, Source, Sources};
