//! The extents.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use oci_core::error::StoreError;
use oci_core::store::BlobStream;

use super::error::Fault;
use super::keys::{self, EXTENT, Name, PART, Run, UPLOAD, Written};
use super::{GUARANTEES, Shared, Sled};
use crate::records::{ExtentError, ExtentInfo, ExtentStore, Guarantees, PartLimits};

#[async_trait]
impl ExtentStore for Sled {
    fn guarantees(&self) -> Guarantees {
        GUARANTEES
    }

    fn part_limits(&self) -> PartLimits {
        LIMITS
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        let key = keys::key(EXTENT, key.as_bytes());
        let put = self.blocking(move |shared| {
            shared.room()?;
            let run = shared.write_run(&key, &pieces)?;
            let written = Written {
                at: shared.now(),
                runs: vec![run],
            };
            shared.replace(&key, &written)?;
            shared.keep_run(&run)
        });
        put.await?;
        Ok(self.sync().await?)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        let name = keys::key(EXTENT, key.as_bytes());
        let found = self.blocking({
            let name = name.clone();
            move |shared| shared.written(&name)
        });
        let written = found.await?.ok_or(Fault::NotFound)?;
        let reading = Reading {
            store: self.clone(),
            key: name,
            left: spans(&written.runs, &range),
        };
        Ok(Box::pin(stream::try_unfold(reading, Reading::next)))
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        let key = keys::key(EXTENT, key.as_bytes());
        Ok(self.blocking(move |shared| shared.remove(&key)).await?)
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        let key = key.to_owned();
        let begun = self.blocking(move |shared| {
            shared.room()?;
            let upload = shared.options.ids.random();
            let value = keys::upload(shared.now(), &key);
            shared.tree.insert(keys::key(UPLOAD, &upload), value)?;
            Ok(keys::text(&upload))
        });
        // Durable with the first part, without which it says nothing.
        Ok(begun.await?)
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let size: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if size > LIMITS.max_size || index >= LIMITS.max_parts {
            return Err(ExtentError::Unavailable(
                "a part too large or too many".into(),
            ));
        }
        let upload = keys::name(upload).ok_or(ExtentError::NotFound)?;
        let key = key.to_owned();
        let put = self.blocking(move |shared| {
            shared.room()?;
            shared.put_part(&key, &upload, index as u64, &pieces)
        });
        let run = put.await?;
        self.sync().await?;
        Ok(run.text())
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let upload = keys::name(upload).ok_or(ExtentError::NotFound)?;
        let (key, parts) = (key.to_owned(), parts.to_vec());
        self.blocking(move |shared| shared.finish_parts(&key, &upload, &parts))
            .await?;
        Ok(self.sync().await?)
    }

    async fn abort_parts(&self, key: &str, upload: &str) -> Result<(), ExtentError> {
        let Some(upload) = keys::name(upload) else {
            return Ok(());
        };
        let key = key.to_owned();
        let aborted = self.blocking(move |shared| {
            if shared.is_upload_of(&upload, &key)? {
                shared.abort_parts(&key, &upload)?;
            }
            Ok(())
        });
        Ok(aborted.await?)
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        let listed = self.blocking(move |shared| {
            let mut entries = Vec::new();
            for entry in shared.range(EXTENT, &prefix, after.as_deref()).take(limit) {
                let (key, value) = entry?;
                let written = Written::decode(&value)?;
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(written.at);
                entries.push(ExtentInfo::new(keys::key_text(&key)?, written.length(), at));
            }
            Ok(entries)
        });
        Ok(listed.await?)
    }
}

impl Shared {
    /// The extent or part under a key of the database.
    fn written(&self, key: &[u8]) -> Result<Option<Written>, Fault> {
        let value = self.tree.get(key)?;
        value.as_deref().map(Written::decode).transpose()
    }

    /// Writes an extent or part, and removes what the one before it consisted of.
    fn replace(&self, key: &[u8], written: &Written) -> Result<(), Fault> {
        let old = {
            let _changes = self.changes();
            self.swap_written(key, written)?
        };
        self.remove_runs(&old)
    }

    fn swap_written(&self, key: &[u8], written: &Written) -> Result<Vec<Run>, Fault> {
        let mut old = self.written(key)?.unwrap_or_default().runs;
        old.retain(|run| !written.runs.contains(run));
        for run in &old {
            self.condemn_run(key, run)?;
        }
        self.tree.insert(key, written.encode())?;
        Ok(old)
    }

    /// Removes an extent or part and what it consists of.
    fn remove(&self, key: &[u8]) -> Result<(), Fault> {
        let old = {
            let _changes = self.changes();
            let old = self.written(key)?.unwrap_or_default().runs;
            for run in &old {
                self.condemn_run(key, run)?;
            }
            self.tree.remove(key)?;
            old
        };
        self.remove_runs(&old)
    }

    fn remove_runs(&self, runs: &[Run]) -> Result<(), Fault> {
        runs.iter().try_for_each(|run| self.remove_run(&run.name))
    }

    fn is_upload_of(&self, upload: &Name, key: &str) -> Result<bool, Fault> {
        let value = self.tree.get(keys::key(UPLOAD, upload))?;
        let of = value.as_deref().and_then(keys::parse_upload);
        Ok(of.is_some_and(|(_, of)| of == key))
    }

