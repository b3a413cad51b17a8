//! Media types of manifests, in the OCI and the Docker family.

use std::fmt;

/// The kinds of manifest that a registry stores and takes apart.
///
/// Config, layer and artifact types are free text and never restricted: OCI image-spec forbids
/// registries to refuse types they do not know.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ManifestType {
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerImage,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerList,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciImage,
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
}

impl ManifestType {
    /// Every kind.
    pub const ALL: [Self; 4] = [
        Self::DockerImage,
        Self::DockerList,
        Self::OciImage,
        Self::OciIndex,
    ];

    /// Reads a media type, ignoring parameters such as `; charset=utf-8` and letter case.
    pub fn from_media_type(text: &str) -> Option<Self> {
        let essence = essence(text);
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(essence))
    }

    /// The media type as it stands in `Content-Type` and in descriptors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DockerImage => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::OciImage => "application/vnd.oci.image.manifest.v1+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
        }
    }

    /// Whether it lists other manifests instead of a config and layers.
    pub fn is_index(self) -> bool {
        matches!(self, Self::DockerList | Self::OciIndex)
    }
}

impl fmt::Display for ManifestType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether content of this type may live elsewhere, so that a manifest naming it is complete without it.
pub(crate) fn is_non_distributable(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || essence.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_case_do_not_matter() {
        for kind in ManifestType::ALL {
            assert_eq!(ManifestType::from_media_type(kind.as_str()), Some(kind));
            let loud = format!(" {} ; charset=utf-8", kind.as_str().to_uppercase());
            assert_eq!(ManifestType::from_media_type(&loud), Some(kind));
        }
        assert_eq!(ManifestType::from_media_type("application/json"), None);
    }
}
