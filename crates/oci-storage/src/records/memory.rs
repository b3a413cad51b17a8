//! Records and extents in memory, for tests of the engine and of plugins.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Debug;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use oci_core::runtime::{Clock, SystemClock};
use oci_core::store::BlobStream;

use super::Guarantees;
use super::extent::{ExtentError, ExtentInfo, ExtentStore, PartLimits};
use super::store::{RecordError, RecordStore, ScanEntry, Version, Versioned};

/// Records in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryRecords {
    state: Arc<Mutex<RecordState>>,
    guarantees: Guarantees,
}

impl Default for MemoryRecords {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            guarantees: Guarantees {
                consistent: true,
                ..Guarantees::default()
            },
        }
    }
}

#[derive(Default)]
struct RecordState {
    records: BTreeMap<String, (Bytes, u64)>,
    writes: u64,
}

impl MemoryRecords {
    /// No records.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims `guarantees`, for a test that treats the memory as something that lasts.
    pub fn with_guarantees(self, guarantees: Guarantees) -> Self {
        Self { guarantees, ..self }
    }

    /// All keys, in byte order.
    pub fn keys(&self) -> Vec<String> {
        self.lock().records.keys().cloned().collect()
    }

    /// Writes a value whatever there was, behind the engine's back.
    pub fn overwrite(&self, key: &str, value: Bytes) {
        let mut state = self.lock();
        state.writes += 1;
        let version = state.writes;
        state.records.insert(key.to_owned(), (value, version));
    }

    fn lock(&self) -> MutexGuard<'_, RecordState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Debug for MemoryRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryRecords({})", self.lock().records.len())
    }
}

#[async_trait]
impl RecordStore for MemoryRecords {
    fn guarantees(&self) -> Guarantees {
        self.guarantees
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        Ok(self.lock().records.get(key).map(versioned))
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        let mut state = self.lock();
        let current = state
            .records
            .get(key)
            .map(|(_, version)| version.to_string());
        if current.as_deref() != expected.map(Version::as_str) {
            return Err(RecordError::Conflict);
        }
        state.writes += 1;
        let version = state.writes;
        state.records.insert(key.to_owned(), (value, version));
        Ok(Version::new(version.to_string()))
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let state = self.lock();
        let entries = range(&state.records, prefix, after);
        Ok(entries
            .take(limit)
            .map(|(key, value)| ScanEntry::with_value(key, versioned(value)))
            .collect())
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        self.lock().records.remove(key);
        Ok(())
    }

    fn can_purge_if(&self) -> bool {
        true
    }

    async fn purge_if(&self, key: &str, expected: &Version) -> Result<bool, RecordError> {
        let mut state = self.lock();
        let current = state.records.get(key).map(|(_, at)| at.to_string());
        let stands = current.as_deref() == Some(expected.as_str());
        if stands {
            state.records.remove(key);
        }
        Ok(stands)
    }
}

/// Extents in memory. Clones share them.
#[derive(Clone)]
pub struct MemoryExtents {
    state: Arc<Mutex<ExtentState>>,
    limits: PartLimits,
    guarantees: Guarantees,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct ExtentState {
    extents: BTreeMap<String, (Vec<Bytes>, SystemTime)>,
    /// By the name of the upload: the key, and the parts.
    uploads: BTreeMap<String, (String, Parts)>,
    names: u64,
}

/// By index: what identifies the part, and its bytes.
type Parts = BTreeMap<usize, (String, Vec<Bytes>)>;

impl MemoryExtents {
    /// No extents; parts as S3 has them.
    pub fn new() -> Self {
        Self::with_limits(PartLimits::S3)
    }

    /// No extents; parts within `limits`, which are enforced.
    pub fn with_limits(limits: PartLimits) -> Self {
        Self {
            state: Arc::default(),
            limits,
            guarantees: Guarantees {
                consistent: true,
                ..Guarantees::default()
            },
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Tells by `clock` when extents were written.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Claims `guarantees`, for a test that treats the memory as something that lasts.
    pub fn with_guarantees(self, guarantees: Guarantees) -> Self {
        Self { guarantees, ..self }
    }

    /// The keys of all extents, in byte order.
    pub fn keys(&self) -> Vec<String> {
        self.lock().extents.keys().cloned().collect()
    }

    /// How many extents in parts are neither finished nor given up.
    pub fn unfinished(&self) -> usize {
        self.lock().uploads.len()
    }

    /// Drops the last byte of an extent, behind the engine's back; `false` if there is none.
    pub fn truncate(&self, key: &str) -> bool {
        let mut state = self.lock();
        let last = state
            .extents
            .get_mut(key)
            .and_then(|(pieces, _)| pieces.last_mut());
        let Some(last) = last.filter(|last| !last.is_empty()) else {
            return false;
        };
        last.truncate(last.len() - 1);
        true
    }

    fn lock(&self) -> MutexGuard<'_, ExtentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryExtents {
    fn default() -> Self {
        Self::new()
    }
}

impl Debug for MemoryExtents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryExtents({})", self.lock().extents.len())
    }
}

#[async_trait]
impl ExtentStore for MemoryExtents {
    fn guarantees(&self) -> Guarantees {
        self.guarantees
    }

