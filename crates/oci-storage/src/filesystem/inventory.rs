//! Everything that is there, for copies and checks: read from the directories each time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use oci_core::digest::{Algorithm, Hasher};
use oci_core::store::{BlobMeta, Page, PageRequest};
use oci_core::{Digest, RepositoryName, StoreError};

use super::durable::{Dirty, Ticket, open_file};
use super::links::{self, Link};
use super::listing::names_in;
use super::section::is_at;
use super::{Failure, Inner, layout};

use std::sync::Arc;

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
        linked_in(&directory, page, |digest| {
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
        linked_in(&directory, page, |digest| {
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
}

/// The digests that have a link below a directory `<alg>/<hex>/link`. What a torn link says is decided
/// where it is read.
fn linked_in(
    directory: &Path,
    page: &PageRequest,
    link: impl Fn(&Digest) -> std::path::PathBuf,
) -> Result<Page<Digest>, Failure> {
    let mut found = Vec::new();
    for algorithm in Algorithm::ALL {
        let names = sorted(&directory.join(algorithm.to_string()))?;
        let digests = names
            .iter()
            .filter_map(|hex| layout::digest_of(algorithm.as_str(), hex));
        for digest in digests.filter(|digest| page.is_past(&digest.to_string())) {
            if links::read(&link(&digest))? != Link::Absent {
                found.push(digest);
            }
            if found.len() > page.limit {
                return Ok(Page::cut(found, page.limit));
            }
        }
    }
    Ok(Page::cut(found, page.limit))
}

fn sorted(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut names = names_in(directory)?.unwrap_or_default();
    names.sort_unstable();
    Ok(names)
}

fn digest_of(mut file: &File, algorithm: Algorithm) -> std::io::Result<Digest> {
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
