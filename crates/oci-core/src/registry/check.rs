//! Checking what the stores hold: records, links, references, sizes, and on request every byte.

use std::collections::HashSet;
use std::fmt;

use super::copy::{PAGE, failed, next};
use super::{PushManifest, Registry};
use crate::auth::Identity;
use crate::digest::{Digest, Hasher};
use crate::error::{RegistryError, StoreError};
use crate::manifest::{Manifest, ManifestReference, ReferenceKind};
use crate::name::{Reference, RepositoryName, Tag};
use crate::store::{BlobMeta, PageRequest, ReadRange};

/// What [`Registry::check`] looks at and does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CheckOptions {
    /// Reads all content and compares it with its digests.
    pub content: bool,
    /// Repairs what can be derived from what is sound.
    pub repair: bool,
}

impl CheckOptions {
    /// Looks at records, links, references and sizes, and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What was looked at, and what is wrong.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct CheckReport {
    /// Repositories that were gone through.
    pub repositories: u64,
    /// Manifests that were read.
    pub manifests: u64,
    /// Tags that were resolved.
    pub tags: u64,
    /// Blobs whose bytes were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, in the order it was found.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// How many findings were not repaired.
    pub fn unrepaired(&self) -> usize {
        let open = self.findings.iter().filter(|finding| !finding.repaired);
        open.count()
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// What sort of thing.
    pub kind: FindingKind,
    /// Where; `None` for content, which all repositories share.
    pub repository: Option<RepositoryName>,
    /// The digest that it is about.
    pub digest: Digest,
    /// The tag or the manifest that leads to it.
    pub by: Option<String>,
    /// Whether it is right now.
    pub repaired: bool,
}

impl Finding {
    /// What to do about it.
    pub fn fix(&self) -> &'static str {
        match self.kind {
            FindingKind::DamagedContent => {
                "run `storage scrub --repair` to take the damaged content away, then push the image again"
            }
            FindingKind::DanglingTag => "push the image under this tag again, or delete the tag",
            FindingKind::DeadLink => "run with --repair to remove the link, or push the blob again",
            FindingKind::MissingContent | FindingKind::MissingManifest => "push the image again",
            FindingKind::MissingLink | FindingKind::MissingReferrer => {
                "run with --repair to write it again"
            }
            FindingKind::UnreadableManifest => "push the manifest again, or delete it",
            FindingKind::WrongSize => {
                "run `storage scrub --repair` to take damaged content away, then push the image again"
            }
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(repository) = &self.repository {
            write!(f, "{repository}: ")?;
        }
        write!(f, "{}: {}", self.digest, self.kind.as_str())?;
        if let Some(by) = &self.by {
            write!(f, " ({by})")?;
        }
        Ok(())
    }
}

/// What can be wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum FindingKind {
    /// The bytes of a blob do not have its digest, or are not all there.
    DamagedContent,
    /// A tag points to a manifest that is not there.
    DanglingTag,
    /// A repository shows a blob whose content is not there, and no manifest of it needs that.
    DeadLink,
    /// A manifest needs a blob whose content is not there.
    MissingContent,
    /// A manifest needs a blob that is there, and that its repository does not show.
    MissingLink,
    /// An index needs a manifest that is not in the repository.
    MissingManifest,
    /// A manifest is not among the referrers of its subject.
    MissingReferrer,
    /// A manifest is listed, and its document is missing, damaged, or no manifest.
    UnreadableManifest,
    /// A manifest needs content whose size is another.
    WrongSize,
}

impl FindingKind {
    /// The kind in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DamagedContent => "the bytes do not have this digest",
            Self::DanglingTag => "a tag points to this manifest, which is not there",
            Self::DeadLink => "the repository shows this blob, whose content is not there",
            Self::MissingContent => "a manifest needs this blob, whose content is not there",
            Self::MissingLink => "a manifest needs this blob, which the repository does not show",
            Self::MissingManifest => "an index needs this manifest, which is not there",
            Self::MissingReferrer => "the manifest is not among the referrers of its subject",
            Self::UnreadableManifest => "the manifest cannot be read",
            Self::WrongSize => "a manifest needs this content with another size",
        }
    }

    /// The kind as one word, for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::DamagedContent => "damaged-content",
            Self::DanglingTag => "dangling-tag",
            Self::DeadLink => "dead-link",
            Self::MissingContent => "missing-content",
            Self::MissingLink => "missing-link",
            Self::MissingManifest => "missing-manifest",
            Self::MissingReferrer => "missing-referrer",
            Self::UnreadableManifest => "unreadable-manifest",
            Self::WrongSize => "wrong-size",
        }
    }
}

