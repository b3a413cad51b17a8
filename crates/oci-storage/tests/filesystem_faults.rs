//! A disk that fails: at every single step, once or for good.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::struct_excessive_bools,
    clippy::match_same_arms,
    reason = "a failed expectation is how a test reports, and a table of outcomes is a table"
)]

use std::io;
use std::os::unix::fs::MetadataExt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use filesystem_common::*;
use oci_core::registry::Intent;
use oci_core::store::{AppendMode, PageRequest, UploadOptions};
use oci_core::testkit::pieces;
use oci_core::{BlobStore, Digest, Identity, Manifest, ManifestStore, Registry, StoreError};
use oci_storage::filesystem::{DiskOperation, Durability, FaultHook, Filesystem, Options};

mod filesystem_common;

/// Fails the step with number `at`, and those after it if the process is to be dead from there on.
#[derive(Debug)]
struct Plan {
    armed: AtomicBool,
    steps: AtomicUsize,
    at: usize,
    dead: bool,
    code: AtomicI32,
}

impl Plan {
    fn new(at: usize, dead: bool, code: i32) -> Arc<Self> {
        Arc::new(Self {
            armed: AtomicBool::new(false),
            steps: AtomicUsize::new(0),
            at,
            dead,
            code: AtomicI32::new(code),
        })
    }

    fn hook(self: &Arc<Self>) -> FaultHook {
        let plan = Arc::clone(self);
        Arc::new(move |_, _| {
            if !plan.armed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let step = plan.steps.fetch_add(1, Ordering::SeqCst);
            if step == plan.at || (plan.dead && step > plan.at) {
                return Err(io::Error::from_raw_os_error(
                    plan.code.load(Ordering::SeqCst),
                ));
            }
            Ok(())
        })
    }

    fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::SeqCst);
    }

    fn was_reached(&self) -> bool {
        self.steps.load(Ordering::SeqCst) > self.at
    }
}

/// What was acknowledged in a run.
#[derive(Debug, Default)]
struct Acknowledged {
    blob: bool,
    checkpoint: u64,
    committed: bool,
    image: bool,
    moved: bool,
    deleted: bool,
    unlinked: bool,
}

const LARGE: usize = 300_000;

/// One of everything that changes something. After a failure the rest is tried all the same.
async fn run(store: &Filesystem, acknowledged: &mut Acknowledged) -> Vec<StoreError> {
    let mut errors = Vec::new();
    let repository = name("a/b");
    let large = content(50, LARGE);
    match push(store, &repository, b"small").await {
        Ok(_) => acknowledged.blob = true,
        Err(error) => errors.push(error),
    }
    let uploaded = async {
        let options = UploadOptions::default();
        let mut upload = store.begin_upload(&scope(&repository), &options).await?;
        upload.checkpoint().await?;
        append(&mut *upload, &large[..200_000], AppendMode::Progressive).await?;
        acknowledged.checkpoint = upload.checkpoint().await?;
        append(&mut *upload, &large[200_000..], AppendMode::Atomic).await?;
        upload.commit(&Digest::sha256(&large), &repository).await
    };
    match uploaded.await {
        Ok(_) => acknowledged.committed = true,
        Err(error) => errors.push(error),
    }
    match push_image(store, &repository, 60, &["moves"]).await {
        Ok(_) => acknowledged.image = true,
        Err(error) => errors.push(error),
    }
    match push_image(store, &repository, 61, &["moves"]).await {
        Ok(_) => acknowledged.moved = true,
        Err(error) => errors.push(error),
    }
    let second = Digest::sha256(image(&content(61, 100), &content(1_000_061, 5000), None).bytes());
    match store.delete(&repository, &second).await {
        Ok(_) => acknowledged.deleted = true,
        Err(StoreError::NotFound) => {}
        Err(error) => errors.push(error),
    }
    match store
        .unlink_blob(&repository, &Digest::sha256(b"small"))
        .await
    {
        Ok(()) => acknowledged.unlinked = true,
        Err(StoreError::NotFound) => {}
        Err(error) => errors.push(error),
    }
    errors
}

