//! Other processes: one that is killed while it pushes, and one that opens what is open.
//!
//! The second process is this test binary itself, told by its environment to be one.
#![cfg(feature = "sled")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test reports"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use oci_core::runtime::ThreadPool;
use oci_core::store::{
    AppendMode, BlobPayload, BlobRead, PageRequest, PutManifest, ReadRange, TagWrite,
    UploadOptions, UploadScope,
};
use oci_core::testkit::pieces;
use oci_core::{BlobStore, Digest, Manifest, ManifestStore, RepositoryName};
use oci_storage::records::{ExtentStore, RecordStore, Records, RecordsOptions};
use oci_storage::sled::{Sled, SledError, SledOptions};

const ROOT: &str = "OCI_STORAGE_TEST_SLED";
const FIRST: &str = "OCI_STORAGE_TEST_FIRST";

/// Ends the process however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts this binary again, to push the images `first`, `first + 1`, … until it is killed.
fn spawn(root: &Path, first: u64) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process", "--nocapture"])
        .env(ROOT, root)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn();
    Killed(child.unwrap())
}

fn options() -> SledOptions {
    let mut options = SledOptions::default();
    options.min_free = 0;
    options
}

fn open(root: &Path) -> Records {
    let store = Sled::open(root, options()).unwrap();
    let mut options = RecordsOptions::default();
    options.part_size = 1 << 20;
    store.into_records(options)
}

fn repository() -> RepositoryName {
    "team/app".parse().unwrap()
}

/// Every third layer is stored in parts.
fn layer(number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(3) {
        2_500_000
    } else {
        100_000
    };
    number.to_le_bytes().repeat(length / 8)
}

fn image(number: u64) -> Manifest {
    let layer = layer(number);
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}]}}"#,
        Digest::sha256(b"{}"),
        Digest::sha256(&layer),
        layer.len(),
    );
    Manifest::parse(Bytes::from(json), None).unwrap()
}

async fn push_blob(store: &Records, bytes: &[u8]) {
    let digest = Digest::sha256(bytes);
    let scope = UploadScope::new(repository(), "");
    let options = UploadOptions::expecting(digest);
    let mut upload = store.begin_upload(&scope, &options).await.unwrap();
    let content = pin!(pieces(bytes, 60_000));
    upload.append(content, AppendMode::Atomic).await.unwrap();
    upload.commit(&digest, &repository()).await.unwrap();
}

async fn push_image(store: &Records, number: u64) {
    push_blob(store, b"{}").await;
    push_blob(store, &layer(number)).await;
    let (repository, manifest) = (repository(), image(number));
    let digest = Digest::sha256(manifest.bytes());
    let tags = [TagWrite::any(format!("v{number}").parse().unwrap())];
    let mut put = PutManifest::new(&repository, &digest, &manifest);
    put.references = manifest.references();
    put.tags = &tags;
    store.put(put).await.unwrap();
}

async fn read(store: &Records, digest: &Digest) -> Vec<u8> {
    let BlobRead { payload, .. } = BlobStore::read(store, digest, ReadRange::Whole)
        .await
        .unwrap();
    match payload {
        BlobPayload::Bytes(bytes) => bytes.to_vec(),
        BlobPayload::Stream(mut stream) => {
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                bytes.extend_from_slice(&piece.unwrap());
            }
            bytes
        }
        other => panic!("{other:?}"),
    }
}

async fn assert_image(store: &Records, number: u64) {
    let tag = format!("v{number}").parse().unwrap();
    let digest = store.resolve(&repository(), &tag).await.unwrap();
    let manifest = image(number);
    assert_eq!(digest, Digest::sha256(manifest.bytes()));
    let stored = ManifestStore::read(store, &repository(), &digest).await;
    assert_eq!(&stored.unwrap().bytes, manifest.bytes());
    let layer = layer(number);
    let digest = Digest::sha256(&layer);
    assert!(store.has_blob(&repository(), &digest).await.unwrap());
    assert_eq!(read(store, &digest).await, layer);
}

