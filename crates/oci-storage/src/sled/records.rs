//! The records.

use std::ops::Bound;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Fault;
use super::keys::{self, Body, RECORD, Run};
use super::{GUARANTEES, Shared, Sled};
use crate::records::{Guarantees, RecordError, RecordStore, ScanEntry, Version, Versioned};

#[async_trait]
impl RecordStore for Sled {
    fn guarantees(&self) -> Guarantees {
        GUARANTEES
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        let owned = key.to_owned();
        let found = self.blocking(move |shared| shared.record(&owned)).await?;
        // Nobody is told what a loss of power could take back.
        if self.shared.commits.is_fresh(key) {
            self.sync().await?;
        }
        Ok(found)
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        let (key, expected) = (key.to_owned(), expected.cloned());
        let put = self.blocking(move |shared| {
            shared.room()?;
            Ok(shared.put_record(&key, &value, expected.as_ref()))
        });
        let ambiguous = |fault| match RecordError::from(fault) {
            RecordError::NoSpace(source) | RecordError::Unavailable(source) => {
                RecordError::Ambiguous(source)
            }
            other => other,
        };
        let version = put.await?.map_err(ambiguous)?;
        self.sync().await.map_err(ambiguous)?;
        Ok(version)
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let (from, after) = (prefix.to_owned(), after.map(str::to_owned));
        let entries = self
            .blocking(move |shared| shared.scan_records(&from, after.as_deref(), limit))
            .await?;
        if self.shared.commits.is_fresh(prefix) {
            self.sync().await?;
        }
        Ok(entries)
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        let key = keys::key(RECORD, key.as_bytes());
        let purged = self.blocking(move |shared| {
            let run = {
                let _changes = shared.changes();
                let run = shared.run_of_record(&key)?;
                if let Some(run) = &run {
                    shared.condemn_run(&key, run)?;
                }
                shared.tree.remove(&key)?;
                run
            };
            run.map_or(Ok(()), |run| shared.remove_run(&run.name))
        });
        Ok(purged.await?)
    }

    fn can_purge_if(&self) -> bool {
        true
    }

    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        let (key, expected) = (keys::key(RECORD, key.as_bytes()), expected.clone());
        let purged = self.blocking(move |shared| {
            let run = {
                let _changes = shared.changes();
                let Some(value) = shared.tree.get(&key)? else {
                    return Ok(false);
                };
                let (version, body) = keys::parse_record(&value)?;
                if keys::text(&version) != expected.as_str() {
                    return Ok(false);
                }
                let run = match body {
                    Body::InRun(run) => Some(run),
                    Body::Inline(_) => None,
                };
                if let Some(run) = &run {
                    shared.condemn_run(&key, run)?;
                }
                shared.tree.remove(&key)?;
                run
            };
            run.map_or(Ok(()), |run| shared.remove_run(&run.name))?;
            Ok(true)
        });
        Ok(purged.await?)
    }
}

impl Shared {
    fn record(&self, key: &str) -> Result<Option<Versioned>, Fault> {
        let key = keys::key(RECORD, key.as_bytes());
        let mut before = None;
        loop {
            let Some(value) = self.tree.get(&key)? else {
                return Ok(None);
            };
            let (version, body) = keys::parse_record(&value)?;
            let bytes = match body {
                Body::Inline(bytes) => Some(Bytes::copy_from_slice(bytes)),
                Body::InRun(run) => self.whole(&run)?,
            };
            if let Some(bytes) = bytes {
                return Ok(Some(Versioned::new(
                    bytes,
                    Version::new(keys::text(&version)),
                )));
            }
            // Its run is gone: it was just replaced, so it does not say the same twice.
            if before.replace(version) == Some(version) {
                return Err(Fault::NotFound);
            }
        }
    }

    fn whole(&self, run: &Run) -> Result<Option<Bytes>, Fault> {
        let most = usize::try_from(run.length).unwrap_or(usize::MAX);
        Ok(self.read_run(run, 0, most)?.map(Bytes::from))
    }

    fn put_record(
        &self,
        name: &str,
        value: &Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, Fault> {
        let key = keys::key(RECORD, name.as_bytes());
        let run = if value.len() > INLINE {
            Some(self.write_run(&key, std::slice::from_ref(value))?)
        } else {
            None
        };
        let version = self.options.ids.random();
        let body = run.map_or(Body::Inline(value), Body::InRun);
        let swapped = {
            let _changes = self.changes();
            self.swap(name, &key, &keys::record(&version, &body), expected)
        };
        match (&swapped, &run) {
            (Ok(_), Some(run)) => self.keep_run(run)?,
            (Err(Fault::Conflict), Some(run)) => self.remove_run(&run.name)?,
            _ => {}
        }
        if let Some(old) = swapped? {
            self.remove_run(&old.name)?;
        }
        Ok(Version::new(keys::text(&version)))
    }

    /// Returns the run that the value before was in.
    fn swap(
        &self,
        name: &str,
        key: &[u8],
        value: &[u8],
        expected: Option<&Version>,
    ) -> Result<Option<Run>, Fault> {
        let current = self.tree.get(key)?;
        let current = current.as_deref().map(keys::parse_record).transpose()?;
        let stands_at = current.as_ref().map(|(version, _)| keys::text(version));
        if stands_at.as_deref() != expected.map(Version::as_str) {
            return Err(Fault::Conflict);
        }
        let old = match current {
            Some((_, Body::InRun(run))) => Some(run),
            _ => None,
        };
        if let Some(old) = &old {
            self.condemn_run(key, old)?;
        }
        self.commits.note(name);
        self.tree.insert(key, value)?;
        Ok(old)
    }

    fn run_of_record(&self, key: &[u8]) -> Result<Option<Run>, Fault> {
        let Some(value) = self.tree.get(key)? else {
            return Ok(None);
        };
        // One that cannot be read names nothing that could be removed.
        Ok(match keys::parse_record(&value) {
            Ok((_, Body::InRun(run))) => Some(run),
            _ => None,
        })
    }

    fn scan_records(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, Fault> {
        let mut entries = Vec::new();
        for entry in self.range(RECORD, prefix, after).take(limit) {
            let (key, value) = entry?;
            let name = keys::key_text(&key)?;
            entries.push(match keys::parse_record(&value)? {
                (version, Body::Inline(bytes)) if bytes.len() <= BROUGHT_ALONG => {
                    let version = Version::new(keys::text(&version));
                    ScanEntry::with_value(
                        name,
                        Versioned::new(Bytes::copy_from_slice(bytes), version),
                    )
                }
                _ => ScanEntry::key(name),
            });
        }
        Ok(entries)
    }

    /// What is under keys of this kind that begin with `prefix` and come after `after`.
    pub(super) fn range(
        &self,
        kind: u8,
        prefix: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = ::sled::Result<(::sled::IVec, ::sled::IVec)>> + use<> {
        let whole = keys::key(kind, prefix.as_bytes());
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(keys::key(kind, after.as_bytes())),
            _ => Bound::Included(whole.clone()),
        };
        let entries = self.tree.range((start, Bound::Unbounded));
        entries.take_while(move |entry| match entry {
            Ok((key, _)) => key.starts_with(&whole),
            Err(_) => true,
        })
    }
}

/// Records of at most so many bytes are in their value. A page of the database has up to 16 values and
/// those that are just being added, and must stay well below a quarter of a segment.
const INLINE: usize = 16 * 1024;

/// Values of at most so many bytes come with a listing.
const BROUGHT_ALONG: usize = 2 * 1024;
