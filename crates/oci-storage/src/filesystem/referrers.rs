//! Referrers: which manifests name a subject. Distribution has no such list, so this one is ours.
//!
//! An entry is a hint: it counts only while its manifest is in the repository, and is written again from
//! the manifest if it is torn.

use std::io;

use oci_core::store::{Page, PageRequest};
use oci_core::{Descriptor, Digest, Manifest, RepositoryName};

use super::durable::{Dirty, Temporary};
use super::links::{Membership, metadata, read_small};
use super::listing::names_in;
use super::manifests::Put;
use super::{Failure, Inner, layout};

use std::sync::Arc;

impl Inner {
    /// The content of the entry that a manifest needs; `None` if it has no subject or the entry is there.
    pub(super) fn planned_referrer(&self, put: &Put) -> Result<Option<Vec<u8>>, Failure> {
        let Some(subject) = subject_of(&put.manifest) else {
            return Ok(None);
        };
        let content = entry(&put.manifest, &put.digest)?;
        let path = self.layout.referrer(&put.repository, &subject, &put.digest);
        let stored = read_small(&path, content.len() as u64)?.content();
        Ok((stored.as_deref() != Some(&content)).then_some(content))
    }

    pub(super) fn put_referrer(
        &self,
        put: &Put,
        prepared: Option<Temporary>,
        dirty: &mut Dirty,
    ) -> io::Result<()> {
        let Some(subject) = subject_of(&put.manifest) else {
            return Ok(());
        };
        let path = self.layout.referrer(&put.repository, &subject, &put.digest);
        let file = match prepared {
            Some(file) => file,
            None => match metadata(&path)?.filter(|found| !self.disk.is_doubtful(found)) {
                Some(found) => return self.disk.require_durable(&path, &found, dirty),
                None => self.disk.temporary(&entry(&put.manifest, &put.digest)?)?,
            },
        };
        self.disk.place(file, &path, dirty)
    }

    pub(super) fn list_referrers(
        self: &Arc<Self>,
        repository: &RepositoryName,
        subject: &Digest,
        page: &PageRequest,
    ) -> Result<Page<Descriptor>, Failure> {
        self.scan_once(repository)?;
        let names = names_in(&self.layout.referrers(repository, subject))?.unwrap_or_default();
        let mut referrers: Vec<Digest> = names
            .iter()
            .filter_map(|name| layout::parse_referrer(name))
            .filter(|digest| page.is_past(&digest.to_string()))
            .collect();
        referrers.sort_unstable();
        let mut found = Vec::new();
        for digest in referrers {
            if found.len() > page.limit {
                break;
            }
            found.extend(self.referrer(repository, subject, &digest)?);
        }
        Ok(Page::cut(found, page.limit))
    }

    fn referrer(
        self: &Arc<Self>,
        repository: &RepositoryName,
        subject: &Digest,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Failure> {
        let revision = self.layout.revision_link(repository, digest);
        if self.membership(&revision, digest)? == Membership::Absent {
            return Ok(None);
        }
        let path = self.layout.referrer(repository, subject, digest);
        let stored = read_small(&path, ENTRY_MAX)?.content();
        let stored = stored.and_then(|json| serde_json::from_slice::<Descriptor>(&json).ok());
        if let Some(descriptor) = stored.filter(|descriptor| descriptor.digest == *digest) {
            return Ok(Some(descriptor));
        }
        // Torn. The manifest knows better.
        let Some(manifest) = self.parsed(digest)? else {
            return Ok(None);
        };
        if subject_of(&manifest) != Some(*subject) {
            return Ok(None);
        }
        let mut dirty = Dirty::new();
        if let Ok(file) = self.disk.temporary(&entry(&manifest, digest)?) {
            // On a volume that cannot be written to, the answer is the same.
            let _ = self.disk.place(file, &path, &mut dirty);
            let _ = self.disk.commit_now(dirty);
        }
        Ok(Some(manifest.descriptor(*digest)))
    }

    /// Looks once through the manifests of a repository that another registry may have taken in.
    fn scan_once(self: &Arc<Self>, repository: &RepositoryName) -> Result<(), Failure> {
        let marker = self.layout.referrers_scanned(repository);
        let revisions = self.layout.revisions(repository);
        let Some(algorithms) = names_in(&revisions)? else {
            return Ok(());
        };
        if metadata(&marker)?.is_some() {
            return Ok(());
        }
        let mut dirty = Dirty::new();
        for algorithm in algorithms {
            for hex in names_in(&revisions.join(&algorithm))?.unwrap_or_default() {
                let Some(digest) = layout::digest_of(&algorithm, &hex) else {
                    continue;
                };
                let revision = self.layout.revision_link(repository, &digest);
                if self.membership(&revision, &digest)? == Membership::Absent {
                    continue;
                }
                let Some(manifest) = self.parsed(&digest)? else {
                    continue;
                };
                let Some(subject) = subject_of(&manifest) else {
                    continue;
                };
                let path = self.layout.referrer(repository, &subject, &digest);
                if metadata(&path)?.is_none() {
                    let file = self.disk.temporary(&entry(&manifest, &digest)?)?;
                    self.disk.place(file, &path, &mut dirty)?;
                }
            }
        }
        self.disk.commit_now(dirty)?;
        // Only now: with the marker everybody relies on the entries.
        let mut dirty = Dirty::new();
        let file = self.disk.temporary(b"1\n")?;
        self.disk.place(file, &marker, &mut dirty)?;
        Ok(self.disk.commit_now(dirty)?)
    }

    fn parsed(&self, digest: &Digest) -> io::Result<Option<Manifest>> {
        let stored = self.stored_manifest(digest)?;
        Ok(stored.and_then(|stored| Manifest::parse(stored.bytes, None).ok()))
    }
}

fn subject_of(manifest: &Manifest) -> Option<Digest> {
    manifest.subject()?.digest().copied()
}

fn entry(manifest: &Manifest, digest: &Digest) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&manifest.descriptor(*digest))?)
}

/// Annotations may be as large as a manifest.
const ENTRY_MAX: u64 = 64 << 20;
