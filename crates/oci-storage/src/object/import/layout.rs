//! Where CNCF Distribution keeps what in a bucket.

use oci_core::{Digest, RepositoryName, Tag};

pub(super) const BLOBS: &str = "docker/registry/v2/blobs/";
pub(super) const REPOSITORIES: &str = "docker/registry/v2/repositories/";

/// What a key below [`REPOSITORIES`] says by being there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Link {
    /// A blob is visible.
    Blob(Digest),
    /// A manifest is there.
    Manifest(Digest),
    /// A tag points to what the object says.
    Tag(Tag),
}

impl Link {
    /// Reads a key. `None` for what says nothing: the history of tags, uploads, files of other programs.
    pub(super) fn parse(key: &str) -> Option<(RepositoryName, Self)> {
        let path = key.strip_prefix(REPOSITORIES)?.strip_suffix("/link")?;
        // No component of a name begins so.
        let (repository, what) = path.split_once("/_")?;
        let link = if let Some(path) = what.strip_prefix("layers/") {
            Self::Blob(digest(path)?)
        } else if let Some(path) = what.strip_prefix("manifests/revisions/") {
            Self::Manifest(digest(path)?)
        } else {
            let tag = what.strip_prefix("manifests/tags/")?;
            Self::Tag(tag.strip_suffix("/current")?.parse().ok()?)
        };
        Some((repository.parse().ok()?, link))
    }
}

/// The object that says that a blob is visible.
pub(super) fn blob_link(repository: &RepositoryName, digest: &Digest) -> String {
    let (algorithm, hex) = (digest.algorithm(), digest.hex());
    format!("{REPOSITORIES}{repository}/_layers/{algorithm}/{hex}/link")
}

/// The object that says what a tag points to.
pub(super) fn tag_link(repository: &RepositoryName, tag: &Tag) -> String {
    format!("{REPOSITORIES}{repository}/_manifests/tags/{tag}/current/link")
}

/// The object with the bytes of a digest, be they a manifest's or a blob's.
pub(super) fn data(digest: &Digest) -> String {
    let hex = digest.hex();
    let fan = hex.get(..2).unwrap_or(&hex);
    format!("{BLOBS}{}/{fan}/{hex}/data", digest.algorithm())
}

fn digest(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.split_once('/')?;
    Digest::from_parts(algorithm.parse().ok()?, hex).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_distribution_writes_them() {
        let content = Digest::sha256(b"x");
        let hex = content.hex();
        let parse = |key: &str| {
            let (repository, link) = Link::parse(&format!("{REPOSITORIES}{key}"))?;
            Some((repository.to_string(), link))
        };
        let found = |repository: &str, link| Some((repository.to_owned(), link));
        assert_eq!(
            parse(&format!("a/b/_layers/sha256/{hex}/link")),
            found("a/b", Link::Blob(content))
        );
        assert_eq!(
            parse(&format!("a/_manifests/revisions/sha256/{hex}/link")),
            found("a", Link::Manifest(content))
        );
        assert_eq!(
            parse("a/_manifests/tags/v1.0/current/link"),
            found("a", Link::Tag("v1.0".parse().unwrap()))
        );
        for other in [
            format!("a/_manifests/tags/v1/index/sha256/{hex}/link"),
            format!("a/_manifests/revisions/sha256/{hex}/signatures/sha256/{hex}/link"),
            "a/_uploads/5c1f3a0e-7a5e-4ef6-8d3e-0ed8d2b8b1f4/data".to_owned(),
            "a/_layers/sha256/12/link".to_owned(),
            "link".to_owned(),
        ] {
            assert_eq!(parse(&other), None, "{other}");
        }
        let name: RepositoryName = "a/b".parse().unwrap();
        let tag: Tag = "v1".parse().unwrap();
        assert_eq!(
            Link::parse(&blob_link(&name, &content)),
            Some((name.clone(), Link::Blob(content)))
        );
        assert_eq!(
            Link::parse(&tag_link(&name, &tag)),
            Some((name, Link::Tag(tag)))
        );
        let fan = &hex[..2];
        assert_eq!(data(&content), format!("{BLOBS}sha256/{fan}/{hex}/data"));
    }
}
