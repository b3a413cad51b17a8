//! One repository: its blobs, then its manifests with their tags.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use http::StatusCode;
use oci_core::error::{ErrorCode, RegistryError, StoreError};
use oci_core::manifest::{Manifest, ManifestReference, ReferenceKind};
use oci_core::registry::PushManifest;
use oci_core::store::{BlobMeta, TagPrecondition};
use oci_core::{
    Algorithm, BlobStore, Digest, Identity, ManifestStore, Reference, RepositoryName, Tag,
};

use super::{Import, Links, Source, layout, read};
use crate::records::{Adoption, gather};

/// What became of a blob.
enum Blob {
    There(u64),
    Adopted(u64),
    Missing,
    Damaged,
}

/// What became of a manifest.
enum Revision {
    There,
    Put {
        new: bool,
        tags: u64,
    },
    /// It needs manifests that are not there yet.
    Later,
    Problem(String),
}

/// Where a tag points, in Distribution's tree and here.
enum Pointer {
    There,
    New(Digest),
    Elsewhere { old: Digest, here: Digest },
    Damaged,
}

impl Import<'_> {
    pub(super) async fn repository(
        &mut self,
        name: &RepositoryName,
        links: Links,
    ) -> Result<(), StoreError> {
        self.blobs(name, &links.blobs).await?;
        let mut tags = self.tags(name, &links.tags).await?;
        self.manifests(name, links.manifests, &mut tags).await?;
        for (digest, tags) in tags {
            for tag in tags {
                let why = format!(
                    "it points to {digest}, which is not there; push the tag again, or delete it"
                );
                self.problem(name, &tag, why);
            }
        }
        self.report.dead_links += self.dead.drain().count() as u64;
        Ok(())
    }

    async fn blobs(&mut self, name: &RepositoryName, digests: &[Digest]) -> Result<(), StoreError> {
        for some in digests.chunks(AT_ONCE) {
            let looks = some
                .iter()
                .map(|digest| self.source.blob(name, digest))
                .collect();
            let found = gather(looks).await?;
            for (digest, blob) in some.iter().zip(found) {
                match blob {
                    // Only a problem if a manifest needs it.
                    Blob::Missing => {
                        self.dead.insert(*digest);
                    }
                    blob => self.count(name, digest, &blob),
                }
            }
            self.tell();
        }
        Ok(())
    }

    fn count(&mut self, name: &RepositoryName, digest: &Digest, blob: &Blob) {
        let start = digest.as_bytes().first_chunk::<8>();
        match blob {
            Blob::Missing => {
                self.dead.remove(digest);
                let why = "its content is missing in the bucket; push it again";
                self.problem(name, digest, why);
            }
            Blob::Damaged => {
                let why = "its content in the bucket is damaged; push it again";
                self.problem(name, digest, why);
            }
            _ if !start.is_some_and(|start| self.counted.insert(*start)) => {}
            Blob::Adopted(size) => {
                self.report.blobs += 1;
                self.report.bytes += size;
            }
            Blob::There(size) => {
                self.report.blobs_there += 1;
                self.report.bytes_there += size;
            }
        }
    }

    /// The tags that are to be written, by what they point to.
    async fn tags(
        &mut self,
        name: &RepositoryName,
        tags: &[Tag],
    ) -> Result<HashMap<Digest, Vec<Tag>>, StoreError> {
        let looks = tags
            .iter()
            .map(|tag| self.source.pointer(name, tag))
            .collect();
        let found = gather(looks).await?;
        let mut wanted: HashMap<Digest, Vec<Tag>> = HashMap::new();
        for (tag, pointer) in tags.iter().zip(found) {
            match pointer {
                Pointer::There => {}
                Pointer::Elsewhere { old, here } if !self.source.options.move_tags => {
                    let why = format!(
                        "it points to {here} here and to {old} in Distribution's tree; it stays, \
                         unless tags are to be moved"
                    );
                    self.problem(name, tag, why);
                }
                Pointer::New(old) | Pointer::Elsewhere { old, .. } => {
                    wanted.entry(old).or_default().push(tag.clone());
                }
                Pointer::Damaged => {
                    self.problem(name, tag, "its link is damaged; push the tag again");
                }
            }
        }
        Ok(wanted)
    }

    /// Puts manifests, children before those that need them.
    async fn manifests(
        &mut self,
        name: &RepositoryName,
        mut open: Vec<Digest>,
        tags: &mut HashMap<Digest, Vec<Tag>>,
    ) -> Result<(), StoreError> {
        while !open.is_empty() {
            let waiting: HashSet<Digest> = open.iter().copied().collect();
            let mut later = Vec::new();
            for some in open.chunks(AT_ONCE) {
                let puts = some.iter().map(|digest| {
                    let tags = tags.get(digest).map(Vec::as_slice).unwrap_or_default();
                    let dead = &self.dead;
                    self.source.manifest(name, digest, tags, &waiting, dead)
                });
                let done = gather(puts.collect()).await?;
                for (digest, (revision, blobs)) in some.iter().zip(done) {
                    for (digest, blob) in &blobs {
                        self.count(name, digest, blob);
                    }
                    match revision {
                        Revision::There => self.report.manifests_there += 1,
                        Revision::Put { new, tags } => {
                            self.report.manifests += u64::from(new);
                            self.report.manifests_there += u64::from(!new);
                            self.report.tags += tags;
                        }
                        Revision::Later => {
                            later.push(*digest);
                            continue;
                        }
                        Revision::Problem(why) => self.problem(name, digest, why),
                    }
                    tags.remove(digest);
                    self.tell();
                }
            }
            if later.len() == open.len() {
                // No digest can be part of itself, so this takes a damaged tree.
                for digest in &later {
                    self.problem(name, digest, "it needs manifests that need it");
                }
                return Ok(());
            }
            open = later;
        }
        Ok(())
    }
}

