//! What the configuration accepts of manifests, and where calls to the storage are counted.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Uri;
use oci_core::hooks::StoreCall;
use oci_core::{
    ErrorCode, Hooks, Identity, Manifest, ManifestType, Operation, RegistryError, StoreError,
};
use regex::RegexSet;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::config::Config;
use crate::metrics::Metrics;

/// The hooks of the registry.
#[derive(Debug)]
pub(super) struct Policy {
    urls: Option<Urls>,
    classes: Vec<String>,
    metrics: Option<Arc<Metrics>>,
}

impl Policy {
    /// What `validation`, `policy` and `http.debug.prometheus` ask for.
    ///
    /// # Errors
    /// If an expression is larger than is compiled.
    pub(super) fn new(config: &Config, metrics: Option<Arc<Metrics>>) -> anyhow::Result<Self> {
        let urls = &config.validation.manifests.urls;
        let urls = if config.validation.disabled {
            None
        } else {
            Some(Urls {
                allow: RegexSet::new(&urls.allow)?,
                deny: RegexSet::new(&urls.deny)?,
            })
        };
        Ok(Self {
            urls,
            classes: config.policy.repository.classes.clone(),
            metrics,
        })
    }

    fn check(&self, manifest: &Manifest) -> Result<(), RegistryError> {
        if self.urls.is_none() && self.classes.is_empty() {
            return Ok(());
        }
        let looked_at: Looked = serde_json::from_slice(manifest.bytes())
            .map_err(|error| RegistryError::new(ErrorCode::ManifestInvalid, error.to_string()))?;
        if let Some(urls) = &self.urls {
            let descriptors = looked_at.layers.iter().flatten().chain(&looked_at.config);
            for descriptor in descriptors.chain(looked_at.manifests.iter().flatten()) {
                for url in descriptor.urls.as_ref().map_or("", |urls| &urls.0).lines() {
                    urls.check(url)?;
                }
            }
        }
        self.check_class(manifest.manifest_type(), looked_at.config.as_ref())
    }

    /// As Distribution does: only images have a class, by the type of their configuration.
    fn check_class(
        &self,
        manifest_type: ManifestType,
        config: Option<&Described>,
    ) -> Result<(), RegistryError> {
        if self.classes.is_empty() || manifest_type.is_index() {
            return Ok(());
        }
        let media_type = config.and_then(|config| config.media_type.as_deref());
        let class = match media_type.unwrap_or_default() {
            "application/vnd.docker.container.image.v1+json"
            | "application/vnd.oci.image.config.v1+json" => "image",
            "application/vnd.docker.plugin.v1+json" => "plugin",
            _ => "unknown",
        };
        if self.classes.iter().any(|allowed| allowed == class) {
            return Ok(());
        }
        let what = if class == "unknown" {
            format!("content of the type `{}`", media_type.unwrap_or("none"))
        } else {
            format!("content of the class `{class}`")
        };
        Err(RegistryError::new(
            ErrorCode::Denied,
            format!(
                "this registry does not accept {what}; its `policy.repository.classes` allows: {}",
                self.classes.join(", ")
            ),
        ))
    }
}

#[async_trait]
impl Hooks for Policy {
    async fn before(&self, _: &Identity, operation: &Operation<'_>) -> Result<(), RegistryError> {
        match operation {
            Operation::PutManifest { manifest, .. } => self.check(manifest),
            _ => Ok(()),
        }
    }

    fn observes_store_calls(&self) -> bool {
        self.metrics.is_some()
    }

    fn store_call(&self, call: StoreCall, took: Duration, error: Option<&StoreError>) {
        if let Some(metrics) = &self.metrics {
            // Other errors are what the client has coming.
            let failed = matches!(
                error,
                Some(StoreError::Unavailable { .. } | StoreError::NoSpace(_))
            );
            metrics.store_call(call, took, failed);
        }
    }
}

/// Where clients may be sent for content.
#[derive(Debug)]
struct Urls {
    allow: RegexSet,
    deny: RegexSet,
}

impl Urls {
    fn check(&self, url: &str) -> Result<(), RegistryError> {
        let refused = |why: &str| {
            RegistryError::new(
                ErrorCode::ManifestInvalid,
                format!("the manifest sends clients to {url:?}: {why}"),
            )
        };
        let web = url.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !web || url.contains('#') {
            return Err(refused(
                "that is no URL of http or https without a fragment",
            ));
        }
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err(refused(
                "this registry accepts no such URLs; allow them with `validation.manifests.urls.allow`, \
                 or push the layers themselves (docker: `allow-nondistributable-artifacts`)",
            ));
        }
        if !self.allow.is_empty() && !self.allow.is_match(url) {
            return Err(refused(
                "nothing in `validation.manifests.urls.allow` matches it",
            ));
        }
        if self.deny.is_match(url) {
            return Err(refused("`validation.manifests.urls.deny` matches it"));
        }
        Ok(())
    }
}

