//! A stand-in for the collector, for tests of the push half of the protocol: it takes the exclusive
//! sections, marks and removes as the real one will, in one batch and without its comforts.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use oci_core::{Digest, Manifest, RepositoryName, StoreError};

use super::durable::Dirty;
use super::layout::Entry;
use super::listing::names_in;
use super::{Filesystem, Inner};

/// What a run did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Collected {
    /// How many blobs went.
    pub blobs: u64,
    /// How many links went.
    pub links: u64,
    /// Whether the run ended early because an exclusive section could not be had in time.
    pub gave_up: bool,
}

impl Filesystem {
    /// Removes content that nothing refers to and that is older than `grace`. Blocks. `between` is
    /// called when marking is over and nothing has been removed yet.
    ///
    /// # Errors
    /// Any error of the disk: then nothing more is removed.
    #[doc(hidden)]
    pub fn collect_for_tests(
        &self,
        grace: Duration,
        between: impl FnOnce(),
    ) -> Result<Collected, StoreError> {
        self.inner
            .collect(grace, between)
            .map_err(|error| StoreError::from_io("collecting", error))
    }
}

impl Inner {
    fn collect(&self, grace: Duration, between: impl FnOnce()) -> io::Result<Collected> {
        let gave_up = Collected {
            gave_up: true,
            ..Collected::default()
        };
        let began = self
            .sections
            .exclusive(PATIENCE, |delta| fs::write(delta, ""))?;
        if began.is_none() {
            return Ok(gave_up);
        }
        let mut marked = HashSet::new();
        let mut candidates = Vec::new();
        self.walk(&self.layout.repositories(), &mut candidates)?;
        for path in &candidates {
            if let Some(Entry::Revision(repository, digest)) = self.layout.parse(path) {
                self.mark(&repository, &digest, &mut marked)?;
            }
        }
        self.walk(&self.layout.blobs(), &mut candidates)?;
        between();

        let removed = self.sections.exclusive(PATIENCE, |delta| {
            for line in fs::read_to_string(delta)?.lines() {
                let mut words = line.split(' ').skip(1);
                let named = (words.next(), words.next());
                let (Some(Ok(repository)), Some(Ok(digest))) =
                    (named.0.map(str::parse), named.1.map(str::parse))
                else {
                    return Err(io::Error::other("a line of the delta log is damaged"));
                };
                marked.insert((Some(RepositoryName::clone(&repository)), digest));
                marked.insert((None, digest));
                self.mark(&repository, &digest, &mut marked)?;
            }
            self.remove_unmarked(&candidates, &marked, grace)
        })?;
        let trash = self.layout.trash();
        if trash.exists() {
            fs::remove_dir_all(trash)?;
        }
        if let Some(removed) = removed {
            fs::remove_file(self.layout.ours().join("delta"))?;
            Ok(removed)
        } else {
            Ok(gave_up)
        }
    }

    fn walk(&self, directory: &Path, found: &mut Vec<std::path::PathBuf>) -> io::Result<()> {
        for name in names_in(directory)?.unwrap_or_default() {
            let path = directory.join(name);
            if path.is_dir() {
                self.walk(&path, found)?;
            } else if self.layout.parse(&path).is_some() {
                found.push(path);
            }
        }
        Ok(())
    }

    fn mark(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        marked: &mut HashSet<(Option<RepositoryName>, Digest)>,
    ) -> io::Result<()> {
        marked.insert((None, *digest));
        let Some(stored) = self.stored_manifest(digest)? else {
            return Ok(());
        };
        let Ok(manifest) = Manifest::parse(stored.bytes, None) else {
            return Ok(());
        };
        for needed in manifest.references() {
            marked.insert((None, needed.digest));
            marked.insert((Some(repository.clone()), needed.digest));
        }
        Ok(())
    }

    fn remove_unmarked(
        &self,
        candidates: &[std::path::PathBuf],
        marked: &HashSet<(Option<RepositoryName>, Digest)>,
        grace: Duration,
    ) -> io::Result<Collected> {
        let mut collected = Collected::default();
        let mut dirty = Dirty::new();
        for path in candidates {
            let (key, is_blob) = match self.layout.parse(path) {
                Some(Entry::Data(digest)) => ((None, digest), true),
                Some(Entry::Layer(repository, digest)) => ((Some(repository), digest), false),
                _ => continue,
            };
            let Ok(metadata) = fs::metadata(path) else {
                continue;
            };
            let age = self.clock.now().duration_since(metadata.modified()?);
            if marked.contains(&key) || age.unwrap_or_default() < grace {
                continue;
            }
            let trash = self
                .layout
                .trash()
                .join(format!("{:032x}", u128::from_le_bytes(self.disk.random())));
            let file = fs::File::open(path)?;
            self.disk.rename(path, &file, &trash, &mut dirty)?;
            // As Distribution's collector does: the blob's directory goes with it.
            if let Some(directory) = path.parent() {
                self.disk.tidy_directory(directory);
            }
            collected.blobs += u64::from(is_blob);
            collected.links += u64::from(!is_blob);
        }
        self.disk.commit_now(dirty)?;
        Ok(collected)
    }
}

const PATIENCE: Duration = Duration::from_secs(2);
