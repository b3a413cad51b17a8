//! Reading and changing records, with answers that got lost.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};
use oci_core::error::StoreError;

use super::encoding::{Decoded, Header, Nonce, decode, encode, nonce_of};
use super::extent::ExtentInfo;
use super::model::MarkRecord;
use super::store::{RecordError, ScanEntry, Version, Versioned};
use super::{Engine, keys::Key};

/// A key as it was read.
#[derive(Clone, Debug)]
pub(super) struct Found<H> {
    /// Where it stands, for the next write.
    pub(super) version: Option<Version>,
    /// What it says; nothing if it is absent or damaged.
    pub(super) record: Option<Decoded<H>>,
}

impl<H> Found<H> {
    pub(super) fn header(&self) -> Option<&H> {
        self.record.as_ref().map(|record| &record.header)
    }
}

/// How a compare-and-swap ended.
#[derive(Clone, Debug)]
pub(super) enum Swap {
    Won(Version, Nonce),
    Lost {
        /// Whether it may have been written all the same, and replaced since.
        perhaps_written: bool,
    },
}

impl Engine {
    pub(super) async fn get<H: Header>(&self, key: &Key) -> Result<Found<H>, StoreError> {
        let found = self
            .records
            .get(&key.format())
            .await
            .map_err(|error| error.into_store("reading a record"))?;
        read(found)
    }

    /// Writes a record if the key still stands where it was read.
    ///
    /// An ambiguous answer is settled by reading back: either this write is there, or it is not and is
    /// tried again, which also keeps the first one from happening later.
    pub(super) async fn swap<H: Header>(
        &self,
        key: &Key,
        expected: Option<&Version>,
        header: &H,
        body: &[u8],
    ) -> Result<Swap, StoreError> {
        let key = key.format();
        let mut nonce = self.nonce();
        let mut mine = vec![nonce];
        for _ in 0..AMBIGUOUS_TRIES {
            let value = encode(nonce, header, body)?;
            let failed = match self.records.put_if(&key, value, expected).await {
                Ok(version) => return Ok(Swap::Won(version, nonce)),
                Err(error) => error,
            };
            let source = match failed {
                // A store that retries by itself may be told of its own first try.
                RecordError::Conflict => None,
                RecordError::Ambiguous(source) => Some(source),
                other => return Err(other.into_store("writing a record")),
            };
            let found = self
                .records
                .get(&key)
                .await
                .map_err(|error| error.into_store("reading a record back"))?;
            let written = found.as_ref().and_then(|found| nonce_of(&found.value));
            if let (Some(found), Some(written)) = (&found, written)
                && mine.contains(&written)
            {
                return Ok(Swap::Won(found.version.clone(), written));
            }
            if source.is_none() || found.as_ref().map(|found| &found.version) != expected {
                let perhaps_written = source.is_some() || mine.len() > 1;
                return Ok(Swap::Lost { perhaps_written });
            }
            nonce = self.nonce();
            mine.push(nonce);
        }
        Err(StoreError::unavailable(
            "writing a record",
            "the store does not say whether records are written",
        ))
    }

    /// Writes a record that says something by being there, unless it is there.
    pub(super) async fn mark(&self, key: &Key) -> Result<(), StoreError> {
        let record = MarkRecord { since: self.now() };
        // Lost means that it is there already.
        self.swap(key, None, &record, &[]).await.map(drop)
    }

    /// Removes a key that nobody writes again.
    pub(super) async fn purge(&self, key: &Key) -> Result<(), StoreError> {
        self.records
            .purge(&key.format())
            .await
            .map_err(|error| error.into_store("removing a record"))
    }

    pub(super) async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, StoreError> {
        const CONTEXT: &str = "listing records";
        let entries = self.records.scan(prefix, after, limit).await;
        let entries = entries.map_err(|error| error.into_store(CONTEXT))?;
        goes_on(
            after,
            entries.iter().map(|entry| entry.key.as_str()),
            CONTEXT,
        )?;
        Ok(entries)
    }

