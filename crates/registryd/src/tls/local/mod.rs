//! An authority of one's own: TLS where nobody brings a certificate.
//!
//! The authority may sign for the hosts it was made for and nothing else, so that clients that trust it risk
//! nothing beyond this registry (`limits`). It is kept, because trusting it is work on every client; the server's
//! certificate is short-lived and renewed by itself.

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use self::certificates::{LEAF_LIFE, Pair};
use self::limits::Limits;
use super::warnings::Warning;
use super::{Facts, Fingerprint, SubjectName};
use crate::files;

mod certificates;
mod limits;
pub(crate) mod names;

/// The part of an authority that everybody may have.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Authority {
    /// Its certificate, in PEM.
    pub pem: String,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// The hosts that were named, in that order: without those of this machine.
    pub hosts: Vec<String>,
}

impl Authority {
    /// A host to name in commands: one that clients use, if there is one. Of `*.apps.lan` that is
    /// `NAME.apps.lan`, for no client asks for a `*`.
    pub fn host(&self) -> String {
        let named = self.hosts.iter().find(|host| !host.starts_with("*."));
        match (named, self.hosts.first()) {
            (Some(host), _) => host.clone(),
            (None, Some(wildcard)) => wildcard.replacen('*', "NAME", 1),
            (None, None) => "localhost".to_owned(),
        }
    }
}

/// An authority and a server's certificate in a directory.
#[derive(Debug)]
pub struct LocalCa {
    directory: PathBuf,
    authority: Authority,
    /// What the server's certificate shall be for, at least.
    names: BTreeSet<SubjectName>,
    /// What the authority may sign for.
    limits: Limits,
    /// Until when the authority is one.
    until: OffsetDateTime,
    /// Before this, nothing needs to be looked at.
    next: OffsetDateTime,
}

