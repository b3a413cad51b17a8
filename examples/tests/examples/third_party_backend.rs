//! `src/third_party_backend.rs` keeps every contract, and `src/bin/third_party_backend.rs` what it is given.

use oci_core::Digest;
use oci_core::testkit::{StoreUnderTest, Stores};
use oci_storage::records::{RecordStore, Records, RecordsOptions, UploadLocks};
use registry_examples::third_party_backend::RedbStore;
use tempfile::TempDir;

use crate::client::Client;
use crate::image::Image;
use crate::program::Program;

/// A database that engines are opened on. They share who writes to which upload, as all in a process do.
#[derive(Debug)]
struct Place {
    store: RedbStore,
    locks: UploadLocks,
    part_size: u64,
    /// Holds the database; removed with it.
    _directory: TempDir,
}

impl Place {
    fn with_parts_of(part_size: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: RedbStore::open(directory.path().join("registry.redb")).unwrap(),
            locks: UploadLocks::default(),
            part_size,
            _directory: directory,
        }
    }
}

impl StoreUnderTest for Place {
    fn open(&self) -> Stores {
        let mut options = RecordsOptions::default();
        options.locks = self.locks.clone();
        options.part_size = self.part_size;
        let (records, extents) = (self.store.clone(), self.store.clone());
        Stores::both(Records::with_options(records, extents, options))
    }

    fn damage(&self, digest: &Digest) -> bool {
        let key = format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let Some(found) = self.store.get(&key).await.unwrap() else {
                return false;
            };
            let cut_off = found.value.slice(..found.value.len() / 2);
            let damaged = self.store.put_if(&key, cut_off, Some(&found.version));
            damaged.await.is_ok()
        })
    }

    fn can_damage(&self) -> bool {
        true
    }
}

/// A redb database is one process's alone, which [`RedbStore`] says and the kit believes.
mod as_shipped {
    use super::Place;

    oci_core::store_contracts!(
        Place::with_parts_of(8 << 20),
        skips = ["uploads_resume_in_another_process"]
    );
}

/// Small parts, so that the uploads of the kit have many.
mod in_small_parts {
    use super::Place;

    oci_core::store_contracts!(
        Place::with_parts_of(20_000),
        skips = ["uploads_resume_in_another_process"]
    );
}

#[test]
fn it_is_short() {
    let source = include_str!("../../src/third_party_backend.rs");
    let code = source.lines().map(str::trim_start);
    let code = code.filter(|line| !line.is_empty() && !line.starts_with("//"));
    let lines = code.count();
    assert!(lines < 200, "{lines} lines of code");
}

#[tokio::test]
async fn what_was_pushed_outlives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("registry.redb");
    let further = [database.to_str().unwrap()];
    let executable = env!("CARGO_BIN_EXE_third_party_backend");

    let program = Program::start(executable, &further);
    let image = Image::new("durable");
    let client = Client::http1(&program.url());
    client.push("team/app", "v1", &image).await.unwrap();
    program.crash();

    let program = Program::start(executable, &further);
    let client = Client::http1(&program.url());
    assert_eq!(client.pull("team/app", "v1").await.unwrap(), image);
    program.stop().await;
}