    /// A page of extents.
    pub(super) async fn list_extents(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ExtentInfo>, StoreError> {
        const CONTEXT: &str = "listing extents";
        let extents = self.extents.list(prefix, after, limit).await;
        let extents = extents.map_err(|error| error.into_store(CONTEXT))?;
        goes_on(
            after,
            extents.iter().map(|extent| extent.key.as_str()),
            CONTEXT,
        )?;
        Ok(extents)
    }

    /// The keys under `prefix`, up to `limit`.
    pub(super) async fn scan_keys(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut keys: Vec<String> = Vec::new();
        while keys.len() < limit {
            let wanted = (limit - keys.len()).min(SCAN);
            let entries = self
                .scan(prefix, keys.last().map(String::as_str), wanted)
                .await?;
            let last = entries.len() < wanted;
            keys.extend(entries.into_iter().map(|entry| entry.key));
            if last {
                break;
            }
        }
        Ok(keys)
    }

    /// A page of what `pick` makes of the records under `prefix` after `after`, and whether more
    /// follows. A tombstone on the way costs a look.
    pub(super) async fn page<H, T, F>(
        self: &Arc<Self>,
        prefix: &str,
        mut after: Option<String>,
        limit: usize,
        pick: F,
    ) -> Result<(Vec<T>, bool), StoreError>
    where
        H: Header,
        F: Fn(Vec<(Key, H)>) -> BoxFuture<'static, Result<Vec<T>, StoreError>> + Send + Sync,
    {
        let mut items = Vec::new();
        let mut wanted = limit.saturating_add(1).min(SCAN);
        loop {
            let entries = self.scan(prefix, after.as_deref(), wanted).await?;
            let last = entries.len() < wanted;
            after = entries.last().map(|entry| entry.key.clone()).or(after);
            let looks = entries.into_iter().filter_map(|entry| {
                let key = Key::parse(&entry.key)?;
                let engine = Arc::clone(self);
                Some(async move {
                    let found = match entry.found {
                        Some(found) => read(Some(found))?,
                        None => engine.get::<H>(&key).await?,
                    };
                    Ok(found.record.map(|record| (key, record.header)))
                })
            });
            let found = gather(looks.collect()).await?;
            let before = items.len();
            for item in pick(found.into_iter().flatten().collect()).await? {
                if items.len() == limit {
                    return Ok((items, true));
                }
                items.push(item);
            }
            if last {
                return Ok((items, false));
            }
            wanted = if items.len() == before {
                // Only what is gone: there may be a lot of it.
                wanted.saturating_mul(4)
            } else {
                limit.saturating_sub(items.len()).saturating_add(1)
            };
            wanted = wanted.min(SCAN);
        }
    }
}

/// Whether a page has only what comes after `after`, in order. One that does not would be asked for again and
/// again.
fn goes_on<'a>(
    after: Option<&'a str>,
    keys: impl Iterator<Item = &'a str>,
    context: &'static str,
) -> Result<(), StoreError> {
    let mut last = after;
    for key in keys {
        if last.is_some_and(|last| key <= last) {
            return Err(StoreError::unavailable(
                context,
                format!(
                    "asked for what comes after `{}`, the store listed `{key}`: it must list in byte order, \
                     and only what comes after that; update it, or use another",
                    last.unwrap_or_default()
                ),
            ));
        }
        last = Some(key);
    }
    Ok(())
}

/// A value as it was read.
pub(super) fn read<H: Header>(found: Option<Versioned>) -> Result<Found<H>, StoreError> {
    Ok(match found {
        Some(Versioned { value, version }) => Found {
            record: decode(&value)?,
            version: Some(version),
        },
        None => Found {
            version: None,
            record: None,
        },
    })
}

/// Runs a few futures at a time and keeps their order; the first error wins.
pub(crate) async fn gather<T, F>(futures: Vec<F>) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send,
    T: Send,
{
    let mut results = Vec::with_capacity(futures.len());
    let mut running = stream::iter(futures).buffered(AT_ONCE);
    while let Some(result) = running.next().await {
        results.push(result?);
    }
    Ok(results)
}

const AMBIGUOUS_TRIES: usize = 8;
const AT_ONCE: usize = 16;
const SCAN: usize = 1000;
