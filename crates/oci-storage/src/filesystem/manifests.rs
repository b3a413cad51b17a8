//! Manifests: written, read and deleted together with their tags.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use oci_core::store::{PutManifest, StoredManifest, TagPrecondition, TagWrite};
use oci_core::{
    Digest, Manifest, ManifestReference, ManifestType, RepositoryName, StoreError, Tag,
};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::durable::{Dirty, Temporary, Ticket};
use super::links::{self, metadata};
use super::plane::wait;
use super::section::{Logged, Mode, Shared, lock_repository};
use super::{Failure, Filesystem, Inner};

impl Filesystem {
    /// Everything that takes time is done before the protected section: files are written and synced
    /// in parallel, and what the manifest needs is brought to the disk.
    pub(super) async fn put_manifest(&self, put: PutManifest<'_>) -> Result<(), StoreError> {
        let put = Arc::new(Put {
            repository: put.repository.clone(),
            digest: *put.digest,
            manifest: put.manifest.clone(),
            references: put.references.to_vec(),
            tags: put.tags.to_vec(),
        });
        let planned = Arc::clone(&put);
        let (plan, needed) = self
            .run(WRITING, move |inner| {
                let (plan, dirty) = inner.plan(&planned)?;
                Ok((plan, inner.disk.commit(dirty)))
            })
            .await?;

        let writing: Vec<_> = plan
            .files()
            .map(|content| self.start(WRITING, move |inner| Ok(inner.disk.temporary(&content)?)))
            .collect();
        let mut spare = Spare::default();
        for (written, role) in writing.into_iter().zip(plan.roles()) {
            let file = written.await?;
            match role {
                Role::Data => spare.data = Some(file),
                Role::Link => spare.links.push(file),
                Role::Referrer => spare.referrer = Some(file),
            }
        }
        wait(WRITING, needed).await?;

        let ticket = self
            .run(WRITING, move |inner| inner.put_planned(&put, spare))
            .await?;
        wait(WRITING, ticket).await
    }
}

/// An owned [`PutManifest`].
#[derive(Debug)]
pub(super) struct Put {
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
    references: Vec<ManifestReference>,
    tags: Vec<TagWrite>,
}

/// Which files must be written.
#[derive(Debug)]
struct Plan {
    data: Option<Vec<u8>>,
    link: String,
    links: usize,
    referrer: Option<Vec<u8>>,
}

impl Plan {
    fn files(&self) -> impl Iterator<Item = Vec<u8>> {
        let links = std::iter::repeat_n(self.link.as_bytes().to_vec(), self.links);
        let data = self.data.iter().cloned();
        data.chain(self.referrer.iter().cloned()).chain(links)
    }

    fn roles(&self) -> impl Iterator<Item = Role> {
        let data = self.data.iter().map(|_| Role::Data);
        let referrer = self.referrer.iter().map(|_| Role::Referrer);
        data.chain(referrer).chain(std::iter::repeat(Role::Link))
    }
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Data,
    Link,
    Referrer,
}

/// Written and synced files that wait for their names. What is not used goes away.
#[derive(Debug, Default)]
struct Spare {
    data: Option<Temporary>,
    links: Vec<Temporary>,
    referrer: Option<Temporary>,
}

impl Inner {
    /// Looks at what is there. All of it is looked at again inside the section.
    fn plan(&self, put: &Put) -> Result<(Plan, Dirty), Failure> {
        let mut dirty = Dirty::new();
        for needed in &put.references {
            let link = match needed.kind {
                oci_core::ReferenceKind::Manifest => {
                    self.layout.revision_link(&put.repository, &needed.digest)
                }
                _ => self.layout.layer_link(&put.repository, &needed.digest),
            };
            if let Some(found) = metadata(&link)?.filter(|found| !self.disk.is_doubtful(found)) {
                self.disk.require_durable(&link, &found, &mut dirty)?;
            }
            if let Some((data, found)) = self.stat_reliable(&needed.digest)? {
                self.disk.require_durable(&data, &found, &mut dirty)?;
            }
        }
        let layout = &self.layout;
        let right = links::Link::To(put.digest);
        let mut links =
            usize::from(links::read(&layout.revision_link(&put.repository, &put.digest))? != right);
        for write in &put.tags {
            let index = layout.tag_index(&put.repository, &write.tag, &put.digest);
            let current = layout.tag_current(&put.repository, &write.tag);
            links += usize::from(links::read(&index)? != right);
            links += usize::from(links::read(&current)? != right);
        }
        let plan = Plan {
            data: (!self.has_content(put)?).then(|| put.manifest.bytes().to_vec()),
            link: put.digest.to_string(),
            links,
            referrer: self.planned_referrer(put)?,
        };
        Ok((plan, dirty))
    }

