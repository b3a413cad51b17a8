//! One batch: decided and renamed away alone, unlinked beside everybody.

use std::io;
use std::path::{Path, PathBuf};

use oci_core::RepositoryName;
use oci_core::store::CandidateKind;

use super::super::durable::is_full;
use super::super::links::{is_absent, metadata};
use super::super::{Failure, Inner};
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
        // After the mark: what was deleted by then must not come back with the power, when what it needed
        // is gone. And after the batches before this one, of which the same is true.
        inner.disk.sync_volume()?;
        // What takes time is done before others have to wait, and last, because pushes go on during a sync.
        // The rest is read inside.
        delta.read_ahead()?;

        let mut removed = Vec::new();
        let mut revived = 0;
        let alone = self.exclusive(|| {
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
                match inner.take_away(&path)? {
                    Taken::Away(trash) => removed.push((Some(trash), found)),
                    Taken::Removed => removed.push((None, found)),
                    // Deleted since: a client need not wait for a collector.
                    Taken::Gone => continue,
                }
                if let Some(directory) = path.parent() {
                    inner.disk.tidy_directory(directory);
                }
            }
            Ok(())
        })?;

        for (repository, why) in delta.take_news() {
            self.collected.kept_whole += 1;
            self.observer.kept_whole(repository.as_str(), &why);
        }
        self.collected.revived += revived;
        for (trash, found) in removed {
            if let Some(trash) = trash {
                inner.disk.remove_file(&trash)?;
            }
            match count_of(&mut self.collected, found.kind) {
                Some(count) => *count += 1,
                None => self.collected.removed.add(found.size),
            }
        }
        Ok(alone)
    }
}

impl Inner {
    /// Takes a file out of its place. On a full disk, where there is no room for another name, it is unlinked
    /// at once, which takes longer if it is large.
    fn take_away(&self, path: &Path) -> io::Result<Taken> {
        let trash = self.disk.random_name(&self.layout.trash());
        match self.disk.rename_away(path, &trash) {
            Ok(()) => Ok(Taken::Away(trash)),
            Err(error) if is_absent(&error) && metadata(path)?.is_none() => Ok(Taken::Gone),
            Err(error) if is_full(&error) || !self.layout.trash().is_dir() => {
                let removed = self.disk.remove_file(path)?;
                Ok(if removed { Taken::Removed } else { Taken::Gone })
            }
            Err(error) => Err(error),
        }
    }
}

/// What became of a file.
enum Taken {
    /// It is here, to be unlinked when nobody waits any more.
    Away(PathBuf),
    Removed,
    /// Somebody else was faster.
    Gone,
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
