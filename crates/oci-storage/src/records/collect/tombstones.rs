//! Records of what is gone, removed when nobody can be at work who has not seen that it is.

use std::sync::Arc;

use oci_core::StoreError;
use oci_core::store::Phase as Progress;

use super::super::Engine;
use super::super::access::{Found as Read, gather};
use super::super::content::Mortal;
use super::super::encoding::Header;
use super::super::keys::{self, Key};
use super::super::model::{
    BlobRecord, LinkRecord, Phase, ReferrerRecord, RevisionRecord, SessionRecord, TagRecord,
};
use super::super::store::ScanEntry;
use super::Run;
use super::cursor::{Cursor, Listing};
use super::look::Place;

impl Run {
    /// Removes old records of what is gone. `false` if another collector has taken over.
    pub(super) async fn bury(&mut self) -> Result<bool, StoreError> {
        Ok(self.bury_sessions().await?
            && self.bury_under(keys::BLOBS, gone::<BlobRecord>).await?
            && self.bury_under(keys::LINKS, gone::<LinkRecord>).await?
            && self
                .bury_under(keys::MANIFESTS, gone::<RevisionRecord>)
                .await?
            && self.bury_under(keys::TAGS, untagged).await?
            && self.bury_under(keys::REFERRERS, unlisted).await?)
    }

    /// Removes records of which `gone` says since when what they describe is gone.
    async fn bury_under<H: Header>(
        &mut self,
        prefix: &str,
        gone: fn(&H) -> Option<u64>,
    ) -> Result<bool, StoreError> {
        if !self.engine.records.can_purge_if() {
            return Ok(true);
        }
        let mut place = Place::default();
        while let Some(entries) = self.page(prefix, &mut place).await? {
            let looks = entries.into_iter().map(|entry| {
                let (engine, now) = (Arc::clone(&self.engine), self.now);
                async move { engine.bury_one(entry, now, gone).await }
            });
            gather(looks.collect()).await?;
            if !self.goes_on(Progress::Removing).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sessions that are over, unless bytes are still kept under their names: as long as they are, the
    /// record says whose they became.
    async fn bury_sessions(&mut self) -> Result<bool, StoreError> {
        let mut extents = Cursor::new(Listing::Extents, keys::EXTENTS);
        let mut place = Place::default();
        while let Some(entries) = self.page(keys::UPLOADS, &mut place).await? {
            let mut bare = Vec::new();
            for entry in entries {
                let Some(key @ Key::Upload(_)) = Key::parse(&entry.key) else {
                    continue;
                };
                let id = entry.key.strip_prefix(keys::UPLOADS).unwrap_or_default();
                if extents.next_below(&self.engine, id).await?.is_none() {
                    bare.push((key, entry));
                }
            }
            let looks = bare.into_iter().map(|(key, entry)| {
                let (engine, now) = (Arc::clone(&self.engine), self.now);
                async move {
                    let found: Read<SessionRecord> = engine.brought(entry).await?;
                    let over = found.header().is_some_and(|session| {
                        matches!(session.phase, Phase::Done(_) | Phase::Aborted)
                            && is_ancient(now, session.touched)
                    });
                    // An id never comes again, so nobody writes it.
                    if over {
                        engine.purge(&key).await?;
                    }
                    Ok(())
                }
            });
            gather(looks.collect()).await?;
            if !self.goes_on(Progress::Removing).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Engine {
    async fn bury_one<H: Header>(
        &self,
        entry: ScanEntry,
        now: u64,
        gone: fn(&H) -> Option<u64>,
    ) -> Result<(), StoreError> {
        let key = entry.key.clone();
        let found: Read<H> = self.brought(entry).await?;
        if let (Some(version), Some(record)) = (&found.version, found.header())
            && gone(record).is_some_and(|since| is_ancient(now, since))
        {
            self.records
                .purge_if(&key, version)
                .await
                .map_err(|error| error.into_store("removing a record"))?;
        }
        Ok(())
    }
}

fn gone<H: Mortal>(record: &H) -> Option<u64> {
    record.is_settled().then(|| record.touched())
}

fn untagged(record: &TagRecord) -> Option<u64> {
    (record.to.is_none() && record.touched > 0).then_some(record.touched)
}

fn unlisted(record: &ReferrerRecord) -> Option<u64> {
    (record.descriptor.is_none() && record.touched > 0).then_some(record.touched)
}

fn is_ancient(now: u64, touched: u64) -> bool {
    now.saturating_sub(touched) >= ANCIENT
}

/// No push, upload or delete takes that long: 30 days.
const ANCIENT: u64 = 30 * 24 * 3600;