impl LocalCa {
    /// Opens the authority in this directory, or makes it, and sees to a certificate for these hosts.
    ///
    /// # Errors
    /// If the directory cannot be used, or its authority may not sign for one of the hosts.
    pub fn open(directory: &Path, hosts: &[String], now: OffsetDateTime) -> anyhow::Result<Self> {
        let asked = names::parse(hosts)?;
        let failed = || format!("the local authority in {}", directory.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(failed)?;
        let _lock = lock(directory).with_context(failed)?;
        let pair = match read_pair(directory, CA).with_context(failed)? {
            Some(pair) => pair,
            None if read_pair(directory, LEAF).with_context(failed)?.is_some() => bail!(
                "{dir} has a certificate but no ca.crt; bring ca.crt back, which is also the last certificate \
                 in tls.crt, or move {dir} away for a new authority, which every client must be told to trust anew",
                dir = directory.display(),
            ),
            None => create(directory, hosts, &asked, now).with_context(failed)?,
        };
        let limits = Limits::of(&pair.certificate).with_context(failed)?;
        if let Some(name) = asked.iter().find(|name| !limits.permit(name)) {
            bail!(
                "the authority in {dir} may sign only for {limits}, not for {name}; go without that host, or move {dir} \
                 away for a new authority, which every client must be told to trust anew",
                dir = directory.display(),
            );
        }
        if let Some(name) = limits.too_wide() {
            tracing::warn!(
                "the authority in {dir} may vouch for every host that ends in .{name}, as those that earlier versions \
                 made: who has its key may pose as them to the clients that trust it; fix: move {dir} away and \
                 restart: a new authority is made, for which `registryd trust` has to be run on each client again",
                dir = directory.display(),
            );
        }
        // A container has another host name each time: what cannot be signed for is left out.
        let own = names::own();
        let names = asked
            .iter()
            .chain(own.iter().filter(|name| limits.permit(name)))
            .cloned()
            .collect();
        let facts = first(&pair.certificate)
            .and_then(|der| Facts::of(&der))
            .context("ca.crt holds no certificate")
            .with_context(failed)?;
        let mut local = Self {
            directory: directory.to_owned(),
            authority: Authority {
                pem: pair.certificate,
                fingerprint: facts.fingerprint,
                hosts: in_order(hosts)?,
            },
            names,
            limits,
            until: facts.not_after,
            next: now,
        };
        local.renew_locked(now).with_context(failed)?;
        Ok(local)
    }

    /// What clients need.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The server's certificate, followed by the authority's.
    pub fn certificate_path(&self) -> PathBuf {
        self.directory.join(LEAF).with_extension("crt")
    }

    /// The server's key.
    pub fn key_path(&self) -> PathBuf {
        self.directory.join(LEAF).with_extension("key")
    }

    /// The authority's certificate.
    pub fn authority_path(&self) -> PathBuf {
        self.directory.join(CA).with_extension("crt")
    }

    /// Renews the server's certificate if two thirds of its life have passed, or if it is not what it
    /// should be.
    ///
    /// # Errors
    /// If the directory cannot be read or written. Then it is tried again some minutes later.
    pub(super) fn renew(&mut self, now: OffsetDateTime) -> anyhow::Result<()> {
        if now < self.next {
            return Ok(());
        }
        self.next = now + AGAIN;
        let _lock = lock(&self.directory)?;
        self.renew_locked(now)
    }

    fn renew_locked(&mut self, now: OffsetDateTime) -> anyhow::Result<()> {
        self.next = now + AGAIN;
        let old = read_pair(&self.directory, LEAF).ok().flatten();
        if old.as_ref().is_some_and(|pair| self.is_good(pair, now)) {
            return Ok(());
        }
        // Another process on this directory may serve other hosts with the same certificate: theirs stay, or
        // the two would take each other's names away for ever.
        let theirs = old
            .and_then(|pair| Facts::of(&first(&pair.certificate)?))
            .map(|facts| facts.names)
            .unwrap_or_default();
        let mut names = self.names.clone();
        names.extend(theirs.into_iter().filter(|name| self.limits.permit(name)));
        let authority = read_pair(&self.directory, CA)?
            .with_context(|| format!("{} is gone", self.authority_path().display()))?;
        let leaf = certificates::leaf(&authority, &names, now, self.until)
            .context("the authority's key cannot sign")?;
        write_pair(&self.directory, LEAF, &leaf)
    }

    /// What its operator has to do before the authority's own time passes, half a year ahead.
    pub(super) fn warning(&self, now: OffsetDateTime) -> Option<Warning> {
        (self.until - now < LAST_DAYS).then(|| Warning::AuthorityEnds {
            directory: self.directory.clone(),
            on: self.until,
        })
    }

    /// Whether the certificate is signed by the authority, belongs to its key, is for what it should be
    /// for, and has a third of its life left.
    fn is_good(&self, pair: &Pair, now: OffsetDateTime) -> bool {
        let Some(facts) = first(&pair.certificate).and_then(|own| Facts::of(&own)) else {
            return false;
        };
        let names: BTreeSet<_> = facts.names.iter().cloned().collect();
        let fits = rcgen::KeyPair::from_pem(&pair.key).is_ok_and(|key| {
            first(&pair.certificate).is_some_and(|own| {
                X509Certificate::from_der(&own).is_ok_and(|(_, own)| {
                    &*own.public_key().subject_public_key.data
                        == rcgen::PublicKeyData::der_bytes(&key)
                })
            })
        });
        // None lives longer than its authority.
        let lasts = now < facts.not_after - LEAF_LIFE / 3 || facts.not_after >= self.until;
        fits && names.is_superset(&self.names)
            && pair.certificate.ends_with(&self.authority.pem)
            && facts.not_before <= now
            && lasts
    }
}

fn create(
    directory: &Path,
    hosts: &[String],
    asked: &BTreeSet<SubjectName>,
    now: OffsetDateTime,
) -> anyhow::Result<Pair> {
    let names: BTreeSet<_> = asked.iter().cloned().chain(names::own()).collect();
    let host = in_order(hosts)?.into_iter().next();
    let host = host.unwrap_or_else(|| "localhost".to_owned());
    let title = format!("registryd authority for {host}, {}", super::day(now));
    let pair = certificates::authority(&Limits::new(&names)?, &title, now)?;
    write_pair(directory, CA, &pair)?;
    tracing::info!(
        "a new local authority was made in {}; keep it: clients are told to trust it",
        directory.display()
    );
    Ok(pair)
}

/// Two processes on one volume, as in a rolling update, make one authority.
fn lock(directory: &Path) -> std::io::Result<std::fs::File> {
    files::lock(&directory.join("lock"))
}

fn read_pair(directory: &Path, name: &str) -> anyhow::Result<Option<Pair>> {
    let read = |extension: &str| {
        let path = directory.join(name).with_extension(extension);
        let bytes = files::read_if_there(&path).with_context(|| path.display().to_string())?;
        let text = bytes.map(String::from_utf8).transpose();
        text.with_context(|| format!("{} is not a PEM file", path.display()))
    };
    match (read("crt")?, read("key")?) {
        (Some(certificate), Some(key)) => Ok(Some(Pair { certificate, key })),
        // The key is written first: alone it is what a crash left behind.
        (None, _) => Ok(None),
        (Some(_), None) => bail!(
            "{name}.crt is there, but {name}.key is not; bring the key back, or move both away"
        ),
    }
}

fn write_pair(directory: &Path, name: &str, pair: &Pair) -> anyhow::Result<()> {
    let path = |extension| directory.join(name).with_extension(extension);
    files::replace(&path("key"), pair.key.as_bytes(), 0o600)?;
    files::replace(&path("crt"), pair.certificate.as_bytes(), 0o644)?;
    Ok(())
}

fn first(pem: &str) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

/// Hosts as certificates have them, in the order in which they were named.
fn in_order(hosts: &[String]) -> anyhow::Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::new();
    for host in hosts {
        let name = names::named(host)?;
        if seen.insert(name.clone()) {
            names.push(name.to_string());
        }
    }
    Ok(names)
}

/// Whether this PEM holds a private key, which nobody may be given.
pub(crate) fn holds_private_key(pem: &[u8]) -> bool {
    PrivateKeyDer::from_pem_slice(pem).is_ok()
}

const CA: &str = "ca";
const LEAF: &str = "tls";
/// How often the certificate is looked at.
const AGAIN: time::Duration = time::Duration::minutes(10);
/// How long before its end an authority is warned of: trust is set up by hand on every client.
const LAST_DAYS: time::Duration = time::Duration::days(180);