    fn put_part(
        &self,
        key: &str,
        upload: &Name,
        index: u64,
        pieces: &[Bytes],
    ) -> Result<Run, Fault> {
        if !self.is_upload_of(upload, key)? {
            return Err(Fault::NotFound);
        }
        let part = keys::part(upload, index);
        let run = self.write_run(&part, pieces)?;
        let now = self.now();
        let written = Written {
            at: now,
            runs: vec![run],
        };
        let old = {
            let _changes = self.changes();
            // It may have been given up meanwhile.
            if self.is_upload_of(upload, key)? {
                let mark = keys::upload(now, key);
                self.tree.insert(keys::key(UPLOAD, upload), mark)?;
                Some(self.swap_written(&part, &written)?)
            } else {
                None
            }
        };
        let Some(old) = old else {
            self.remove_run(&run.name)?;
            return Err(Fault::NotFound);
        };
        self.keep_run(&run)?;
        self.remove_runs(&old)?;
        Ok(run)
    }

    fn finish_parts(&self, key: &str, upload: &Name, parts: &[String]) -> Result<(), Fault> {
        let extent = keys::key(EXTENT, key.as_bytes());
        if !self.is_upload_of(upload, key)? {
            return match self.written(&extent)? {
                Some(_) => Ok(()),
                None => Err(Fault::NotFound),
            };
        }
        let old = {
            let _changes = self.changes();
            let mut whole = Written {
                at: self.now(),
                runs: Vec::with_capacity(parts.len()),
            };
            for (index, named) in (0..).zip(parts) {
                let part = self.written(&keys::part(upload, index))?;
                let run = part.and_then(|part| part.runs.first().copied());
                match run.filter(|run| run.text() == *named) {
                    Some(run) => whole.runs.push(run),
                    None => {
                        return Err(Fault::Unavailable("a part is not the one named".into()));
                    }
                }
            }
            self.swap_written(&extent, &whole)?
        };
        self.remove_runs(&old)?;
        // The parts that the extent names stay; only their own records go.
        self.abort_parts(key, upload)
    }

    /// Removes the records of an extent in parts, and the runs that the extent does not name.
    fn abort_parts(&self, key: &str, upload: &Name) -> Result<(), Fault> {
        let garbage = {
            let _changes = self.changes();
            let extent = keys::key(EXTENT, key.as_bytes());
            let named = self.written(&extent)?.unwrap_or_default().runs;
            let mut garbage = Vec::new();
            for part in self.tree.scan_prefix(keys::key(PART, upload)) {
                let (part, value) = part?;
                for run in Written::decode(&value)?.runs {
                    if !named.contains(&run) {
                        self.condemn_run(&part, &run)?;
                        garbage.push(run);
                    }
                }
                self.tree.remove(part)?;
            }
            self.tree.remove(keys::key(UPLOAD, upload))?;
            garbage
        };
        self.remove_runs(&garbage)
    }

    /// Gives up extents in parts that nobody has worked on for two weeks.
    pub(super) fn sweep_parts(&self) -> Result<(), Fault> {
        let now = self.now();
        for upload in self.tree.scan_prefix([UPLOAD]) {
            let (key, value) = upload?;
            let name = key.get(1..).and_then(|name| Name::try_from(name).ok());
            if let (Some(name), Some((at, of))) = (name, keys::parse_upload(&value))
                && now.saturating_sub(at) > ABANDONED.as_secs()
            {
                self.abort_parts(of, &name)?;
            }
        }
        Ok(())
    }
}

/// The bytes of each run that `range` of their whole touches.
fn spans(runs: &[Run], range: &Range<u64>) -> VecDeque<(Run, Range<u64>)> {
    let mut end = 0;
    let mut spans = VecDeque::new();
    for run in runs {
        let start = end;
        end += run.length;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            spans.push_back((*run, from - start..to - start));
        }
    }
    spans
}

/// An extent that is being read.
struct Reading {
    store: Sled,
    key: Vec<u8>,
    left: VecDeque<(Run, Range<u64>)>,
}

impl Reading {
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, StoreError> {
        let Some((run, range)) = self.left.front_mut() else {
            return Ok(None);
        };
        let (run, at) = (*run, range.start);
        let most = usize::try_from(range.end - at).map_or(AT_ONCE, |left| left.min(AT_ONCE));
        range.start += most as u64;
        if range.is_empty() {
            self.left.pop_front();
        }
        let key = self.key.clone();
        let read = self
            .store
            .blocking(move |shared| match shared.read_run(&run, at, most)? {
                None if shared.written(&key)?.is_none() => Err(Fault::NotFound),
                bytes => Ok(bytes),
            });
        match read.await {
            // A piece is missing: the extent is shorter than it should be, as others are that are damaged.
            Ok(bytes) => Ok(bytes.map(|bytes| (Bytes::from(bytes), self))),
            Err(Fault::NotFound) => Err(StoreError::NotFound),
            Err(fault) => Err(StoreError::unavailable(
                "reading content",
                ExtentError::from(fault),
            )),
        }
    }
}

/// A part is held in memory; a list of more of them would not fit into a page of the database.
const LIMITS: PartLimits = PartLimits::new(keys::PIECE_BYTES as u64, 256 << 20, 1_000);

/// How many bytes are read in one visit to the pool.
const AT_ONCE: usize = 4 * keys::PIECE_BYTES;

const ABANDONED: Duration = Duration::from_secs(14 * 24 * 3600);
