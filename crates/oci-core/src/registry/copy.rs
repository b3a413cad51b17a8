//! Copying everything from one registry's stores to another's.

use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;

use super::{Intent, PushManifest, Registry};
use crate::auth::Identity;
use crate::digest::Digest;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::manifest::{Manifest, ReferenceKind};
use crate::name::{Reference, RepositoryName, Tag};
use crate::store::{BlobStream, Page, PageRequest, ReadRange, StoredManifest};

/// What a copy did, and what it tells while it goes on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Repositories that were gone through.
    pub repositories: u64,
    /// Blobs whose bytes were copied.
    pub blobs: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Blobs that were there already with the right size.
    pub blobs_there: u64,
    /// Bytes of them.
    pub bytes_there: u64,
    /// Manifests that were copied.
    pub manifests: u64,
    /// Tags that were written or moved.
    pub tags: u64,
    /// Blobs that a repository of the source shows, whose content is not there, and that no manifest needs:
    /// other registries' collectors leave such links behind. They are left out.
    pub dead_links: u64,
    /// What could not be copied, because it is missing or damaged in the source.
    pub problems: Vec<CopyProblem>,
}

/// Something that could not be copied.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct CopyProblem {
    /// Where.
    pub repository: RepositoryName,
    /// The digest, or the tag.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Registry {
    /// Copies all repositories to `target`: manifests, tags, referrers, and blobs with the repositories
    /// that show them. Every byte is verified by its digest on the way.
    ///
    /// What is in the target with the right size is not read again, so a copy that was broken off goes on
    /// where it stood. Tags are made to point where they do here; what the target has beyond that stays.
    /// Holds one blob's buffers, one page of each listing, the digests of one repository's manifests and
    /// eight bytes per blob in memory. `watch` is told now and then how far it is.
    ///
    /// If a store cannot list all it has, only what tags and referrers lead to is copied.
    ///
    /// # Errors
    /// If a store fails. What is missing or damaged in the source is no error: the report names it.
    pub async fn copy_to(
        &self,
        target: &Registry,
        mut watch: impl FnMut(&CopyReport) + Send,
    ) -> Result<CopyReport, RegistryError> {
        let mut copy = Copy {
            source: self,
            target,
            watch: &mut watch,
            counted: HashSet::new(),
            told: HashSet::new(),
            dead: HashSet::new(),
            report: CopyReport::default(),
        };
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self.manifests().repositories(&page).await.map_err(failed)?;
            for repository in &listed.items {
                copy.repository(repository).await?;
                copy.report.repositories += 1;
                copy.tell();
            }
            match next(&listed) {
                Some(after) => page = after,
                None => return Ok(copy.report),
            }
        }
    }
}

struct Copy<'a> {
    source: &'a Registry,
    target: &'a Registry,
    watch: &'a mut (dyn FnMut(&CopyReport) + Send),
    /// The beginnings of the digests that were counted as there: many repositories show one blob.
    counted: HashSet<[u8; 8]>,
    /// The problems that were told: a blob that several manifests need is looked at for each of them.
    told: HashSet<CopyProblem>,
    /// What the repository shows, has no content, and is needed by no manifest so far.
    dead: HashSet<Digest>,
    report: CopyReport,
}

