//! What the clients on this machine make of a registry: each looks for trust in a place of its own.

use std::net::SocketAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;

use super::{Finding, trust};
use crate::cli::client::{Place, Target};
use crate::cli::trust::k3s::Rancher;

mod containerd;
mod docker;
mod k3s;

pub(super) use docker::authorities as of_docker;

/// The registry that a client asks.
pub(super) struct Asked<'a> {
    pub(super) tls: bool,
    pub(super) host: &'a str,
    /// The names that clients look it up by, the one of its images first.
    pub(super) names: Vec<String>,
    pub(super) addresses: &'a [SocketAddr],
    /// What the registry shows, its own certificate first.
    pub(super) chain: &'a [CertificateDer<'static>],
}

impl Asked<'_> {
    /// As images are named.
    fn name(&self) -> &str {
        self.names.first().map_or(self.host, String::as_str)
    }

    /// Most clients let a registry on their own machine do without TLS.
    fn is_loopback(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().is_loopback())
    }

    fn vouched(&self, trusted: &[CertificateDer<'static>]) -> bool {
        trust::vouched(self.chain, self.host, trusted)
    }

    /// The command that makes a client trust the registry.
    fn trust(&self, client: &str) -> String {
        trust::command(client, self.name(), self.chain)
    }

    /// A finding about a client that refuses the certificate.
    fn distrusted(&self, client: &'static str, why: &str) -> Finding {
        Finding::error(
            client,
            format!(
                "{client} on this machine does not trust the certificate of {}{why}",
                self.name()
            ),
            self.trust(client),
        )
    }
}

/// One finding for each client whose settings are below `root`.
pub(super) fn examine(asked: &Asked<'_>, root: &Path) -> Vec<Finding> {
    let mut found: Vec<_> = [docker::examine, containerd::examine]
        .into_iter()
        .filter_map(|examine| examine(asked, root))
        .collect();
    let both = [Rancher::K3s, Rancher::Rke2];
    found.extend(
        both.into_iter()
            .filter_map(|one| k3s::examine(one, asked, root)),
    );
    found
}

/// The names that clients look a registry up by. Each takes the name of an image letter by letter: who leaves
/// the port out of it is not helped by settings for `HOST:443`.
pub(super) fn names(target: &Target) -> Vec<String> {
    let mut names = vec![target.name()];
    // Whoever wrote the port of HTTPS into a URL may leave it out of images.
    if let Place::Tcp(_, 443) = target.place
        && !target.implied_port
    {
        let mut without = target.clone();
        without.implied_port = true;
        names.push(without.name());
    }
    names
}

/// The names of the entries of a directory.
fn entries(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Settings that somebody made for the host, but which a client that asks for another port passes by.
fn misnamed(asked: &Asked<'_>, place: &str, mut entries: Vec<String>) -> String {
    entries.retain(|name| {
        let host = name.split([':', '_']).next().unwrap_or(name);
        host.eq_ignore_ascii_case(asked.host) && !asked.names.contains(name)
    });
    entries.sort_unstable();
    if entries.is_empty() {
        return String::new();
    }
    format!(
        "; {place} has {}, but {} is looked for",
        entries.join(", "),
        asked.name()
    )
}

#[cfg(test)]
mod tests;
