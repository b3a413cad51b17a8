//! What a service really does, asked before it is relied on.
//!
//! Services that speak the same protocol differ in what they keep of it, also by version, so no name is
//! trusted: some ignore the conditions of a write, some check them and write afterwards, so that several
//! racing creations all win.

use std::fmt;
use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::{PutMode, PutOptions};
use oci_core::runtime::{IdSource, SystemIds};

use super::bucket::Bucket;
use super::extents::remove;
use super::failure::BucketError;
use super::records::{Locks, ObjectRecords};
use crate::records::{RecordError, RecordStore, Version};

/// What a bucket can be relied on for.
///
/// Where conditional writes cannot be relied on, all stores that are made with one verdict, or with clones of
/// it, take turns in this process.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    shortcomings: Vec<Shortcoming>,
    turns: Locks,
}

impl PartialEq for Verdict {
    fn eq(&self, other: &Self) -> bool {
        self.shortcomings == other.shortcomings
    }
}

impl Eq for Verdict {}

/// A promise that a service does not keep.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Shortcoming {
    /// It does not know `If-None-Match: *`.
    CreateRefused,
    /// It writes although `If-None-Match: *` forbids it.
    CreateIgnored,
    /// It does not know `If-Match`.
    UpdateRefused,
    /// It writes although `If-Match` forbids it.
    UpdateIgnored,
    /// Of several writes at once, more than one won.
    SeveralWinners,
    /// What was written is missing in the listing that follows.
    ListingLags,
}

impl Verdict {
    /// Nothing is to be relied on, as of a service that was not asked.
    pub fn nothing() -> Self {
        Self {
            shortcomings: vec![Shortcoming::SeveralWinners, Shortcoming::ListingLags],
            turns: Locks::default(),
        }
    }

    /// Any number of processes may use the bucket at once. If not, only one may: it makes up for the
    /// conditional writes by locks of its own. Then nothing must be collected while it runs, and a write
    /// that is delayed on its way can undo a later one.
    pub fn is_shared(&self) -> bool {
        self.shortcomings.is_empty()
    }

    /// The promises that are not kept.
    pub fn shortcomings(&self) -> &[Shortcoming] {
        &self.shortcomings
    }

    /// What keeps writers of this process apart, if nothing else does.
    pub(super) fn turns(&self) -> Option<Locks> {
        (!self.is_shared()).then(|| self.turns.clone())
    }

    fn note(&mut self, shortcoming: Shortcoming) {
        if !self.shortcomings.contains(&shortcoming) {
            self.shortcomings.push(shortcoming);
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_shared() {
            return f.write_str("any number of replicas may use it");
        }
        f.write_str("only one replica may use it, because it ")?;
        for (n, shortcoming) in self.shortcomings.iter().enumerate() {
            let separator = if n == 0 { "" } else { ", and " };
            write!(f, "{separator}{shortcoming}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Shortcoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CreateRefused => "does not know `If-None-Match: *`",
            Self::CreateIgnored => "ignores `If-None-Match: *`",
            Self::UpdateRefused => "does not know `If-Match`",
            Self::UpdateIgnored => "ignores `If-Match`",
            Self::SeveralWinners => "lets several racing conditional writes win",
            Self::ListingLags => "lists objects late",
        })
    }
}

/// Asks a bucket what it keeps, with some sixty requests below `probe/` that are cleared away again.
///
/// # Errors
/// If the bucket cannot be used at all, with what is wrong.
pub async fn probe(bucket: &Bucket) -> Result<Verdict, BucketError> {
    let listed = bucket.list("probe/", None, 1).await;
    listed.map_err(|error| BucketError::new(bucket.name(), error))?;

    let probe = Probe {
        bucket,
        // Conditional writes as they are, not made up for.
        records: ObjectRecords::new(bucket.clone(), &Verdict::default()),
        prefix: format!("probe/{}/", random()),
    };
    let verdict = probe.run().await;
    // What stays behind is small and in nobody's way.
    for key in probe.keys() {
        let _ = remove(bucket, &key).await;
    }
    verdict
}

struct Probe<'a> {
    bucket: &'a Bucket,
    records: ObjectRecords,
    prefix: String,
}

