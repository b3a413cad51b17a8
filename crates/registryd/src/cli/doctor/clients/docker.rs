//! docker: `certs.d`, and `insecure-registries` of `daemon.json`.

use std::path::Path;

use ipnet::IpNet;
use rustls_pki_types::CertificateDer;
use serde_json::Value as Json;

use super::super::{Finding, trust};
use super::{Asked, entries, misnamed, names};
use crate::cli::client::Target;
use crate::files;

const DIRECTORY: &str = "etc/docker";

pub(super) fn examine(asked: &Asked<'_>, root: &Path) -> Option<Finding> {
    root.join(DIRECTORY).is_dir().then_some(())?;
    let excused = match excused(asked, root) {
        Ok(excused) => excused,
        Err(why) => {
            return Some(Finding::error(
                "docker",
                format!("docker cannot read its daemon.json: {why}"),
                "correct it: docker does not start with it",
            ));
        }
    };
    if excused {
        return Some(Finding::ok(
            "docker",
            "docker excuses this registry from TLS: it is on this machine, or among insecure-registries",
        ));
    }
    if !asked.tls {
        return Some(Finding::error(
            "docker",
            format!(
                "docker on this machine asks {} for TLS, which it does not speak",
                asked.name()
            ),
            format!(
                "serve TLS, as `registryd serve --tls local --host {}` does, or add \"{}\" to insecure-registries in /etc/docker/daemon.json and restart docker",
                asked.host,
                asked.name()
            ),
        ));
    }
    let mut trusted = trust::system(root);
    trusted.extend(of_names(root, &asked.names));
    Some(if asked.vouched(&trusted) {
        Finding::ok("docker", "docker on this machine trusts the certificate")
    } else {
        let certs = root.join(DIRECTORY).join("certs.d");
        let place = certs.display().to_string();
        asked.distrusted("docker", &misnamed(asked, &place, entries(&certs)))
    })
}

/// Whom docker trusts for one registry.
pub(in crate::cli::doctor) fn authorities(
    root: &Path,
    target: &Target,
) -> Vec<CertificateDer<'static>> {
    of_names(root, &names(target))
}

/// Every `.crt` in a registry's directory.
fn of_names(root: &Path, names: &[String]) -> Vec<CertificateDer<'static>> {
    let certs = root.join(DIRECTORY).join("certs.d");
    names
        .iter()
        .flat_map(|name| of_directory(&certs.join(name)))
        .collect()
}

fn of_directory(directory: &Path) -> Vec<CertificateDer<'static>> {
    entries(directory)
        .into_iter()
        .filter(|name| Path::new(name).extension().is_some_and(|end| end == "crt"))
        .flat_map(|name| trust::certificates(&directory.join(name)).unwrap_or_default())
        .collect()
}

/// Whether docker takes plain HTTP and any certificate from it.
fn excused(asked: &Asked<'_>, root: &Path) -> Result<bool, String> {
    let path = root.join(DIRECTORY).join("daemon.json");
    let file = files::read_if_there(&path).map_err(|error| error.to_string())?;
    let settings: Json = match file {
        Some(file) => serde_json::from_slice(&file).map_err(|error| error.to_string())?,
        None => Json::Null,
    };
    let listed = settings
        .get("insecure-registries")
        .and_then(Json::as_array)
        .is_some_and(|list| {
            let entries = list.iter().filter_map(Json::as_str);
            entries.into_iter().any(|entry| covers(entry, asked))
        });
    Ok(listed || asked.is_loopback())
}

fn covers(entry: &str, asked: &Asked<'_>) -> bool {
    if let Ok(network) = entry.parse::<IpNet>() {
        return asked
            .addresses
            .iter()
            .any(|address| network.contains(&address.ip()));
    }
    let entry = entry.split_once("://").map_or(entry, |(_, rest)| rest);
    asked.names.iter().any(|name| name == entry)
}
