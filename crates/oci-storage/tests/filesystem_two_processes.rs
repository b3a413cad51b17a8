//! Two processes on one volume: pushers in both, and the collector.
//!
//! The second process is this test binary itself, told by its environment to be one.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test reports"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use filesystem_common::*;
use oci_core::store::{AppendMode, CollectEnd, PageRequest, UploadOptions};
use oci_core::{
    BlobStore, Digest, Manifest, ManifestReference, ManifestStore, ReferenceKind, RepositoryName,
    StoreError,
};
use oci_storage::filesystem::{Filesystem, Options};

mod filesystem_common;

const ROLE: &str = "OCI_STORAGE_TEST_ROLE";
const ROOT: &str = "OCI_STORAGE_TEST_ROOT";

/// Starts this binary again as `role`.
fn spawn(role: &str, root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process", "--nocapture"])
        .env(ROLE, role)
        .env(ROOT, root)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Ends the process however the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the second process does. As a test of its own it does nothing: it has no role.
#[tokio::test(flavor = "multi_thread")]
async fn second_process() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let root = PathBuf::from(std::env::var(ROOT).unwrap());
    let store = Filesystem::open(&root, options()).unwrap();
    match role.as_str() {
        "pusher" => push_for_ever(&store, &root, 5000).await,
        "upload" => {
            let scope = scope(&name("a"));
            let bytes = content(3, 1_000_000);
            let mut upload = store
                .begin_upload(&scope, &UploadOptions::default())
                .await
                .unwrap();
            append(&mut *upload, &bytes[..600_000], AppendMode::Progressive)
                .await
                .unwrap();
            upload.checkpoint().await.unwrap();
            append(
                &mut *upload,
                &bytes[600_000..900_000],
                AppendMode::Progressive,
            )
            .await
            .unwrap();
            std::fs::write(root.join("id"), upload.id().as_str()).unwrap();
            // Until it is killed.
            std::future::pending::<()>().await;
        }
        role => panic!("no role {role}"),
    }
}

/// Pushes image after image and writes down which were acknowledged.
async fn push_for_ever(store: &Filesystem, root: &Path, first: u64) {
    let repository = name("shared/app");
    // A layer that all have in common, and that is garbage whenever no image is there.
    let common = content(42, 5000);
    for seed in first.. {
        if root.join("stop").exists() {
            return;
        }
        let config = content(seed, 100);
        push(store, &repository, &config).await.unwrap();
        let manifest = image(&config, &common, None);
        let tag = format!("t{seed}");
        let digest = push_manifest(store, &repository, &manifest, &common, &tag).await;
        let note = root.join(format!("acknowledged-{tag}"));
        std::fs::write(&note, digest.to_string()).unwrap();
        // Most go again, so that there is garbage, at times the common layer too.
        if seed % 8 != 0 {
            tokio::time::sleep(Duration::from_millis(seed * 37 % 60)).await;
            std::fs::remove_file(&note).unwrap();
            store.delete(&repository, &digest).await.unwrap();
        }
    }
}

