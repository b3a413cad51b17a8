//! TLS by rustls with aws-lc-rs. Nothing is installed process-wide.
//!
//! `material` reads files and makes what connections are accepted with; `reload` does so again when they
//! change; `local` makes certificates where nobody brings any, and `acme` obtains them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use time::OffsetDateTime;

use crate::config::{Tls, TlsSource};

pub mod acme;
mod chain;
mod clients;
mod error;
mod facts;
mod fingerprint;
pub mod local;
mod material;
pub(crate) mod outgoing;
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
pub(crate) use local::names::problem as host_name_problem;
pub(crate) use material::certificates;
use reload::Keeper;
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
    /// What obtains the certificate, if it comes by ACME; to be run.
    pub renewer: Option<acme::Renewer>,
}

/// Reads certificate and key, or makes them.
///
/// `hosts` are the names that clients are known to use; `directory` is where our own is kept unless the
/// configuration says.
///
/// # Errors
/// If a file cannot be read, holds something else, or certificate and key do not belong together.
pub fn open(
    tls: &Tls,
    http2: bool,
    mut hosts: Vec<String>,
    directory: &Path,
) -> anyhow::Result<Opened> {
    let now = OffsetDateTime::now_utc();
    let (mut authority, mut renewer) = (None, None);
    let (certificate, key, keeper) = match &tls.source {
        TlsSource::Files { certificate, key } => (certificate.clone(), key.clone(), Keeper::Others),
        TlsSource::Local { local } => {
            let own = || directory.join("registryd-tls");
            let directory = local.directory.clone().unwrap_or_else(own);
            hosts.extend(local.hosts.iter().cloned());
            let ca = local::LocalCa::open(&directory, &hosts, now)?;
            // What its certificate covers is its own affair: `svc` stands for more than itself.
            hosts.clear();
            authority = Some(ca.authority().clone());
            (ca.certificate_path(), ca.key_path(), Keeper::Local(ca))
        }
        TlsSource::Acme { letsencrypt } => {
            let own = || directory.join("registryd-acme");
            let directory = letsencrypt.cachefile.clone().unwrap_or_else(own);
            let obtains = acme::Renewer::open(letsencrypt, &directory)?;
            let path = obtains.certificate_path().to_owned();
            let keeper = Keeper::Acme(obtains.challenges());
            renewer = Some(obtains);
            (path.clone(), path, keeper)
        }
    };
    let paths = material::Paths {
        certificate: certificate.clone(),
        key,
        authorities: tls.clientcas.clone(),
        awaited: renewer.is_some(),
    };
    let settings = material::Settings {
        minimum: tls.minimumtls,
        ciphersuites: tls.ciphersuites.clone(),
        clientauth: tls.clientauth,
        http2,
    };
    let (live, reloader) = Reloader::open(paths, settings, keeper, hosts, now)?;
    Ok(Opened {
        live,
        reloader,
        certificate,
        authority,
        renewer,
    })
}
