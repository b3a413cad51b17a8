//! Where everything lies: CNCF Distribution's tree, and ours where it does not look. Paths only, no I/O.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use oci_core::store::{UploadId, UploadScope};
use oci_core::{Algorithm, Digest, RepositoryName, Tag};

/// The paths of one volume.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below Distribution's `rootdirectory`.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.join("docker/registry/v2"),
        }
    }

    /// Where all blobs are: layers, configs and manifests.
    pub(super) fn blobs(&self) -> PathBuf {
        self.at(&["blobs"])
    }

    /// The content of a blob.
    pub(super) fn data(&self, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        let fan = hex.get(..2).unwrap_or(&hex);
        self.at(&["blobs", algorithm, fan, &hex, "data"])
    }

    /// Where all repositories are.
    pub(super) fn repositories(&self) -> PathBuf {
        self.at(&[REPOSITORIES])
    }

    /// One repository. Its name is a safe relative path: no component is empty, `.`, `..` or begins
    /// with `_`.
    pub(super) fn repository(&self, name: &RepositoryName) -> PathBuf {
        self.at(&[REPOSITORIES, name.as_str()])
    }

    /// That a blob is visible in a repository.
    pub(super) fn layer_link(&self, name: &RepositoryName, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        self.at(&[
            REPOSITORIES,
            name.as_str(),
            "_layers",
            algorithm,
            &hex,
            "link",
        ])
    }

    /// The blobs that are visible in a repository.
    pub(super) fn layers(&self, name: &RepositoryName) -> PathBuf {
        self.at(&[REPOSITORIES, name.as_str(), "_layers"])
    }

    /// What deletions and pushes of manifests lock.
    pub(super) fn manifests(&self, name: &RepositoryName) -> PathBuf {
        self.at(&[REPOSITORIES, name.as_str(), MANIFESTS])
    }

    /// Where a repository's revisions are: it exists once a manifest was put.
    pub(super) fn revisions(&self, name: &RepositoryName) -> PathBuf {
        self.at(&[REPOSITORIES, name.as_str(), MANIFESTS, "revisions"])
    }

    /// That a manifest is in a repository.
    pub(super) fn revision_link(&self, name: &RepositoryName, digest: &Digest) -> PathBuf {
        let (algorithm, hex) = (digest.algorithm().as_str(), digest.hex());
        self.at(&[
            REPOSITORIES,
            name.as_str(),
            MANIFESTS,
            "revisions",
            algorithm,
            &hex,
            "link",
        ])
    }

    /// Where a repository's tags are.
    pub(super) fn tags(&self, name: &RepositoryName) -> PathBuf {
        self.at(&[REPOSITORIES, name.as_str(), MANIFESTS, "tags"])
    }

    /// One tag and its history.
    pub(super) fn tag(&self, name: &RepositoryName, tag: &Tag) -> PathBuf {
        self.tags(name).join(tag.as_str())
    }

    /// What a tag points to.
    pub(super) fn tag_current(&self, name: &RepositoryName, tag: &Tag) -> PathBuf {
        let (name, tag) = (name.as_str(), tag.as_str());
        self.at(&[REPOSITORIES, name, MANIFESTS, "tags", tag, "current/link"])
    }

    /// That a tag once pointed to a manifest.
    pub(super) fn tag_index(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> PathBuf {
        link_below(self.tag(name, tag).join("index"), digest)
    }

    /// Ours, beside Distribution's `blobs` and `repositories`.
    pub(super) fn ours(&self) -> PathBuf {
        self.root.join("_registryd")
    }

    /// Files that are being written. On the volume itself, so that they can be renamed.
    pub(super) fn temporary(&self) -> PathBuf {
        self.ours().join("tmp")
    }

    /// The indexes of large directories.
    pub(super) fn listing(&self) -> PathBuf {
        self.ours().join("listing")
    }

    /// What a collector took away and has yet to unlink.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn trash(&self) -> PathBuf {
        self.ours().join("trash")
    }

    /// Where all upload sessions are.
    pub(super) fn uploads(&self) -> PathBuf {
        self.ours().join("uploads")
    }

    /// The upload sessions of one principal. Its name may hold anything, so the directory is named by
    /// a hash of it.
    pub(super) fn uploads_of(&self, scope: &UploadScope) -> PathBuf {
        let hex = Digest::sha256(scope.principal().as_bytes()).hex();
        self.uploads().join(hex.get(..32).unwrap_or(&hex))
    }

    /// Where an upload stands.
    pub(super) fn upload_state(&self, scope: &UploadScope, id: &UploadId) -> PathBuf {
        self.uploads_of(scope)
            .join(format!("{}.state", upload_stem(scope, id)))
    }

    /// An upload's bytes.
    pub(super) fn upload_data(&self, scope: &UploadScope, id: &UploadId) -> PathBuf {
        self.uploads_of(scope)
            .join(format!("{}.data", upload_stem(scope, id)))
    }

    /// The referrers of every subject in a repository.
    pub(super) fn all_referrers(&self, name: &RepositoryName) -> PathBuf {
        self.repository(name).join("_registryd/referrers")
    }

    /// Says that revisions pushed through another registry were looked at for subjects.
    pub(super) fn referrers_scanned(&self, name: &RepositoryName) -> PathBuf {
        self.all_referrers(name).join("scanned")
    }

    /// The referrers of one subject.
    pub(super) fn referrers(&self, name: &RepositoryName, subject: &Digest) -> PathBuf {
        let mut path = self.all_referrers(name);
        path.push(subject.algorithm().as_str());
        path.push(subject.hex());
        path
    }

    /// The descriptor of one referrer.
    pub(super) fn referrer(
        &self,
        name: &RepositoryName,
        subject: &Digest,
        referrer: &Digest,
    ) -> PathBuf {
        self.referrers(name, subject).join(referrer_name(referrer))
    }

    /// A path of these parts below the root. In one allocation: `Path::join` copies all that is there
    /// and grows at each step, which would be a quarter of what pulling a manifest costs.
    fn at(&self, parts: &[&str]) -> PathBuf {
        let parts_len: usize = parts.iter().map(|part| 1 + part.len()).sum();
        let mut path = OsString::with_capacity(self.root.as_os_str().len() + parts_len);
        path.push(&self.root);
        for part in parts {
            path.push(std::path::MAIN_SEPARATOR_STR);
            path.push(part);
        }
        path.into()
    }
}