/// In the order of bytes. A service that goes through directories lists them the other way round.
const NESTED: [&str; 2] = ["d!", "d/a!"];
/// How many writers race, and how often.
const RACERS: usize = 8;
const RACES: usize = 2;

impl Probe<'_> {
    async fn run(&self) -> Result<Verdict, BucketError> {
        let mut verdict = Verdict::default();
        self.plain().await?;
        if let Some(created) = self.create(&mut verdict).await?
            && let Some(updated) = self.update(created, &mut verdict).await?
        {
            self.race(&self.key("b"), Some(&updated), &mut verdict)
                .await?;
        }
        if verdict.is_shared() {
            for n in 0..RACES {
                let key = self.key(&format!("race-{n}"));
                self.race(&key, None, &mut verdict).await?;
            }
        }
        self.listing(&mut verdict).await?;
        Ok(verdict)
    }

    /// Writing and reading as such: if that fails, nothing will work.
    async fn plain(&self) -> Result<(), BucketError> {
        let key = self.key("a");
        self.write(&key, "plain").await?;
        match self.stored(&key).await? {
            Some((value, _)) if value == "plain" => Ok(()),
            _ => Err(self.broken("an object that was written reads differently")),
        }
    }

    /// The second creation must lose. Where the key stands then, if creations are conditional.
    async fn create(&self, verdict: &mut Verdict) -> Result<Option<Version>, BucketError> {
        let key = self.key("b");
        self.put(&key, "first", None).await?;
        match self.stored(&key).await? {
            Some((value, _)) if value == "first" => {}
            _ => {
                verdict.note(Shortcoming::CreateRefused);
                return Ok(None);
            }
        }
        self.put(&key, "second", None).await?;
        match self.stored(&key).await? {
            Some((value, version)) if value == "first" => Ok(Some(version)),
            _ => {
                verdict.note(Shortcoming::CreateIgnored);
                Ok(None)
            }
        }
    }

    /// The update from an old version must lose.
    async fn update(
        &self,
        old: Version,
        verdict: &mut Verdict,
    ) -> Result<Option<Version>, BucketError> {
        let key = self.key("b");
        self.put(&key, "third", Some(&old)).await?;
        match self.stored(&key).await? {
            Some((value, _)) if value == "third" => {}
            _ => {
                verdict.note(Shortcoming::UpdateRefused);
                return Ok(None);
            }
        }
        self.put(&key, "fourth", Some(&old)).await?;
        match self.stored(&key).await? {
            Some((value, version)) if value == "third" => Ok(Some(version)),
            _ => {
                verdict.note(Shortcoming::UpdateIgnored);
                Ok(None)
            }
        }
    }

    /// Of several writers at once, at most one is told that it won, and what it wrote stays.
    async fn race(
        &self,
        key: &str,
        from: Option<&Version>,
        verdict: &mut Verdict,
    ) -> Result<(), BucketError> {
        let mut racing: FuturesUnordered<_> = (0..RACERS)
            .map(|n| async move {
                let value = format!("racer {n}");
                let won = self.put(key, &value, from).await?;
                Ok::<_, BucketError>(won.then_some(value))
            })
            .collect();
        let mut winners = Vec::new();
        while let Some(finished) = racing.next().await {
            winners.extend(finished?);
        }
        let stored = self.stored(key).await?.map(|(value, _)| value);
        let consistent = match winners.as_slice() {
            // Nobody knows: each answer got lost.
            [] => true,
            [winner] => stored.as_deref() == Some(winner.as_bytes()),
            _ => false,
        };
        if !consistent {
            verdict.note(Shortcoming::SeveralWinners);
        }
        Ok(())
    }

    async fn listing(&self, verdict: &mut Verdict) -> Result<(), BucketError> {
        for name in NESTED {
            self.write(&self.key(name), "nested").await?;
        }
        let mut expected = Vec::new();
        for key in self.keys() {
            if self.stored(&key).await?.is_some() {
                expected.push(key);
            }
        }
        let found = self.bucket.list(&self.prefix, None, 1000).await;
        let found = found.map_err(|error| BucketError::new(self.bucket.name(), error))?;
        let mut found: Vec<String> = found.into_iter().map(|(key, _)| key).collect();
        if !found.is_sorted() {
            return Err(self.broken(
                "objects are not listed in the order of their names, byte by byte (`d!` before `d/a!`), so that \
                 a listing cannot be read page by page: use another storage service",
            ));
        }
        found.retain(|key| expected.contains(key));
        if found != expected {
            verdict.note(Shortcoming::ListingLags);
        }
        self.going_on(&expected, verdict).await
    }

    /// A listing after an object has neither that one nor those before it: else the next page would be the
    /// last one again, without end.
    async fn going_on(&self, keys: &[String], verdict: &mut Verdict) -> Result<(), BucketError> {
        let (Some(start), rest) = (keys.first(), keys.get(1..).unwrap_or_default()) else {
            return Ok(());
        };
        let found = self.bucket.list(&self.prefix, Some(start), 1000).await;
        let found = found.map_err(|error| BucketError::new(self.bucket.name(), error))?;
        if found.iter().any(|(key, _)| key <= start) {
            return Err(self.broken(
                "a listing that is to go on after an object (`start-after`) begins with that one or before, \
                 so that nothing can be listed to its end: update the storage service, or use another",
            ));
        }
        if rest
            .iter()
            .any(|key| found.iter().all(|(listed, _)| listed != key))
        {
            verdict.note(Shortcoming::ListingLags);
        }
        // A name that is none, with which others begin.
        let directory = self.key("d");
        let found = self.bucket.list(&self.prefix, Some(&directory), 1000).await;
        let found = found.map_err(|error| BucketError::new(self.bucket.name(), error))?;
        let listed = |name| found.iter().any(|(key, _)| *key == self.key(name));
        if !NESTED.into_iter().all(listed) {
            return Err(self.broken(
                "a listing that is to go on after a name (`start-after`) leaves out objects below it, as if it \
                 were a directory: use another storage service",
            ));
        }
        Ok(())
    }

    /// Writes without a condition.
    async fn write(&self, key: &str, value: &'static str) -> Result<(), BucketError> {
        let path = self.bucket.path(key)?;
        let objects = self.bucket.service().objects();
        let mode = PutOptions::from(PutMode::Overwrite);
        let value = Bytes::from_static(value.as_bytes());
        let written = objects.put_opts(&path, value.into(), mode).await;
        written.map_err(|error| BucketError::new(self.bucket.name(), error))?;
        Ok(())
    }

    /// Writes, and says whether the service confirmed it.
    async fn put(
        &self,
        key: &str,
        value: &str,
        expected: Option<&Version>,
    ) -> Result<bool, BucketError> {
        let value = Bytes::copy_from_slice(value.as_bytes());
        match self.records.put_if(key, value, expected).await {
            Ok(_) => Ok(true),
            // A service that does not know of conditions may refuse them in any way. That it can write
            // at all is known.
            Err(
                RecordError::Conflict | RecordError::Ambiguous(_) | RecordError::Unavailable(_),
            ) => Ok(false),
            Err(error) => Err(BucketError::other(self.bucket.name(), error)),
        }
    }

    async fn stored(&self, key: &str) -> Result<Option<(Bytes, Version)>, BucketError> {
        let found = self.records.get(key).await;
        let found = found.map_err(|error| BucketError::other(self.bucket.name(), error))?;
        Ok(found.map(|found| (found.value, found.version)))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Every key that is written, in order.
    fn keys(&self) -> Vec<String> {
        let races = (0..RACES).map(|n| self.key(&format!("race-{n}")));
        (["a", "b"].into_iter().chain(NESTED))
            .map(|name| self.key(name))
            .chain(races)
            .collect()
    }

    fn broken(&self, what: &'static str) -> BucketError {
        BucketError::other(self.bucket.name(), what)
    }
}

