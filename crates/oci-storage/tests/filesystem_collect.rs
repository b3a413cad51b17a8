//! What a collection removes, what it keeps, and when it refuses.
#![cfg(all(feature = "filesystem", target_os = "linux"))]
#![expect(
    clippy::unwrap_used,
    reason = "a failed expectation is how a test reports"
)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use filesystem_common::*;
use oci_core::store::{
    Brake, Candidate, CandidateKind, CollectEnd, CollectObserver, CollectOptions, Collected,
};
use oci_core::{
    Algorithm, BlobStore, Digest, Manifest, ManifestReference, ManifestStore, ReferenceKind,
    Registry, StoreError,
};
use oci_storage::filesystem::Filesystem;

mod filesystem_common;

/// Everything at once.
fn now() -> CollectOptions {
    after(Duration::ZERO)
}

fn untagged() -> CollectOptions {
    let mut options = now();
    options.untagged = true;
    options
}

async fn collect(store: &Filesystem, options: &CollectOptions) -> Collected {
    let collected = store.collect(options, Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Complete);
    collected
}

/// Writes down what it is told.
#[derive(Default)]
struct Listener {
    candidates: Mutex<BTreeSet<String>>,
    whole: Mutex<Vec<String>>,
}

impl CollectObserver for Listener {
    fn candidate(&self, candidate: &Candidate<'_>) {
        let at = candidate.repository.unwrap_or("");
        let line = format!("{:?} {at} {}", candidate.kind, candidate.digest);
        assert!(self.candidates.lock().unwrap().insert(line));
    }

    fn kept_whole(&self, what: &str, why: &str) {
        self.whole.lock().unwrap().push(format!("{what}: {why}"));
    }
}

fn index(children: &[(&Digest, usize)], subject: Option<&Digest>) -> Manifest {
    let children: Vec<String> = children
        .iter()
        .map(|(digest, size)| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":{size}}}"#
            )
        })
        .collect();
    let subject = subject.map_or_else(String::new, |subject| {
        format!(r#","subject":{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{subject}","size":7}}"#)
    });
    let json = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]{subject}}}"#,
        children.join(",")
    );
    Manifest::parse(Bytes::from(json), None).unwrap()
}

#[tokio::test]
async fn a_dry_run_names_what_would_go_and_removes_nothing() {
    let volume = Volume::new();
    let store = volume.open();
    push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let before = volume.files("");
    let mut options = now();
    options.dry_run = true;
    let heard = Arc::new(Listener::default());
    let collected = store
        .collect(&options, Arc::clone(&heard) as _)
        .await
        .unwrap();
    assert_eq!(volume.files(""), before);
    assert_eq!((collected.garbage.count, collected.garbage.bytes), (1, 300));
    assert_eq!(collected.content.count, 4);
    assert_eq!((collected.garbage_links, collected.removed.count), (1, 0));
    let expected = [format!("Content  {garbage}"), format!("Link a {garbage}")];
    assert_eq!(
        *heard.candidates.lock().unwrap(),
        BTreeSet::from(expected),
        "the candidates"
    );

    let collected = collect(&store, &now()).await;
    assert_eq!((collected.removed.count, collected.removed.bytes), (1, 300));
    assert_eq!(collected.removed_links, 1);
    assert_image(&store, &name("a"), 1).await;
    assert_eq!(volume.files("_registryd/trash"), [""; 0]);
    assert!(!volume.at("_registryd/delta").exists());
    let collected = collect(&store, &now()).await;
    assert_eq!(collected.removed.count + collected.removed_links, 0);
}

#[tokio::test]
async fn what_is_within_its_grace_stays() {
    let volume = Volume::new();
    let store = volume.open();
    push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let collected = collect(&store, &after(Duration::from_secs(3600))).await;
    assert_eq!(collected.young.count, 1);
    assert_eq!(collected.garbage.count + collected.garbage_links, 0);
}