const REPOSITORIES: &str = "repositories";
const MANIFESTS: &str = "_manifests";

/// What a path below `docker/registry/v2` is.
#[derive(Clone, Debug, Eq, PartialEq)]
#[cfg(any(test, feature = "testing"))]
pub(super) enum Entry {
    Data(Digest),
    Layer(RepositoryName, Digest),
    Revision(RepositoryName, Digest),
    TagCurrent(RepositoryName, Tag),
    TagIndex(RepositoryName, Tag, Digest),
    Referrer(RepositoryName, Digest, Digest),
}

#[cfg(any(test, feature = "testing"))]
impl Layout {
    /// Reads a path back. `None` for directories, for what is not part of the layout, and for names
    /// that this registry would not have made.
    pub(super) fn parse(&self, path: &Path) -> Option<Entry> {
        let parts: Vec<&str> = path
            .strip_prefix(&self.root)
            .ok()?
            .iter()
            .map(std::ffi::OsStr::to_str)
            .collect::<Option<_>>()?;
        match parts.as_slice() {
            ["blobs", algorithm, fan, hex, "data"] => {
                let digest = digest_of(algorithm, hex)?;
                hex.starts_with(*fan).then_some(())?;
                (fan.len() == 2).then_some(Entry::Data(digest))
            }
            ["repositories", rest @ ..] => {
                // A component of a name never begins with `_`, so the first that does ends it.
                let end = rest.iter().position(|part| part.starts_with('_'))?;
                let (name, rest) = rest.split_at_checked(end)?;
                let name = name.join("/").parse().ok()?;
                match rest {
                    ["_layers", algorithm, hex, "link"] => {
                        Some(Entry::Layer(name, digest_of(algorithm, hex)?))
                    }
                    ["_manifests", "revisions", algorithm, hex, "link"] => {
                        Some(Entry::Revision(name, digest_of(algorithm, hex)?))
                    }
                    ["_manifests", "tags", tag, "current", "link"] => {
                        Some(Entry::TagCurrent(name, tag.parse().ok()?))
                    }
                    ["_manifests", "tags", tag, "index", algorithm, hex, "link"] => Some(
                        Entry::TagIndex(name, tag.parse().ok()?, digest_of(algorithm, hex)?),
                    ),
                    ["_registryd", "referrers", algorithm, hex, referrer] => Some(Entry::Referrer(
                        name,
                        digest_of(algorithm, hex)?,
                        parse_referrer(referrer)?,
                    )),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// A digest from two path components.
pub(super) fn digest_of(algorithm: &str, hex: &str) -> Option<Digest> {
    let algorithm: Algorithm = algorithm.parse().ok()?;
    Digest::from_parts(algorithm, hex).ok()
}

/// How the files of an upload are called. The repository is in it, because a session without bytes has no
/// record to say so.
fn upload_stem(scope: &UploadScope, id: &UploadId) -> String {
    let hex = Digest::sha256(scope.repository().as_str().as_bytes()).hex();
    format!("{id}-{}", hex.get(..16).unwrap_or(&hex))
}

/// The file name of a referrer's descriptor. A colon would not be portable.
pub(super) fn referrer_name(digest: &Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

/// The opposite of [`referrer_name`].
pub(super) fn parse_referrer(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.split_once('-')?;
    digest_of(algorithm, hex)
}

fn link_below(mut path: PathBuf, digest: &Digest) -> PathBuf {
    path.push(digest.algorithm().as_str());
    path.push(digest.hex());
    path.push("link");
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layout() -> Layout {
        Layout::new(Path::new("/var/lib/registry"))
    }

    #[test]
    fn the_strings_of_distribution() {
        let digest = Digest::sha256(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let name: RepositoryName = "library/debian".parse().unwrap();
        let tag: Tag = "v1.0".parse().unwrap();
        let layout = layout();
        let at = "/var/lib/registry/docker/registry/v2";
        let repository = format!("{at}/repositories/library/debian");
        for (path, expected) in [
            (
                layout.data(&digest),
                format!("{at}/blobs/sha256/e3/{hex}/data"),
            ),
            (
                layout.layer_link(&name, &digest),
                format!("{repository}/_layers/sha256/{hex}/link"),
            ),
            (
                layout.revision_link(&name, &digest),
                format!("{repository}/_manifests/revisions/sha256/{hex}/link"),
            ),
            (
                layout.tag_current(&name, &tag),
                format!("{repository}/_manifests/tags/v1.0/current/link"),
            ),
            (
                layout.tag_index(&name, &tag, &digest),
                format!("{repository}/_manifests/tags/v1.0/index/sha256/{hex}/link"),
            ),
            (
                layout.referrer(&name, &digest, &digest),
                format!("{repository}/_registryd/referrers/sha256/{hex}/sha256-{hex}"),
            ),
            (layout.ours(), format!("{at}/_registryd")),
        ] {
            assert_eq!(path, Path::new(&expected));
        }
    }

    #[test]
    fn foreign_paths_are_not_ours() {
        let layout = layout();
        for foreign in [
            "blobs/sha256/e3/short/data",
            "blobs/sha256/00/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/data",
            "blobs/tarsum/v1/x/data",
            "repositories/a/_layers/sha256/nothex/link",
            "repositories/_layers/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/link",
            "repositories/a/_manifests/tags/v1/current",
            "repositories/a/_uploads/x/data",
            "repositories/A/_manifests/tags/v1/current/link",
        ] {
            let path = layout.root.join(foreign);
            assert_eq!(layout.parse(&path), None, "{foreign}");
        }
        assert_eq!(layout.parse(Path::new("/elsewhere")), None);
    }

    fn digests() -> impl Strategy<Value = Digest> {
        (any::<Vec<u8>>(), any::<bool>()).prop_map(|(content, long)| {
            let algorithm = if long {
                Algorithm::Sha512
            } else {
                Algorithm::Sha256
            };
            Digest::of(algorithm, &content)
        })
    }

    proptest! {
        #[test]
        fn every_path_reads_back(
            name in "[a-z0-9]{1,4}([._-][a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,3}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
            digest in digests(),
            other in digests(),
        ) {
            let layout = layout();
            let name: RepositoryName = name.parse().unwrap();
            let tag: Tag = tag.parse().unwrap();
            for (path, entry) in [
                (layout.data(&digest), Entry::Data(digest)),
                (layout.layer_link(&name, &digest), Entry::Layer(name.clone(), digest)),
                (layout.revision_link(&name, &digest), Entry::Revision(name.clone(), digest)),
                (layout.tag_current(&name, &tag), Entry::TagCurrent(name.clone(), tag.clone())),
                (layout.tag_index(&name, &tag, &digest), Entry::TagIndex(name.clone(), tag.clone(), digest)),
                (layout.referrer(&name, &digest, &other), Entry::Referrer(name.clone(), digest, other)),
            ] {
                prop_assert!(path.starts_with(&layout.root));
                prop_assert_eq!(layout.parse(&path), Some(entry));
            }
        }

        #[test]
        fn what_parses_is_formatted_the_same(path in "(blobs|repositories)(/(a|_layers|_manifests|sha256|tags|current|link|data|e3|_registryd|referrers)){0,7}") {
            let layout = layout();
            let path = layout.root.join(path);
            let formatted = match layout.parse(&path) {
                Some(Entry::TagCurrent(name, tag)) => layout.tag_current(&name, &tag),
                // The others need a digest, which this grammar never makes.
                Some(other) => panic!("{other:?}"),
                None => return Ok(()),
            };
            prop_assert_eq!(formatted, path);
        }
    }
}