impl Registry {
    /// Goes through all repositories, and says what is wrong. Clients may be at work meanwhile; what
    /// they change under the check is looked at once more before it is reported.
    ///
    /// With [`CheckOptions::repair`], links and referrer entries that sound manifests need are written
    /// again, links to nothing are removed, and damaged content is taken away, so that pushing it again
    /// heals it. Nothing that is sound is ever removed.
    ///
    /// If a store cannot list all it has, only what tags lead to is checked.
    ///
    /// # Errors
    /// If a store fails, or cannot list its content although that is to be read.
    pub async fn check(
        &self,
        options: CheckOptions,
        mut watch: impl FnMut(&CheckReport) + Send,
    ) -> Result<CheckReport, RegistryError> {
        let mut check = Check {
            registry: self,
            options,
            watch: &mut watch,
            report: CheckReport::default(),
        };
        // First, so that what is taken away here is missed below.
        if options.content {
            check.content().await?;
        }
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self.manifests().repositories(&page).await.map_err(failed)?;
            for repository in &listed.items {
                check.repository(repository).await?;
                check.report.repositories += 1;
                check.tell();
            }
            match next(&listed) {
                Some(after) => page = after,
                None => return Ok(check.report),
            }
        }
    }
}

struct Check<'a> {
    registry: &'a Registry,
    options: CheckOptions,
    watch: &'a mut (dyn FnMut(&CheckReport) + Send),
    report: CheckReport,
}