/// Whatever happened: what was acknowledged is there, and what is visible is whole.
async fn check(store: &Filesystem, acknowledged: &Acknowledged, step: usize) {
    let repository = name("a/b");
    let small = Digest::sha256(b"small");
    if acknowledged.blob {
        assert_eq!(read(store, &small).await.unwrap(), b"small", "step {step}");
    }
    if acknowledged.unlinked {
        assert!(
            !store.has_blob(&repository, &small).await.unwrap(),
            "step {step}"
        );
    }
    if acknowledged.committed {
        let large = content(50, LARGE);
        let digest = Digest::sha256(&large);
        assert!(
            store.has_blob(&repository, &digest).await.unwrap(),
            "step {step}"
        );
        assert!(read(store, &digest).await.unwrap() == large, "step {step}");
    }
    if acknowledged.image {
        assert_image(store, &repository, 60).await;
    }
    let tags = store.tags(&repository, &PageRequest::first(10)).await;
    for tag in tags.map(|page| page.items).unwrap_or_default() {
        let digest = store.resolve(&repository, &tag).await.unwrap();
        let manifest = ManifestStore::read(store, &repository, &digest).await;
        let manifest =
            manifest.unwrap_or_else(|error| panic!("step {step}: {tag} dangles: {error}"));
        let manifest = oci_core::Manifest::parse(manifest.bytes, None).unwrap();
        for needed in manifest.references() {
            let content = read(store, &needed.digest).await.unwrap();
            assert_eq!(Digest::sha256(&content), needed.digest, "step {step}");
        }
    }
    if acknowledged.moved && !acknowledged.deleted {
        // The delete may have happened, and failed to be acknowledged.
        let second =
            Digest::sha256(image(&content(61, 100), &content(1_000_061, 5000), None).bytes());
        if let Ok(at) = store.resolve(&repository, &tag("moves")).await {
            assert_eq!(at, second, "step {step}");
        }
    }
}

#[tokio::test]
async fn a_process_that_dies_at_any_step_loses_nothing_acknowledged() {
    for step in 0.. {
        let volume = Volume::in_memory();
        let plan = Plan::new(step, true, 5);
        let mut acknowledged = Acknowledged::default();
        {
            let store = volume.open_with(Options::default().with_faults(plan.hook()));
            plan.arm(true);
            run(&store, &mut acknowledged).await;
            // Its files stay open until the last task is over, as a killed process's do not.
            settle(&store).await;
        }
        if !plan.was_reached() {
            assert!(step > 40, "only {step} steps were seen");
            return;
        }
        let store = volume.open();
        check(&store, &acknowledged, step).await;
        // And it goes on as if nothing had been.
        let mut again = Acknowledged::default();
        let errors = run(&store, &mut again).await;
        assert!(errors.is_empty(), "step {step}: {errors:?}");
        check(&store, &again, step).await;
    }
}

#[tokio::test]
async fn one_failed_step_fails_one_operation_and_needs_no_restart() {
    for code in [28, 5] {
        for step in 0.. {
            let volume = Volume::in_memory();
            let plan = Plan::new(step, false, code);
            let store = volume.open_with(Options::default().with_faults(plan.hook()));
            let mut acknowledged = Acknowledged::default();
            plan.arm(true);
            let errors = run(&store, &mut acknowledged).await;
            settle(&store).await;
            plan.arm(false);
            if !plan.was_reached() {
                break;
            }
            for error in &errors {
                match (code, error) {
                    (28, StoreError::NoSpace(_)) | (5, StoreError::Unavailable { .. }) => {}
                    // What did not become visible is missed by what comes later.
                    (_, StoreError::MissingReferences(_)) => {}
                    _ => panic!("step {step}: {error:?}"),
                }
            }
            check(&store, &acknowledged, step).await;
            let mut again = Acknowledged::default();
            let errors = run(&store, &mut again).await;
            assert!(errors.is_empty(), "step {step}: {errors:?}");
            check(&store, &again, step).await;
            volume.assert_no_temporary_files().await;
        }
    }
}

