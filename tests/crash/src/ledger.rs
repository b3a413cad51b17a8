//! What one pusher was told, and therefore what must be found after a crash.
//!
//! A request is noted before it is sent and settled by its answer. What a crash leaves unsettled may
//! be found either way, once: the first look after the crash settles it.
//!
//! Beside a collector without grace, a blob that no manifest needs may go at any time. What an acknowledged
//! manifest needs may not.

use std::collections::{BTreeMap, BTreeSet};

use crate::{payload::Payload, registry::Session};

/// Repository and name: of a blob or manifest its digest, of a tag the tag.
pub type Key = (String, String);

/// Whether something must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Presence {
    /// Its push was acknowledged.
    Present,
    /// Its removal was acknowledged.
    Absent,
    /// The request that decides was never answered.
    Unknown,
}

/// A blob of a repository.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Blob {
    /// Its content.
    pub payload: Payload,
    /// Whether it must be there.
    pub presence: Presence,
    /// Never deleted: manifests name it and other repositories mount it.
    pub kept: bool,
}

/// A manifest of a repository.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Manifest {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Whether it must be there.
    pub presence: Presence,
}

/// An upload that a crash interrupted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Interrupted {
    /// Where it goes on.
    pub session: Session,
    /// What it uploads.
    pub payload: Payload,
    /// The blob's role once it is there.
    pub kept: bool,
    /// Bytes the registry acknowledged.
    pub acknowledged: u64,
    /// Bytes that left the client at most.
    pub sent: u64,
    /// Whether the closing request was begun.
    pub closing: bool,
}

/// What one pusher knows.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Ledger {
    /// Every blob it ever pushed or mounted.
    pub blobs: BTreeMap<Key, Blob>,
    /// Every manifest it ever pushed.
    pub manifests: BTreeMap<Key, Manifest>,
    /// For every tag it ever wrote, the digests it may point at; `None` is no tag.
    pub tags: BTreeMap<Key, BTreeSet<Option<String>>>,
    /// Uploads to be resumed.
    pub interrupted: Vec<Interrupted>,
    /// Blobs touched since the last complete look.
    pub touched_blobs: BTreeSet<Key>,
    /// Manifests touched since the last complete look.
    pub touched_manifests: BTreeSet<Key>,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
    /// Whether a collector is at work.
    pub collected: bool,
    /// Blobs that were acknowledged and collected before a manifest needed them.
    pub gone: u64,
}

impl Ledger {
    /// A blob is about to be made visible.
    pub fn blob_begun(&mut self, repository: &str, payload: &Payload, kept: bool) {
        let key = (repository.to_owned(), payload.digest().to_owned());
        self.touched_blobs.insert(key.clone());
        let blob = self.blobs.entry(key).or_insert_with(|| Blob {
            payload: payload.clone(),
            presence: Presence::Unknown,
            kept,
        });
        // A second push of what is there must not lose it, however it ends.
        if blob.presence == Presence::Absent {
            blob.presence = Presence::Unknown;
        }
    }

    /// It was acknowledged.
    pub fn blob_done(&mut self, repository: &str, digest: &str) {
        self.acknowledged += 1;
        self.set_blob(repository, digest, Presence::Present);
    }

    /// A blob is about to be deleted.
    pub fn blob_delete_begun(&mut self, repository: &str, digest: &str) {
        self.set_blob(repository, digest, Presence::Unknown);
    }

    /// The answer to its deletion.
    pub fn blob_delete_done(&mut self, repository: &str, digest: &str, done: bool) {
        self.acknowledged += 1;
        self.set_blob(
            repository,
            digest,
            match (done, self.collected) {
                (true, _) => Presence::Absent,
                (false, true) => Presence::Unknown,
                (false, false) => Presence::Present,
            },
        );
    }

    fn set_blob(&mut self, repository: &str, digest: &str, presence: Presence) {
        let key = (repository.to_owned(), digest.to_owned());
        if let Some(blob) = self.blobs.get_mut(&key) {
            blob.presence = presence;
        }
        self.touched_blobs.insert(key);
    }