impl Copy<'_> {
    async fn repository(&mut self, repository: &RepositoryName) -> Result<(), RegistryError> {
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self
                .source
                .manifests()
                .linked_blobs(repository, &page)
                .await;
            let listed = match listed {
                // Then manifests lead to them.
                Err(StoreError::Unsupported(_)) => break,
                other => other.map_err(failed)?,
            };
            for digest in &listed.items {
                if !self.blob(repository, digest).await? {
                    self.dead.insert(*digest);
                }
            }
            match next(&listed) {
                Some(after) => page = after,
                None => break,
            }
        }
        let mut done = HashSet::new();
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self.source.manifests().manifests(repository, &page).await;
            let listed = match listed {
                Err(StoreError::Unsupported(_)) => break,
                other => other.map_err(failed)?,
            };
            for digest in &listed.items {
                self.manifest(repository, digest, &mut done).await?;
            }
            match next(&listed) {
                Some(after) => page = after,
                None => break,
            }
        }
        self.tags(repository, &mut done).await?;
        self.report.dead_links += self.dead.drain().count() as u64;
        Ok(())
    }

    async fn tags(
        &mut self,
        repository: &RepositoryName,
        done: &mut HashSet<Digest>,
    ) -> Result<(), RegistryError> {
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self.source.manifests().tags(repository, &page).await;
            let listed = match listed {
                Err(StoreError::NotFound) => return Ok(()),
                other => other.map_err(failed)?,
            };
            for tag in &listed.items {
                self.tag(repository, tag, done).await?;
            }
            match next(&listed) {
                Some(after) => page = after,
                None => return Ok(()),
            }
        }
    }

    async fn tag(
        &mut self,
        repository: &RepositoryName,
        tag: &Tag,
        done: &mut HashSet<Digest>,
    ) -> Result<(), RegistryError> {
        let digest = match self.source.manifests().resolve(repository, tag).await {
            // Removed since it was listed.
            Err(StoreError::NotFound) => return Ok(()),
            other => other.map_err(failed)?,
        };
        if !self.manifest(repository, &digest, done).await? {
            let why = format!("it points to {digest}, which could not be copied");
            self.problem(repository, tag, &why);
            return Ok(());
        }
        match self.target.manifests().resolve(repository, tag).await {
            Ok(there) if there == digest => return Ok(()),
            Ok(_) | Err(StoreError::NotFound) => {}
            Err(error) => return Err(failed(error)),
        }
        let Some(stored) = self.stored(repository, &digest).await? else {
            return Ok(());
        };
        if self.put(repository, &stored, vec![tag.clone()]).await? {
            self.report.tags += 1;
        }
        Ok(())
    }

    /// Copies a manifest after all that it needs and before its referrers. `false` if it cannot be.
    async fn manifest(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
        done: &mut HashSet<Digest>,
    ) -> Result<bool, RegistryError> {
        let mut open = vec![(*digest, false)];
        while let Some((digest, ready)) = open.pop() {
            if !ready && done.contains(&digest) {
                continue;
            }
            let Some(stored) = self.stored(repository, &digest).await? else {
                if done.insert(digest) {
                    let why = "the manifest is missing or damaged; push it again, or delete it";
                    self.problem(repository, &digest, &why);
                }
                continue;
            };
            let parsed = Manifest::parse(stored.bytes.clone(), Some(stored.manifest_type.as_str()));
            if !ready {
                done.insert(digest);
                open.push((digest, true));
                for needed in parsed.iter().flat_map(Manifest::references) {
                    if needed.kind == ReferenceKind::Manifest
                        && self.stored(repository, &needed.digest).await?.is_some()
                    {
                        open.push((needed.digest, false));
                    } else if !self.blob(repository, &needed.digest).await? {
                        self.dead.remove(&needed.digest);
                        let why = "its content is missing in the source; push it again";
                        self.problem(repository, &needed.digest, &why);
                    }
                }
                continue;
            }
            if !self.is_there(repository, &digest).await?
                && self.put(repository, &stored, Vec::new()).await?
            {
                self.report.manifests += 1;
            }
            self.tell();
            if !self.source.blobs().capabilities().lists_content {
                self.referrers(repository, &digest, &mut open).await?;
            }
        }
        self.is_there(repository, digest).await
    }

    async fn referrers(
        &mut self,
        repository: &RepositoryName,
        subject: &Digest,
        open: &mut Vec<(Digest, bool)>,
    ) -> Result<(), RegistryError> {
        let manifests = self.source.manifests();
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = manifests.referrers(repository, subject, &page).await;
            let listed = listed.map_err(failed)?;
            let mut digests = listed.items.iter().map(|descriptor| descriptor.digest);
            open.extend(digests.clone().map(|digest| (digest, false)));
            match digests.next_back().filter(|_| listed.more) {
                Some(last) => page = PageRequest::after(last.to_string(), PAGE),
                None => return Ok(()),
            }
        }
    }

    async fn stored(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<StoredManifest>, RegistryError> {
        match self.source.manifests().read(repository, digest).await {
            Ok(stored) => {
                let sound = Digest::of(digest.algorithm(), &stored.bytes) == *digest;
                Ok(sound.then_some(stored))
            }
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn is_there(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        match self.target.manifests().read(repository, digest).await {
            Ok(stored) => Ok(Digest::of(digest.algorithm(), &stored.bytes) == *digest),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// `false` if the target does not take it, which is reported.
    async fn put(
        &mut self,
        repository: &RepositoryName,
        stored: &StoredManifest,
        tags: Vec<Tag>,
    ) -> Result<bool, RegistryError> {
        let mut push = PushManifest::new(Reference::Digest(stored.digest), stored.bytes.clone());
        push.content_type = Some(stored.manifest_type.as_str().to_owned());
        push.tags = tags;
        let nobody = Identity::anonymous();
        match self.target.put_manifest(&nobody, repository, push).await {
            Ok(_) => Ok(true),
            Err(error) if is_about_content(&error) => {
                self.problem(repository, &stored.digest, &error);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Copies a blob and shows it in the repository. `false` if the source does not have its content.
    async fn blob(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let size = match self.source.blobs().stat(digest).await {
            Ok(blob) => blob.size,
            Err(StoreError::NotFound) => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        if self.is_kept(repository, digest, size).await? {
            let start = digest.as_bytes().first_chunk::<8>();
            if start.is_some_and(|start| self.counted.insert(*start)) {
                self.report.blobs_there += 1;
                self.report.bytes_there += size;
            }
            self.tell();
            return Ok(true);
        }
        let read = match self.source.blobs().read(digest, ReadRange::Whole).await {
            Ok(read) => self.source.stream(read),
            Err(StoreError::NotFound) => {
                let why = "part of its content is missing in the source; push it again";
                self.problem(repository, digest, &why);
                return Ok(true);
            }
            Err(error) => return Err(failed(error)),
        };
        let before = self.report.bytes;
        let target = self.target;
        let mut counted = pin!(Counted {
            stream: read,
            copy: self,
        });
        let nobody = Identity::anonymous();
        let pushed = target
            .push_blob(&nobody, repository, digest, counted.as_mut())
            .await;
        match pushed {
            Ok(_) => {
                self.report.blobs += 1;
                self.counted.extend(digest.as_bytes().first_chunk::<8>());
                self.tell();
                Ok(true)
            }
            Err(error) if error.code() == ErrorCode::DigestInvalid => {
                self.report.bytes = before;
                let why =
                    "its bytes do not have this digest in the source; run `storage scrub` there";
                self.problem(repository, digest, &why);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the target has a blob of this size, and shows it in the repository from now on at the latest.
    /// Then it keeps it for whoever pushes it, so that its collector leaves it until its manifest comes.
    async fn is_kept(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        size: u64,
    ) -> Result<bool, RegistryError> {
        let target = self.target;
        match target.stat_blob(repository, digest, Intent::Push).await {
            Ok(there) if there.size == size => return Ok(true),
            Ok(_) => return Ok(false),
            Err(error) if error.code() == ErrorCode::BlobUnknown => {}
            Err(error) => return Err(error),
        }
        match target.blobs().stat(digest).await {
            Ok(there) if there.size == size => self.link(repository, &there).await,
            Ok(_) | Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Shows a blob that another repository of the target has; `false` if it is gone.
    async fn link(
        &self,
        repository: &RepositoryName,
        blob: &crate::store::BlobMeta,
    ) -> Result<bool, RegistryError> {
        match self.target.manifests().link_blob(repository, blob).await {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn problem(&mut self, repository: &RepositoryName, what: &dyn ToString, why: &dyn ToString) {
        let problem = CopyProblem {
            repository: repository.clone(),
            what: what.to_string(),
            why: why.to_string(),
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

/// Counts bytes on their way.
struct Counted<'a, 'b> {
    stream: BlobStream,
    copy: &'a mut Copy<'b>,
}

impl Stream for Counted<'_, '_> {
    type Item = Result<Bytes, crate::error::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.stream.as_mut().poll_next(cx);
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            self.copy.report.bytes += piece.len() as u64;
            self.copy.tell();
        }
        polled.map(|item| item.map(|piece| piece.map_err(Into::into)))
    }
}

fn is_about_content(error: &RegistryError) -> bool {
    matches!(
        error.code(),
        ErrorCode::ManifestBlobUnknown | ErrorCode::ManifestInvalid | ErrorCode::DigestInvalid
    )
}

/// The page that follows one; `None` if nothing does.
pub(super) fn next<T: ToString>(page: &Page<T>) -> Option<PageRequest> {
    let last = page.items.last().filter(|_| page.more)?;
    Some(PageRequest::after(last.to_string(), PAGE))
}

pub(super) fn failed(error: StoreError) -> RegistryError {
    RegistryError::from_store(error, ErrorCode::BlobUnknown)
}

/// How many entries a listing is asked for at a time.
pub(super) const PAGE: usize = 1000;
