//! k3s and RKE2: `registries.yaml`.

use std::path::Path;

use serde_json::Value as Json;

use super::super::{Finding, trust};
use super::{Asked, misnamed};
use crate::cli::trust::k3s::{Rancher, parse, read};

pub(super) fn examine(one: Rancher, asked: &Asked<'_>, root: &Path) -> Option<Finding> {
    let (client, registries) = (one.name(), one.registries());
    let path = root.join(&registries);
    path.parent()?.is_dir().then_some(())?;
    let settings = match read(&path).and_then(|text| parse(&text)) {
        Ok(settings) => Json::Object(settings),
        Err(why) => {
            return Some(Finding::error(
                client,
                format!("{client} cannot read {}: {why:#}", path.display()),
                format!("correct it, and restart {client}"),
            ));
        }
    };
    let entry = |key: &str| {
        let all = settings.get(key)?;
        asked.names.iter().find_map(|name| all.get(name))
    };
    if !asked.tls {
        let plain = format!("http://{}", asked.name());
        let endpoints = entry("mirrors").and_then(|mirror| mirror.get("endpoint")?.as_array());
        let spoken = endpoints.is_some_and(|list| list.iter().any(|one| one == plain.as_str()));
        return Some(if spoken || asked.is_loopback() {
            let said = format!("{client} speaks plain HTTP with this registry");
            Finding::ok(client, said)
        } else {
            Finding::error(
                client,
                format!(
                    "{client} on this machine asks {} for TLS, which it does not speak",
                    asked.name()
                ),
                format!(
                    "serve TLS, or list {plain} as an endpoint of mirrors.\"{}\" in /{registries}",
                    asked.name()
                ),
            )
        });
    }
    let tls = entry("configs").and_then(|config| config.get("tls"));
    if tls.and_then(|tls| tls.get("insecure_skip_verify")) == Some(&Json::Bool(true)) {
        return Some(Finding::warning(
            client,
            format!(
                "{client} takes any certificate from whoever answers as {}",
                asked.name()
            ),
            format!(
                "take insecure_skip_verify out of /{registries}; then {}",
                asked.trust(client)
            ),
        ));
    }
    let mut trusted = trust::system(root);
    if let Some(file) = tls.and_then(|tls| tls.get("ca_file")?.as_str()) {
        match trust::certificates(&root.join(file.trim_start_matches('/'))) {
            Ok(certificates) => trusted.extend(certificates),
            Err(error) => {
                return Some(Finding::error(
                    client,
                    format!("registries.yaml names {file}, which cannot be used: {error:#}"),
                    asked.trust(client),
                ));
            }
        }
    }
    if asked.vouched(&trusted) {
        return Some(Finding::ok(
            client,
            format!("{client} on this machine trusts the certificate"),
        ));
    }
    let configs = settings.get("configs").and_then(Json::as_object);
    let configs = configs.map(|configs| configs.keys().cloned().collect());
    let why = misnamed(asked, "registries.yaml", configs.unwrap_or_default());
    Some(asked.distrusted(client, &why))
}