/// What the second process does. As a test of its own it does nothing: it has no role.
#[tokio::test(flavor = "multi_thread")]
async fn second_process() {
    let Ok(root) = std::env::var(ROOT) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let store = open(root.as_ref());
    // Several at once, so that a kill hits some on their way and others share a flush.
    let pushers = (0..4).map(|lane| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (first + lane..).step_by(4) {
                push_image(&store, number).await;
                let mut out = std::io::stdout().lock();
                writeln!(out, "\npushed {number}").unwrap();
                out.flush().unwrap();
            }
        })
    });
    for pusher in pushers.collect::<Vec<_>>() {
        pusher.await.unwrap();
    }
}

/// Reads acknowledgements until there are `wanted`.
fn acknowledged(child: &mut Killed, wanted: usize) -> Vec<u64> {
    let out = BufReader::new(child.0.stdout.take().unwrap());
    let lines = out.lines().map(Result::unwrap);
    let numbers = lines.filter_map(|line| line.strip_prefix("pushed ")?.parse().ok());
    let numbers: Vec<u64> = numbers.take(wanted).collect();
    assert_eq!(numbers.len(), wanted, "the pusher ended by itself");
    numbers
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut pushed = Vec::new();
    for round in 0..4 {
        let mut child = spawn(directory.path(), round * 1000);
        pushed.extend(acknowledged(
            &mut child,
            3 + 4 * usize::try_from(round).unwrap(),
        ));
        // SIGKILL.
        drop(child);

        let store = open(directory.path());
        for number in &pushed {
            assert_image(&store, *number).await;
        }
        let tags = store.tags(&repository(), &PageRequest::first(10_000)).await;
        assert!(tags.unwrap().items.len() >= pushed.len());
        close(store, directory.path()).await;
        // sled never syncs what is too large for its log, so nothing may be.
        let beside = std::fs::read_dir(directory.path().join("blobs")).unwrap();
        assert_eq!(beside.count(), 0);
    }
}

/// Drops the store and waits until its last user on another thread is gone.
async fn close(store: Records, root: &Path) {
    drop(store);
    let root = root.to_owned();
    let reopened = tokio::task::spawn_blocking(move || {
        loop {
            match Sled::open(&root, options()) {
                Ok(store) => return drop(store),
                Err(SledError::InUse { .. }) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    });
    reopened.await.unwrap();
}

#[test]
fn a_second_process_is_told_who_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = spawn(directory.path(), 0);
    acknowledged(&mut child, 1);
    let refused = Sled::open(directory.path(), options()).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, SledError::InUse { .. }), "{text}");
    assert!(text.contains(directory.path().to_str().unwrap()), "{text}");
    assert!(text.contains("stop the other one"), "{text}");
    drop(child);
    drop(open(directory.path()));
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("docker")).unwrap();
    let refused = Sled::open(directory.path(), options()).unwrap_err();
    assert!(matches!(refused, SledError::NotEmpty { .. }), "{refused}");
    let entries = std::fs::read_dir(directory.path()).unwrap();
    assert_eq!(entries.count(), 1);
}

#[tokio::test]
async fn an_unfinished_snapshot_does_not_keep_it_closed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    push_image(&store, 1).await;
    close(store, directory.path()).await;
    let torn = directory.path().join("snap.FFFFFFFFFFFFFFFF.generating");
    std::fs::write(torn, b"half a snap").unwrap();
    assert_image(&open(directory.path()), 1).await;
}

#[tokio::test]
async fn nothing_is_written_to_a_disk_that_is_nearly_full() {
    let directory = tempfile::tempdir().unwrap();
    let pool = Arc::new(ThreadPool::new(2));
    let mut options = options();
    options.pool = Arc::clone(&pool) as _;
    options.min_free = u64::MAX;
    let store = Sled::open(directory.path(), options).unwrap();
    let refused = RecordStore::put_if(&store, "blobs/a", Bytes::from_static(b"x"), None).await;
    let text = format!("{:?}", refused.unwrap_err());
    assert!(text.starts_with("NoSpace"), "{text}");
    let refused = ExtentStore::put(&store, "data/a", vec![Bytes::from_static(b"x")]).await;
    let text = format!("{:?}", refused.unwrap_err());
    assert!(text.starts_with("NoSpace"), "{text}");
    assert!(RecordStore::get(&store, "blobs/a").await.unwrap().is_none());
}
