//! What a container is given, read from a manifest or a compose file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One container of a guide: its image, variables and mounts.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pod {
    /// The name of the image.
    pub image: String,
    /// The variables.
    pub variables: BTreeMap<String, String>,
    /// What is mounted where, in the words of `docker run --volume`.
    pub mounts: Vec<String>,
}

impl Pod {
    /// The first container of the manifest's Deployment or ReplicationController. `volumes` says where
    /// the content of each volume lies.
    pub fn of_manifest(text: &str, volumes: &[(&str, &Path)]) -> Result<Self> {
        let documents: Vec<Value> = text.split("\n---\n").map(document).collect::<Result<_>>()?;
        let spec = documents
            .iter()
            .find_map(|document| document.pointer("/spec/template/spec"))
            .context("no pod in the manifest")?;
        let container = spec.pointer("/containers/0").context("no container")?;
        let mut mounts = Vec::new();
        for mount in list(container, "volumeMounts") {
            let name = text_of(mount, "name")?;
            let (_, place) = volumes
                .iter()
                .find(|(volume, _)| *volume == name)
                .with_context(|| format!("the test says nothing about the volume {name}"))?;
            let mut place = PathBuf::from(place);
            if let Some(path) = mount.get("subPath").and_then(Value::as_str) {
                place.push(path);
            }
            let read_only = mount.get("readOnly") == Some(&Value::Bool(true));
            mounts.push(format!(
                "{}:{}{}",
                place.display(),
                text_of(mount, "mountPath")?,
                if read_only { ":ro" } else { "" }
            ));
        }
        let variables = list(container, "env")
            .iter()
            .map(|variable| Ok((text_of(variable, "name")?, text_of(variable, "value")?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            image: text_of(container, "image")?,
            variables,
            mounts,
        })
    }

    /// A service of a compose file.
    pub fn of_compose(text: &str, service: &str) -> Result<Self> {
        let compose = document(text)?;
        let service = compose
            .pointer(&format!("/services/{service}"))
            .context("no such service")?;
        let variables = service
            .get("environment")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, value)| Ok((name.clone(), value.as_str().context("a text")?.to_owned())))
            .collect::<Result<_>>()?;
        let mounts = list(service, "volumes")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        Ok(Self {
            image: text_of(service, "image")?,
            variables,
            mounts,
        })
    }

    /// The options of `docker run` for it.
    pub fn options(&self) -> Vec<String> {
        let mut options = Vec::new();
        for (name, value) in &self.variables {
            options.extend(["--env".to_owned(), format!("{name}={value}")]);
        }
        for mount in &self.mounts {
            options.extend(["--volume".to_owned(), mount.clone()]);
        }
        options
    }
}

/// The file of a ConfigMap in a manifest.
pub(crate) fn config_map(text: &str, key: &str) -> Result<String> {
    for text in text.split("\n---\n") {
        let document = document(text)?;
        if document.get("kind").and_then(Value::as_str) == Some("ConfigMap") {
            let data = document.get("data").context("a ConfigMap without data")?;
            return text_of(data, key);
        }
    }
    anyhow::bail!("no ConfigMap in the manifest")
}

fn document(text: &str) -> Result<Value> {
    serde_saphyr::from_str(text).map_err(|error| anyhow::anyhow!("a fixture is not YAML: {error}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(Value::as_str);
    Ok(text.with_context(|| format!("no text `{key}`"))?.to_owned())
}
