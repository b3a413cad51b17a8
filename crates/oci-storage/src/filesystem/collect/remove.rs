//! One batch: decided and renamed away alone, unlinked beside everybody.

use std::io;

use oci_core::RepositoryName;
use oci_core::store::CandidateKind;

use super::super::Failure;
use super::super::links::metadata;
use super::delta::Delta;
use super::found::Found;
use super::{Run, count_of};

impl Run<'_> {
    /// Removes what of `batch` is still garbage. `false` if it could not be alone.
    pub(super) fn batch(
        &mut self,
        batch: &[Found],
        repositories: &[RepositoryName],
        delta: &mut Delta<'_>,
    ) -> Result<bool, Failure> {
        let inner = self.inner;
        // What takes time is done before others have to wait. The rest is read inside.
        delta.read_ahead()?;
        // After the mark: what was deleted by then must not come back with the power, when what it needed
        // is gone. And after the batches before this one, of which the same is true.
        inner.disk.sync_volume()?;

        let mut removed = Vec::new();
        let mut revived = 0;
        let alone = self.exclusive(|_| {
            delta.read_all()?;
            for found in batch {
                if delta.keeps(found, repositories) {
                    revived += 1;
                    continue;
                }
                let Some(path) = found.path(&inner.layout, repositories) else {
                    continue;
                };
                // Deleted meanwhile by somebody else.
                let Some(metadata) = metadata(&path)? else {
                    continue;
                };
                if !found.is(&metadata) || !self.is_old(metadata.modified()?) {
                    if found.kind == CandidateKind::Manifest {
                        // It stays, and nobody knows what else must.
                        return Err(changed(found, repositories));
                    }
                    revived += 1;
                    continue;
                }
                let trash = inner.disk.random_name(&inner.layout.trash());
                inner.disk.rename_away(&path, &trash)?;
                removed.push((trash, found));
                if let Some(directory) = path.parent() {
                    inner.disk.tidy_directory(directory);
                }
            }
            Ok(())
        })?;

        self.collected.revived += revived;
        for (trash, found) in removed {
            inner.disk.remove_file(&trash)?;
            match count_of(&mut self.collected, found.kind) {
                Some(count) => *count += 1,
                None => self.collected.removed.add(found.size),
            }
        }
        Ok(alone)
    }
}

fn changed(found: &Found, repositories: &[RepositoryName]) -> io::Error {
    let repository = found.repository(repositories);
    io::Error::other(format!(
        "the link of manifest {} in {} was changed by somebody who does not say so: is another registry \
         running on this volume? Stop it first",
        found.digest,
        repository.map_or("a repository", RepositoryName::as_str),
    ))
}