impl Check<'_> {
    async fn content(&mut self) -> Result<(), RegistryError> {
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = self.registry.blobs().blobs(&page).await.map_err(failed)?;
            for blob in &listed.items {
                self.bytes_of(blob).await?;
            }
            match listed.items.last().filter(|_| listed.more) {
                Some(last) => page = PageRequest::after(last.digest.to_string(), PAGE),
                None => return Ok(()),
            }
        }
    }

    async fn bytes_of(&mut self, blob: &BlobMeta) -> Result<(), RegistryError> {
        let digest = blob.digest;
        let sound = match self.registry.blobs().read(&digest, ReadRange::Whole).await {
            Ok(read) => self.hashes_to(&digest, self.registry.stream(read)).await,
            Err(StoreError::NotFound) => {
                // Collected since it was listed, or a record that promises what is not there.
                match self.registry.blobs().stat(&digest).await {
                    Err(StoreError::NotFound) => return Ok(()),
                    Ok(_) => false,
                    Err(error) => return Err(failed(error)),
                }
            }
            Err(error) => return Err(failed(error)),
        };
        self.report.blobs += 1;
        if !sound {
            let repaired = self.options.repair && self.discard(&digest).await?;
            self.find(FindingKind::DamagedContent, None, digest, None, repaired);
        }
        self.tell();
        Ok(())
    }

    /// Reading that fails half-way is damage too: the disk does not give the bytes back.
    async fn hashes_to(&mut self, digest: &Digest, mut stream: crate::store::BlobStream) -> bool {
        let mut hasher = Hasher::new(digest.algorithm());
        while let Some(piece) = std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            let Ok(piece) = piece else { return false };
            hasher.update(&piece);
            self.report.bytes += piece.len() as u64;
            self.tell();
        }
        hasher.finish() == *digest
    }

    async fn discard(&self, digest: &Digest) -> Result<bool, RegistryError> {
        match self.registry.blobs().discard_damaged(digest).await {
            Ok(_) | Err(StoreError::NotFound) => Ok(true),
            Err(StoreError::Unsupported(_)) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn repository(&mut self, repository: &RepositoryName) -> Result<(), RegistryError> {
        let mut needed = HashSet::new();
        let mut seen = HashSet::new();
        let mut page = PageRequest::first(PAGE);
        let lists = loop {
            let listed = self.registry.manifests().manifests(repository, &page).await;
            let listed = match listed {
                Err(StoreError::Unsupported(_)) => break false,
                other => other.map_err(failed)?,
            };
            for digest in &listed.items {
                self.manifest(repository, digest, &mut needed).await?;
            }
            match next(&listed) {
                Some(after) => page = after,
                None => break true,
            }
        };
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = match self.registry.manifests().tags(repository, &page).await {
                Err(StoreError::NotFound) => break,
                other => other.map_err(failed)?,
            };
            for tag in &listed.items {
                if let Some(digest) = self.tag(repository, tag).await?
                    && !lists
                    && seen.insert(digest)
                {
                    self.manifest(repository, &digest, &mut needed).await?;
                }
            }
            match next(&listed) {
                Some(after) => page = after,
                None => break,
            }
        }
        if lists {
            self.links(repository, &needed).await?;
        }
        Ok(())
    }

    async fn manifest(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
        needed: &mut HashSet<Digest>,
    ) -> Result<(), RegistryError> {
        self.report.manifests += 1;
        self.tell();
        let stored = match self.registry.manifests().read(repository, digest).await {
            Ok(stored) if Digest::of(digest.algorithm(), &stored.bytes) == *digest => Some(stored),
            Ok(_) | Err(StoreError::NotFound) => None,
            Err(error) => return Err(failed(error)),
        };
        let parsed = stored.and_then(|stored| {
            let kind = stored.manifest_type.as_str();
            Manifest::parse(stored.bytes, Some(kind)).ok()
        });
        let Some(manifest) = parsed else {
            if self.is_still_listed(repository, digest).await? {
                let kind = FindingKind::UnreadableManifest;
                self.find(kind, Some(repository), *digest, None, false);
            }
            return Ok(());
        };
        for reference in manifest.references() {
            needed.insert(reference.digest);
            self.reference(repository, digest, reference).await?;
        }
        self.referrer(repository, digest, &manifest).await
    }

    /// A manifest that was deleted since it was listed is nothing to report.
    async fn is_still_listed(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        // The text before this digest's, so that the page begins with it.
        let text = digest.to_string();
        let mut before = text.clone();
        let last = before.pop().map(|last| {
            if last == '0' {
                '/'
            } else {
                char::from(last as u8 - 1)
            }
        });
        before.extend(last);
        before.push('~');
        let page = PageRequest::after(before, 1);
        match self.registry.manifests().manifests(repository, &page).await {
            Ok(page) => Ok(page.items.first() == Some(digest)),
            // A tag led here.
            Err(StoreError::Unsupported(_)) => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    async fn reference(
        &mut self,
        repository: &RepositoryName,
        by: &Digest,
        needed: &ManifestReference,
    ) -> Result<(), RegistryError> {
        let by = format!("needed by {by}");
        let (registry, digest) = (self.registry, needed.digest);
        if needed.kind == ReferenceKind::Manifest {
            match registry.manifests().read(repository, &digest).await {
                Ok(child) if child.bytes.len() as u64 == needed.size => return Ok(()),
                Ok(_) => {
                    self.find(
                        FindingKind::WrongSize,
                        Some(repository),
                        digest,
                        Some(by),
                        false,
                    );
                    return Ok(());
                }
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(failed(error)),
            }
            // A build cache lists blobs in an index.
            let linked = registry.manifests().has_blob(repository, &digest).await;
            if !linked.map_err(failed)? {
                let kind = FindingKind::MissingManifest;
                self.find(kind, Some(repository), digest, Some(by), false);
                return Ok(());
            }
        }
        let blob = match registry.blobs().stat(&digest).await {
            Ok(blob) => blob,
            Err(StoreError::NotFound) => {
                let kind = FindingKind::MissingContent;
                self.find(kind, Some(repository), digest, Some(by), false);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        if blob.size != needed.size {
            self.find(
                FindingKind::WrongSize,
                Some(repository),
                digest,
                Some(by),
                false,
            );
            return Ok(());
        }
        let linked = registry.manifests().has_blob(repository, &digest).await;
        if !linked.map_err(failed)? {
            let repaired = self.options.repair
                && match registry.manifests().link_blob(repository, &blob).await {
                    Ok(()) => true,
                    Err(StoreError::NotFound) => false,
                    Err(error) => return Err(failed(error)),
                };
            let kind = FindingKind::MissingLink;
            self.find(kind, Some(repository), digest, Some(by), repaired);
        }
        Ok(())
    }

    async fn referrer(
        &mut self,
        repository: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
    ) -> Result<(), RegistryError> {
        let Some(subject) = manifest.subject().and_then(|subject| subject.digest()) else {
            return Ok(());
        };
        let manifests = self.registry.manifests();
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = manifests.referrers(repository, subject, &page).await;
            let listed = listed.map_err(failed)?;
            let mut digests = listed.items.iter().map(|descriptor| descriptor.digest);
            if digests.any(|listed| listed == *digest) {
                return Ok(());
            }
            match listed.items.last().filter(|_| listed.more) {
                Some(last) => page = PageRequest::after(last.digest.to_string(), PAGE),
                None => break,
            }
        }
        let repaired = self.options.repair && {
            let mut push = PushManifest::new(Reference::Digest(*digest), manifest.bytes().clone());
            push.content_type = Some(manifest.manifest_type().as_str().to_owned());
            let nobody = Identity::anonymous();
            let put = self.registry.put_manifest(&nobody, repository, push);
            // If it misses content, that is a finding of its own.
            put.await.is_ok()
        };
        let by = Some(format!("subject {subject}"));
        let kind = FindingKind::MissingReferrer;
        self.find(kind, Some(repository), *digest, by, repaired);
        Ok(())
    }

    /// What the tag points to, if that is there.
    async fn tag(
        &mut self,
        repository: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<Digest>, RegistryError> {
        self.report.tags += 1;
        let manifests = self.registry.manifests();
        let mut before = None;
        loop {
            let digest = match manifests.resolve(repository, tag).await {
                Ok(digest) => digest,
                Err(StoreError::NotFound) => return Ok(None),
                Err(error) => return Err(failed(error)),
            };
            match manifests.read(repository, &digest).await {
                Ok(_) => return Ok(Some(digest)),
                // Moved meanwhile, unless it points there still.
                Err(StoreError::NotFound) if before != Some(digest) => before = Some(digest),
                Err(StoreError::NotFound) => {
                    let by = Some(format!("tag {tag}"));
                    self.find(
                        FindingKind::DanglingTag,
                        Some(repository),
                        digest,
                        by,
                        false,
                    );
                    return Ok(None);
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn links(
        &mut self,
        repository: &RepositoryName,
        needed: &HashSet<Digest>,
    ) -> Result<(), RegistryError> {
        let (blobs, manifests) = (self.registry.blobs(), self.registry.manifests());
        let mut page = PageRequest::first(PAGE);
        loop {
            let listed = manifests.linked_blobs(repository, &page).await;
            let listed = listed.map_err(failed)?;
            // One that a manifest needs was reported with it.
            for digest in listed
                .items
                .iter()
                .filter(|digest| !needed.contains(digest))
            {
                match blobs.stat(digest).await {
                    Err(StoreError::NotFound) => {}
                    other => {
                        other.map_err(failed)?;
                        continue;
                    }
                }
                let repaired = self.options.repair && self.unlink(repository, digest).await?;
                self.find(
                    FindingKind::DeadLink,
                    Some(repository),
                    *digest,
                    None,
                    repaired,
                );
            }
            match next(&listed) {
                Some(after) => page = after,
                None => return Ok(()),
            }
        }
    }

    /// Removes a link to nothing; `false` if there was something after all.
    async fn unlink(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let (blobs, manifests) = (self.registry.blobs(), self.registry.manifests());
        match manifests.unlink_blob(repository, digest).await {
            Ok(()) | Err(StoreError::NotFound) => {}
            Err(error) => return Err(failed(error)),
        }
        // It may have been pushed since it was missed: then its link is back before anybody can need it.
        match blobs.stat(digest).await {
            Err(StoreError::NotFound) => Ok(true),
            Err(error) => Err(failed(error)),
            Ok(blob) => {
                let linked = manifests.link_blob(repository, &blob).await;
                linked.map(|()| false).map_err(failed)
            }
        }
    }

    fn find(
        &mut self,
        kind: FindingKind,
        repository: Option<&RepositoryName>,
        digest: Digest,
        by: Option<String>,
        repaired: bool,
    ) {
        self.report.findings.push(Finding {
            kind,
            repository: repository.cloned(),
            digest,
            by,
            repaired,
        });
        self.tell();
    }

    fn tell(&mut self) {
        (self.watch)(&self.report);
    }
}
