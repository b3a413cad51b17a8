//! A storm of pushes on the records engine, and a collector that never rests: first without any grace, when
//! every blob that was just pushed is garbage until its manifest comes; then with the grace that clients rely
//! on. Pushers and collector are replicas: engines that share nothing but the store.
//!
//! Fifty times as many are pushed with `REGISTRY_STORM_PUSHES=100000`, and with `REGISTRY_STORM_GRACE=60` the grace
//! is that many seconds.
#![cfg(feature = "records")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test reports"
)]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use oci_core::store::{
    AppendMode, BlobPayload, CollectEnd, CollectOptions, PutManifest, ReadRange, TagWrite,
    UploadOptions, UploadScope,
};
use oci_core::testkit::pieces;
use oci_core::{
    BlobStore, Digest, Manifest, ManifestReference, ManifestStore, ReferenceKind, RepositoryName,
    StoreError,
};
use oci_storage::records::{MemoryExtents, MemoryRecords, Records, RecordsOptions};

/// Pushers at a time.
const PUSHERS: u64 = 8;
/// Images whose blobs several pushers push, over and over.
const SHARED: u64 = 40;

fn pushes(default: u64) -> u64 {
    let asked = std::env::var("REGISTRY_STORM_PUSHES").ok();
    asked.map_or(default, |text| text.parse().unwrap())
}

/// An hour, so that a slow machine does not outlive it.
fn grace() -> Duration {
    let asked = std::env::var("REGISTRY_STORM_GRACE").ok();
    Duration::from_secs(asked.map_or(3600, |text| text.parse().unwrap()))
}

/// Another replica of the same registry.
type Replica = Arc<dyn Fn(Duration) -> Records + Send + Sync>;

/// What the pushers saw.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: AtomicU64,
    deleted: AtomicU64,
    /// Manifests that were refused because a blob was unknown.
    refused: AtomicU64,
    /// Requests that a client has to repeat: 503.
    again: AtomicU64,
    abandoned: AtomicU64,
}

impl Seen {
    /// Most registries' clients repeat these.
    fn repeat(&self, error: &StoreError) {
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        self.again.fetch_add(1, Ordering::Relaxed);
    }
}

fn content(seed: u64, length: usize) -> Vec<u8> {
    let digest = Digest::sha256(&seed.to_le_bytes());
    digest
        .as_bytes()
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect()
}

async fn upload(store: &Records, at: &RepositoryName, bytes: &[u8]) -> Result<(), StoreError> {
    let digest = Digest::sha256(bytes);
    let scope = UploadScope::new(at.clone(), "somebody");
    let mut upload = store
        .begin_upload(&scope, &UploadOptions::default())
        .await?;
    let mut body = pin!(pieces(bytes, 4096));
    upload.append(body.as_mut(), AppendMode::Atomic).await?;
    upload.commit(&digest, at).await.map(drop)
}

struct Image {
    repository: RepositoryName,
    blobs: [Vec<u8>; 2],
    tag: String,
}

impl Image {
    /// A third has content of its own, the others take turns on what is shared.
    fn of(pusher: u64, serial: u64) -> Self {
        let seed = if serial.is_multiple_of(3) {
            1000 + serial
        } else {
            serial % SHARED
        };
        Self {
            repository: format!("storm/{}", pusher % 3).parse().unwrap(),
            // One in its record, one as an extent.
            blobs: [content(seed, 60), content(seed * 7 + 1_000_000, 9_000)],
            tag: format!("t{serial}"),
        }
    }

    fn manifest(&self) -> Manifest {
        let descriptor = |bytes: &[u8], kind: &str| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::sha256(bytes),
                "size": bytes.len(),
            })
        };
        let [config, layer] = &self.blobs;
        let document = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(config, "config.v1+json"),
            "layers": [descriptor(layer, "layer.v1.tar")],
        });
        Manifest::parse(document.to_string().into(), None).unwrap()
    }

    /// As clients do: ask, upload what is missing, put the manifest, and if that is refused, again.
    async fn push(&self, store: &Records, seen: &Seen) -> Digest {
        let manifest = self.manifest();
        let digest = Digest::sha256(manifest.bytes());
        let tags = [TagWrite::any(self.tag.parse().unwrap())];
        loop {
            for blob in &self.blobs {
                let (own, size) = (Digest::sha256(blob), blob.len() as u64);
                let reference = ManifestReference::new(ReferenceKind::Blob, own, size);
                match store.claim(&self.repository, &[reference]).await {
                    Ok(_) => {}
                    Err(StoreError::MissingReferences(_)) => {
                        while let Err(error) = upload(store, &self.repository, blob).await {
                            seen.repeat(&error);
                        }
                    }
                    Err(error) => seen.repeat(&error),
                }
            }
            let mut put = PutManifest::new(&self.repository, &digest, &manifest);
            put.references = manifest.references();
            put.tags = &tags;
            match store.put(put).await {
                Ok(()) => return digest,
                Err(StoreError::MissingReferences(_)) => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => seen.repeat(&error),
            }
        }
    }

    async fn assert_whole(&self, store: &Records) {
        let manifest = self.manifest();
        let digest = Digest::sha256(manifest.bytes());
        let stored = ManifestStore::read(store, &self.repository, &digest).await;
        assert_eq!(&stored.unwrap().bytes, manifest.bytes());
        for blob in &self.blobs {
            let (digest, at) = (Digest::sha256(blob), &self.repository);
            assert!(store.has_blob(at, &digest).await.unwrap(), "{}", self.tag);
            assert!(read(store, &digest).await == *blob, "{}", self.tag);
        }
    }
}