    /// Whether the manifest's content is stored, byte for byte.
    fn has_content(&self, put: &Put) -> io::Result<bool> {
        let bytes = put.manifest.bytes();
        match self.stat_data(&put.digest)? {
            Some((_, found)) if !self.disk.is_doubtful(&found) => {}
            _ => return Ok(false),
        }
        let stored = links::read_small(&self.layout.data(&put.digest), bytes.len() as u64)?;
        Ok(stored.content().is_some_and(|stored| stored == **bytes))
    }

    fn put_planned(self: &Arc<Self>, put: &Put, spare: Spare) -> Result<Ticket, Failure> {
        let manifests = self.layout.manifests(&put.repository);
        let unconditional = put
            .tags
            .iter()
            .all(|write| write.precondition == TagPrecondition::None);
        let mode = if unconditional {
            Mode::Shared
        } else {
            Mode::Exclusive
        };
        let mut dirty = Dirty::new();
        self.disk.ensure_directory(&manifests, &mut dirty)?;
        let _lock = lock_repository(&manifests, mode)?;
        let mut refused = None;
        self.sections.shared(|shared| {
            refused = self.put_inside(shared, put, spare, &mut dirty)?;
            Ok(())
        })?;
        match refused {
            Some(error) => Err(error.into()),
            None => Ok(self.disk.commit(dirty)),
        }
    }

    /// The protected section. What it returns is why nothing was changed.
    fn put_inside(
        &self,
        shared: &Shared<'_>,
        put: &Put,
        mut spare: Spare,
        dirty: &mut Dirty,
    ) -> io::Result<Option<StoreError>> {
        let repository = &put.repository;
        shared.log(Logged::Manifest, repository, &put.digest)?;
        let mut missing = Vec::new();
        for needed in &put.references {
            match self.find(shared, repository, needed, dirty)? {
                Some(found) => {
                    // Whatever was replaced since it was synced is synced again.
                    let disk = &self.disk;
                    disk.require_durable(&found.data, &found.data_metadata, dirty)?;
                    disk.require_durable(&found.link, &found.link_metadata, dirty)?;
                }
                None => missing.push(*needed),
            }
        }
        if !missing.is_empty() {
            return Ok(Some(StoreError::MissingReferences(missing)));
        }
        for write in &put.tags {
            let current = self.current(repository, &write.tag)?;
            if !write.precondition.holds(current.as_ref()) {
                return Ok(Some(StoreError::Precondition));
            }
        }

        let data = self.layout.data(&put.digest);
        match spare.data.take() {
            Some(file) => self.disk.place(file, &data, dirty)?,
            None => {
                if let Some(found) = metadata(&data)?.filter(|found| !self.disk.is_doubtful(found))
                {
                    // Compared before; only its name can have changed hands since, to the same bytes.
                    let found = self.touch_if_old(&data, found)?;
                    self.disk.require_durable(&data, &found, dirty)?;
                } else {
                    let file = self.disk.temporary(put.manifest.bytes())?;
                    self.disk.place(file, &data, dirty)?;
                }
            }
        }
        // A listing confirms each entry by its revision, so the entry may come first.
        self.put_referrer(put, spare.referrer.take(), dirty)?;
        let revision = self.layout.revision_link(repository, &put.digest);
        self.put_link(shared, &revision, &put.digest, &mut spare.links, dirty)?;
        let mut committed = false;
        for write in &put.tags {
            // Whole or absent after a power cut, but nothing waits for its name: it is never read to answer
            // anybody, and other registries do without it as well.
            let mut unsynced = Dirty::new();
            let index = self.layout.tag_index(repository, &write.tag, &put.digest);
            self.put_link(shared, &index, &put.digest, &mut spare.links, &mut unsynced)?;
            let before = self.current(repository, &write.tag)?;
            let moves = before.is_some_and(|before| before != put.digest);
            if before == Some(put.digest) {
                self.touch_tag(repository, &write.tag)?;
            }
            if moves && !committed {
                // Renames in different directories may reach the disk in any order. Were this one kept
                // and the revision lost, a tag that was acknowledged would point to nothing.
                self.disk.commit_now(std::mem::take(dirty))?;
                committed = true;
            }
            let current = self.layout.tag_current(repository, &write.tag);
            self.put_link(shared, &current, &put.digest, &mut spare.links, dirty)?;
        }
        Ok(None)
    }

