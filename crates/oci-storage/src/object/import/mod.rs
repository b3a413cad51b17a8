//! Taking over what CNCF Distribution has written to a bucket, without copying bytes.
//!
//! Distribution's objects stay where they are and as they are. Records are written beside them that point
//! there: one for the content of each digest, one for each repository that shows it. Manifests and tags
//! become records as a push would write them, so that references and referrers are there as well.
//!
//! An import that was broken off goes on when it is begun again: what is there already is not written
//! again. It may be run while the registry serves from the same bucket.

use std::collections::HashSet;
use std::num::NonZeroUsize;

use oci_core::error::{ErrorCode, RegistryError, StoreError};
use oci_core::registry::Limits;
use oci_core::{Digest, Registry, RepositoryName, Tag};

use self::layout::Link;
use super::bucket::Bucket;
use crate::records::Records;

mod layout;
mod read;
mod repository;

/// How an import is done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Look and count, and write nothing.
    pub dry_run: bool,
    /// Make tags point where they do in Distribution's tree, also those that point elsewhere here by now.
    /// Without it, such a tag stays and is reported.
    pub move_tags: bool,
}

/// What an import did, and what it tells while it goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ImportReport {
    /// Repositories that were gone through.
    pub repositories: u64,
    /// Blobs that were adopted.
    pub blobs: u64,
    /// Bytes of them, none of which was read.
    pub bytes: u64,
    /// Blobs that were there already.
    pub blobs_there: u64,
    /// Bytes of them.
    pub bytes_there: u64,
    /// Manifests that were put.
    pub manifests: u64,
    /// Manifests that were there already.
    pub manifests_there: u64,
    /// Tags that were written.
    pub tags: u64,
    /// Blobs that a repository shows, whose content is not in the bucket, and that no manifest needs:
    /// Distribution's collector leaves such links behind. They are left out.
    pub dead_links: u64,
    /// What could not be imported, because it is missing or damaged, or in the way.
    pub problems: Vec<ImportProblem>,
}

/// Something that could not be imported.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct ImportProblem {
    /// Where.
    pub repository: RepositoryName,
    /// The digest, or the tag.
    pub what: String,
    /// Why not, and what can be done.
    pub why: String,
}

/// What lies in a bucket in Distribution's layout.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// Objects with content: blobs, manifests, and what nothing refers to any more.
    pub objects: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl Bucket {
    /// Counts the content that Distribution has written below this bucket's prefix.
    ///
    /// # Errors
    /// If the bucket cannot be listed.
    pub async fn importable(&self) -> Result<Imported, StoreError> {
        let mut found = Imported::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.page(layout::BLOBS, after.as_deref()).await?;
            let full = page.len() == PAGE.get();
            for (key, size) in &page {
                if key.ends_with("/data") {
                    found.objects += 1;
                    found.bytes += size;
                }
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
            if !full {
                return Ok(found);
            }
        }
    }

    /// Adopts into `store`, which is kept in this bucket, what Distribution has written below the same
    /// prefix. `watch` is told now and then how far it is.
    ///
    /// Holds the links of one repository and eight bytes per blob in memory.
    ///
    /// # Errors
    /// If the bucket fails. What is missing or damaged in it is no error: the report names it.
    pub async fn import(
        &self,
        store: &Records,
        options: ImportOptions,
        mut watch: impl FnMut(&ImportReport) + Send,
    ) -> Result<ImportReport, RegistryError> {
        let mut limits = Limits::default();
        // What another registry took in is not refused here.
        limits.manifest_size = usize::try_from(read::LARGEST_MANIFEST).unwrap_or(usize::MAX);
        limits.references = usize::MAX;
        let mut import = Import {
            source: Source {
                bucket: self,
                store,
                registry: Registry::builder(store.clone()).limits(limits).build(),
                options,
            },
            report: ImportReport::default(),
            counted: HashSet::new(),
            told: HashSet::new(),
            dead: HashSet::new(),
            watch: &mut watch,
        };
        import.run().await.map_err(failed)?;
        Ok(import.report)
    }

    async fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<(String, u64)>, StoreError> {
        let found = self.list(prefix, after, PAGE.get()).await;
        let found = found.map_err(|error| StoreError::unavailable("listing the bucket", error))?;
        Ok(found
            .into_iter()
            .map(|(key, meta)| (key, meta.size))
            .collect())
    }
}

/// What is read and where it is written, for many looks at once.
struct Source<'a> {
    bucket: &'a Bucket,
    store: &'a Records,
    registry: Registry,
    options: ImportOptions,
}

struct Import<'a> {
    source: Source<'a>,
    report: ImportReport,
    /// The beginnings of the digests that were counted: many repositories show one blob.
    counted: HashSet<[u8; 8]>,
    /// The problems that were told: a blob that several manifests need is looked at for each of them.
    told: HashSet<ImportProblem>,
    /// What the repository shows, has no content, and is needed by no manifest so far.
    dead: HashSet<Digest>,
    watch: &'a mut (dyn FnMut(&ImportReport) + Send),
}

/// What one repository links to.
#[derive(Debug, Default)]
struct Links {
    blobs: Vec<Digest>,
    manifests: Vec<Digest>,
    tags: Vec<Tag>,
}

impl Import<'_> {
    async fn run(&mut self) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        let mut open: Option<(RepositoryName, Links)> = None;
        loop {
            let page = self
                .source
                .bucket
                .page(layout::REPOSITORIES, after.as_deref())
                .await?;
            let full = page.len() == PAGE.get();
            for (key, _) in &page {
                let Some((repository, link)) = Link::parse(key) else {
                    continue;
                };
                // In the order of the keys, all that belongs to a repository itself is together.
                if open.as_ref().is_none_or(|(name, _)| *name != repository) {
                    self.finish(open.take()).await?;
                }
                let (_, links) = open.get_or_insert_with(|| (repository, Links::default()));
                match link {
                    Link::Blob(digest) => links.blobs.push(digest),
                    Link::Manifest(digest) => links.manifests.push(digest),
                    Link::Tag(tag) => links.tags.push(tag),
                }
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
            if !full {
                return self.finish(open.take()).await;
            }
        }
    }

    async fn finish(&mut self, found: Option<(RepositoryName, Links)>) -> Result<(), StoreError> {
        if let Some((name, links)) = found {
            self.repository(&name, links).await?;
            self.report.repositories += 1;
            self.tell();
        }
        Ok(())
    }

    fn problem(
        &mut self,
        repository: &RepositoryName,
        what: &dyn ToString,
        why: impl Into<String>,
    ) {
        let problem = ImportProblem {
            repository: repository.clone(),
            what: what.to_string(),
            why: why.into(),
        };
        if self.told.insert(problem.clone()) {
            self.report.problems.push(problem);
        }
        self.tell();
    }

    fn tell(&mut self) {
        (self.watch)(&self.report);
    }
}

fn failed(error: StoreError) -> RegistryError {
    RegistryError::from_store(error, ErrorCode::BlobUnknown)
}

/// How many keys a listing is asked for at a time.
const PAGE: NonZeroUsize = NonZeroUsize::new(1000).unwrap();
