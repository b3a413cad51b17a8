//! The fields of a manifest that the registry reads, and the rules that tell the four types apart.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ManifestError, ManifestReference, ManifestType, ReferenceKind, is_non_distributable};
use crate::digest::{Digest, DigestError};

/// Any of the four types. `null` counts as absent: some encoders write empty lists so.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document<'a> {
    schema_version: Option<u64>,
    #[serde(borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    artifact_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    config: Option<RawDescriptor<'a>>,
    #[serde(borrow)]
    layers: Option<Vec<RawDescriptor<'a>>>,
    #[serde(borrow, default)]
    manifests: Children<'a>,
    #[serde(borrow)]
    pub(super) subject: Option<RawDescriptor<'a>>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

impl Document<'_> {
    /// Decides the type, and that it can be read as no other.
    pub(super) fn manifest_type(
        &self,
        content_type: Option<&str>,
    ) -> Result<ManifestType, ManifestError> {
        if self.schema_version != Some(2) {
            return Err(ManifestError::SchemaVersion);
        }
        if self.children().is_some() {
            let field = match (&self.config, &self.layers) {
                (Some(_), _) => Some("config"),
                (_, Some(_)) => Some("layers"),
                _ => None,
            };
            if let Some(field) = field {
                return Err(ManifestError::Ambiguous { field });
            }
        }
        let known = |text: &str| {
            ManifestType::from_media_type(text).ok_or_else(|| ManifestError::UnknownType {
                media_type: shortened(text),
            })
        };
        let own = self.media_type.as_deref().filter(|text| !text.is_empty());
        // Tools that know no better send `application/json` or octet-stream: then the document decides.
        let content_type = content_type
            .map(str::trim)
            .filter(|text| !is_unspecific(text));
        let manifest_type = match (own, content_type) {
            (Some(own), Some(header)) => {
                let manifest_type = known(own)?;
                if known(header)? != manifest_type {
                    return Err(ManifestError::ContentType {
                        content_type: shortened(header),
                        media_type: shortened(own),
                    });
                }
                manifest_type
            }
            (Some(own), None) => known(own)?,
            (None, Some(header)) => match known(header)? {
                // The stored type is read back from the document, which for these has to name it.
                expected @ (ManifestType::DockerImage | ManifestType::DockerList) => {
                    return Err(ManifestError::MissingMediaType { expected });
                }
                manifest_type => manifest_type,
            },
            (None, None) if self.children().is_some() => ManifestType::OciIndex,
            (None, None) => ManifestType::OciImage,
        };
        if manifest_type.is_index() && (self.config.is_some() || self.layers.is_some()) {
            return Err(ManifestError::Shape {
                manifest_type,
                shape: "the fields of an image",
            });
        }
        if !manifest_type.is_index() && self.children().is_some() {
            return Err(ManifestError::Shape {
                manifest_type,
                shape: "the fields of an index",
            });
        }
        if manifest_type.is_index() && matches!(self.manifests, Children::Missing) {
            return Err(ManifestError::Shape {
                manifest_type,
                shape: "no `manifests` field",
            });
        }
        // Without a type of its own, a document must be read the same way by its fields alone.
        if own.is_none() && manifest_type.is_index() && self.children().is_none() {
            return Err(ManifestError::Shape {
                manifest_type,
                shape: "neither a mediaType nor a list of `manifests`",
            });
        }
        Ok(manifest_type)
    }

    fn children(&self) -> Option<&Vec<RawDescriptor<'_>>> {
        match &self.manifests {
            Children::List(children) => Some(children),
            Children::Missing | Children::Null => None,
        }
    }

    /// What must be there, and what may be elsewhere.
    pub(super) fn references(
        &self,
        manifest_type: ManifestType,
    ) -> Result<(Vec<ManifestReference>, Vec<Digest>), ManifestError> {
        let mut references = Vec::new();
        let mut elsewhere = Vec::new();
        let mut note = |found: Option<Found>| match found {
            Some(Found::Needed(reference)) => references.push(reference),
            Some(Found::Elsewhere(digest)) => elsewhere.push(digest),
            None => {}
        };
        if manifest_type.is_index() {
            for (i, child) in self.children().into_iter().flatten().enumerate() {
                note(child.reference(ReferenceKind::Manifest, || format!("manifests[{i}]"))?);
            }
        } else {
            let config = self.config.as_ref().ok_or(ManifestError::MissingConfig)?;
            note(config.reference(ReferenceKind::Blob, || "config".to_owned())?);
            for (i, layer) in self.layers.iter().flatten().enumerate() {
                note(layer.reference(ReferenceKind::Blob, || format!("layers[{i}]"))?);
            }
        }
        Ok((references, elsewhere))
    }

    pub(super) fn artifact_type(&self, manifest_type: ManifestType) -> Option<String> {
        let own = self
            .artifact_type
            .as_deref()
            .filter(|text| !text.is_empty());
        own.map(ToOwned::to_owned).or_else(|| {
            let config = self.config.as_ref().filter(|_| !manifest_type.is_index())?;
            Some(config.media_type.clone()?.into_owned())
        })
    }
}

