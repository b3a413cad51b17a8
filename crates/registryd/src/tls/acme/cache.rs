//! What outlives the process: the account, and the last certificate with its key.
//!
//! `cachefile` is a directory, as with Distribution, whatever its name says. Each ACME directory has one of
//! its own below it: a certificate of the staging environment is not served when production was asked for.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use super::super::Facts;
use crate::files;

/// The directory of one authority.
#[derive(Clone, Debug)]
pub(super) struct Cache(Arc<Paths>);

#[derive(Debug)]
struct Paths {
    account: PathBuf,
    certificate: PathBuf,
    lock: PathBuf,
}

/// An account at the authority.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct SavedAccount {
    /// Where the authority writes to.
    pub(super) email: Option<String>,
    /// Its key and where it is, as `instant-acme` has them.
    pub(super) credentials: serde_json::Value,
}

impl Cache {
    pub(super) fn open(directory: &Path, url: &str) -> anyhow::Result<Self> {
        let shown = directory.display();
        if std::fs::metadata(directory).is_ok_and(|found| !found.is_dir()) {
            bail!(
                "`http.tls.letsencrypt.cachefile`: {shown} is a file, but many are kept there; name a directory"
            );
        }
        let own = directory.join(name(url));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&own)
            .with_context(|| {
                format!(
                    "`http.tls.letsencrypt.cachefile`: {shown} cannot be made or written; let the user that \
                     registryd runs as (uid {}) own it, or name another directory that outlives the process",
                    rustix::process::geteuid().as_raw()
                )
            })?;
        let paths = Paths {
            account: own.join("account.json"),
            certificate: own.join("certificate.pem"),
            lock: own.join("lock"),
        };
        // An unreadable file is found now, not when the certificate ends; and so is a full disk.
        files::read_if_there(&paths.certificate)
            .and_then(|_| open_lock(&paths.lock))
            .with_context(|| {
                format!(
                    "`http.tls.letsencrypt.cachefile`: {shown} cannot be read and written by the user that \
                     registryd runs as (uid {}); change its owner",
                    rustix::process::geteuid().as_raw()
                )
            })?;
        Ok(Self(Arc::new(paths)))
    }

    pub(super) fn certificate_path(&self) -> &Path {
        &self.0.certificate
    }

    /// What the last certificate says, if there is one.
    pub(super) async fn certificate(&self) -> anyhow::Result<Option<Facts>> {
        let pem = self
            .work(|paths| Ok(files::read_if_there(&paths.certificate)?))
            .await?;
        let Some(pem) = pem else { return Ok(None) };
        let path = || self.0.certificate.display().to_string();
        facts(&pem).map(Some).with_context(path)
    }

    /// Keeps a certificate, its chain and its key, in the place of the one before.
    pub(super) async fn keep_certificate(&self, pem: String) -> anyhow::Result<()> {
        self.work(move |paths| Ok(files::replace(&paths.certificate, pem.as_bytes(), 0o600)?))
            .await
    }

    pub(super) async fn account(&self) -> anyhow::Result<Option<SavedAccount>> {
        let json = self
            .work(|paths| Ok(files::read_if_there(&paths.account)?))
            .await?;
        let saved = json.map(|json| serde_json::from_slice(&json)).transpose();
        saved.with_context(|| {
            format!(
                "{} is no account; remove it, and a new one is made",
                self.0.account.display()
            )
        })
    }

    pub(super) async fn keep_account(&self, account: &SavedAccount) -> anyhow::Result<()> {
        let json = serde_json::to_vec(account)?;
        self.work(move |paths| Ok(files::replace(&paths.account, &json, 0o600)?))
            .await
    }

    /// Two processes on one volume, as in a rolling update, do not order twice. `None` if another does.
    pub(super) async fn lock(&self) -> anyhow::Result<Option<File>> {
        self.work(|paths| {
            let file = open_lock(&paths.lock)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(file)),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(error) => Err(io::Error::from(error).into()),
            }
        })
        .await
    }

    /// Files are not for the thread that polls.
    async fn work<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Paths) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let paths = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || what(&paths)).await?
    }
}

/// What a usable certificate says. Its key is there and belongs to it.
fn facts(pem: &[u8]) -> anyhow::Result<Facts> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    let own = chain.first().context("there is no certificate in it")?;
    let facts = Facts::of(own).context("its certificate cannot be read")?;
    let key = PrivateKeyDer::from_pem_slice(pem).context("there is no key in it")?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    Ok(facts)
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

/// `acme-v02.api.letsencrypt.org-directory`: the URL as the name of a directory.
fn name(url: &str) -> String {
    let url = url.split_once("://").map_or(url, |(_, rest)| rest);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '-'
        }
    };
    let name: String = url.trim_matches(['/', '.']).chars().map(safe).collect();
    // File names end at 255 bytes; what differs only behind that is no URL that people use.
    name.chars().take(200).collect()
}