#[tokio::test]
async fn a_link_goes_from_the_repository_that_does_not_need_it() {
    let volume = Volume::new();
    let store = volume.open();
    push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    let shared = push(&store, &name("b"), &content(1, 100)).await.unwrap();
    let collected = collect(&store, &now()).await;
    assert_eq!((collected.removed.count, collected.removed_links), (0, 1));
    assert!(!store.has_blob(&name("b"), &shared).await.unwrap());
    assert_image(&store, &name("a"), 1).await;
}

#[tokio::test]
async fn deleted_images_go_and_shared_layers_stay() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("team/app");
    push_image(&store, &repository, 1, &["one"]).await.unwrap();
    let (config, layer) = (content(50, 90), content(1_000_001, 5000));
    push(&store, &repository, &config).await.unwrap();
    let manifest = image(&config, &layer, None);
    let second = put(&store, &repository, &manifest, &["two"]).await.unwrap();
    ManifestStore::delete(&store, &repository, &second)
        .await
        .unwrap();
    let collected = collect(&store, &now()).await;
    // Its config and the manifest's own bytes.
    assert_eq!((collected.removed.count, collected.removed_links), (2, 1));
    assert_image(&store, &repository, 1).await;
}

#[tokio::test]
async fn every_manifest_is_a_root_unless_told_otherwise() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("a");
    let child = push_image(&store, &repository, 1, &[]).await.unwrap();
    let loose = push_image(&store, &repository, 2, &[]).await.unwrap();
    let child_size = ManifestStore::read(&store, &repository, &child)
        .await
        .unwrap()
        .bytes
        .len();
    let list = index(&[(&child, child_size)], None);
    let list = put(&store, &repository, &list, &["multi"]).await.unwrap();
    // A signature of the child, a signature of that, and one of what nobody tags.
    let mut signatures = Vec::new();
    for (seed, subject) in [(3, child), (4, loose)] {
        let (config, layer) = (content(seed, 100), content(seed + 1_000_000, 5000));
        push(&store, &repository, &config).await.unwrap();
        push(&store, &repository, &layer).await.unwrap();
        let signature = image(&config, &layer, Some(&subject));
        signatures.push(put(&store, &repository, &signature, &[]).await.unwrap());
    }
    let over = index(&[], Some(&signatures[0]));
    let over = put(&store, &repository, &over, &[]).await.unwrap();

    let collected = collect(&store, &now()).await;
    assert_eq!(collected.manifests_read, 6);
    assert_eq!(
        collected.removed.count + collected.removed_links + collected.removed_manifests,
        0
    );

    let mut within = untagged();
    within.grace = Duration::from_secs(3600);
    let collected = collect(&store, &within).await;
    assert_eq!(
        (collected.garbage_manifests, collected.garbage.count),
        (0, 0)
    );

    let heard = Arc::new(Listener::default());
    let collected = store
        .collect(&untagged(), Arc::clone(&heard) as _)
        .await
        .unwrap();
    assert_eq!(collected.removed_manifests, 2, "{:?}", heard.candidates);
    assert_eq!((collected.removed.count, collected.removed_links), (6, 4));
    for kept in [child, list, signatures[0], over] {
        ManifestStore::read(&store, &repository, &kept)
            .await
            .unwrap();
    }
    for gone in [loose, signatures[1]] {
        let read = ManifestStore::read(&store, &repository, &gone).await;
        assert!(matches!(read, Err(StoreError::NotFound)), "{read:?}");
    }
    assert_image(&store, &repository, 1).await;
    let kept = read(&store, &Digest::sha256(&content(3, 100)))
        .await
        .unwrap();
    assert_eq!(kept, content(3, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_an_index_is_pushed_for_while_marking_stays() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("a");
    let child = push_image(&store, &repository, 1, &[]).await.unwrap();
    let other = push_image(&store, &repository, 2, &[]).await.unwrap();
    let size = ManifestStore::read(&store, &repository, &child)
        .await
        .unwrap()
        .bytes
        .len();
    let runtime = tokio::runtime::Handle::current();
    let pushing = store.clone();
    let between = Between::new(move || {
        let list = index(&[(&child, size)], None);
        runtime.block_on(async move {
            // By way of the registry, which finds the whole closure.
            let registry = Registry::new(pushing);
            let push = oci_core::registry::PushManifest::new(tag("multi"), list.bytes().clone());
            let pushed = registry
                .put_manifest(&oci_core::Identity::anonymous(), &name("a"), push)
                .await;
            pushed.unwrap();
        });
    });
    let collected = store.collect(&untagged(), between).await.unwrap();
    assert_eq!(collected.garbage_manifests, 2);
    assert_eq!(collected.removed_manifests, 1);
    assert!(store.resolve(&repository, &tag("multi")).await.is_ok());
    assert_image(&store, &repository, 1).await;
    let gone = ManifestStore::read(&store, &repository, &other).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
}

#[tokio::test]
async fn layers_that_a_push_may_leave_out_stay_if_they_are_there() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("a");
    let (config, layer) = (content(1, 100), content(2, 5000));
    for bytes in [&config, &layer] {
        push(&store, &repository, bytes).await.unwrap();
    }
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":100}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","digest":"{}","size":5000,"urls":["https://elsewhere.example/l"]}}]}}"#,
        Digest::sha256(&config),
        Digest::sha256(&layer)
    );
    let manifest = Manifest::parse(Bytes::from(json), None).unwrap();
    assert_eq!(manifest.references().len(), 1);
    put(&store, &repository, &manifest, &["t"]).await.unwrap();
    let collected = collect(&store, &now()).await;
    assert_eq!(collected.removed.count + collected.removed_links, 0);
}