    fn part_limits(&self) -> PartLimits {
        self.limits
    }

    async fn put(&self, key: &str, pieces: Vec<Bytes>) -> Result<(), ExtentError> {
        let written = (pieces, self.clock.now());
        self.lock().extents.insert(key.to_owned(), written);
        Ok(())
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<BlobStream, ExtentError> {
        let pieces = self.lock().extents.get(key).cloned();
        let mut at = 0_u64;
        let mut wanted = Vec::new();
        for piece in pieces.ok_or(ExtentError::NotFound)?.0 {
            let (start, end) = (at, at + length(&piece));
            at = end;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let cut = |byte: u64| usize::try_from(byte - start).unwrap_or(usize::MAX);
                wanted.push(Ok(piece.slice(cut(from)..cut(to))));
            }
        }
        Ok(Box::pin(stream::iter(wanted)))
    }

    async fn delete(&self, key: &str) -> Result<(), ExtentError> {
        self.lock().extents.remove(key);
        Ok(())
    }

    async fn begin_parts(&self, key: &str) -> Result<String, ExtentError> {
        let mut state = self.lock();
        state.names += 1;
        let name = state.names.to_string();
        state
            .uploads
            .insert(name.clone(), (key.to_owned(), BTreeMap::new()));
        Ok(name)
    }

    async fn put_part(
        &self,
        key: &str,
        upload: &str,
        index: usize,
        pieces: Vec<Bytes>,
    ) -> Result<String, ExtentError> {
        let mut state = self.lock();
        state.names += 1;
        let name = state.names.to_string();
        let size: u64 = pieces.iter().map(length).sum();
        if size > self.limits.max_size || index >= self.limits.max_parts {
            return Err(ExtentError::Unavailable(
                "a part too large or too many".into(),
            ));
        }
        let (_, parts) = state
            .uploads
            .get_mut(upload)
            .filter(|(of, _)| of == key)
            .ok_or(ExtentError::NotFound)?;
        parts.insert(index, (name.clone(), pieces));
        Ok(name)
    }

    async fn finish_parts(
        &self,
        key: &str,
        upload: &str,
        parts: &[String],
    ) -> Result<(), ExtentError> {
        let mut state = self.lock();
        let Some((_, written)) = state.uploads.get(upload).filter(|(of, _)| of == key) else {
            return match state.extents.get(key) {
                Some(_) => Ok(()),
                None => Err(ExtentError::NotFound),
            };
        };
        let mut whole = Vec::new();
        let mut sizes = Vec::new();
        for (index, wanted) in parts.iter().enumerate() {
            match written.get(&index) {
                Some((name, pieces)) if name == wanted => {
                    sizes.push(pieces.iter().map(length).sum::<u64>());
                    whole.extend_from_slice(pieces);
                }
                _ => {
                    return Err(ExtentError::Unavailable(
                        "a part is not the one named".into(),
                    ));
                }
            }
        }
        // As the strictest stores have it: all parts of one size, but for the last.
        if let Some((_, all)) = sizes.split_last()
            && all
                .iter()
                .any(|size| *size < self.limits.min_size || Some(size) != all.first())
        {
            return Err(ExtentError::Unavailable("parts of unequal size".into()));
        }
        state.uploads.remove(upload);
        let written = (whole, self.clock.now());
        state.extents.insert(key.to_owned(), written);
        Ok(())
    }

    async fn abort_parts(&self, _: &str, upload: &str) -> Result<(), ExtentError> {
        self.lock().uploads.remove(upload);
        Ok(())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, ExtentError> {
        let state = self.lock();
        let entries = range(&state.extents, prefix, after);
        Ok(entries
            .take(limit)
            .map(|(key, (pieces, written))| {
                let size = pieces.iter().map(length).sum();
                ExtentInfo::new(key, size, *written)
            })
            .collect())
    }
}

fn range<'a, V>(
    map: &'a BTreeMap<String, V>,
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = (&'a String, &'a V)> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    map.range::<str, _>((start, Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

fn versioned((value, version): &(Bytes, u64)) -> Versioned {
    Versioned::new(value.clone(), Version::new(version.to_string()))
}

fn length(piece: &Bytes) -> u64 {
    piece.len() as u64
}
