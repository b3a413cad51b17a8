//! The whole suite against every store of this project: called directly, and over HTTP.

#![allow(
    clippy::unwrap_used,
    reason = "what goes wrong while setting up fails the test"
)]

use oci_auth::htpasswd::{PasswordHash, UserName, line};
use oci_auth::{Authenticated, HtpasswdAuthenticator, HtpasswdOptions};
use oci_core::memory::MemoryStore;
use oci_core::registry::RegistryBuilder;
use oci_core::{BlobStore, ManifestStore, Registry};
use oci_http::RegistryService;
use oci_storage::filesystem::{Filesystem, Options as FilesystemOptions};
use oci_storage::records::{MemoryExtents, MemoryRecords, Records, RecordsOptions};
use oci_storage::sled::{Sled, SledOptions};
use registry_conformance::{Options, Reach, Setup, run_all};
use tempfile::TempDir;

/// One service as the suite asks for it, over `store`. Files lie in `dir`.
fn service<S: BlobStore + ManifestStore>(
    setup: &Setup,
    store: S,
    dir: &TempDir,
) -> RegistryService {
    let mut registry: RegistryBuilder = Registry::builder(store);
    if !setup.deletes {
        registry = registry.without_deletes("this registry was set up so");
    }
    let mut builder = RegistryService::builder(registry.build()).timer(tokio::time::sleep);
    if let Some(credentials) = &setup.credentials {
        let user: UserName = credentials.user.parse().unwrap();
        // The cheapest cost: what bcrypt costs is not what is tested here.
        let hash = PasswordHash::new(&credentials.password, 4).unwrap();
        let path = dir.path().join("htpasswd");
        std::fs::write(&path, line(&user, &hash)).unwrap();
        let authenticator = HtpasswdAuthenticator::open(&path, HtpasswdOptions::new()).unwrap();
        builder = builder
            .authenticator(authenticator)
            .authorizer(Authenticated::new());
    }
    builder.build().unwrap()
}

async fn check<S: BlobStore + ManifestStore>(reach: Reach, store: impl Fn(&TempDir) -> S) {
    let dirs: std::cell::RefCell<Vec<TempDir>> = std::cell::RefCell::default();
    let options = Options::default().reach(reach);
    let report = run_all(
        async |setup| {
            let dir = tempfile::tempdir().unwrap();
            let service = service(&setup, store(&dir), &dir);
            dirs.borrow_mut().push(dir);
            service
        },
        &options,
    )
    .await;
    report.verdict().unwrap();
}

macro_rules! engines {
    ($($engine:ident over $($name:ident: $reach:ident),*; $store:expr;)*) => {
        $(
            mod $engine {
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $name() {
                        check(Reach::$reach, $store).await;
                    }
                )*
            }
        )*
    };
}

// What HTTP/2 changes does not depend on the store.
engines! {
    memory over called_directly: Calls, over_http1: Http1, over_http2: Http2;
    |_: &TempDir| MemoryStore::new();

    filesystem over called_directly: Calls, over_http1: Http1;
    |dir: &TempDir| {
        Filesystem::open(dir.path().join("data"), FilesystemOptions::default()).unwrap()
    };

    records over called_directly: Calls, over_http1: Http1;
    |_: &TempDir| Records::new(MemoryRecords::new(), MemoryExtents::new());

    // What HTTP changes does not depend on what the records are kept in.
    sled over called_directly: Calls;
    |dir: &TempDir| {
        let mut options = SledOptions::default();
        options.min_free = 0;
        let store = Sled::open(dir.path().join("data"), options).unwrap();
        store.into_records(RecordsOptions::default())
    };
}