#[tokio::test]
async fn a_checkpoint_survives_a_failure_at_any_step_after_it() {
    for step in 0.. {
        let volume = Volume::in_memory();
        let plan = Plan::new(step, true, 28);
        let store = volume.open_with(Options::default().with_faults(plan.hook()));
        let scope = scope(&name("a"));
        let bytes = content(70, 2_000_000);
        let mut upload = store
            .begin_upload(&scope, &UploadOptions::default())
            .await
            .unwrap();
        append(&mut *upload, &bytes[..900_000], AppendMode::Progressive)
            .await
            .unwrap();
        assert_eq!(upload.checkpoint().await.unwrap(), 900_000);
        let id = upload.id().clone();
        plan.arm(true);
        let appended = append(&mut *upload, &bytes[900_000..], AppendMode::Progressive).await;
        let committed = match appended {
            Ok(_) => upload
                .commit(&Digest::sha256(&bytes), &name("a"))
                .await
                .map(drop),
            Err(error) => {
                drop(upload);
                Err(error)
            }
        };
        settle(&store).await;
        plan.arm(false);
        if !plan.was_reached() {
            committed.unwrap();
            assert!(step > 8, "only {step} steps were seen");
            return;
        }
        let status = store.upload_status(&scope, &id).await;
        match (&committed, status) {
            (_, Ok(status)) => {
                assert!(status.offset >= 900_000, "step {step}: {status:?}");
                let mut upload = volume.open().open_upload(&scope, &id).await.unwrap();
                let offset = usize::try_from(upload.offset()).unwrap();
                append(&mut *upload, &bytes[offset..], AppendMode::Atomic)
                    .await
                    .unwrap();
                upload
                    .commit(&Digest::sha256(&bytes), &name("a"))
                    .await
                    .unwrap();
            }
            // Past the point of no return: the content has its name.
            (_, Err(StoreError::NotFound)) => {
                push(&store, &name("a"), &bytes).await.unwrap();
            }
            (_, Err(error)) => panic!("step {step}: {error}"),
        }
        assert!(read(&store, &Digest::sha256(&bytes)).await.unwrap() == bytes);
    }
}

