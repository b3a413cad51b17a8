//! Listing the manifests that refer to a subject.

use std::collections::BTreeMap;

use super::{Registry, or};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::error::{ErrorCode, RegistryError, StoreError};
use crate::manifest::Manifest;
use crate::name::{RepositoryName, Tag};
use crate::store::PageRequest;

/// Which referrers are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReferrersRequest {
    /// Only those of one of these artifact types; empty for all.
    pub artifact_types: Vec<String>,
    /// Only those whose digest comes after this text.
    pub after: Option<String>,
}

/// A page of referrers.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReferrersPage {
    /// Their descriptors, in byte order of their digests.
    pub descriptors: Vec<Descriptor>,
    /// Where the next page begins, if there is one. The page itself may be empty then: a filter may
    /// have left nothing of what was looked through.
    pub next: Option<String>,
}

impl Registry {
    /// The manifests in `repository` whose subject is `subject`. Neither need exist.
    ///
    /// Entries that old clients keep in an index under the subject's fallback tag are merged in, if they
    /// truly name this subject (OCI distribution-spec, "Enabling the Referrers API").
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        request: &ReferrersRequest,
    ) -> Result<ReferrersPage, RegistryError> {
        let mut fallback = self.fallback_referrers(repository, subject).await?;
        fallback.retain(|key, _| {
            request
                .after
                .as_deref()
                .is_none_or(|after| key.as_str() > after)
        });

        let mut page = PageBuilder::new(&request.artifact_types);
        let mut after = request.after.clone();
        loop {
            let listing = PageRequest {
                after: after.take(),
                limit: SCAN_STEP,
            };
            let listed = self
                .inner
                .manifests
                .referrers(repository, subject, &listing)
                .await;
            let listed = listed.map_err(or(ErrorCode::NameUnknown))?;
            for descriptor in listed.items {
                let key = descriptor.digest.to_string();
                // Both lists are sorted: what only the fallback has goes in between.
                while let Some(earlier) = fallback.first_entry().filter(|entry| *entry.key() < key)
                {
                    let (key, descriptor) = earlier.remove_entry();
                    if !page.offer(key, descriptor) {
                        return Ok(page.finish());
                    }
                }
                fallback.remove(&key);
                after = Some(key.clone());
                if !page.offer(key, descriptor) {
                    return Ok(page.finish());
                }
            }
            if !listed.more || after.is_none() {
                break;
            }
        }
        for (key, descriptor) in fallback {
            if !page.offer(key, descriptor) {
                return Ok(page.finish());
            }
        }
        page.next_if_cut = None;
        Ok(page.finish())
    }

    /// What the index under the fallback tag lists, by digest text.
    async fn fallback_referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<BTreeMap<String, Descriptor>, RegistryError> {
        let mut found = BTreeMap::new();
        let Ok(tag) = fallback_tag(subject).parse::<Tag>() else {
            return Ok(found);
        };
        let manifests = &self.inner.manifests;
        let unknown = or(ErrorCode::NameUnknown);
        let index = match manifests.resolve(repository, &tag).await {
            Ok(digest) => manifests.read(repository, &digest).await,
            Err(error) => Err(error),
        };
        let index = match index {
            Ok(index) => index,
            Err(StoreError::NotFound) => return Ok(found),
            Err(error) => return Err(unknown(error)),
        };
        let Ok(index) = Manifest::parse(index.bytes, None) else {
            return Ok(found);
        };
        for child in index.references() {
            let stored = match manifests.read(repository, &child.digest).await {
                Ok(stored) => stored,
                Err(StoreError::NotFound) => continue,
                Err(error) => return Err(unknown(error)),
            };
            let Ok(manifest) = Manifest::parse(stored.bytes, None) else {
                continue;
            };
            if manifest.subject().and_then(|named| named.digest()) == Some(subject) {
                found.insert(child.digest.to_string(), manifest.descriptor(child.digest));
            }
        }
        Ok(found)
    }
}

/// Collects descriptors up to what one response may hold.
struct PageBuilder<'a> {
    artifact_types: &'a [String],
    page: ReferrersPage,
    bytes: usize,
    scanned: usize,
    next_if_cut: Option<String>,
}

impl<'a> PageBuilder<'a> {
    fn new(artifact_types: &'a [String]) -> Self {
        Self {
            artifact_types,
            page: ReferrersPage::default(),
            bytes: 0,
            scanned: 0,
            next_if_cut: None,
        }
    }

    /// Takes the next descriptor in order; `false` if the page is full, so that it begins the next one.
    fn offer(&mut self, key: String, descriptor: Descriptor) -> bool {
        let wanted = self.artifact_types.is_empty()
            || descriptor
                .artifact_type
                .as_ref()
                .is_some_and(|own| self.artifact_types.contains(own));
        if wanted {
            let bytes = serde_json::to_vec(&descriptor).map_or(0, |json| json.len() + 1);
            let full = self.bytes + bytes > PAGE_BYTES && !self.page.descriptors.is_empty();
            if full {
                return false;
            }
            self.bytes += bytes;
            self.page.descriptors.push(descriptor);
        }
        self.next_if_cut = Some(key);
        self.scanned += 1;
        self.scanned < SCAN_MAX
    }

    fn finish(mut self) -> ReferrersPage {
        self.page.next = self.next_if_cut;
        self.page
    }
}

/// `sha256-<hex>`: the tag under which clients of older registries keep the list of referrers.
///
/// OCI distribution-spec, "Referrers Tag Schema": the encoded part is cut to 64 characters.
fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm(), hex.get(..64).unwrap_or(&hex))
}

/// One response stays below what clients accept for a manifest, with room for its frame.
const PAGE_BYTES: usize = Manifest::DEFAULT_MAX_SIZE - 4096;
/// How many entries are asked of the store at once.
const SCAN_STEP: usize = 1000;
/// How many entries one request looks through.
const SCAN_MAX: usize = 20_000;