#[tokio::test]
async fn what_is_not_understood_keeps_its_repository_whole() {
    let unknown = format!(
        "repositories/a/_manifests/revisions/sha384/{}/link",
        "0".repeat(96)
    );
    for (what, options) in [
        ("missing", now()),
        ("empty", now()),
        ("changed", now()),
        ("no JSON", now()),
        ("unknown", now()),
        ("blob of another kind", now()),
        ("letter case", now()),
        ("letter case", untagged()),
        ("torn tag", untagged()),
        ("missing", untagged()),
    ] {
        let volume = Volume::new();
        let store = volume.open();
        let damaged = push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
        push(&store, &name("a"), &content(5, 50)).await.unwrap();
        push(&store, &name("b"), &content(6, 60)).await.unwrap();
        // What only an unknown digest leads to.
        let hidden = push(&store, &name("z"), &content(3, 30)).await.unwrap();
        let other_link = format!("repositories/a/_layers/sha384/{}/link", "0".repeat(96));
        let data = volume.data(&damaged);
        match what {
            "missing" => std::fs::remove_file(data).unwrap(),
            "empty" => std::fs::write(data, "").unwrap(),
            "changed" => {
                let json = std::fs::read_to_string(&data).unwrap();
                std::fs::write(data, json.replace("5000", "5001")).unwrap();
            }
            "no JSON" => std::fs::write(data, "schema").unwrap(),
            "unknown" => volume.plant(&unknown, "sha384:"),
            "blob of another kind" => volume.plant(&other_link, hidden.to_string()),
            "letter case" => {
                let json = format!(r#"{{"schemaVersion":2,"Layers":[{{"Digest":"{hidden}"}}]}}"#);
                let digest = Digest::sha256(json.as_bytes());
                let hex = digest.hex();
                volume.plant(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]), json);
                let link = format!("repositories/a/_manifests/revisions/sha256/{hex}/link");
                volume.plant(&link, digest.to_string());
                let tag = "repositories/a/_manifests/tags/other/current/link";
                volume.plant(tag, digest.to_string());
            }
            _ => volume.plant("repositories/a/_manifests/tags/t/current/link", "sha256:"),
        }
        // Another process, which has not seen it whole.
        let store = volume.open();
        let heard = Arc::new(Listener::default());
        let collected = store
            .collect(&options, Arc::clone(&heard) as _)
            .await
            .unwrap();
        assert_eq!(collected.kept_whole, 1, "{what}");
        assert_eq!(heard.whole.lock().unwrap().len(), 1);
        assert!(
            heard.whole.lock().unwrap()[0].starts_with("a: "),
            "{heard:?}",
            heard = heard.whole
        );
        let hides = matches!(what, "blob of another kind" | "letter case");
        assert_eq!(
            (collected.removed.count, collected.removed_links),
            (2 - u64::from(hides), 2),
            "{what}: {:?}",
            heard.candidates
        );
        assert_eq!(read(&store, &hidden).await.is_ok(), hides, "{what}");
        for seed in [1, 1_000_001] {
            let length = if seed == 1 { 100 } else { 5000 };
            assert!(
                read(&store, &Digest::sha256(&content(seed, length)))
                    .await
                    .is_ok()
            );
        }
        assert!(read(&store, &Digest::sha256(&content(5, 50))).await.is_ok());
    }
}

