//! k3s: `registries.yaml`.

use std::path::Path;

use serde_json::Value as Json;

use super::super::{Finding, trust};
use super::Asked;
use crate::cli::trust::k3s::{REGISTRIES, parse, read};

pub(super) fn examine(asked: &Asked<'_>, root: &Path) -> Option<Finding> {
    let path = root.join(REGISTRIES);
    path.parent()?.is_dir().then_some(())?;
    let settings = match read(&path).and_then(|text| parse(&text)) {
        Ok(settings) => Json::Object(settings),
        Err(why) => {
            return Some(Finding::error(
                "k3s",
                format!("k3s cannot read {}: {why:#}", path.display()),
                "correct it, and restart k3s",
            ));
        }
    };
    let names = asked.names();
    let entry = |key: &str| {
        let all = settings.get(key)?;
        names.iter().find_map(|name| all.get(name))
    };
    if !asked.tls {
        let plain = format!("http://{}", asked.name());
        let endpoints = entry("mirrors").and_then(|mirror| mirror.get("endpoint")?.as_array());
        let spoken = endpoints.is_some_and(|list| list.iter().any(|one| one == plain.as_str()));
        return Some(if spoken || asked.is_loopback() {
            Finding::ok("k3s", "k3s speaks plain HTTP with this registry")
        } else {
            Finding::error(
                "k3s",
                format!(
                    "k3s on this machine asks {} for TLS, which it does not speak",
                    asked.name()
                ),
                format!(
                    "serve TLS, or list {plain} as an endpoint of mirrors.\"{}\" in /{REGISTRIES}",
                    asked.name()
                ),
            )
        });
    }
    let tls = entry("configs").and_then(|config| config.get("tls"));
    if tls.and_then(|tls| tls.get("insecure_skip_verify")) == Some(&Json::Bool(true)) {
        return Some(Finding::warning(
            "k3s",
            format!(
                "k3s takes any certificate from whoever answers as {}",
                asked.name()
            ),
            format!(
                "take insecure_skip_verify out of /{REGISTRIES}; then {}",
                asked.trust("k3s")
            ),
        ));
    }
    let mut trusted = trust::system(root);
    if let Some(file) = tls.and_then(|tls| tls.get("ca_file")?.as_str()) {
        match trust::certificates(&root.join(file.trim_start_matches('/'))) {
            Ok(certificates) => trusted.extend(certificates),
            Err(error) => {
                return Some(Finding::error(
                    "k3s",
                    format!("registries.yaml names {file}, which cannot be used: {error:#}"),
                    asked.trust("k3s"),
                ));
            }
        }
    }
    if asked.vouched(&trusted) {
        return Some(Finding::ok(
            "k3s",
            "k3s on this machine trusts the certificate",
        ));
    }
    let close = settings.get("configs").and_then(Json::as_object);
    let close = close.is_some_and(|configs| configs.contains_key(asked.host));
    let why = if close && asked.port != 443 {
        format!(
            "; registries.yaml has {}, but {} is looked for",
            asked.host,
            asked.name()
        )
    } else {
        String::new()
    };
    Some(asked.distrusted("k3s", &why))
}