/// Waits until tasks in the background are over: those need a pool thread, as this does.
async fn settle(store: &Filesystem) {
    for _ in 0..8 {
        let _ = store.count_uploads(None, 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

type Steps = Arc<Mutex<Vec<(DiskOperation, String)>>>;

/// Records the order of what reaches the disk.
fn recorder() -> (FaultHook, Steps) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let hook: FaultHook = Arc::new(move |operation, path| {
        let path = path.to_string_lossy().into_owned();
        log.lock().unwrap().push((operation, path));
        Ok(())
    });
    (hook, seen)
}

#[tokio::test]
async fn content_is_synced_before_its_name_and_the_name_before_the_answer() {
    let volume = Volume::new();
    let (hook, seen) = recorder();
    let store = volume.open_with(Options::default().with_faults(hook));
    seen.lock().unwrap().clear();
    let bytes = content(80, 500_000);
    let digest = push(&store, &name("a"), &bytes).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let position = |operation: DiskOperation, path: &str| {
        seen.iter()
            .position(|(what, at)| *what == operation && at.ends_with(path))
            .unwrap_or_else(|| panic!("no {operation:?} of {path} in {seen:#?}"))
    };
    let data = volume.data(&digest);
    let data = data.to_str().unwrap();
    let named = position(DiskOperation::Rename, data);
    assert!(position(DiskOperation::SyncFile, ".data") < named);
    let hex = digest.hex();
    for directory in [
        format!("/{hex}"),
        format!("/blobs/sha256/{}", &hex[..2]),
        "/blobs/sha256".to_owned(),
        "/blobs".to_owned(),
        "/repositories/a/_layers/sha256".to_owned(),
        "/repositories/a".to_owned(),
        "/repositories".to_owned(),
    ] {
        assert!(
            position(DiskOperation::SyncDirectory, &directory) > named,
            "{directory}"
        );
    }
}

#[tokio::test]
async fn without_durability_nothing_is_synced() {
    let volume = Volume::new();
    let mut options = Options::default();
    options.durability = Durability::None;
    let store = volume.open_with(options);
    push_image(&store, &name("a"), 90, &["t"]).await.unwrap();
    assert_image(&store, &name("a"), 90).await;
    let statistics = store.statistics();
    assert_eq!((statistics.file_syncs, statistics.directory_syncs), (0, 0));
    assert!(!store.capabilities().durable);
}

/// A disk of 3 MiB: a real one if this may mount, else one that counts what is written.
struct SmallDisk {
    volume: Volume,
    mounted: bool,
}

impl SmallDisk {
    fn new() -> Self {
        let volume = Volume::new();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(volume.root())
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        Self { volume, mounted }
    }

    /// With room again after `full` is cleared, where the disk is only pretended.
    fn options(&self, full: &Arc<AtomicBool>) -> Options {
        if self.mounted {
            return Options::default();
        }
        let full = Arc::clone(full);
        let written = AtomicUsize::new(0);
        Options::default().with_faults(Arc::new(move |operation, _| {
            let count = written.fetch_add(1, Ordering::SeqCst);
            let refused = operation == DiskOperation::Write && count > 20;
            if refused && full.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(28));
            }
            Ok(())
        }))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(self.volume.root())
                .status();
        }
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_works_again_when_there_is_room() {
    let disk = SmallDisk::new();
    let full = Arc::new(AtomicBool::new(true));
    let store = disk.volume.open_with(disk.options(&full));
    let repository = name("a");
    let kept = push(&store, &repository, &content(1, 400_000))
        .await
        .unwrap();
    let scope = scope(&repository);
    let bytes = content(2, 6_000_000);
    let mut upload = store
        .begin_upload(&scope, &UploadOptions::default())
        .await
        .unwrap();
    append(&mut *upload, &bytes[..500_000], AppendMode::Progressive)
        .await
        .unwrap();
    assert_eq!(upload.checkpoint().await.unwrap(), 500_000);
    let id = upload.id().clone();
    let appended = append(&mut *upload, &bytes[500_000..], AppendMode::Progressive).await;
    let failed = match appended {
        Ok(_) => upload.checkpoint().await.map(drop),
        Err(error) => Err(error),
    };
    assert!(matches!(failed, Err(StoreError::NoSpace(_))), "{failed:?}");
    drop(upload);
    let refused = push(&store, &repository, &content(3, 4_000_000)).await;
    assert!(
        matches!(refused, Err(StoreError::NoSpace(_))),
        "{refused:?}"
    );

    let status = store.upload_status(&scope, &id).await.unwrap();
    assert_eq!(status.offset, 500_000);
    assert_eq!(read(&store, &kept).await.unwrap(), content(1, 400_000));
    // Nothing of the refused ones takes up room, so a smaller one finds it.
    full.store(false, Ordering::SeqCst);
    disk.volume.assert_no_temporary_files().await;
    push(&store, &repository, &content(4, 1_000_000))
        .await
        .unwrap();
    store.abort_upload(&scope, &id).await.unwrap();
    push_image(&store, &repository, 5, &["t"]).await.unwrap();
    assert_image(&store, &repository, 5).await;
}

#[tokio::test]
async fn a_tag_never_moves_before_what_it_moves_to_is_on_the_disk() {
    let volume = Volume::new();
    let (hook, seen) = recorder();
    let store = volume.open_with(Options::default().with_faults(hook));
    let repository = name("a");
    push_image(&store, &repository, 100, &["t"]).await.unwrap();
    seen.lock().unwrap().clear();
    let second = push_image(&store, &repository, 101, &["t"]).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let position = |operation: DiskOperation, path: &str| {
        seen.iter()
            .position(|(what, at)| *what == operation && at.ends_with(path))
            .unwrap_or_else(|| panic!("no {operation:?} of {path} in {seen:#?}"))
    };
    let moved = position(DiskOperation::Rename, "/_manifests/tags/t/current/link");
    let hex = second.hex();
    for directory in [
        format!("/blobs/sha256/{}/{hex}", &hex[..2]),
        format!("/_manifests/revisions/sha256/{hex}"),
        "/_manifests/revisions/sha256".to_owned(),
    ] {
        assert!(
            position(DiskOperation::SyncDirectory, &directory) < moved,
            "{directory}"
        );
    }
}

// A closing PUT whose directory could not be synced was answered 503. Sent again, it found the blob and was
// answered 201, and nobody had synced anything.
#[tokio::test]
async fn a_closing_put_that_is_repeated_syncs_what_the_first_could_not() {
    let volume = Volume::new();
    let (failing, synced) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let (fails, count) = (Arc::clone(&failing), Arc::clone(&synced));
    let options = Options::default().with_faults(Arc::new(move |operation, _| {
        if operation == DiskOperation::SyncDirectory {
            if fails.load(Ordering::SeqCst) {
                return Err(io::Error::from_raw_os_error(5));
            }
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }));
    let registry = Registry::new(volume.open_with(options));
    let (nobody, repository, bytes) = (Identity::anonymous(), name("a"), content(120, 9000));
    let digest = Digest::sha256(&bytes);
    let options = UploadOptions::default();
    let begun = registry.begin_upload(&nobody, &repository, &options).await;
    let id = begun.unwrap().id;
    let finish = async |body: &[u8]| {
        let body = pin!(pieces(body, 4096));
        registry
            .finish_upload(&nobody, &repository, &id, None, &digest, body)
            .await
    };
    failing.store(true, Ordering::SeqCst);
    finish(&bytes).await.unwrap_err();
    failing.store(false, Ordering::SeqCst);
    let before = synced.load(Ordering::SeqCst);
    assert_eq!(finish(&[]).await.unwrap().size, 9000);
    assert!(synced.load(Ordering::SeqCst) > before);
}

// What is older than a part of the grace period is touched where a pusher is told of it. On a file system that
// had become read-only, that turned pulls by digest into 503.
#[tokio::test]
async fn what_is_there_is_found_on_a_file_system_that_became_read_only() {
    let disk = SmallDisk::new();
    let (repository, root) = (name("a"), disk.volume.root().to_owned());
    let mut options = Options::default();
    options.grace = std::time::Duration::ZERO;
    let store = disk.volume.open_with(options);
    let digest = push_image(&store, &repository, 121, &["t"]).await.unwrap();
    if disk.mounted {
        let mut remount = std::process::Command::new("mount");
        let remounted = remount.args(["-o", "remount,ro"]).arg(&root).status();
        assert!(remounted.unwrap().success());
        std::fs::write(root.join("x"), b"").unwrap_err();
    }
    let registry = Registry::new(store);
    let nobody = Identity::anonymous();
    let reference = digest.into();
    let found = registry.manifest(&nobody, &repository, &reference);
    let found = found.await.unwrap();
    registry.claim_manifest(&repository, &found).await.unwrap();
    for blob in Manifest::parse(found.bytes, None).unwrap().references() {
        let claimed = registry.stat_blob(&repository, &blob.digest, Intent::Push);
        claimed.await.unwrap();
    }
}

/// Lets the first attempt to sync the file at `path` fail, and counts the attempts.
fn first_sync_fails(path: &std::path::Path) -> (FaultHook, Arc<AtomicUsize>) {
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, at) = (Arc::clone(&attempts), path.to_owned());
    let hook: FaultHook = Arc::new(move |operation, path| {
        let fails = operation == DiskOperation::SyncFile && path == at;
        if fails && counted.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::from_raw_os_error(5));
        }
        Ok(())
    });
    (hook, attempts)
}