#[tokio::test]
async fn content_under_another_digest_stays_with_its_link() {
    let volume = Volume::new();
    let store = volume.open();
    let repository = name("a");
    let (config, layer) = (content(1, 100), content(2, 5000));
    push(&store, &repository, &config).await.unwrap();
    // As Distribution takes in what is pushed by its SHA-512.
    push(&store, &name("z"), &layer).await.unwrap();
    let (short, long) = (
        Digest::sha256(&layer),
        Digest::of(Algorithm::Sha512, &layer),
    );
    let link = format!("repositories/a/_layers/sha512/{}/link", long.hex());
    volume.plant(&link, short.to_string());
    let json = format!(
        r#"{{"schemaVersion":2,"config":{{"digest":"{}","size":100}},"layers":[{{"digest":"{long}","size":5000}}]}}"#,
        Digest::sha256(&config),
    );
    let manifest = Manifest::parse(Bytes::from(json), None).unwrap();
    put(&store, &repository, &manifest, &["t"]).await.unwrap();
    let collected = collect(&store, &now()).await;
    assert_eq!((collected.removed.count, collected.removed_links), (0, 1));
    assert!(store.has_blob(&repository, &long).await.unwrap());
    assert_eq!(read(&store, &short).await.unwrap(), layer);
}

#[tokio::test]
async fn an_unusual_share_stops_before_anything_goes() {
    let volume = Volume::new();
    let store = volume.open();
    push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
    push(&store, &name("a"), &content(7, 100_000))
        .await
        .unwrap();
    let mut options = now();
    let mut brake = Brake::default();
    brake.bytes = 10_000;
    options.brake = Some(brake);
    let collected = store.collect(&options, Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Braked);
    assert_eq!(collected.garbage.count, 1);
    assert_eq!(collected.removed.count + collected.removed_links, 0);
    assert!(!volume.at("_registryd/delta").exists());
    options.brake = None;
    assert_eq!(collect(&store, &options).await.removed.count, 1);
}

