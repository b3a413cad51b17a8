//! Walking directories: what is there, and what links are called.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_core::{Algorithm, Digest};

use super::super::layout::digest_of;
use super::super::links::{self, Link, is_absent};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Directory,
    Other,
}

/// The names in a directory.
pub(super) fn entries(directory: &Path) -> io::Result<Vec<(OsString, Kind)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        let entry = entry.map_err(at(directory))?;
        let kind = entry.file_type().map_err(at(&entry.path()))?;
        let is_directory = kind.is_dir()
            || (kind.is_symlink()
                && match fs::metadata(entry.path()) {
                    Ok(target) => target.is_dir(),
                    // It leads nowhere. Anything else might hide a repository.
                    Err(error) if is_absent(&error) => false,
                    Err(error) => return Err(at(&entry.path())(error)),
                });
        let kind = if is_directory {
            Kind::Directory
        } else {
            Kind::Other
        };
        found.push((entry.file_name(), kind));
    }
    Ok(found)
}

/// The same of a directory that need not be there.
pub(super) fn entries_or_none(directory: &Path) -> io::Result<Vec<(OsString, Kind)>> {
    match entries(directory) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        found => found,
    }
}

/// Says of an error where it was met; what it is stays as it was.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// The links below a directory, by the digests that their paths name.
#[derive(Debug, Default)]
pub(super) struct Linked {
    pub(super) digests: Vec<Digest>,
    /// A path that names a digest of an unknown kind.
    pub(super) foreign: Option<String>,
    /// Where the links of such digests lead: another registry keeps their content there.
    pub(super) targets: Vec<Digest>,
}

/// Finds the links below `root`, which need not be there. What is no link is not ours to look at.
pub(super) fn linked(root: &Path) -> io::Result<Linked> {
    let mut linked = Linked::default();
    for (algorithm, _) in entries_or_none(root)? {
        for (hex, kind) in entries_or_none(&root.join(&algorithm))? {
            let (algorithm, hex) = (algorithm.to_string_lossy(), hex.to_string_lossy());
            match digest_of(&algorithm, &hex) {
                Some(digest) => linked.digests.push(digest),
                None if kind == Kind::Directory => {
                    let link = root.join(&*algorithm).join(&*hex).join("link");
                    match links::read(&link).map_err(at(&link))? {
                        // What Distribution deletes leaves its directory behind.
                        Link::Absent => continue,
                        Link::Torn => {}
                        Link::To(target) => linked.targets.push(target),
                    }
                    linked.foreign.get_or_insert(format!("{algorithm}:{hex}"));
                }
                None => {}
            }
        }
    }
    Ok(linked)
}

/// The link of a digest below the directory that holds links of its kind.
pub(super) fn link_at(root: &Path, digest: &Digest) -> PathBuf {
    let mut path = root.join(digest.algorithm().as_str());
    path.push(digest.hex());
    path.push("link");
    path
}

/// Whether its content may lie under another digest: see [`links::Membership`].
pub(super) fn is_long(digest: &Digest) -> bool {
    digest.algorithm() == Algorithm::Sha512
}
