//! TLS by rustls with aws-lc-rs. Nothing is installed process-wide.
//!
//! `material` reads files and makes what connections are accepted with; `reload` does so again when they
//! change; `local` makes certificates where nobody brings any.

use std::path::PathBuf;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::config::{Tls, TlsSource};

mod clients;
mod error;
mod facts;
mod fingerprint;
pub mod local;
mod material;
mod reload;
mod seen;
pub(crate) mod suites;
pub mod warnings;

#[cfg(test)]
mod tests;

pub use error::TlsError;
pub use facts::{Facts, SubjectName};
pub(crate) use facts::{day, pem};
pub use fingerprint::{Fingerprint, FingerprintError};
pub(crate) use material::certificates;
pub use reload::{INTERVAL, LiveTls, Reload, Reloader};
pub(crate) use seen::{Identity, Seen, identity};

/// TLS as the configuration asks for it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// What connections are accepted with.
    pub live: Arc<LiveTls>,
    /// What keeps that current; to be run.
    pub reloader: Reloader,
    /// The file with the certificate.
    pub certificate: PathBuf,
    /// The certificate of the local authority in PEM, if there is one.
    pub authority: Option<local::Authority>,
}

/// Reads certificate and key, or makes them.
///
/// `hosts` are the names that clients are known to use; `directory` is where a local authority is kept
/// unless the configuration says.
///
/// # Errors
/// If a file cannot be read, holds something else, or certificate and key do not belong together.
pub fn open(
    tls: &Tls,
    http2: bool,
    mut hosts: Vec<String>,
    directory: PathBuf,
) -> anyhow::Result<Opened> {
    let now = OffsetDateTime::now_utc();
    let (certificate, key, local) = match &tls.source {
        TlsSource::Files { certificate, key } => (certificate.clone(), key.clone(), None),
        TlsSource::Local { local } => {
            let directory = local.directory.clone().unwrap_or(directory);
            hosts.extend(local.hosts.iter().cloned());
            let ca = local::LocalCa::open(&directory, &hosts, now)?;
            // What its certificate covers is its own affair: `svc` stands for more than itself.
            hosts.clear();
            (ca.certificate_path(), ca.key_path(), Some(ca))
        }
    };
    let paths = material::Paths {
        certificate: certificate.clone(),
        key,
        authorities: tls.clientcas.clone(),
    };
    let settings = material::Settings {
        minimum: tls.minimumtls,
        ciphersuites: tls.ciphersuites.clone(),
        clientauth: tls.clientauth,
        http2,
    };
    let authority = local.as_ref().map(local::LocalCa::authority).cloned();
    let (live, reloader) = Reloader::open(paths, settings, local, hosts, now)?;
    Ok(Opened {
        live,
        reloader,
        certificate,
        authority,
    })
}
