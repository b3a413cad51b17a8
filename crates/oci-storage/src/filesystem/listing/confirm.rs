//! Whether what an index names is there now: few system calls, for there are many names on a page.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use oci_core::{Algorithm, Digest, RepositoryName};
use rustix::fs::{Dir, Mode, OFlags, openat};
use rustix::io::Errno;

use super::super::Inner;
use super::super::layout::digest_of;
use super::super::links::Membership;
use super::stamp::Stamp;

/// An open directory below which others, and links, are looked at.
#[derive(Debug)]
pub(super) struct Below(File, PathBuf);

impl Below {
    /// `None` if there is no such directory.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        match super::open_directory(path) {
            Ok(directory) => Ok(Some(Self(directory, path.to_owned()))),
            Err(error) if super::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn link(&self, path: &str) -> io::Result<Option<Digest>> {
        link(self.0.as_fd(), path)
    }

    /// The state of a directory; `None` if there is none.
    pub(super) fn stamp(&self, path: &str) -> io::Result<Option<Stamp>> {
        match fs::metadata(self.1.join(path)) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Stamp::of(&metadata))),
            Ok(_) => Ok(None),
            Err(error) if super::is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a manifest is in the repository `name`.
    pub(super) fn holds(&self, name: &str, digest: &Digest) -> io::Result<bool> {
        let hex = digest.hex();
        let path = format!(
            "{name}/_manifests/revisions/{}/{hex}/link",
            digest.algorithm()
        );
        Ok(self.link(&path)? == Some(*digest))
    }

    pub(super) fn directory(&self, path: &str) -> io::Result<Option<Dir>> {
        directory(self.0.as_fd(), path)
    }
}

impl Inner {
    /// A manifest in the repository whose directory this is: the first that is found.
    pub(super) fn find_manifest(
        &self,
        repository: &Dir,
        name: &RepositoryName,
    ) -> io::Result<Option<Digest>> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let revisions = match algorithm {
                Algorithm::Sha512 => "_manifests/revisions/sha512",
                _ => "_manifests/revisions/sha256",
            };
            let Some(mut revisions) = directory(repository.fd()?, revisions)? else {
                continue;
            };
            while let Some(entry) = revisions.read() {
                let entry = entry?;
                let hex = entry.file_name().to_str().unwrap_or_default();
                let Some(digest) = digest_of(algorithm.as_str(), hex) else {
                    continue;
                };
                if link(revisions.fd()?, &format!("{hex}/link"))? == Some(digest) {
                    return Ok(Some(digest));
                }
                // Torn, or content under another digest.
                let link = self.layout.revision_link(name, &digest);
                if self.membership(&link, &digest)? != Membership::Absent {
                    return Ok(Some(digest));
                }
            }
        }
        Ok(None)
    }
}

/// What the link at `path` says; `None` if there is none or it is torn. Nothing waits for a pipe that
/// lies there.
fn link(below: BorrowedFd<'_>, path: &str) -> io::Result<Option<Digest>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let link = match openat(below, path, flags, Mode::empty()) {
        Ok(link) => link,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut content = [0; LINK_MAX];
    let length = match rustix::io::read(&link, &mut content) {
        Ok(length) => length,
        Err(Errno::ISDIR | Errno::AGAIN) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = content.get(..length).unwrap_or_default();
    Ok(str::from_utf8(text).ok().and_then(|text| text.parse().ok()))
}

fn directory(below: BorrowedFd<'_>, path: &str) -> io::Result<Option<Dir>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(below, path, flags, Mode::empty()) {
        Ok(directory) => Ok(Some(Dir::new(directory)?)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// More than any digest is long: what is longer is none.
const LINK_MAX: usize = 256;