    /// A manifest is about to be pushed, by tag or by digest.
    pub fn manifest_begun(
        &mut self,
        repository: &str,
        digest: &str,
        bytes: &[u8],
        tag: Option<&str>,
    ) {
        let key = (repository.to_owned(), digest.to_owned());
        self.touched_manifests.insert(key.clone());
        let manifest = self.manifests.entry(key).or_insert_with(|| Manifest {
            bytes: bytes.to_vec(),
            presence: Presence::Unknown,
        });
        if manifest.presence == Presence::Absent {
            manifest.presence = Presence::Unknown;
        }
        if let Some(tag) = tag {
            self.tags
                .entry((repository.to_owned(), tag.to_owned()))
                .or_insert_with(|| BTreeSet::from([None]))
                .insert(Some(digest.to_owned()));
        }
    }

    /// It was acknowledged.
    pub fn manifest_done(&mut self, repository: &str, digest: &str, tag: Option<&str>) {
        self.acknowledged += 1;
        self.set_manifest(repository, digest, Presence::Present);
        if let Some(tag) = tag {
            self.tags.insert(
                (repository.to_owned(), tag.to_owned()),
                BTreeSet::from([Some(digest.to_owned())]),
            );
        }
    }

    /// It was refused, because some of `blobs` are gone.
    pub fn manifest_refused(
        &mut self,
        repository: &str,
        digest: &str,
        tag: Option<&str>,
        blobs: &[String],
    ) {
        self.set_manifest(repository, digest, Presence::Absent);
        let key = tag.map(|tag| (repository.to_owned(), tag.to_owned()));
        if let Some(targets) = key.and_then(|key| self.tags.get_mut(&key)) {
            targets.remove(&Some(digest.to_owned()));
        }
        for blob in blobs {
            self.set_blob(repository, blob, Presence::Unknown);
        }
    }

    /// The blobs that manifests need which are there.
    pub fn needed(&self) -> BTreeSet<Key> {
        let mut needed = BTreeSet::new();
        for ((repository, _), manifest) in &self.manifests {
            if manifest.presence == Presence::Present {
                let digests = blobs_of(&manifest.bytes).into_iter();
                needed.extend(digests.map(|digest| (repository.clone(), digest)));
            }
        }
        needed
    }

    /// A manifest is about to be deleted, with every tag that points at it.
    pub fn manifest_delete_begun(&mut self, repository: &str, digest: &str) {
        self.set_manifest(repository, digest, Presence::Unknown);
        for targets in self.tags_to(repository, digest) {
            targets.insert(None);
        }
    }

    /// The answer to its deletion.
    pub fn manifest_delete_done(&mut self, repository: &str, digest: &str, done: bool) {
        self.acknowledged += 1;
        let presence = if done {
            Presence::Absent
        } else {
            Presence::Present
        };
        self.set_manifest(repository, digest, presence);
        let gone = Some(digest.to_owned());
        for targets in self.tags_to(repository, digest) {
            targets.remove(if done { &gone } else { &None });
        }
    }

    fn set_manifest(&mut self, repository: &str, digest: &str, presence: Presence) {
        let key = (repository.to_owned(), digest.to_owned());
        if let Some(manifest) = self.manifests.get_mut(&key) {
            manifest.presence = presence;
        }
        self.touched_manifests.insert(key);
    }

    fn tags_to(
        &mut self,
        repository: &str,
        digest: &str,
    ) -> impl Iterator<Item = &mut BTreeSet<Option<String>>> {
        let target = Some(digest.to_owned());
        self.tags
            .iter_mut()
            .filter(move |((holder, _), targets)| holder == repository && targets.contains(&target))
            .map(|(_, targets)| targets)
    }

    /// A tag alone is about to be deleted.
    pub fn tag_delete_begun(&mut self, key: &Key) {
        if let Some(targets) = self.tags.get_mut(key) {
            targets.insert(None);
        }
    }

    /// The answer to its deletion.
    pub fn tag_delete_done(&mut self, key: &Key, done: bool) {
        self.acknowledged += 1;
        if let Some(targets) = self.tags.get_mut(key) {
            targets.retain(|target| target.is_none() == done);
        }
    }
}

/// The digests of config and layers.
pub(crate) fn blobs_of(manifest: &[u8]) -> Vec<String> {
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap_or_default();
    let layers = manifest.get("layers").and_then(|layers| layers.as_array());
    let descriptors = layers.into_iter().flatten().chain(manifest.get("config"));
    descriptors
        .filter_map(|descriptor| descriptor.get("digest")?.as_str().map(str::to_owned))
        .collect()
}
