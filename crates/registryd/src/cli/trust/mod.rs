//! `registryd trust` and `untrust`: making clients on this machine accept a registry's certificate.
//!
//! The certificate comes from the registry itself, over a connection that nobody vouches for, so it is taken
//! only with the fingerprint that its operator read at the start of the server. What is written is marked, so
//! that `untrust` takes back exactly that.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use rustls_pki_types::CertificateDer;

use crate::tls::local::holds_private_key;
use crate::tls::{Facts, Fingerprint, certificates};
use crate::{files, tls};

pub(super) mod clients;
pub(super) mod k3s;
mod marked;
mod plan;
mod remote;

pub(super) use clients::hosts_toml;
pub(super) use marked::marked;
pub(super) use remote::Remote;

#[derive(Debug, Args)]
pub(super) struct Trust {
    client: Client,
    /// The registry, as images name it: with the port, if they have one.
    #[arg(value_name = "HOST[:PORT]")]
    registry: Remote,
    /// The SHA-256 of the authority's certificate, as the registry printed it at start.
    ///
    /// Without it and without `--ca`, the command says which one it sees, and stops.
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<Fingerprint>,
    /// The authority's certificate, instead of asking the registry for it.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
pub(super) struct Untrust {
    client: Client,
    /// The registry, as it was trusted.
    #[arg(value_name = "HOST[:PORT]")]
    registry: Remote,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Args)]
struct How {
    /// Do it; without this, it is only shown.
    #[arg(long)]
    apply: bool,
    /// The directory that stands for `/`, for images and tests; no command is run then.
    #[arg(long, default_value = "/", value_name = "DIR")]
    root: PathBuf,
}

/// Whose trust it is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Client {
    /// docker, and what else reads /etc/docker/certs.d: skopeo, buildah and podman do.
    Docker,
    /// containerd with `config_path`, as in kubeadm clusters and kind.
    Containerd,
    /// k3s.
    K3s,
    /// podman, buildah and skopeo: /etc/containers/certs.d.
    Podman,
    /// RKE2.
    Rke2,
    /// Every program on this machine that uses the system's authorities.
    System,
}

pub(super) fn run(arguments: &Trust) -> anyhow::Result<ExitCode> {
    let (file, fingerprint) = (arguments.ca.as_deref(), arguments.fingerprint);
    let ca = authority(&arguments.registry, file, fingerprint)?;
    let plan = clients::trust(
        arguments.client,
        &arguments.registry,
        &ca,
        &arguments.how.root,
    )?;
    plan.carry_out(arguments.how.apply)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn undo(arguments: &Untrust) -> anyhow::Result<ExitCode> {
    let plan = clients::untrust(arguments.client, &arguments.registry, &arguments.how.root)?;
    plan.carry_out(arguments.how.apply)?;
    Ok(ExitCode::SUCCESS)
}

/// The authority's certificate in PEM, written anew so that nothing else comes with it.
pub(super) fn authority(
    registry: &Remote,
    file: Option<&Path>,
    fingerprint: Option<Fingerprint>,
) -> anyhow::Result<String> {
    let found = match file {
        Some(path) => {
            let bytes = files::read(path).with_context(|| path.display().to_string())?;
            if holds_private_key(&bytes) {
                bail!(
                    "{} holds a private key, which stays with the registry; name the file of the certificate, ca.crt",
                    path.display()
                );
            }
            certificates(&bytes, path, "--ca")?
        }
        None => registry.authorities()?,
    };
    if file.is_none() && fingerprint.is_none() {
        bail!("{}", compare(registry, &found));
    }
    let wanted = |der: &&CertificateDer<'_>| match fingerprint {
        Some(fingerprint) => Fingerprint::of(der) == fingerprint,
        None => true,
    };
    let Some(der) = found.iter().find(wanted) else {
        let seen: Vec<_> = found
            .iter()
            .map(|der| Fingerprint::of(der).to_string())
            .collect();
        bail!(
            "{registry} is not the registry of that fingerprint, or another answers in its place: it shows {}; \
             compare with what the registry printed at start",
            seen.join(" and ")
        );
    };
    let facts = Facts::of(der).context("the certificate cannot be read")?;
    if !facts.is_ca && facts.issuer != facts.subject {
        bail!(
            "{} is the certificate of a server, not of an authority: clients would not accept it as one",
            facts.fingerprint
        );
    }
    // A certificate that the server does not use would be trusted for nothing.
    if file.is_none() {
        registry.check(der).with_context(|| {
            format!("with that authority trusted, clients would still refuse {registry}")
        })?;
    }
    Ok(tls::pem(der))
}

/// What to compare, where nobody has said which fingerprint is the right one.
fn compare(registry: &Remote, found: &[CertificateDer<'_>]) -> String {
    let may_be = |facts: &Facts| facts.is_ca || facts.issuer == facts.subject;
    let Some(seen) = found.iter().filter_map(|der| Facts::of(der)).find(may_be) else {
        return format!(
            "{registry} does not show the certificate of the authority that signed its own: give that with `--ca FILE`"
        );
    };
    let fingerprint = seen.fingerprint;
    format!(
        "which certificate shall be trusted? {registry} shows {fingerprint} ({}), but anybody could answer in its \
         place: compare it with the `fingerprint` in the log of the registry, or on its machine with \
         `openssl x509 -noout -fingerprint -sha256 -in ca.crt`; if it is the same, add `--fingerprint {fingerprint}`",
        seen.subject
    )
}

#[cfg(test)]
mod tests;
