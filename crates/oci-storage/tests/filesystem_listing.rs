//! Listings from the indexes of large directories, against a full walk and by what they read.
#![cfg(feature = "filesystem")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test reports"
)]

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use filesystem_common::*;
use oci_core::store::{Page, PageRequest};
use oci_core::{Digest, Manifest, ManifestStore, RepositoryName};
use oci_storage::filesystem::{DiskOperation, Durability, Filesystem, Options};
use proptest::prelude::*;
use proptest::sample::Index;

mod filesystem_common;

const ROLE: &str = "OCI_STORAGE_LISTING_ROLE";
const ROOT: &str = "OCI_STORAGE_LISTING_ROOT";

/// An index of nothing, which can be put into any repository.
fn empty() -> Manifest {
    let json = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    Manifest::parse(Bytes::from(json), None).unwrap()
}

fn unsynced() -> Options {
    let mut options = Options::default();
    options.durability = Durability::None;
    options
}

fn tags_at(volume: &Volume, repository: &str) -> PathBuf {
    volume.at(&format!("repositories/{repository}/_manifests/tags"))
}

/// Makes a tag as another registry would.
fn plant_tag(volume: &Volume, repository: &str, tag: &str) {
    let link = Digest::sha256(empty().bytes()).to_string();
    let directory = tags_at(volume, repository).join(tag).join("current");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("link"), link).unwrap();
}

fn plant_repository(volume: &Volume, repository: &str) {
    let digest = Digest::sha256(empty().bytes());
    volume.plant(
        &format!(
            "repositories/{repository}/_manifests/revisions/sha256/{}/link",
            digest.hex()
        ),
        digest.to_string(),
    );
}

async fn tags_of(store: &Filesystem, repository: &str, page: &PageRequest) -> (Vec<String>, bool) {
    match store.tags(&name(repository), page).await {
        Ok(page) => texts(&page),
        Err(error) if error.is_not_found() => (Vec::new(), false),
        Err(error) => panic!("{error}"),
    }
}

fn texts<T: ToString>(page: &Page<T>) -> (Vec<String>, bool) {
    let items = page.items.iter().map(T::to_string).collect();
    (items, page.more)
}

/// All pages of `limit`, one after the other.
async fn all_tags(store: &Filesystem, repository: &str, limit: usize) -> Vec<String> {
    let (mut all, mut page) = (Vec::new(), PageRequest::first(limit));
    loop {
        let (tags, more) = tags_of(store, repository, &page).await;
        all.extend(tags);
        if !more {
            return all;
        }
        page = PageRequest::after(all.last().unwrap().clone(), limit);
    }
}

/// What is on the disk, looked at without any index.
fn walked_tags(volume: &Volume, repository: &str) -> Vec<String> {
    let mut found: Vec<String> = children(&tags_at(volume, repository))
        .into_iter()
        .filter(|tag| {
            let link = tags_at(volume, repository).join(tag).join("current/link");
            fs::read_to_string(link).is_ok_and(|link| link.parse::<Digest>().is_ok())
        })
        .collect();
    found.sort();
    found
}

fn walked_repositories(volume: &Volume) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(prefix) = open.pop() {
        for child in children(&volume.at("repositories").join(&prefix)) {
            if child == "_manifests" {
                let revisions =
                    volume.files(&format!("repositories/{prefix}/_manifests/revisions"));
                if revisions.iter().any(|file| file.ends_with("/link")) {
                    found.push(prefix.clone());
                }
            } else if !child.starts_with('_') {
                open.push(
                    format!("{prefix}/{child}")
                        .trim_start_matches('/')
                        .to_owned(),
                );
            }
        }
    }
    found.sort();
    found
}

