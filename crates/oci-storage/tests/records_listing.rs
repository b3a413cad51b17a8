//! A page of a listing costs what is on it, whatever there is beside it: on a store whose keys are ordered, the
//! engine looks at no more records for a page of 20,000 names than for one of 1,000.
//!
//! With `REGISTRY_LISTED_NAMES=1000000` that many are looked at, too; `--nocapture` prints how long pages take.
#![cfg(feature = "records")]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use oci_core::store::{PageRequest, PutManifest, TagWrite};
use oci_core::{Digest, Manifest, ManifestStore, RepositoryName};
use oci_storage::records::{
    Guarantees, MemoryExtents, MemoryRecords, RecordError, RecordStore, Records, ScanEntry,
    Version, Versioned,
};

const PAGE: usize = 100;
/// How many pages of each listing are looked at, all over it.
const PAGES: usize = 201;

fn sizes() -> Vec<usize> {
    let asked = std::env::var("REGISTRY_LISTED_NAMES").ok();
    let asked = asked.map(|names| names.parse().unwrap());
    [1_000, 20_000].into_iter().chain(asked).collect()
}

/// Records in memory, and how many keys were looked at.
#[derive(Clone, Debug, Default)]
struct Counted {
    records: MemoryRecords,
    visited: Arc<AtomicU64>,
}

impl Counted {
    fn visit(&self, keys: usize) {
        self.visited.fetch_add(keys as u64, Ordering::Relaxed);
    }
}

#[async_trait]
impl RecordStore for Counted {
    fn guarantees(&self) -> Guarantees {
        self.records.guarantees()
    }

    async fn get(&self, key: &str) -> Result<Option<Versioned>, RecordError> {
        self.visit(1);
        self.records.get(key).await
    }

    async fn put_if(
        &self,
        key: &str,
        value: Bytes,
        expected: Option<&Version>,
    ) -> Result<Version, RecordError> {
        self.records.put_if(key, value, expected).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ScanEntry>, RecordError> {
        let entries = self.records.scan(prefix, after, limit).await?;
        self.visit(entries.len());
        Ok(entries)
    }

    async fn purge(&self, key: &str) -> Result<(), RecordError> {
        self.records.purge(key).await
    }
}

fn store() -> (Counted, Records) {
    let counted = Counted::default();
    let store = Records::new(counted.clone(), MemoryExtents::new());
    (counted, store)
}

async fn put(store: &Records, repository: &RepositoryName, tags: &[TagWrite]) {
    let document = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    });
    let manifest = Manifest::parse(document.to_string().into(), None).unwrap();
    let digest = Digest::sha256(manifest.bytes());
    let mut put = PutManifest::new(repository, &digest, &manifest);
    put.tags = tags;
    store.put(put).await.unwrap();
}

fn name(number: usize) -> String {
    format!("n{number:07}")
}

/// What pages cost.
struct Cost {
    median: Duration,
    returned: usize,
    visited: u64,
}

impl Cost {
    fn print(&self, what: &str, count: usize) {
        let Self {
            median,
            returned,
            visited,
        } = self;
        println!("{count} {what}: {median:.1?} a page, {returned} returned, {visited} visited");
    }
}

/// Asks for pages all over the listing; each returns and visits the same.
async fn pages<F>(counted: &Counted, count: usize, page: impl Fn(PageRequest) -> F) -> Cost
where
    F: Future<Output = usize>,
{
    let mut times = Vec::new();
    let mut costs = Vec::new();
    for step in 0..PAGES {
        // A prime: in no order. The last page is another matter.
        let after = name(step * 104_729 % (count - 2 * PAGE));
        let before = counted.visited.load(Ordering::Relaxed);
        let begun = Instant::now();
        let returned = page(PageRequest::after(after, PAGE)).await;
        times.push(begun.elapsed());
        let visited = counted.visited.load(Ordering::Relaxed) - before;
        costs.push((returned, visited));
    }
    times.sort();
    costs.dedup();
    assert_eq!(costs.len(), 1, "pages differ: {costs:?}");
    let (returned, visited) = costs.pop().unwrap();
    Cost {
        median: *times.get(PAGES / 2).unwrap(),
        returned,
        visited,
    }
}

#[tokio::test]
async fn a_page_of_tags_visits_one_record_more_than_it_has_and_the_repository() {
    for count in sizes() {
        let (counted, store) = store();
        let repository: RepositoryName = "app".parse().unwrap();
        let numbers: Vec<usize> = (0..count).collect();
        for numbers in numbers.chunks(500) {
            let tags = numbers.iter().map(|number| name(*number).parse().unwrap());
            let tags: Vec<_> = tags.map(TagWrite::any).collect();
            put(&store, &repository, &tags).await;
        }
        let page = async |page| {
            let tags = store.tags(&repository, &page).await.unwrap();
            tags.items.len()
        };
        let cost = pages(&counted, count, page).await;
        cost.print("tags", count);
        assert_eq!(cost.returned, PAGE);
        assert_eq!(cost.visited, PAGE as u64 + 2);
    }
}

#[tokio::test]
async fn a_page_of_repositories_looks_into_each_of_them_once() {
    for count in sizes() {
        let (counted, store) = store();
        for number in 0..count {
            put(&store, &name(number).parse().unwrap(), &[]).await;
        }
        let page = async |page| {
            let repositories = store.repositories(&page).await.unwrap();
            repositories.items.len()
        };
        let cost = pages(&counted, count, page).await;
        cost.print("repositories", count);
        assert_eq!(cost.returned, PAGE);
        assert_eq!(cost.visited, 2 * (PAGE as u64 + 1));
    }
}
