//! What the clients on this machine make of a registry: each looks for trust in a place of its own.

use std::net::SocketAddr;
use std::path::Path;

use rustls_pki_types::CertificateDer;

use super::{Finding, trust};

mod containerd;
mod docker;
mod k3s;

pub(super) use docker::authorities as of_docker;

/// The registry that a client asks.
pub(super) struct Asked<'a> {
    pub(super) tls: bool,
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) addresses: &'a [SocketAddr],
    /// What the registry shows, its own certificate first.
    pub(super) chain: &'a [CertificateDer<'static>],
}

impl Asked<'_> {
    /// As images are named.
    fn name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The names that clients look it up by; the port of HTTPS may be left out.
    fn names(&self) -> Vec<String> {
        let mut names = vec![self.name()];
        if self.port == 443 {
            names.push(self.host.to_owned());
        }
        names
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
        trust::command(client, &self.name(), self.chain)
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
    let clients = [docker::examine, containerd::examine, k3s::examine];
    clients
        .into_iter()
        .filter_map(|examine| examine(asked, root))
        .collect()
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

/// Directories that somebody made for the host, but which a client that asks for host and port passes by.
fn misnamed(asked: &Asked<'_>, directory: &Path) -> String {
    let names = asked.names();
    let mut close = entries(directory);
    close.retain(|name| {
        let host = name.split([':', '_']).next().unwrap_or(name);
        host.eq_ignore_ascii_case(asked.host) && !names.contains(name)
    });
    close.sort_unstable();
    match close.as_slice() {
        [] => String::new(),
        close => format!(
            "; {} has {}, but {} is looked for",
            directory.display(),
            close.join(", "),
            asked.name()
        ),
    }
}

#[cfg(test)]
mod tests;
