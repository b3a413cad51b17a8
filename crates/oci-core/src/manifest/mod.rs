//! Manifests: a parsed view that never lets go of the exact bytes.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::media_type::{ManifestType, is_non_distributable};

mod document;
mod json;

use document::{Document, RawDescriptor};

/// A checked manifest or index: the bytes as pushed, and what the registry needs to know of them.
///
/// Unknown fields, `data` fields and formatting are none of the registry's business; they stay in
/// [`Manifest::bytes`], which is what every pull returns.
///
/// ```
/// use oci_core::{Manifest, ManifestType};
///
/// let manifest = Manifest::parse(
///     br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#
///         .as_slice()
///         .into(),
///     None,
/// )?;
/// assert_eq!(manifest.manifest_type(), ManifestType::OciIndex);
/// assert!(manifest.references().is_empty());
/// # Ok::<(), oci_core::ManifestError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    kind: ManifestType,
    references: Vec<ManifestReference>,
    elsewhere: Vec<Digest>,
    subject: Option<Subject>,
    artifact_type: Option<String>,
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The largest manifest a registry must take, and the limit of this one unless configured
    /// otherwise: 4 MiB. containerd refuses anything much larger.
    pub const DEFAULT_MAX_SIZE: usize = 4 * 1024 * 1024;

    /// Checks `bytes` and looks into them. `content_type` is the pusher's `Content-Type`, if any;
    /// it must agree with the document's own `mediaType`.
    ///
    /// A document that says nothing of its type is an index if it has `manifests`, else an image.
    ///
    /// # Errors
    /// If the document is not JSON as image-spec wants it (UTF-8, no duplicate names, nothing after
    /// the end), is of an unknown type, or could be read as two types at once.
    pub fn parse(bytes: Bytes, content_type: Option<&str>) -> Result<Self, ManifestError> {
        let text = str::from_utf8(&bytes).map_err(|_| ManifestError::NotUtf8)?;
        json::check(text).map_err(ManifestError::Json)?;
        let document: Document<'_> = serde_json::from_str(text).map_err(ManifestError::Json)?;
        let manifest_type = document.manifest_type(content_type)?;
        let (references, elsewhere) = document.references(manifest_type)?;
        let subject = document.subject.as_ref().map(Subject::read).transpose()?;
        let artifact_type = document.artifact_type(manifest_type);
        let annotations = document.annotations.unwrap_or_default();
        Ok(Self {
            bytes,
            kind: manifest_type,
            references,
            elsewhere,
            subject,
            artifact_type,
            annotations,
        })
    }

    /// The document exactly as it was pushed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Which of the four kinds it is. Its text is the `Content-Type` of every pull.
    pub fn manifest_type(&self) -> ManifestType {
        self.kind
    }

    /// What must be in the repository before this manifest may be: config, layers, child manifests.
    ///
    /// Left out are non-distributable layers, descriptors with `urls`, and digests of algorithms
    /// that cannot be verified here. The subject is never among them.
    pub fn references(&self) -> &[ManifestReference] {
        &self.references
    }

    /// What the manifest names but may do without: non-distributable layers and descriptors with `urls`.
    ///
    /// A push does not need them, but if somebody has pushed them, clients fetch them here.
    pub fn elsewhere(&self) -> &[Digest] {
        &self.elsewhere
    }

    /// The manifest that this one refers to (OCI image-spec, `subject`). It need not exist.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// The artifact type for listings: the document's own; an image without one has its config's type.
    pub fn artifact_type(&self) -> Option<&str> {
        self.artifact_type.as_deref()
    }

    /// The manifest's own annotations.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// How a referrers listing describes this manifest under `digest`.
    pub fn descriptor(&self, digest: Digest) -> Descriptor {
        Descriptor {
            media_type: self.kind.as_str().to_owned(),
            digest,
            size: self.size(),
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
        }
    }
}

/// Content that a manifest needs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ManifestReference {
    /// Whether it is a blob or another manifest.
    pub kind: ReferenceKind,
    /// Its digest.
    pub digest: Digest,
    /// Its length as the manifest states it. Stored content of another length does not count as present.
    pub size: u64,
}

impl ManifestReference {
    /// A reference to content of `size` bytes.
    pub fn new(kind: ReferenceKind, digest: Digest, size: u64) -> Self {
        Self { kind, digest, size }
    }
}

/// In which plane referenced content lives.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ReferenceKind {
    /// A config or layer.
    Blob,
    /// A child of an index.
    Manifest,
}

/// The digest named by a manifest's `subject` field.
///
/// A subject need not exist and may use any well-formed digest; only one with an algorithm known here
/// can be asked for at the referrers endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subject {
    text: String,
    digest: Option<Digest>,
}

impl Subject {
    fn read(raw: &RawDescriptor<'_>) -> Result<Self, ManifestError> {
        let digest = raw.verifiable_digest(&"subject")?;
        raw.size(&"subject")?;
        Ok(Self {
            text: raw.digest.clone().into_owned(),
            digest,
        })
    }

    /// The digest as the document writes it, for the `OCI-Subject` header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digest, if its algorithm is known here.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
}

/// Why a document is not an acceptable manifest. The text is meant for the person who pushes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Both an image and an index, so that two clients could see two different things.
    #[error(
        "the document has both `manifests` and `{field}`: it must be an index or an image, not both"
    )]
    Ambiguous {
        /// The field of an image manifest that an index must not have.
        field: &'static str,
    },
    /// `Content-Type` and `mediaType` differ.
    #[error(
        "Content-Type is `{content_type}` but the document's mediaType is `{media_type}`; send the same"
    )]
    ContentType {
        /// As sent in the header.
        content_type: String,
        /// As written in the document.
        media_type: String,
    },
    /// A descriptor field is malformed.
    #[error("`{field}`: {problem}")]
    Descriptor {
        /// Where in the document, for example `layers[2]`.
        field: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Not JSON, or fields of the wrong type.
    #[error("the manifest is not valid JSON for a manifest: {0}")]
    Json(#[source] serde_json::Error),
    /// An image without config.
    #[error("an image manifest needs a `config` descriptor")]
    MissingConfig,
    /// A Docker type that only `Content-Type` names.
    #[error("a Docker manifest needs its own `mediaType` field with the value `{expected}`")]
    MissingMediaType {
        /// The type that the header claims.
        expected: ManifestType,
    },
    /// Bytes that are not text.
    #[error("the manifest is not UTF-8")]
    NotUtf8,
    /// The fields are those of another type than the one stated.
    #[error("mediaType is `{manifest_type}` but the document has {shape}")]
    Shape {
        /// The stated type.
        manifest_type: ManifestType,
        /// What was found instead.
        shape: &'static str,
    },
    /// Not version 2.
    #[error(
        "`schemaVersion` must be 2; Docker's schema 1 is not supported, rebuild or re-push with a current client"
    )]
    SchemaVersion,
    /// None of the four types.
    #[error(
        "manifest type `{media_type}` is not supported; use an OCI image manifest or index, or Docker's schema 2"
    )]
    UnknownType {
        /// The type found in the header or the document.
        media_type: String,
    },
}

#[cfg(test)]
mod tests;