fn random() -> String {
    let mut text = String::new();
    for byte in SystemIds::new().random() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use object_store::memory::InMemory;
    use object_store::multipart::MultipartStore;
    use object_store::{ObjectMeta, ObjectStore};

    use super::super::bucket::{Finishing, Settings, Tokens};
    use super::super::service::{Memory, Service};
    use super::*;
    use crate::records::Guarantees;

    /// Where its listings begin that are to go on after an object.
    #[derive(Clone, Copy, Debug)]
    enum Begins {
        After,
        With,
        Anew,
        /// After all that is below it, as if it were a directory.
        Behind,
    }

    #[derive(Debug)]
    struct Strange(Memory, Begins);

    #[async_trait]
    impl Service for Strange {
        fn objects(&self) -> &dyn ObjectStore {
            self.0.objects()
        }

        fn parts(&self) -> &dyn MultipartStore {
            self.0.parts()
        }

        async fn page(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> object_store::Result<Vec<ObjectMeta>> {
            let behind = after.map(|after| format!("{after}/~"));
            let after = match (self.1, after) {
                (Begins::After, after) => after,
                (Begins::Behind, _) => behind.as_deref(),
                // Whatever is less by a character, however small, is less.
                (Begins::With, Some(after)) => after.get(..after.len() - 1),
                _ => None,
            };
            self.0.page(prefix, after, limit).await
        }
    }

    /// Goes through directories, one after the other.
    #[derive(Debug)]
    struct ByDirectories(Memory);

    #[async_trait]
    impl Service for ByDirectories {
        fn objects(&self) -> &dyn ObjectStore {
            self.0.objects()
        }

        fn parts(&self) -> &dyn MultipartStore {
            self.0.parts()
        }

        async fn page(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
        ) -> object_store::Result<Vec<ObjectMeta>> {
            let mut found = self.0.page(prefix, after, limit).await?;
            found.sort_by(|one, other| {
                let names = |meta: &ObjectMeta| -> Vec<String> {
                    let names = meta.location.as_ref().split('/');
                    names.map(str::to_owned).collect()
                };
                names(one).cmp(&names(other))
            });
            Ok(found)
        }
    }

    fn bucket(service: impl Service) -> Bucket {
        let settings = Settings {
            name: "strange".to_owned(),
            root: String::new(),
            tokens: Tokens::ETag,
            storage_class: None,
            guarantees: Guarantees::ALL,
            counters: Arc::default(),
            finishing: Finishing::default(),
            public: None,
        };
        Bucket::new(service, settings)
    }

    fn why(refused: &BucketError) -> String {
        std::error::Error::source(refused).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_service_that_lists_by_directories_is_refused() {
        let bucket = bucket(ByDirectories(Memory(InMemory::new())));
        let refused = probe(&bucket).await.unwrap_err();
        assert!(why(&refused).contains("byte by byte"), "{}", why(&refused));
    }

    #[tokio::test]
    async fn a_service_whose_listings_do_not_go_on_is_refused() {
        for begins in [Begins::After, Begins::With, Begins::Anew, Begins::Behind] {
            let bucket = bucket(Strange(Memory(InMemory::new()), begins));
            match (begins, probe(&bucket).await) {
                (Begins::After, verdict) => assert!(verdict.unwrap().is_shared()),
                (_, refused) => {
                    let refused = refused.unwrap_err();
                    let why = why(&refused);
                    assert!(why.contains("start-after"), "{begins:?}: {refused}: {why}");
                }
            }
        }
    }
}