/// The field `manifests`, which an index has to have, be it `null`.
#[derive(Default)]
enum Children<'a> {
    List(Vec<RawDescriptor<'a>>),
    #[default]
    Missing,
    Null,
}

impl<'de: 'a, 'a> Deserialize<'de> for Children<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::List))
    }
}

/// A descriptor as the document has it. Its annotations, `data` and `platform` are left alone.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawDescriptor<'a> {
    #[serde(borrow)]
    media_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) digest: Cow<'a, str>,
    size: serde_json::Number,
    urls: Option<Vec<serde::de::IgnoredAny>>,
}

impl RawDescriptor<'_> {
    fn reference(
        &self,
        kind: ReferenceKind,
        field: impl Fn() -> String,
    ) -> Result<Option<Found>, ManifestError> {
        let size = self.size(&field)?;
        let Some(digest) = self.verifiable_digest(&field)? else {
            return Ok(None);
        };
        let elsewhere = self.urls.as_ref().is_some_and(|urls| !urls.is_empty())
            || self.media_type.as_deref().is_some_and(is_non_distributable);
        Ok(Some(if elsewhere {
            Found::Elsewhere(digest)
        } else {
            Found::Needed(ManifestReference::new(kind, digest, size))
        }))
    }

    /// `None` for a well-formed digest of an algorithm that is not known here.
    pub(super) fn verifiable_digest(
        &self,
        field: &impl FieldName,
    ) -> Result<Option<Digest>, ManifestError> {
        match self.digest.parse() {
            Ok(digest) => Ok(Some(digest)),
            Err(DigestError::UnknownAlgorithm) => Ok(None),
            Err(error) => Err(ManifestError::Descriptor {
                field: field.name(),
                problem: error.to_string(),
            }),
        }
    }

    pub(super) fn size(&self, field: &impl FieldName) -> Result<u64, ManifestError> {
        // Beyond i64 no client can read it back.
        self.size
            .as_u64()
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or_else(|| ManifestError::Descriptor {
                field: field.name(),
                problem: "`size` must be a whole number of bytes, not negative".to_owned(),
            })
    }
}

/// What a descriptor names.
enum Found {
    Needed(ManifestReference),
    /// The registry may have it, too.
    Elsewhere(Digest),
}

/// The name of a field for messages, made only when one is needed.
pub(super) trait FieldName {
    fn name(&self) -> String;
}

impl FieldName for &'static str {
    fn name(&self) -> String {
        (*self).to_owned()
    }
}

impl<F: Fn() -> String> FieldName for F {
    fn name(&self) -> String {
        self()
    }
}

fn is_unspecific(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    // What curl sends unless told otherwise is among them.
    matches!(
        essence,
        "" | "*/*" | "application/json" | "application/x-www-form-urlencoded"
    )
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}