/// As in the middle of a restore.
#[tokio::test]
async fn content_without_any_repository_stops_it_as_well() {
    let volume = Volume::new();
    push_image(&volume.open(), &name("a"), 1, &["t"])
        .await
        .unwrap();
    std::fs::remove_dir_all(volume.at("repositories")).unwrap();
    let store = volume.open();
    let collected = store.collect(&now(), Arc::new(())).await.unwrap();
    assert_eq!(collected.end, CollectEnd::Braked);
    assert!(collected.garbage.count > 0 && collected.removed.count == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_one() {
    let volume = Volume::new();
    let store = volume.open();
    push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let (runtime, other) = (tokio::runtime::Handle::current(), volume.open());
    let heard = Arc::new(Mutex::new(None));
    let hears = Arc::clone(&heard);
    let between = Between::new(move || {
        let second = runtime.block_on(other.collect(&now(), Arc::new(())));
        *hears.lock().unwrap() = Some(second.unwrap());
    });
    let collected = store.collect(&now(), between).await.unwrap();
    assert_eq!(collected.removed.count, 1);
    let second = heard.lock().unwrap().take().unwrap();
    assert_eq!(second.end, CollectEnd::Busy);
    assert_eq!(second.removed.count, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cut_off_is_cleared_up_by_the_next_start_or_run() {
    for by_start in [true, false] {
        let volume = Volume::new();
        let mut store = volume.open();
        push_image(&store, &name("a"), 1, &["t"]).await.unwrap();
        volume.plant("_registryd/delta", "torn li");
        volume.plant("_registryd/trash/0123", "what was renamed away");
        if by_start {
            store = volume.open();
            assert!(!volume.at("_registryd/delta").exists());
        } else {
            collect(&store, &now()).await;
        }
        assert_eq!(volume.files("_registryd/trash"), [""; 0]);
        assert_image(&store, &name("a"), 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_ends_the_run_and_keeps_everything() {
    for line in ["blob a sha256:0 0\n", "blob A", "link a/b\n"] {
        let volume = Volume::new();
        let store = volume.open();
        let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
        let log = volume.at("_registryd/delta");
        let between = Between::new(move || std::fs::write(log, line).unwrap());
        let failed = store.collect(&now(), between).await;
        assert!(
            matches!(failed, Err(StoreError::Unavailable { .. })),
            "{failed:?}"
        );
        assert!(store.stat(&garbage).await.is_ok(), "{line:?}");
        assert!(store.has_blob(&name("a"), &garbage).await.unwrap());
        // The next one begins anew.
        assert_eq!(collect(&store, &now()).await.removed.count, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_changed_without_being_logged_stays() {
    let volume = Volume::new();
    let store = volume.open();
    let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let link = format!("repositories/a/_layers/sha256/{}/link", garbage.hex());
    let (path, text) = (volume.at(&link), garbage.to_string());
    let between = Between::new(move || {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, text).unwrap();
    });
    let collected = store.collect(&now(), between).await.unwrap();
    assert_eq!((collected.removed_links, collected.revived), (0, 1));
    assert!(store.has_blob(&name("a"), &garbage).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untagged_manifest_that_somebody_else_touches_ends_the_run() {
    let volume = Volume::new();
    let store = volume.open();
    let loose = push_image(&store, &name("a"), 1, &[]).await.unwrap();
    let link = format!(
        "repositories/a/_manifests/revisions/sha256/{}/link",
        loose.hex()
    );
    let (path, text) = (volume.at(&link), loose.to_string());
    let between = Between::new(move || {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(path, text).unwrap();
    });
    let failed = store.collect(&untagged(), between).await;
    assert!(
        matches!(failed, Err(StoreError::Unavailable { .. })),
        "{failed:?}"
    );
    assert_image(&store, &name("a"), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_reads_on() {
    use std::os::unix::fs::FileExt;
    let volume = Volume::new();
    let store = volume.open();
    let bytes = content(7, 300_000);
    let garbage = push(&store, &name("a"), &bytes).await.unwrap();
    let open = BlobStore::read(&store, &garbage, oci_core::store::ReadRange::Whole)
        .await
        .unwrap();
    assert_eq!(collect(&store, &now()).await.removed.count, 1);
    let oci_core::store::BlobPayload::File(file) = open.payload else {
        panic!("so large a blob is read from its file");
    };
    let mut read = vec![0; bytes.len()];
    file.file.read_exact_at(&mut read, 0).unwrap();
    assert!(read == bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_the_run_and_keeps_everything() {
    let volume = Volume::new();
    let store = volume.open();
    push_image(&store, &name("a/b"), 1, &["t"]).await.unwrap();
    let garbage = push(&store, &name("c"), &content(7, 300)).await.unwrap();
    // A link in a circle cannot be followed, whoever asks.
    let circle = volume.at("repositories/a/d");
    std::os::unix::fs::symlink(&circle, &circle).unwrap();
    let failed = store.collect(&now(), Arc::new(())).await;
    assert!(
        matches!(failed, Err(StoreError::Unavailable { .. })),
        "{failed:?}"
    );
    assert!(
        format!("{failed:?}").contains("repositories/a/d"),
        "{failed:?}"
    );
    assert!(store.stat(&garbage).await.is_ok());
    std::fs::remove_file(circle).unwrap();
    assert_eq!(collect(&store, &now()).await.removed.count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_any_more_and_the_rest_stays() {
    let volume = Volume::new();
    let store = volume.open();
    let garbage = push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let (marked, wait) = std::sync::mpsc::channel::<()>();
    let (told, hears) = tokio::sync::oneshot::channel();
    let between = Between::new(move || {
        told.send(()).unwrap();
        // Until the other end is dropped, which is after the future is.
        assert!(wait.recv().is_err());
    });
    let options = now();
    let mut collecting = Box::pin(store.collect(&options, between));
    tokio::select! {
        _ = &mut collecting => panic!("it waits"),
        heard = hears => heard.unwrap(),
    }
    drop(collecting);
    drop(marked);
    // It lets go of its lock when it has ended.
    loop {
        let mut dry = now();
        dry.grace = Duration::from_secs(3600);
        let next = store.collect(&dry, Arc::new(())).await.unwrap();
        if next.end != CollectEnd::Busy {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.stat(&garbage).await.is_ok());
    assert!(!volume.at("_registryd/delta").exists());
}

#[tokio::test]
async fn a_registry_counts_its_collections() {
    let volume = Volume::new();
    let store = volume.open();
    push(&store, &name("a"), &content(7, 300)).await.unwrap();
    let registry = Registry::new(store);
    let mut dry = now();
    dry.dry_run = true;
    registry.collect(&dry, Arc::new(())).await.unwrap();
    assert_eq!(registry.collections().runs, 0);
    for _ in 0..2 {
        registry.collect(&now(), Arc::new(())).await.unwrap();
    }
    let totals = registry.collections();
    assert_eq!((totals.runs, totals.running, totals.failures), (2, 0, 0));
    assert_eq!((totals.removed.count, totals.removed.bytes), (1, 300));
    assert_eq!(totals.removed_links, 1);
    assert_eq!(totals.last.unwrap().removed.count, 0);
    assert!(totals.last_complete.is_some());

    let cannot = Registry::new(oci_core::memory::MemoryStore::new());
    assert!(!cannot.blobs().capabilities().collects);
    let refused = cannot.collect(&now(), Arc::new(())).await;
    assert!(
        matches!(refused, Err(StoreError::Unsupported(_))),
        "{refused:?}"
    );
    assert_eq!(cannot.collections().failures, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_go_in_batches_and_what_is_claimed_between_two_stays() {
    /// Claims the content that would go last as soon as the first batch is gone.
    struct Claims(Filesystem, tokio::runtime::Handle, Mutex<Vec<Digest>>);
    impl CollectObserver for Claims {
        fn candidate(&self, candidate: &Candidate<'_>) {
            if candidate.kind == CandidateKind::Content {
                self.2.lock().unwrap().push(candidate.digest);
            }
        }

        fn progress(&self, _: oci_core::store::Phase, collected: &Collected) {
            if collected.removed_links == 256 && collected.removed.count == 0 {
                let last = *self.2.lock().unwrap().last().unwrap();
                let reference = ManifestReference::new(ReferenceKind::Blob, last, 40);
                // Its link may be gone already; then the client is told so, and pushes it.
                let claimed = self.1.block_on(self.0.claim(&name("a"), &[reference]));
                if claimed.is_err() {
                    let seed = (0..600).find(|seed| Digest::sha256(&content(*seed, 40)) == last);
                    let bytes = content(seed.unwrap(), 40);
                    self.1.block_on(push(&self.0, &name("a"), &bytes)).unwrap();
                }
            }
        }
    }
    let volume = Volume::in_memory();
    let store = volume.open();
    for seed in 0..600 {
        push(&store, &name("a"), &content(seed, 40)).await.unwrap();
    }
    let claims = Arc::new(Claims(
        store.clone(),
        tokio::runtime::Handle::current(),
        Mutex::default(),
    ));
    let collected = store
        .collect(&now(), Arc::clone(&claims) as _)
        .await
        .unwrap();
    assert_eq!(collected.removed.count, 599);
    let last = *claims.2.lock().unwrap().last().unwrap();
    assert!(store.has_blob(&name("a"), &last).await.unwrap());
    assert!(read(&store, &last).await.is_ok());
}