/// What is looked at in a manifest.
#[derive(Deserialize)]
struct Looked {
    config: Option<Described>,
    layers: Option<Vec<Described>>,
    manifests: Option<Vec<Described>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    media_type: Option<String>,
    urls: Option<Lines>,
}

/// The URLs of a descriptor, one a line: a list of many small texts would take many times the memory that
/// the manifest has.
#[derive(Default)]
struct Lines(String);

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Lines;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of URLs")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Lines, A::Error> {
                let mut lines = Lines::default();
                while let Some(item) = list.next_element::<Item>()? {
                    // What is no text, or has a line of its own, is no URL; and neither is this.
                    let text = item
                        .0
                        .filter(|text| !text.is_empty() && !text.contains(['\n', '\r']));
                    lines.0.push_str(text.as_deref().unwrap_or("?"));
                    lines.0.push('\n');
                }
                Ok(lines)
            }
        }

        deserializer.deserialize_seq(Texts)
    }
}

/// A text; what is anything else is skipped without being kept.
struct Item(Option<String>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Other(IgnoredAny),
        }
        Ok(Self(match Any::deserialize(deserializer)? {
            Any::Text(text) => Some(text),
            Any::Other(_) => None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Loader;

    const LAYER: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn policy(addition: &str) -> Policy {
        let text =
            format!("version: 0.1\nstorage: inmemory\nhttp: {{addr: ':5000'}}\n{addition}\n");
        let loaded = Loader::new().text("c", text).load().unwrap();
        Policy::new(&loaded.config, None).unwrap()
    }

    fn image(config_type: &str, urls: &str) -> Manifest {
        let text = format!(
            r#"{{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {{"mediaType": "{config_type}", "digest": "{LAYER}", "size": 5}},
                "layers": [{{"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
                    "digest": "{LAYER}", "size": 5, "urls": {urls}}}]}}"#
        );
        Manifest::parse(text.into(), None).unwrap()
    }

    fn outcome(policy: &Policy, urls: &str) -> Result<(), String> {
        let image = image("application/vnd.oci.image.config.v1+json", urls);
        policy.check(&image).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_are_accepted_as_in_distribution() {
        let nothing = policy("");
        assert!(outcome(&nothing, "[]").is_ok() && outcome(&nothing, "null").is_ok());
        let refused = outcome(&nothing, r#"["https://example.com/a"]"#).unwrap_err();
        assert!(
            refused.contains("validation.manifests.urls.allow"),
            "{refused}"
        );

        let disabled = policy("validation: {disabled: true}");
        assert!(outcome(&disabled, r#"["https://example.com/a", 7]"#).is_ok());

        let allow = policy(
            "validation: {manifests: {urls: {allow: ['^https?://([^/]+\\.)*example\\.com/']}}}",
        );
        let both = policy(
            "validation: {manifests: {urls: {allow: ['^https://example\\.com/'], deny: ['/private/']}}}",
        );
        let deny = policy("validation: {manifests: {urls: {deny: ['/private/']}}}");
        for (policy, urls, accepted) in [
            (
                &allow,
                r#"["https://example.com/a", "http://x.example.com/b"]"#,
                true,
            ),
            (
                &allow,
                r#"["https://example.com/a", "https://evil.test/b"]"#,
                false,
            ),
            (&allow, r#"["https://example.com/a#b"]"#, false),
            (&allow, r#"["ftp://example.com/a"]"#, false),
            (&allow, r#"["https://example.com/a", 7]"#, false),
            (
                &allow,
                r#"["https://example.com/a\nhttps://example.com/"]"#,
                false,
            ),
            (&allow, r#"[""]"#, false),
            (&both, r#"["https://example.com/a"]"#, true),
            (&both, r#"["https://example.com/private/a"]"#, false),
            (&deny, r#"["https://anywhere.test/a"]"#, true),
            (&deny, r#"["https://anywhere.test/private/a"]"#, false),
        ] {
            assert_eq!(outcome(policy, urls).is_ok(), accepted, "{urls}");
        }
    }

    #[test]
    fn only_classes_that_are_named_are_accepted() {
        let both = "validation: {disabled: true}\npolicy: {repository: {classes: [image, plugin]}}";
        let images = "validation: {disabled: true}\npolicy: {repository: {classes: [image]}}";
        for (addition, config_type, accepted) in [
            ("", "application/x", true),
            (images, "application/vnd.oci.image.config.v1+json", true),
            (
                images,
                "application/vnd.docker.container.image.v1+json",
                true,
            ),
            (images, "application/vnd.docker.plugin.v1+json", false),
            (both, "application/vnd.docker.plugin.v1+json", true),
            (both, "application/vnd.cncf.helm.config.v1+json", false),
        ] {
            let outcome = policy(addition).check(&image(config_type, "[]"));
            assert_eq!(outcome.is_ok(), accepted, "{addition} {config_type}");
        }
    }

    #[test]
    fn without_a_file_nothing_is_refused() {
        let policy = Policy::new(&Config::default(), None).unwrap();
        assert!(outcome(&policy, r#"["https://example.com/a"]"#).is_ok());
    }
}
