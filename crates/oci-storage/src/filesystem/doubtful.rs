//! Content that could not be synced: read by all, relied upon by nobody, until it is written anew.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

use oci_core::{Digest, Hasher};

use super::Inner;
use super::durable::{Dirty, open_file};

impl Inner {
    /// Where content is that may be relied upon: what could not be synced is written anew first, from what
    /// can be read of it. Blocks, then for as long as copying and hashing it takes.
    ///
    /// Such content may have been on the disk for years: the process that could not sync it only did
    /// not know. So it is never hidden from readers.
    ///
    /// # Errors
    /// If the disk still fails, or if what can be read is not the content. Then it stays as it is, and
    /// pushing it replaces it.
    pub(super) fn stat_reliable(&self, digest: &Digest) -> io::Result<Option<(PathBuf, Metadata)>> {
        match self.stat_data(digest)? {
            Some((path, found)) if self.disk.is_doubtful(&found) => {
                self.renew(digest, &path)?;
                self.stat_data(digest)
            }
            found => Ok(found),
        }
    }

    fn renew(&self, digest: &Digest, path: &Path) -> io::Result<()> {
        let file = match open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // Content may lie under another digest than the one it is asked for by.
        let target = self.aliases.target(digest);
        let target = target.filter(|target| path == self.layout.data(target));
        let target = target.unwrap_or(*digest);
        let mut hasher = Hasher::new(target.algorithm());
        let copy = self
            .disk
            .temporary_copy(&file, |piece| hasher.update(piece))?;
        if hasher.finish() != target {
            return Err(io::Error::other(format!(
                "what is stored as {target} is something else: push it again"
            )));
        }
        let mut dirty = Dirty::new();
        self.sections.shared(|_| {
            // Removed or replaced meanwhile, it stays so.
            match super::links::metadata(path)? {
                Some(found) if self.disk.is_doubtful(&found) => {
                    self.disk.place(copy, path, &mut dirty)
                }
                _ => Ok(()),
            }
        })?;
        self.disk.commit_now(dirty)
    }
}
