//! Everything that is there, for copies and checks: read from the directories.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use oci_core::digest::{Algorithm, Hasher};
use oci_core::store::{BlobMeta, Page, PageRequest};
use oci_core::{Digest, RepositoryName, StoreError};

use super::durable::{Dirty, Ticket, open_file};
use super::links::{self, Link};
use super::listing::{Stamp, names_in};
use super::section::is_at;
use super::{Failure, Inner, layout, lock};

impl Inner {
    /// A page of the files of content. Empty ones that should not be are absent, as everywhere.
    pub(super) fn all_blobs(&self, page: &PageRequest) -> Result<Page<BlobMeta>, Failure> {
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL {
            let directory = self.layout.blobs().join(algorithm.to_string());
            for prefix in sorted(&directory)? {
                // Nothing in it can be past the page's beginning.
                let last = format!("{algorithm}:{prefix}g");
                if !page.is_past(&last) {
                    continue;
                }
                for hex in sorted(&directory.join(&prefix))? {
                    if let Some(digest) = layout::digest_of(algorithm.as_str(), &hex)
                        && hex.starts_with(&prefix)
                        && page.is_past(&digest.to_string())
                        && let Some((_, metadata)) = self.stat_data(&digest)?
                    {
                        found.push(BlobMeta::new(digest, metadata.len()));
                    }
                }
                if found.len() > page.limit {
                    return Ok(Page::cut(found, page.limit));
                }
            }
        }
        Ok(Page::cut(found, page.limit))
    }

    /// A page of the manifests of a repository: its revision links.
    pub(super) fn all_manifests(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, Failure> {
        let directory = self.layout.revisions(repository);
        self.linked_in(&directory, page, |digest| {
            self.layout.revision_link(repository, digest)
        })
    }

    /// A page of the blobs of a repository: its layer links.
    pub(super) fn linked_blobs(
        &self,
        repository: &RepositoryName,
        page: &PageRequest,
    ) -> Result<Page<Digest>, Failure> {
        let directory = self.layout.layers(repository);
        self.linked_in(&directory, page, |digest| {
            self.layout.layer_link(repository, digest)
        })
    }

    /// Removes a file of content that does not have its digest.
    pub(super) fn discard_damaged(
        self: &Arc<Self>,
        digest: &Digest,
    ) -> Result<Option<Ticket>, Failure> {
        let path = self.layout.data(digest);
        let file = match open_file(&path) {
            Ok(file) => file,
            Err(error) if links::is_absent(&error) => return Err(StoreError::NotFound.into()),
            Err(error) => return Err(error.into()),
        };
        if digest_of(&file, digest.algorithm())? == *digest {
            return Ok(None);
        }
        // Pushes put a new file in its place, inside a section; so nobody does while this is compared.
        let removed = self.sections.exclusive(PATIENCE, |_| {
            if is_at(&file, &path)? {
                return self.disk.remove_file(&path).map(Some);
            }
            Ok(None)
        })?;
        match removed {
            Some(Some(_)) => {
                let mut dirty = Dirty::new();
                dirty.directory(path.parent().unwrap_or(&path));
                Ok(Some(self.disk.commit(dirty)))
            }
            // Healed meanwhile.
            Some(None) => Ok(None),
            None => Err(StoreError::unavailable(
                "removing damaged content",
                "others have been at work on the volume all the time; try again",
            )
            .into()),
        }
    }

    /// The digests that have a link below a directory `<alg>/<hex>/link`. What a torn link says is decided
    /// where it is read.
    fn linked_in(
        &self,
        directory: &Path,
        page: &PageRequest,
        link: impl Fn(&Digest) -> PathBuf,
    ) -> Result<Page<Digest>, Failure> {
        let mut found = Vec::new();
        for algorithm in Algorithm::ALL {
            // Nothing in it can be past the page's beginning.
            if !page.is_past(&format!("{algorithm}:g")) {
                continue;
            }
            let directory = directory.join(algorithm.to_string());
            let names = self.last_listed.names(&directory)?;
            let first = names.partition_point(|hex| !page.is_past(&format!("{algorithm}:{hex}")));
            let digests = names
                .iter()
                .skip(first)
                .filter_map(|hex| layout::digest_of(algorithm.as_str(), hex));
            for digest in digests {
                if links::read(&link(&digest))? != Link::Absent {
                    found.push(digest);
                }
                if found.len() > page.limit {
                    return Ok(Page::cut(found, page.limit));
                }
            }
            self.last_listed.forget(&directory);
        }
        Ok(Page::cut(found, page.limit))
    }
}

/// The sorted names of the directory of which a page was listed last, until its last page was: reading a
/// directory of a million names for each page of a thousand would cost a thousand times as much.
#[derive(Debug, Default)]
pub(super) struct LastListed(Mutex<Option<Listed>>);

#[derive(Debug)]
struct Listed {
    directory: PathBuf,
    stamp: Stamp,
    names: Arc<Vec<String>>,
}

impl LastListed {
    /// The names in a directory as it is now, in byte order; none if it is not there.
    fn names(&self, directory: &Path) -> io::Result<Arc<Vec<String>>> {
        // First: what changes after it shows in the stamp that the next page finds.
        let now = SystemTime::now();
        let stamp = match std::fs::metadata(directory) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) if links::is_absent(&error) => return Ok(Arc::default()),
            Err(error) => return Err(error),
        };
        if let Some(last) = &*lock(&self.0)
            && last.directory == directory
            && last.stamp == stamp
        {
            return Ok(Arc::clone(&last.names));
        }
        let names = Arc::new(sorted(directory)?);
        if stamp.is_settled(now) {
            *lock(&self.0) = Some(Listed {
                directory: directory.to_owned(),
                stamp,
                names: Arc::clone(&names),
            });
        }
        Ok(names)
    }

    /// Frees the memory, if nobody has listed another directory since.
    fn forget(&self, directory: &Path) {
        let mut last = lock(&self.0);
        if last
            .as_ref()
            .is_some_and(|last| last.directory == directory)
        {
            *last = None;
        }
    }
}

fn sorted(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = names_in(directory)?.unwrap_or_default();
    names.sort_unstable();
    Ok(names)
}

fn digest_of(mut file: &File, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

/// How long to wait until nobody else is inside a section.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Names that come or go between two pages show in the second, and a directory that stays as it is is
    /// read once.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "no runtime waits for this")]
    fn the_names_of_the_last_page_serve_the_next_while_nothing_changes() {
        let directory = tempfile::tempdir().unwrap();
        let settle = || std::thread::sleep(Duration::from_millis(50));
        let path = directory.path();
        for name in ["b", "c"] {
            fs::write(path.join(name), "").unwrap();
        }
        settle();
        let last = LastListed::default();
        let first = last.names(path).unwrap();
        assert_eq!(*first, ["b", "c"]);
        assert!(Arc::ptr_eq(&first, &last.names(path).unwrap()));

        fs::write(path.join("a"), "").unwrap();
        // Too new to be sure that nothing else changes within the same tick of the clock.
        assert_eq!(*last.names(path).unwrap(), ["a", "b", "c"]);
        fs::remove_file(path.join("b")).unwrap();
        settle();
        let names = last.names(path).unwrap();
        assert_eq!(*names, ["a", "c"]);
        assert!(Arc::ptr_eq(&names, &last.names(path).unwrap()));

        let absent = last.names(&path.join("none")).unwrap();
        assert!(absent.is_empty());
        last.forget(path);
        assert!(lock(&last.0).is_none());
    }
}
