//! How long a page of a listing takes: of tags, and of repositories, by how many there are.
//!
//! ```console
//! cargo run --release -p oci-storage --example listing_latency -- <directory> tags 10000 1000000
//! cargo run --release -p oci-storage --example listing_latency -- <directory> repositories 100000
//! ```
//!
//! A volume for each number is made below the directory, as another registry would, and stays there for
//! the next run. A million tags take some minutes and, on ext4, 8 GB.
#![expect(
    clippy::unwrap_used,
    reason = "an example that measures reports what goes wrong by failing"
)]

use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use oci_core::store::PageRequest;
use oci_core::{Digest, ManifestStore, RepositoryName};
use oci_storage::filesystem::{Filesystem, Options};

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [directory, what, counts @ ..] = arguments.as_slice() else {
        eprintln!("usage: listing_latency <directory> tags|repositories|nested <count>…");
        return;
    };
    for count in counts {
        let root = Path::new(directory).join(format!("{what}-{count}"));
        let count: usize = count.parse().unwrap();
        seed(&root, what, count);
        measure(&root, what, count).await;
    }
}

fn key(what: &str, number: usize) -> String {
    match what {
        "nested" => format!(
            "org{:03}/team{:02}/app{number:07}",
            number / 200,
            number / 20 % 10
        ),
        _ => format!("v1.{number:07}"),
    }
}

/// Links are hard links to one file: what is measured does not depend on it.
fn seed(root: &Path, what: &str, count: usize) {
    let repositories = root.join("docker/registry/v2/repositories");
    if root.join("seeded").exists() {
        return;
    }
    let begin = Instant::now();
    fs::create_dir_all(&repositories).unwrap();
    let digest = Digest::sha256(b"");
    let source = root.join("link");
    fs::write(&source, digest.to_string()).unwrap();
    let mut links = 0;
    for number in 0..count {
        // In no order, as a registry would be filled.
        let number = number * 7919 % count;
        let directory = if what == "tags" {
            repositories.join(format!("app/_manifests/tags/{}/current", key(what, number)))
        } else {
            repositories.join(format!(
                "{}/_manifests/revisions/sha256/{}",
                key(what, number),
                digest.hex()
            ))
        };
        fs::create_dir_all(&directory).unwrap();
        links += 1;
        // File systems limit how many names a file may have.
        if links % 30_000 == 0 {
            fs::remove_file(&source).unwrap();
            fs::write(&source, digest.to_string()).unwrap();
        }
        fs::hard_link(&source, directory.join("link")).unwrap();
    }
    fs::write(root.join("seeded"), "").unwrap();
    println!("{what} {count}: seeded in {:.1?}", begin.elapsed());
}

async fn measure(root: &Path, what: &str, count: usize) {
    let repository: RepositoryName = "app".parse().unwrap();
    for open in ["first", "again"] {
        let store = Filesystem::open(root, Options::default()).unwrap();
        let begin = Instant::now();
        page(&store, what, &repository, &PageRequest::first(100)).await;
        println!(
            "{what} {count}: {open} page after opening {:.2?}",
            begin.elapsed()
        );
        // The same pages twice: what the kernel has to fetch from the disk is its own affair.
        for warm in ["cold", "warm"] {
            let before = store.statistics();
            let mut times: Vec<Duration> = Vec::new();
            for step in 0..1000 {
                let after = key(what, step * 104_729 % count);
                let begin = Instant::now();
                page(&store, what, &repository, &PageRequest::after(after, 100)).await;
                times.push(begin.elapsed());
            }
            times.sort();
            let at = |share: usize| times.get(share * times.len() / 1000).unwrap();
            println!(
                "{what} {count}: {warm} p50 {:.3?} p99 {:.3?} max {:.3?}, {} entries read, {} bytes held",
                at(500),
                at(990),
                at(999),
                store.statistics().directory_entries_read - before.directory_entries_read,
                store.statistics().listing_memory,
            );
        }
    }
}

async fn page(store: &Filesystem, what: &str, repository: &RepositoryName, page: &PageRequest) {
    if what == "tags" {
        store.tags(repository, page).await.unwrap();
    } else {
        store.repositories(page).await.unwrap();
    }
}