impl Source<'_> {
    /// Makes a blob visible in a repository, with the bytes that Distribution has of it.
    async fn blob(&self, name: &RepositoryName, digest: &Digest) -> Result<Blob, StoreError> {
        let there = match self.store.stat(digest).await {
            Ok(there) => Some(there),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(error),
        };
        if let Some(blob) = there {
            // What was pushed here is as good as what lies there.
            if self.options.dry_run
                || self.store.has_blob(name, digest).await?
                || self.link(name, &blob).await?
            {
                return Ok(Blob::There(blob.size));
            }
        }
        let key = layout::data(&self.content_of(name, digest).await?);
        let Some(size) = read::size(self.bucket, &key).await? else {
            return Ok(Blob::Missing);
        };
        if self.options.dry_run {
            return Ok(match self.store.would_adopt(digest, size, &key).await? {
                Adoption::Damaged => Blob::Damaged,
                _ => Blob::Adopted(size),
            });
        }
        let blob = BlobMeta::new(*digest, size);
        for _ in 0..TRIES {
            if self.store.adopt(digest, size, &key).await? == Adoption::Damaged {
                return Ok(Blob::Damaged);
            }
            if self.link(name, &blob).await? {
                return Ok(Blob::Adopted(size));
            }
            // Collected in between.
        }
        Err(StoreError::unavailable(
            "adopting a blob",
            "it was collected again and again",
        ))
    }

    /// The digest under which Distribution keeps the bytes of `digest`: a blob of another algorithm is
    /// linked under its own and kept under its SHA-256.
    async fn content_of(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Digest, StoreError> {
        if digest.algorithm() == Algorithm::Sha256 {
            return Ok(*digest);
        }
        let link = self.digest_in(&layout::blob_link(name, digest)).await?;
        Ok(link.unwrap_or(*digest))
    }

    async fn digest_in(&self, key: &str) -> Result<Option<Digest>, StoreError> {
        let text = read::whole(self.bucket, key, LARGEST_LINK).await?;
        Ok(text.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok()))
    }

    async fn link(&self, name: &RepositoryName, blob: &BlobMeta) -> Result<bool, StoreError> {
        match self.store.link_blob(name, blob).await {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn pointer(&self, name: &RepositoryName, tag: &Tag) -> Result<Pointer, StoreError> {
        let Some(old) = self.digest_in(&layout::tag_link(name, tag)).await? else {
            return Ok(Pointer::Damaged);
        };
        Ok(match self.store.resolve(name, tag).await {
            Ok(here) if here == old => Pointer::There,
            Ok(here) => Pointer::Elsewhere { old, here },
            Err(StoreError::NotFound) => Pointer::New(old),
            Err(error) => return Err(error),
        })
    }

    async fn manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
        waiting: &HashSet<Digest>,
        dead: &HashSet<Digest>,
    ) -> Result<(Revision, Vec<(Digest, Blob)>), StoreError> {
        let there = match ManifestStore::read(self.store, name, digest).await {
            Ok(stored) => Some(stored.bytes),
            Err(StoreError::NotFound) => None,
            Err(error) => return Err(error),
        };
        if let Some(bytes) = there.as_ref().filter(|_| tags.is_empty()) {
            return Ok((Revision::There, needed_of(bytes, dead)));
        }
        let problem = |why: &str| Ok((Revision::Problem(why.to_owned()), Vec::new()));
        let key = layout::data(digest);
        let Some(bytes) = read::whole(self.bucket, &key, read::LARGEST_MANIFEST).await? else {
            return problem("the manifest is missing; push it again, or delete it");
        };
        if Digest::of(digest.algorithm(), &bytes) != *digest {
            return problem("the manifest is damaged; push it again, or delete it");
        }
        let manifest = match Manifest::parse(bytes.clone(), None) {
            Ok(manifest) => manifest,
            Err(error) => return problem(&format!("the manifest cannot be used: {error}")),
        };
        let (children, blobs): (Vec<&ManifestReference>, Vec<&ManifestReference>) = manifest
            .references()
            .iter()
            .partition(|needed| needed.kind == ReferenceKind::Manifest);
        let waits = children.iter().any(|child| waiting.contains(&child.digest));
        if waits && !self.options.dry_run {
            // Some of them may have been put in this round.
            let mut all = true;
            for child in children {
                all &= match ManifestStore::read(self.store, name, &child.digest).await {
                    Ok(_) => true,
                    Err(StoreError::NotFound) => false,
                    Err(error) => return Err(error),
                };
            }
            if !all {
                return Ok((Revision::Later, Vec::new()));
            }
        }
        let mut seen = Vec::new();
        // Whoever may pull the manifest may pull these, linked or not.
        for needed in blobs {
            let blob = self.blob(name, &needed.digest).await?;
            seen.push((needed.digest, blob));
        }
        let done = Revision::Put {
            new: there.is_none(),
            tags: tags.len() as u64,
        };
        if self.options.dry_run {
            return Ok((done, seen));
        }
        let mut push = PushManifest::new(Reference::Digest(*digest), bytes);
        push.tags = tags.to_vec();
        if !self.options.move_tags {
            push.precondition = TagPrecondition::Absent;
        }
        let nobody = Identity::anonymous();
        let put = self.registry.put_manifest(&nobody, name, push).await;
        let revision = match put {
            Ok(_) => done,
            Err(error) if error.status() == StatusCode::PRECONDITION_FAILED => Revision::Problem(
                "one of its tags was pushed meanwhile; run the import again".into(),
            ),
            Err(error) if is_about_content(&error) => Revision::Problem(error.to_string()),
            Err(error) => return Err(StoreError::unavailable("putting a manifest", error)),
        };
        Ok((revision, seen))
    }
}

/// What a manifest needs of `dead`.
fn needed_of(bytes: &Bytes, dead: &HashSet<Digest>) -> Vec<(Digest, Blob)> {
    let manifest = (!dead.is_empty()).then(|| Manifest::parse(bytes.clone(), None));
    let references = manifest.iter().flatten().flat_map(Manifest::references);
    references
        .filter(|needed| dead.contains(&needed.digest))
        .map(|needed| (needed.digest, Blob::Missing))
        .collect()
}

fn is_about_content(error: &RegistryError) -> bool {
    matches!(
        error.code(),
        ErrorCode::ManifestBlobUnknown | ErrorCode::ManifestInvalid | ErrorCode::DigestInvalid
    )
}

/// How many digests are looked at before the next are, and counted.
const AT_ONCE: usize = 64;
/// How often a blob is adopted that a collector takes away in between.
const TRIES: usize = 8;
/// A link is a digest.
const LARGEST_LINK: u64 = 1024;
