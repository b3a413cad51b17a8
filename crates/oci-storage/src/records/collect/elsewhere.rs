//! Content that a manifest names but may do without: layers with `urls`, and those that may not be distributed.
//!
//! If somebody has pushed it, it stays with the manifest. A push writes references for it as for all else; of
//! manifests that older versions have pushed, the document says it.

use std::collections::HashSet;

use oci_core::{Digest, Manifest};

use super::super::encoding::Decoded;
use super::super::model::RevisionRecord;
use super::MOST;

/// What stays although no reference says so.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    kept: HashSet<Digest>,
    /// There was more than can be remembered.
    is_full: bool,
}

impl Elsewhere {
    pub(super) fn keep(&mut self, digest: Digest) {
        if self.kept.len() < MOST {
            self.kept.insert(digest);
        } else if !self.kept.contains(&digest) {
            self.is_full = true;
        }
    }

    /// Whether it stays. All does if it cannot be told.
    pub(super) fn keeps(&self, digest: &Digest) -> bool {
        self.is_full || self.kept.contains(digest)
    }
}

/// What a manifest names beyond its references. `None` if its document cannot be read.
pub(super) fn unreferenced(record: &Decoded<RevisionRecord>) -> Option<Vec<Digest>> {
    let manifest = Manifest::parse(record.body.clone(), Some(&record.header.media_type)).ok()?;
    if manifest.elsewhere().is_empty() {
        return Some(Vec::new());
    }
    let referenced: HashSet<&Digest> = record.header.references.iter().collect();
    let names = manifest.elsewhere().iter();
    Some(
        names
            .filter(|name| !referenced.contains(name))
            .copied()
            .collect(),
    )
}