async fn read(store: &Records, digest: &Digest) -> Vec<u8> {
    let read = BlobStore::read(store, digest, ReadRange::Whole).await;
    match read.unwrap().payload {
        BlobPayload::Bytes(bytes) => bytes.to_vec(),
        BlobPayload::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) =
                std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
            {
                all.extend_from_slice(&piece.unwrap());
            }
            all
        }
        other => panic!("{other:?}"),
    }
}

/// Pushes, reads back what was acknowledged, and deletes some of it; returns what must be there in the end.
async fn pusher(id: u64, count: u64, store: Records, seen: Arc<Seen>) -> Vec<Image> {
    let mut whole: Vec<Image> = Vec::new();
    for serial in (0..count).filter(|serial| serial % PUSHERS == id) {
        let image = Image::of(id, serial);
        if serial % 11 == 5 {
            // The client goes away in the middle.
            let bytes = content(serial + 9_000_000, 500);
            upload(&store, &image.repository, &bytes).await.unwrap();
            seen.abandoned.fetch_add(1, Ordering::Relaxed);
        }
        let digest = image.push(&store, &seen).await;
        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
        if serial % 3 == 0 && serial % 2 == 0 {
            // Nobody else pushes this one.
            image.assert_whole(&store).await;
            store.delete(&image.repository, &digest).await.unwrap();
            seen.deleted.fetch_add(1, Ordering::Relaxed);
        } else {
            whole.push(image);
        }
    }
    whole
}

fn options(grace: Duration) -> CollectOptions {
    let mut options = CollectOptions::default();
    options.grace = grace;
    options.brake = None;
    options
}

async fn storm(replica: &Replica, count: u64, grace: Duration) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let over = Arc::new(AtomicBool::new(false));
    let (ended, collecting) = (Arc::clone(&over), replica(grace));
    let collector = tokio::spawn(async move {
        let (mut runs, mut removed, mut revived) = (0, 0, 0);
        while !ended.load(Ordering::Relaxed) {
            let run = collecting.collect(&options(grace), Arc::new(())).await;
            let run = run.unwrap();
            runs += u64::from(run.end == CollectEnd::Complete);
            removed += run.removed.count;
            revived += run.revived;
        }
        (runs, removed, revived)
    });
    let pushers: Vec<_> = (0..PUSHERS)
        .map(|id| tokio::spawn(pusher(id, count, replica(grace), Arc::clone(&seen))))
        .collect();
    let mut whole = Vec::new();
    for pusher in pushers {
        whole.extend(pusher.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    let (runs, removed, revived) = collector.await.unwrap();
    println!("{runs} runs removed {removed}, left {revived}; {seen:?}");
    assert!(runs > 0, "{runs} runs");
    assert_eq!(seen.acknowledged.load(Ordering::Relaxed), count);

    let store = replica(grace);
    let before = garbage(&store).await;
    for _ in 0..2 {
        let all = options(Duration::ZERO);
        let run = store.collect(&all, Arc::new(())).await.unwrap();
        assert_eq!(run.end, CollectEnd::Complete);
    }
    let after = garbage(&store).await;
    println!("garbage: {before} before the last two runs, {after} after them");
    assert_eq!(after, 0);
    for image in &whole {
        image.assert_whole(&store).await;
        let tag = image.tag.parse().unwrap();
        let at = store.resolve(&image.repository, &tag).await.unwrap();
        assert_eq!(at, Digest::sha256(image.manifest().bytes()));
    }
    seen
}

/// What a run would find to remove.
async fn garbage(store: &Records) -> u64 {
    let mut dry = options(Duration::ZERO);
    dry.dry_run = true;
    let found = store.collect(&dry, Arc::new(())).await.unwrap();
    found.garbage.count + found.garbage_links
}

fn memory() -> Replica {
    let (records, extents) = (MemoryRecords::new(), MemoryExtents::new());
    Arc::new(move |grace| {
        let mut options = RecordsOptions::default();
        options.grace = grace;
        Records::with_options(records.clone(), extents.clone(), options)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
    let seen = storm(&memory(), pushes(2000), Duration::ZERO).await;
    assert!(seen.deleted.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_grace_nobody_is_refused() {
    let seen = storm(&memory(), pushes(2000), grace()).await;
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    assert_eq!(seen.again.load(Ordering::Relaxed), 0);
}

#[cfg(feature = "sled")]
mod on_sled {
    use oci_storage::sled::{Sled, SledOptions};

    use super::*;

    fn sled(directory: &tempfile::TempDir) -> Replica {
        let mut options = SledOptions::default();
        options.min_free = 0;
        let store = Sled::open(directory.path(), options).unwrap();
        Arc::new(move |grace| {
            let mut options = RecordsOptions::default();
            options.grace = grace;
            store.clone().into_records(options)
        })
    }

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_grace_nothing_acknowledged_breaks_and_all_garbage_goes() {
        let directory = directory();
        storm(&sled(&directory), pushes(100), Duration::ZERO).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn within_grace_nobody_is_refused() {
        let directory = directory();
        let seen = storm(&sled(&directory), pushes(100), grace()).await;
        assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    }
}