/// Pushes a manifest whose layer may be there. What it is told to be there must stay.
async fn push_manifest(
    store: &Filesystem,
    repository: &RepositoryName,
    manifest: &Manifest,
    layer: &[u8],
    tag: &str,
) -> Digest {
    // First without asking: only the protected section of the push itself keeps the layer then.
    match put(store, repository, manifest, &[tag]).await {
        Ok(digest) => return digest,
        Err(StoreError::MissingReferences(_)) => {}
        Err(error) => panic!("{error}"),
    }
    loop {
        let told = Instant::now();
        let claimed = ManifestReference::new(ReferenceKind::Blob, Digest::sha256(layer), 5000);
        match store.claim(repository, &[claimed]).await {
            Ok(_) => {}
            Err(StoreError::MissingReferences(_)) => {
                push(store, repository, layer).await.unwrap();
            }
            Err(error) => panic!("{error}"),
        }
        match put(store, repository, manifest, &[tag]).await {
            Ok(digest) => return digest,
            // A machine so busy that the grace is over may say so.
            Err(error) => assert!(
                told.elapsed() > GRACE / 2,
                "{error}: what was just there is missing"
            ),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_collected() {
    let volume = Volume::new();
    let store = volume.open_with(options());
    let other = Killed(spawn("pusher", volume.root()));
    let here = {
        let (store, root) = (store.clone(), volume.root().to_owned());
        tokio::spawn(async move { push_for_ever(&store, &root, 1).await })
    };
    let end = Instant::now() + Duration::from_secs(8);
    let (mut runs, mut blobs, mut links) = (0, 0, 0);
    while Instant::now() < end {
        // Marking takes its time.
        let between = Between::new(|| std::thread::park_timeout(Duration::from_millis(20)));
        let collected = store.collect(&after(GRACE), between).await.unwrap();
        runs += u64::from(collected.end == CollectEnd::Complete);
        blobs += collected.removed.count;
        links += collected.removed_links;
    }
    std::fs::write(volume.root().join("stop"), "").unwrap();
    here.await.unwrap();
    let mut other = other;
    assert!(other.0.wait().unwrap().success(), "the other process");
    assert!(
        runs > 5 && blobs > 0 && links > 0,
        "{runs} runs took {blobs} blobs, {links} links"
    );

    let repository = name("shared/app");
    let mut acknowledged = 0;
    for entry in std::fs::read_dir(volume.root()).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap();
        let Some(tag_name) = file.strip_prefix("acknowledged-") else {
            continue;
        };
        let digest: Digest = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        let at = store.resolve(&repository, &tag(tag_name)).await.unwrap();
        assert_eq!(at, digest);
        let stored = ManifestStore::read(&store, &repository, &digest)
            .await
            .unwrap();
        let manifest = Manifest::parse(stored.bytes, None).unwrap();
        for needed in manifest.references() {
            let bytes = read(&store, &needed.digest).await;
            let bytes =
                bytes.unwrap_or_else(|error| panic!("{tag_name} lost {}: {error}", needed.digest));
            assert_eq!(Digest::sha256(&bytes), needed.digest);
            assert!(
                store.has_blob(&repository, &needed.digest).await.unwrap(),
                "{tag_name}"
            );
        }
        acknowledged += 1;
    }
    assert!(acknowledged > 5, "only {acknowledged} images were pushed");
    let tags = store
        .tags(&repository, &PageRequest::first(100_000))
        .await
        .unwrap();
    assert_eq!(tags.items.len(), acknowledged);
}

fn options() -> Options {
    let mut options = Options::default();
    options.grace = GRACE;
    options
}

/// So short that content becomes garbage during the test, long enough between two requests.
const GRACE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_leaves_its_upload_to_another() {
    let volume = Volume::new();
    let mut other = Killed(spawn("upload", volume.root()));
    let marker = volume.root().join("id");
    let id = loop {
        if let Ok(id) = std::fs::read_to_string(&marker)
            && let Ok(id) = id.parse()
        {
            break id;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let store = volume.open();
    let scope = scope(&name("a"));
    let taken = store.open_upload(&scope, &id).await;
    assert!(
        matches!(taken, Err(StoreError::Conflict { offset: 600_000 })),
        "{taken:?}"
    );
    assert_eq!(
        store.sweep_uploads(Duration::ZERO).await.unwrap(),
        0,
        "it has a writer"
    );
    other.0.kill().unwrap();
    other.0.wait().unwrap();

    let status = store.upload_status(&scope, &id).await.unwrap();
    assert_eq!(status.offset, 600_000);
    let mut upload = store.open_upload(&scope, &id).await.unwrap();
    assert_eq!(upload.offset(), 600_000);
    let bytes = content(3, 1_000_000);
    append(&mut *upload, &bytes[600_000..], AppendMode::Atomic)
        .await
        .unwrap();
    let digest = Digest::sha256(&bytes);
    upload.commit(&digest, &name("a")).await.unwrap();
    assert_eq!(store.statistics().bytes_read_again, 0);
    assert!(read(&store, &digest).await.unwrap() == bytes);
}