fn children(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn cut(all: Vec<String>, page: &PageRequest) -> (Vec<String>, bool) {
    texts(&Page::cut(
        all.into_iter().filter(|key| page.is_past(key)),
        page.limit,
    ))
}

/// What another program does to the children of `directory`. On kernels whose clock for changes stands
/// still for some milliseconds, two changes can look like one: here the second one shows.
fn foreign(directory: &Path, act: impl FnOnce()) {
    let _ = fs::create_dir_all(directory);
    let changed = |path: &Path| fs::metadata(path).map(|found| (found.ctime(), found.ctime_nsec()));
    let before = changed(directory).unwrap();
    act();
    while changed(directory).is_ok_and(|now| now == before) {
        fs::create_dir(directory.join("_other")).unwrap();
        fs::remove_dir(directory.join("_other")).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(bool, usize, usize),
    Untag(bool, usize, usize),
    Delete(bool, usize),
    ForeignTag(usize, usize),
    ForeignUntag(usize, usize),
    ForeignRepository(usize),
    ForeignRemoval(usize),
    Restart(bool),
    Damage(Index, Index, u8),
    ListTags(bool, usize, Option<usize>, usize),
    ListRepositories(bool, Option<usize>, usize),
}

const REPOSITORIES: [&str; 16] = [
    "a", "a-b", "a-b/c", "a.b", "a/b", "a/b-c", "a/b/c", "a/b.c/d", "a0", "b/0", "b/1", "b/2",
    "b/3", "b/4", "b/5", "b/6",
];
/// Some that are only asked behind, and no names at all.
const AFTER: [&str; 8] = ["", "a-", "a/", "a/b/", "a/b.", "zz", "~", "b/3/x"];

fn tag_text(number: usize) -> String {
    match number % 4 {
        0 => format!("v{number}"),
        1 => format!("_{number}"),
        2 => format!("V.{number}"),
        _ => format!("v-{number}"),
    }
}

fn after_text(number: usize) -> String {
    match number {
        0..16 => REPOSITORIES[number].to_owned(),
        16..24 => AFTER[number - 16].to_owned(),
        _ => tag_text(number),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few repositories get most of the tags, so that their directories grow.
    let repository = || prop_oneof![3 => 0_usize..2, 1 => 0_usize..16];
    let tag = || 0_usize..40;
    let store = any::<bool>;
    let after = || prop::option::of(0_usize..48);
    let step = prop_oneof![
        8 => (store(), repository(), tag()).prop_map(|(s, r, t)| Step::Put(s, r, t)),
        4 => (store(), repository(), tag()).prop_map(|(s, r, t)| Step::Untag(s, r, t)),
        1 => (store(), repository()).prop_map(|(s, r)| Step::Delete(s, r)),
        3 => (repository(), tag()).prop_map(|(r, t)| Step::ForeignTag(r, t)),
        2 => (repository(), tag()).prop_map(|(r, t)| Step::ForeignUntag(r, t)),
        2 => (0_usize..16).prop_map(Step::ForeignRepository),
        1 => (0_usize..16).prop_map(Step::ForeignRemoval),
        1 => store().prop_map(Step::Restart),
        2 => any::<(Index, Index, u8)>().prop_map(|(f, at, how)| Step::Damage(f, at, how)),
        8 => (store(), repository(), after(), 0_usize..30)
            .prop_map(|(s, r, a, n)| Step::ListTags(s, r, a, n)),
        6 => (store(), after(), 0_usize..20).prop_map(|(s, a, n)| Step::ListRepositories(s, a, n)),
    ];
    prop::collection::vec(step, 1..80)
}

/// Cuts, garbles or removes the file of an index.
fn damage(volume: &Volume, file: Index, at: Index, how: u8) {
    let files = volume.files("_registryd/listing");
    if files.is_empty() {
        return;
    }
    let path = volume.at("_registryd/listing").join(file.get(&files));
    let mut bytes = bytes_of(&path);
    if bytes.is_empty() || how < 40 {
        return fs::remove_file(path).unwrap();
    }
    let at = at.index(bytes.len());
    if how < 120 {
        bytes.truncate(at);
    } else {
        bytes[at] ^= how;
    }
    fs::write(path, bytes).unwrap();
}

async fn take(volume: &Volume, stores: &mut [Filesystem; 2], step: Step) {
    let manifest = empty();
    let digest = Digest::sha256(manifest.bytes());
    match step {
        Step::Put(store, repository, tag) => {
            let (repository, tag) = (name(REPOSITORIES[repository]), tag_text(tag));
            let store = &stores[usize::from(store)];
            put(store, &repository, &manifest, &[&tag]).await.unwrap();
        }
        Step::Untag(store, repository, number) => {
            let (repository, tag) = (name(REPOSITORIES[repository]), tag(&tag_text(number)));
            let _ = stores[usize::from(store)].untag(&repository, &tag).await;
        }
        Step::Delete(store, repository) => {
            let repository = name(REPOSITORIES[repository]);
            let _ = stores[usize::from(store)]
                .delete(&repository, &digest)
                .await;
        }
        Step::ForeignTag(repository, tag) => {
            let repository = REPOSITORIES[repository];
            let tag = tag_text(tag);
            let directory = tags_at(volume, repository);
            if !directory.join(&tag).exists() {
                let above = volume.at("repositories").join(repository);
                foreign(above.parent().unwrap(), || {
                    foreign(&above, || {
                        foreign(&directory, || plant_tag(volume, repository, &tag));
                    });
                });
            }
        }
        Step::ForeignUntag(repository, tag) => {
            let directory = tags_at(volume, REPOSITORIES[repository]);
            let tag = directory.join(tag_text(tag));
            if tag.exists() {
                foreign(&directory, || fs::remove_dir_all(tag).unwrap());
            }
        }
        Step::ForeignRepository(repository) => {
            let repository = REPOSITORIES[repository];
            if !volume.at("repositories").join(repository).exists() {
                let parent = match repository.rsplit_once('/') {
                    Some((parent, _)) => format!("repositories/{parent}"),
                    None => "repositories".to_owned(),
                };
                foreign(&volume.at("repositories"), || {
                    foreign(&volume.at(&parent), || plant_repository(volume, repository));
                });
            }
        }
        Step::ForeignRemoval(repository) => {
            let directory = volume.at("repositories").join(REPOSITORIES[repository]);
            if directory.exists() {
                foreign(directory.parent().unwrap(), || {
                    fs::remove_dir_all(&directory).unwrap();
                });
            }
        }
        Step::Restart(store) => stores[usize::from(store)] = volume.open_with(trial()),
        Step::Damage(file, at, how) => damage(volume, file, at, how),
        Step::ListTags(store, repository, after, limit) => {
            let repository = REPOSITORIES[repository];
            let page = page(after, limit);
            let expected = cut(walked_tags(volume, repository), &page);
            let found = tags_of(&stores[usize::from(store)], repository, &page).await;
            assert_eq!(found, expected, "{repository} {page:?}");
        }
        Step::ListRepositories(store, after, limit) => {
            let page = page(after, limit);
            let expected = cut(walked_repositories(volume), &page);
            let found = stores[usize::from(store)].repositories(&page).await;
            assert_eq!(texts(&found.unwrap()), expected, "{page:?}");
        }
    }
}

fn bytes_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

fn page(after: Option<usize>, limit: usize) -> PageRequest {
    match after {
        Some(number) => PageRequest::after(after_text(number), limit),
        None => PageRequest::first(limit),
    }
}

fn trial() -> Options {
    unsynced().with_listing_trial(3, Duration::from_secs(600))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whoever_changes_what_a_page_is_that_of_a_full_walk(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let volume = Volume::in_memory();
            let mut stores = [volume.open_with(trial()), volume.open_with(trial())];
            for step in steps {
                take(&volume, &mut stores, step).await;
            }
        });
    }
}

/// A repository with the tags `t00000` and so on, in no order.
fn many_tags(volume: &Volume, count: usize) {
    plant_repository(volume, "big");
    for number in 0..count {
        plant_tag(volume, "big", &format!("t{:05}", number * 7919 % count));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_tags_reads_no_directory_not_even_after_a_restart() {
    const COUNT: usize = 20_000;
    let volume = Volume::in_memory();
    many_tags(&volume, COUNT);
    // Longer than a change may hide another one.
    std::thread::park_timeout(Duration::from_millis(50));
    let store = volume.open_with(unsynced());
    let expected: Vec<String> = (0..COUNT).map(|number| format!("t{number:05}")).collect();
    let first = PageRequest::first(100);
    assert_eq!(
        tags_of(&store, "big", &first).await,
        (expected[..100].to_vec(), true)
    );
    let once = store.statistics();
    assert_eq!(once.listings_indexed, 1);
    // What is read to see that it is not small, then all of it.
    let read = usize::try_from(once.directory_entries_read).unwrap();
    assert!((COUNT..COUNT + 600).contains(&read), "{read}");

    assert_eq!(all_tags(&store, "big", 100).await, expected);
    let late = PageRequest::after("t19950", 100);
    assert_eq!(
        tags_of(&store, "big", &late).await,
        (expected[19_951..].to_vec(), false)
    );
    put(&store, &name("big"), &empty(), &["t00000-new"])
        .await
        .unwrap();
    store.untag(&name("big"), &tag("t00001")).await.unwrap();
    let (now, _) = tags_of(&store, "big", &PageRequest::first(3)).await;
    assert_eq!(now, ["t00000", "t00000-new", "t00002"]);
    assert_eq!(
        store.statistics().directory_entries_read,
        once.directory_entries_read
    );
    assert!(store.statistics().listing_memory < 64 << 10);

    // Opened anew while the other still is: nothing was written when it ended.
    let again = volume.open_with(unsynced());
    let (now, _) = tags_of(&again, "big", &PageRequest::first(3)).await;
    assert_eq!(now, ["t00000", "t00000-new", "t00002"]);
    assert_eq!(all_tags(&again, "big", 1000).await.len(), COUNT);
    // What one of them does, the other one takes from the log.
    put(&store, &name("big"), &empty(), &["a"]).await.unwrap();
    put(&again, &name("big"), &empty(), &["b"]).await.unwrap();
    for store in [&again, &store] {
        let (now, _) = tags_of(store, "big", &PageRequest::first(3)).await;
        assert_eq!(now, ["a", "b", "t00000"]);
    }
    assert_eq!(again.statistics().directory_entries_read, 0);
    assert_eq!(
        store.statistics().directory_entries_read,
        once.directory_entries_read
    );

    // Another registry is noticed, and costs one reading.
    foreign(&tags_at(&volume, "big"), || plant_tag(&volume, "big", "aa"));
    std::thread::park_timeout(Duration::from_millis(50));
    for _ in 0..3 {
        let (now, _) = tags_of(&again, "big", &PageRequest::first(3)).await;
        assert_eq!(now, ["a", "aa", "b"]);
    }
    assert_eq!(again.statistics().directory_entries_read, COUNT as u64 + 3);
    // The first takes over what the second has read.
    let (now, _) = tags_of(&store, "big", &PageRequest::first(3)).await;
    assert_eq!(now, ["a", "aa", "b"]);
    assert_eq!(
        store.statistics().directory_entries_read,
        once.directory_entries_read
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_many_repositories_reads_few_directories() {
    for nested in [false, true] {
        let volume = Volume::in_memory();
        let mut expected = Vec::new();
        for number in 0..10_000 {
            let repository = if nested {
                format!("o{:02}/r{:02}", number % 100, number / 100)
            } else {
                format!("r{number:05}")
            };
            plant_repository(&volume, &repository);
            expected.push(repository);
        }
        expected.sort();
        std::thread::park_timeout(Duration::from_millis(50));
        for restart in [false, true] {
            let store = volume.open_with(unsynced());
            let (mut all, mut page) = (Vec::new(), PageRequest::first(100));
            loop {
                let before = store.statistics().directory_entries_read;
                let (found, more) = texts(&store.repositories(&page).await.unwrap());
                let read = store.statistics().directory_entries_read - before;
                // Flat: what is in each repository on the page. Nested: two or three organisations too.
                if restart || !all.is_empty() {
                    assert!(read < 1000, "{nested} {page:?} {read}");
                }
                all.extend(found);
                if !more {
                    break;
                }
                page = PageRequest::after(all.last().unwrap().clone(), 100);
            }
            assert_eq!(all, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_of_a_repository_is_confirmed() {
    let volume = Volume::in_memory();
    for repository in ["a", "b", "c", "d/e", "f"] {
        plant_repository(&volume, repository);
    }
    std::thread::park_timeout(Duration::from_millis(50));
    let store = volume.open_with(unsynced());
    let page = PageRequest::first(10);
    let list = async || texts(&store.repositories(&page).await.unwrap()).0;
    assert_eq!(list().await, ["a", "b", "c", "d/e", "f"]);
    let first = store.statistics().directory_entries_read;
    assert_eq!(list().await, ["a", "b", "c", "d/e", "f"]);
    // The root, and what leads to `d/e`.
    assert!(store.statistics().directory_entries_read - first <= 7);

    let digest = Digest::sha256(empty().bytes());
    plant_repository(&volume, "a/below");
    store.delete(&name("b"), &digest).await.unwrap();
    let other = push_image(&store, &name("c"), 1, &[]).await.unwrap();
    store.delete(&name("c"), &digest).await.unwrap();
    fs::remove_dir_all(volume.at("repositories/d/e")).unwrap();
    let revisions = volume.at("repositories/f/_manifests/revisions");
    fs::remove_dir_all(revisions).unwrap();
    assert_eq!(list().await, ["a", "a/below", "c"]);
    store.delete(&name("c"), &other).await.unwrap();
    put(&store, &name("b"), &empty(), &[]).await.unwrap();
    assert_eq!(list().await, ["a", "a/below", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_read_once_for_all_who_wait_and_a_damaged_index_again() {
    let volume = Volume::in_memory();
    many_tags(&volume, 5000);
    std::thread::park_timeout(Duration::from_millis(50));
    let store = volume.open_with(unsynced());
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        waiting.spawn(async move {
            let page = PageRequest::after(format!("t{number:05}"), 1);
            let (tags, _) = tags_of(&store, "big", &page).await;
            assert_eq!(tags, [format!("t{:05}", number + 1)]);
        });
    }
    while let Some(result) = waiting.join_next().await {
        result.unwrap();
    }
    assert_eq!(store.statistics().listings_indexed, 1);

    let [file] = <[String; 1]>::try_from(volume.files("_registryd/listing")).unwrap();
    let path = volume.at("_registryd/listing").join(file);
    let whole = bytes_of(&path);
    for at in [0, 15, 40, 130, 5000, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, bytes).unwrap();
        let store = volume.open_with(unsynced());
        assert_eq!(all_tags(&store, "big", 1000).await.len(), 5000);
        assert_eq!(store.statistics().listings_indexed, 1, "damaged at {at}");
        let next = volume.open_with(unsynced());
        assert_eq!(all_tags(&next, "big", 1000).await.len(), 5000);
        assert_eq!(next.statistics().listings_indexed, 0, "written anew");
    }
    // That of a directory which is gone is swept.
    fs::remove_dir_all(volume.at("repositories/big")).unwrap();
    drop(volume.open());
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_written_is_kept_in_memory_or_done_without() {
    for (memory, scans) in [(8 << 20, 1), (1000, 3)] {
        let volume = Volume::in_memory();
        many_tags(&volume, 3000);
        std::thread::park_timeout(Duration::from_millis(50));
        let full = |operation, path: &Path| match operation {
            DiskOperation::CreateDirectory | DiskOperation::Rename
                if path.to_str().unwrap().contains("/_registryd/listing") =>
            {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        };
        let mut options = unsynced().with_faults(Arc::new(full));
        options.listing_memory = memory;
        let store = volume.open_with(options);
        for after in [0, 1500, 2990] {
            let page = PageRequest::after(format!("t{after:05}"), 100);
            let expected = cut(walked_tags(&volume, "big"), &page);
            assert_eq!(tags_of(&store, "big", &page).await, expected);
        }
        assert_eq!(store.statistics().listings_indexed, scans);
        assert!(store.statistics().listing_memory <= memory);
        // Own changes show in either case.
        put(&store, &name("big"), &empty(), &["a"]).await.unwrap();
        let (now, _) = tags_of(&store, "big", &PageRequest::first(1)).await;
        assert_eq!(now, ["a"]);
        assert_eq!(volume.files("_registryd/listing"), [""; 0]);
        store_is_tidy(&volume).await;
    }
}

async fn store_is_tidy(volume: &Volume) {
    volume.assert_no_temporary_files().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stays_within_its_budget_however_many_directories_are_large() {
    const BUDGET: usize = 40_000;
    let volume = Volume::in_memory();
    let repositories: Vec<String> = (0..100).map(|number| format!("r{number:02}")).collect();
    for repository in &repositories {
        for number in 0..40 {
            plant_tag(&volume, repository, &format!("t{number:02}"));
        }
    }
    std::thread::park_timeout(Duration::from_millis(50));
    let mut options = trial();
    options.listing_memory = BUDGET;
    let store = volume.open_with(options);
    let tags: Vec<String> = (0..40).map(|number| format!("t{number:02}")).collect();
    for round in 0..2 {
        for repository in &repositories {
            assert_eq!(all_tags(&store, repository, 7).await, tags);
            assert!(store.statistics().listing_memory <= BUDGET);
        }
        // What was let go of is loaded, not made again.
        assert_eq!(store.statistics().listings_indexed, 100, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_changes_than_fit_in_memory_are_folded_in() {
    let volume = Volume::in_memory();
    many_tags(&volume, 1000);
    std::thread::park_timeout(Duration::from_millis(50));
    let store = volume.open_with(unsynced());
    assert_eq!(all_tags(&store, "big", 1000).await.len(), 1000);
    let sizes = || {
        let files = volume.files("_registryd/listing");
        fs::metadata(volume.at("_registryd/listing").join(&files[0]))
            .unwrap()
            .len()
    };
    let mut largest = 0;
    for number in 0..6000 {
        put(&store, &name("big"), &empty(), &[&format!("n{number:05}")])
            .await
            .unwrap();
        largest = largest.max(sizes());
    }
    assert!(sizes() < largest);
    for store in [store, volume.open_with(unsynced())] {
        let before = store.statistics();
        assert_eq!(
            all_tags(&store, "big", 1000).await,
            walked_tags(&volume, "big")
        );
        assert_eq!(
            store.statistics().directory_entries_read,
            before.directory_entries_read
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_outlives_a_killed_process() {
    let volume = Volume::in_memory();
    many_tags(&volume, 2000);
    std::thread::park_timeout(Duration::from_millis(50));
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "second_process", "--nocapture"])
        .env(ROLE, "pusher")
        .env(ROOT, volume.root())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let done = volume.root().join("done");
    let begin = Instant::now();
    while !done.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        assert!(process.try_wait().unwrap().is_none(), "the process ended");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.kill().unwrap();
    process.wait().unwrap();
    let store = volume.open_with(unsynced());
    let all = all_tags(&store, "big", 1000).await;
    assert_eq!(all.len(), 2050);
    assert_eq!(all, walked_tags(&volume, "big"));
    assert_eq!(store.statistics().directory_entries_read, 0);
}

/// What the second process does. As a test of its own it does nothing: it has no role.
#[tokio::test(flavor = "multi_thread")]
async fn second_process() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let root = PathBuf::from(std::env::var(ROOT).unwrap());
    let store = Filesystem::open(&root, unsynced()).unwrap();
    assert_eq!(all_tags(&store, "big", 1000).await.len(), 2000);
    let repository: RepositoryName = name("big");
    for number in 0..50 {
        let tag = format!("n{number}");
        put(&store, &repository, &empty(), &[&tag]).await.unwrap();
    }
    fs::write(root.join("done"), "").unwrap();
    // Until it is killed.
    std::future::pending::<()>().await;
}