// What an earlier process acknowledged was lost to readers when a later one, which did not know it to be
// on the disk, could not sync it: 404 until the next restart.
#[tokio::test]
async fn content_that_could_not_be_synced_is_read_and_written_anew_before_it_is_relied_upon() {
    let volume = Volume::new();
    let repository = name("a");
    let (config, layer) = (content(110, 100), content(111, 700_000));
    let manifest = image(&config, &layer, None);
    {
        let other = volume.open();
        push(&other, &repository, &config).await.unwrap();
        push(&other, &repository, &layer).await.unwrap();
    }
    // This process does not know it to be on the disk, and its one attempt to see to that fails.
    let digest = Digest::sha256(&layer);
    let data = volume.data(&digest);
    let (hook, attempts) = first_sync_fails(&data);
    let store = volume.open_with(Options::default().with_faults(hook));
    let refused = put(&store, &repository, &manifest, &["t"]).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(read(&store, &digest).await.unwrap(), layer);
    let doubted = std::fs::metadata(&data).unwrap().ino();

    // Syncing the same file again would succeed, and prove nothing: it is another file.
    put(&store, &repository, &manifest, &["t"]).await.unwrap();
    assert_ne!(std::fs::metadata(&data).unwrap().ino(), doubted);
    assert_eq!(attempts.load(Ordering::SeqCst), 1);
    assert_eq!(read(&store, &digest).await.unwrap(), layer);
}