    pub(super) fn read_manifest(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<StoredManifest, Failure> {
        let link = self.layout.revision_link(repository, digest);
        if self
            .visible(repository, &link, digest, Logged::Manifest)?
            .is_none()
        {
            return Err(StoreError::NotFound.into());
        }
        if let Some(manifest) = self.manifests.get(digest) {
            return Ok(manifest);
        }
        let manifest = self.stored_manifest(digest)?.ok_or(StoreError::NotFound)?;
        self.manifests.insert(*digest, manifest.clone());
        Ok(manifest)
    }

    /// Reads and verifies the content of a manifest, in whichever repository it is.
    pub(super) fn stored_manifest(&self, digest: &Digest) -> io::Result<Option<StoredManifest>> {
        let path = self.layout.data(digest);
        let Some(bytes) = links::read_small(&path, MANIFEST_MAX)?.content() else {
            return Ok(None);
        };
        Ok(verified(digest, bytes.into()))
    }

    pub(super) fn delete_manifest(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(Vec<Tag>, Ticket), Failure> {
        let revision = self.layout.revision_link(repository, digest);
        if metadata(&revision)?.is_none() {
            return Err(StoreError::NotFound.into());
        }
        let manifests = self.layout.manifests(repository);
        let _lock = lock_repository(&manifests, Mode::Exclusive)?;
        if self.membership(&revision, digest)? == links::Membership::Absent {
            return Err(StoreError::NotFound.into());
        }
        let subject = self
            .stored_manifest(digest)?
            .and_then(|stored| Manifest::parse(stored.bytes, None).ok())
            .and_then(|manifest| manifest.subject()?.digest().copied());

        let tags = self.tags_of(repository, digest)?;
        let mut dirty = Dirty::new();
        for tag in &tags {
            self.remove_tag(repository, tag, &mut dirty)?;
        }
        // No tag may outlive its manifest, not even across a power cut.
        self.disk.commit_now(dirty)?;

        let mut dirty = Dirty::new();
        self.disk.remove_file(&revision)?;
        if let Some(directory) = revision.parent() {
            // Emptied, it would only slow down the search for a repository's manifests.
            self.disk.tidy_directory(directory);
            dirty.directory(directory.parent().unwrap_or(directory));
            if directory.is_dir() {
                dirty.directory(directory);
            }
        }
        if let Some(subject) = subject {
            let entry = self.layout.referrer(repository, &subject, digest);
            // Without its revision it is not listed anyway.
            let _ = self.disk.remove_file(&entry);
        }
        Ok((tags, self.disk.commit(dirty)))
    }
}

/// A manifest whose content was read. What was damaged on the disk is absent: pushing it again heals it.
pub(super) fn verified(digest: &Digest, bytes: Bytes) -> Option<StoredManifest> {
    if Digest::of(digest.algorithm(), &bytes) != *digest {
        return None;
    }
    manifest_type(&bytes).map(|kind| StoredManifest::new(*digest, kind, bytes))
}

/// What a stored document is. Distribution does not store it either: the document says so itself, or
/// is an index if it has `manifests`. `None` for what this registry does not serve, such as schema 1.
fn manifest_type(bytes: &[u8]) -> Option<ManifestType> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape {
        schema_version: Option<u64>,
        media_type: Option<String>,
        manifests: Option<IgnoredAny>,
    }

    let shape: Shape = serde_json::from_slice(bytes).ok()?;
    match shape.media_type.as_deref() {
        Some(text) if !text.is_empty() => ManifestType::from_media_type(text),
        _ if shape.schema_version == Some(1) => None,
        _ if shape.manifests.is_some() => Some(ManifestType::OciIndex),
        _ => Some(ManifestType::OciImage),
    }
}

const WRITING: &str = "writing a manifest";
/// Far above any limit a registry sets on manifests, far below what would hurt.
const MANIFEST_MAX: u64 = 64 << 20;
