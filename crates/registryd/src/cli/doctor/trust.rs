//! A server's certificate: whom it names, until when, and who vouches for it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::reach::Look;
use super::{Finding, clients};
use crate::cli::client::Target;
use crate::tls::{Facts, Seen};

/// Where Linux distributions keep the authorities that programs trust.
const SYSTEM: [&str; 3] = [
    "etc/ssl/certs/ca-certificates.crt",
    "etc/pki/tls/certs/ca-bundle.crt",
    "etc/ssl/cert.pem",
];

const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Looks at what was shown, with the authorities of this machine.
pub(super) fn examine(seen: &Seen, look: &Look<'_>, host: &str) -> anyhow::Result<Vec<Finding>> {
    let chain = seen.chain();
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Ok(Vec::new());
    };
    let name = ServerName::try_from(host.to_owned()).context("the host's name")?;
    let mut trusted = system(look.root);
    trusted.extend(clients::of_docker(look.root, look.target));
    if let Some(path) = look.cacert {
        trusted
            .extend(certificates(path).with_context(|| format!("`--cacert {}`", path.display()))?);
    }
    let now = now();
    let purpose = purpose(leaf, intermediates, &name, &trusted, look.target);
    Ok(vec![
        names(leaf, &name, host),
        period(leaf, intermediates, &name, &trusted, now),
        purpose.unwrap_or_else(|| issuer(&chain, host, &trusted, look.target)),
    ])
}

/// The authorities that every program on this machine trusts.
pub(super) fn system(root: &Path) -> Vec<CertificateDer<'static>> {
    // What is not there trusts nobody.
    let read = |path| certificates(&root.join(path)).unwrap_or_default();
    SYSTEM.into_iter().flat_map(read).collect()
}

/// Whether one of these authorities has signed for the server, whatever its names and times.
pub(super) fn vouched(
    chain: &[CertificateDer<'static>],
    host: &str,
    trusted: &[CertificateDer<'static>],
) -> bool {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    // Clients take a certificate that they were given as such, also if it is made for an authority.
    if trusted.contains(leaf) {
        return true;
    }
    // Without any, `verify` would believe the server itself.
    if trusted.is_empty() {
        return false;
    }
    let Ok(name) = ServerName::try_from(host.to_owned()) else {
        return false;
    };
    let signed = |time| match verify(leaf, intermediates, &name, trusted, time) {
        Ok(()) => Signed::Yes,
        Err(Error::InvalidCertificate(error)) => Signed::from(&error),
        Err(_) => Signed::No,
    };
    match signed(now()) {
        Signed::Yes => true,
        Signed::No => false,
        // Whoever signed it did so within its time.
        Signed::AtAnotherTime => Facts::of(leaf).is_some_and(|facts| {
            [facts.not_before, facts.not_after]
                .into_iter()
                .filter_map(|time| u64::try_from(time.unix_timestamp()).ok())
                .any(|time| matches!(signed(Duration::from_secs(time)), Signed::Yes))
        }),
    }
}

/// What an error says about the signature. One that is not known says that there is none: what only looks
/// like trust would get a password.
enum Signed {
    Yes,
    No,
    /// Time is looked at before any signature is.
    AtAnotherTime,
}

impl From<&CertificateError> for Signed {
    fn from(error: &CertificateError) -> Self {
        match error {
            // Names are looked at last, and have a finding of their own, as times have.
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::Yes
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Self::AtAnotherTime,
            _ => Self::No,
        }
    }
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// What makes a client on this machine trust the server, as a command.
pub(super) fn command(client: &str, registry: &str, chain: &[CertificateDer<'static>]) -> String {
    let signs = |facts: &Facts| facts.is_ca || facts.issuer == facts.subject;
    let authority = chain.last().and_then(|der| Facts::of(der)).filter(signs);
    match authority {
        // Seen on a connection that nobody vouches for: whoever types it compares it first.
        Some(authority) => format!(
            "`registryd trust {client} {registry} --fingerprint {} --apply`, if the log of the registry, or who made its certificate, names that fingerprint too",
            authority.fingerprint
        ),
        None => format!(
            "`registryd trust {client} {registry} --ca FILE --apply`, with the certificate of the authority that signed"
        ),
    }
}

fn names(leaf: &CertificateDer<'_>, name: &ServerName<'_>, host: &str) -> Finding {
    let checked = ParsedCertificate::try_from(leaf)
        .and_then(|leaf| rustls::client::verify_server_name(&leaf, name));
    match checked {
        Ok(()) => Finding::ok("name", format!("the certificate is for {host}")),
        Err(error) => Finding::error(
            "name",
            format!("the certificate is not for {host}: {error}"),
            format!(
                "make one with `subjectAltName={}:{host}`; a common name alone counts for nobody any more",
                if matches!(name, ServerName::IpAddress(_)) {
                    "IP"
                } else {
                    "DNS"
                }
            ),
        ),
    }
}

fn period(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trusted: &[CertificateDer<'static>],
    now: Duration,
) -> Finding {
    let at = |time| verify(leaf, intermediates, name, trusted, time).err();
    match at(now) {
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => {
            return Finding::error(
                "expiry",
                "the certificate, or one above it, has expired",
                "renew it; the registry takes the new one when it is at the old one's place, and after a restart where systemd loads it as a credential",
            );
        }
        Some(Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => {
            return Finding::error(
                "expiry",
                "the certificate is not valid yet",
                "look at the clocks of this machine and of the one that made it",
            );
        }
        _ => {}
    }
    match at(now + SOON) {
        Some(Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Finding::warning(
            "expiry",
            "the certificate expires within 14 days",
            "renew it now",
        ),
        _ => Finding::ok("expiry", "the certificate is valid for more than 14 days"),
    }
}

/// A certificate that no client takes from a server, whoever signed it.
fn purpose(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trusted: &[CertificateDer<'static>],
    target: &Target,
) -> Option<Finding> {
    let error = verify(leaf, intermediates, name, trusted, now()).err()?;
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }
        )
    )
    .then(|| {
        Finding::error(
            "trust",
            format!("the certificate of {target} is not made for servers: {error}"),
            "make one whose `extendedKeyUsage` has serverAuth, or that does not have the extension",
        )
    })
}

fn issuer(
    chain: &[CertificateDer<'static>],
    host: &str,
    trusted: &[CertificateDer<'static>],
    target: &Target,
) -> Finding {
    if vouched(chain, host, trusted) {
        return Finding::ok(
            "trust",
            "an authority that this machine trusts vouches for the certificate",
        );
    }
    Finding::error(
        "trust",
        format!(
            "this machine does not trust who signed the certificate of {target}; docker says `x509: certificate signed by unknown authority`"
        ),
        format!(
            "{}; instead of system, docker, podman, containerd, k3s or rke2 for that one alone",
            command("system", &target.name(), chain)
        ),
    )
}

fn verify(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    trusted: &[CertificateDer<'static>],
    time: Duration,
) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    if roots.is_empty() {
        // The builder wants one, and times are checked in any case.
        roots.add_parsable_certificates([leaf.clone().into_owned()]);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(aws_lc_rs::default_provider()),
    )
    .build()
    .map_err(|error| Error::General(error.to_string()))?;
    verifier
        .verify_server_cert(
            leaf,
            intermediates,
            name,
            &[],
            UnixTime::since_unix_epoch(time),
        )
        .map(|_| ())
}

pub(super) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)?.collect();
    Ok(read?)
}

#[cfg(test)]
mod tests;