#[tokio::test]
async fn content_that_could_not_be_synced_and_became_something_else_must_be_pushed_again() {
    let volume = Volume::new();
    let repository = name("a");
    let (config, layer) = (content(112, 100), content(113, 5000));
    let manifest = image(&config, &layer, None);
    {
        let other = volume.open();
        push(&other, &repository, &config).await.unwrap();
        push(&other, &repository, &layer).await.unwrap();
    }
    let digest = Digest::sha256(&layer);
    let data = volume.data(&digest);
    let (hook, _) = first_sync_fails(&data);
    let store = volume.open_with(Options::default().with_faults(hook));
    let refused = put(&store, &repository, &manifest, &["t"]).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    // As if the kernel had dropped what it could not write.
    std::fs::OpenOptions::new()
        .write(true)
        .open(&data)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[0; 4096]))
        .unwrap();
    let refused = put(&store, &repository, &manifest, &["t"]).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable { .. })),
        "{refused:?}"
    );
    push(&store, &repository, &layer).await.unwrap();
    put(&store, &repository, &manifest, &["t"]).await.unwrap();
    assert_eq!(read(&store, &digest).await.unwrap(), layer);
}

#[tokio::test]
async fn the_offset_of_another_process_is_on_the_disk_before_it_is_told() {
    let volume = Volume::new();
    let scope = scope(&name("a"));
    let store = volume.open();
    let options = UploadOptions::default();
    let mut upload = store.begin_upload(&scope, &options).await.unwrap();
    append(&mut *upload, &content(120, 9000), AppendMode::Progressive)
        .await
        .unwrap();
    assert_eq!(upload.checkpoint().await.unwrap(), 9000);
    let id = upload.id().clone();
    let (hook, seen) = recorder();
    let other = volume.open_with(Options::default().with_faults(hook));
    seen.lock().unwrap().clear();
    let synced = || {
        let steps = std::mem::take(&mut *seen.lock().unwrap());
        let of = |kind, end: &str| {
            steps
                .iter()
                .any(|(what, at)| *what == kind && at.ends_with(end))
        };
        let directory = volume.files("_registryd/uploads")[0].clone();
        let directory = directory.split_once('/').unwrap().0.to_owned();
        (
            of(DiskOperation::SyncFile, ".state"),
            of(DiskOperation::SyncDirectory, &directory),
        )
    };
    for expected in [(true, true), (false, false)] {
        let status = other.upload_status(&scope, &id).await.unwrap();
        assert_eq!(status.offset, 9000);
        assert_eq!(synced(), expected);
    }
    // Its own it knows.
    assert_eq!(store.upload_status(&scope, &id).await.unwrap().offset, 9000);
}
