//! containerd: `certs.d/HOST:PORT/hosts.toml`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::{Finding, Severity, trust};
use super::{Asked, entries, misnamed};
use crate::cli::trust::clients::containerd_looks;
use crate::files;

const DIRECTORY: &str = "etc/containerd";

pub(super) fn examine(asked: &Asked<'_>, root: &Path) -> Option<Finding> {
    root.join(DIRECTORY).is_dir().then_some(())?;
    let certs = root.join(DIRECTORY).join("certs.d");
    let mut names: Vec<_> = asked
        .names
        .iter()
        // containerd looks for names without the colon of the port first.
        .flat_map(|name| {
            let without = name.rsplit_once(':');
            let without = without.map(|(host, port)| format!("{host}_{port}_"));
            without.into_iter().chain([name.clone()])
        })
        .collect();
    names.push("_default".to_owned());
    let directory = names
        .into_iter()
        .map(|name| certs.join(name))
        .find(|directory| directory.is_dir());
    let hosts = match directory.as_deref().map(Hosts::read).transpose() {
        Ok(hosts) => hosts.unwrap_or_default(),
        Err(why) => {
            return Some(Finding::error(
                "containerd",
                format!("containerd cannot use {why}"),
                format!("move it away; then {}", asked.trust("containerd")),
            ));
        }
    };
    Some(judge(
        asked,
        root,
        &hosts,
        directory.as_deref(),
        &misnamed(asked, &certs.display().to_string(), entries(&certs)),
    ))
}

fn judge(
    asked: &Asked<'_>,
    root: &Path,
    hosts: &Hosts,
    directory: Option<&Path>,
    misnamed: &str,
) -> Finding {
    if !asked.tls {
        let plain = format!("http://{}", asked.name());
        return if hosts.speaks(&plain) || asked.is_loopback() {
            Finding::ok(
                "containerd",
                "containerd speaks plain HTTP with this registry",
            )
        } else {
            Finding::error(
                "containerd",
                format!(
                    "containerd on this machine asks {} for TLS, which it does not speak",
                    asked.name()
                ),
                format!(
                    "serve TLS, or write `server = \"{plain}\"` into /etc/containerd/certs.d/{}/hosts.toml",
                    asked.name()
                ),
            )
        };
    }
    if hosts.skips() {
        return Finding::warning(
            "containerd",
            format!(
                "containerd takes any certificate from whoever answers as {}: skip_verify",
                asked.name()
            ),
            format!(
                "take `skip_verify` out of hosts.toml; then {}",
                asked.trust("containerd")
            ),
        );
    }
    let mut trusted = trust::system(root);
    for path in hosts.authorities(directory) {
        match trust::certificates(&below(root, &path)) {
            Ok(certificates) => trusted.extend(certificates),
            Err(error) => {
                return Finding::error(
                    "containerd",
                    format!(
                        "hosts.toml names {}, which cannot be used: {error:#}",
                        path.display()
                    ),
                    asked.trust("containerd"),
                );
            }
        }
    }
    if !asked.vouched(&trusted) {
        let severity = if root.join(DIRECTORY).join("certs.d").is_dir() {
            Severity::Error
        } else {
            // It came with docker, perhaps, and nobody pulls by it.
            Severity::Warning
        };
        return Finding {
            severity,
            ..asked.distrusted("containerd", misnamed)
        };
    }
    if directory.is_some() && !containerd_looks(root).unwrap_or(true) {
        return Finding::warning(
            "containerd",
            "hosts.toml is right, but containerd's CRI (Kubernetes) does not look there",
            "set `config_path = \"/etc/containerd/certs.d\"` in /etc/containerd/config.toml and restart containerd; `registryd trust containerd` shows where",
        );
    }
    Finding::ok(
        "containerd",
        "containerd on this machine trusts the certificate",
    )
}

/// Absolute paths in the file are those of the machine that `root` stands for.
fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(inside) if !path.starts_with(root) => root.join(inside),
        _ => path.to_owned(),
    }
}

/// What of `hosts.toml` decides about trust.
#[derive(Default, Deserialize)]
struct Hosts {
    server: Option<String>,
    #[serde(flatten)]
    own: Host,
    #[serde(default)]
    host: toml::map::Map<String, toml::Value>,
    /// Certificates beside the file, which count where there is none.
    #[serde(skip)]
    beside: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Host {
    ca: Option<OneOrMore>,
    #[serde(default)]
    skip_verify: bool,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

impl Hosts {
    /// Reads a registry's directory, or says what is wrong with it.
    fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join("hosts.toml");
        let said = |why: String| format!("{}: {why}", path.display());
        let file = files::read_if_there(&path).map_err(|error| said(error.to_string()))?;
        let Some(file) = file else {
            let is_certificate =
                |name: &String| Path::new(name).extension().is_some_and(|end| end == "crt");
            let beside = entries(directory).into_iter().filter(is_certificate);
            return Ok(Self {
                beside: beside.map(|name| directory.join(name)).collect(),
                ..Self::default()
            });
        };
        let text = String::from_utf8(file).map_err(|error| said(error.to_string()))?;
        toml::from_str(&text).map_err(|error| said(error.message().to_owned()))
    }

    /// The settings for the server itself, then those of each host.
    fn each(&self) -> impl Iterator<Item = Host> {
        let own = Host {
            ca: self.own.ca.clone(),
            skip_verify: self.own.skip_verify,
        };
        let hosts = self.host.values().cloned();
        std::iter::once(own).chain(hosts.filter_map(|host| host.try_into().ok()))
    }

    fn skips(&self) -> bool {
        self.each().any(|host| host.skip_verify)
    }

    fn speaks(&self, url: &str) -> bool {
        self.server
            .as_deref()
            .into_iter()
            .chain(self.host.keys().map(String::as_str))
            .any(|one| one.trim_end_matches('/') == url)
    }

    /// The files that hold authorities. Relative ones lie beside `hosts.toml`.
    fn authorities(&self, directory: Option<&Path>) -> Vec<PathBuf> {
        let named = self
            .each()
            .filter_map(|host| host.ca)
            .flat_map(|ca| match ca {
                OneOrMore::One(path) => vec![path],
                OneOrMore::More(paths) => paths,
            });
        let directory = directory.unwrap_or(Path::new("/"));
        let named = named.map(|path| directory.join(path));
        self.beside.iter().cloned().chain(named).collect()
    }
}
