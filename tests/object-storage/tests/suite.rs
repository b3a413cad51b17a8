//! Every case of the HTTP suite through registryd on a bucket of moto.
//!
//! For each page of a listing moto looks at all that is in the bucket, so that each area of the suite has a
//! bucket and a registryd of its own. It takes minutes. Only one area is asked with `REGISTRY_SUITE_AREA=tags`.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oci_auth::htpasswd::{PasswordHash, line};
use registry_conformance::{Credentials, Options, Protocol, Report, cases, run_url};
use registry_object_storage_tests::{Moto, Registryd, moto};

const BINARY: &str = env!("CARGO_BIN_EXE_registryd_on_a_bucket");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");
/// moto runs on one processor.
const SERVERS: usize = 2;

/// How a registry is set up.
#[derive(Clone, Copy, Debug)]
enum Setup {
    Usual,
    DeletesRefused,
    WithPassword,
}

#[test]
fn every_case_passes_on_a_bucket() {
    let areas: BTreeSet<&str> = cases().map(|case| case.area).collect();
    let mut work: Vec<(Setup, &str)> = areas.iter().map(|area| (Setup::Usual, *area)).collect();
    work.push((Setup::DeletesRefused, "delete_disabled"));
    work.push((Setup::WithPassword, "auth"));
    let only = std::env::var("REGISTRY_SUITE_AREA").ok();
    if let Some(only) = &only {
        work.retain(|(_, area)| area == only);
    }
    let password = tempfile::NamedTempFile::new_in(SCRATCH).unwrap();
    // The cheapest cost: what bcrypt costs is not what is tested here.
    let hash = PasswordHash::new("secret", 4).unwrap();
    std::fs::write(password.path(), line(&"user".parse().unwrap(), &hash)).unwrap();

    let (next, passed) = (AtomicUsize::new(0), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..SERVERS {
            scope.spawn(|| {
                let moto = Moto::start(Path::new(SCRATCH)).unwrap();
                while let Some((setup, area)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begun = Instant::now();
                    let report = run(&moto, *setup, area, password.path());
                    let (cases, seconds) = (report.cases.len(), begun.elapsed().as_secs());
                    println!("{area}, {setup:?}: {cases} cases in {seconds} s");
                    let failures: Vec<_> = report.failures().map(ToString::to_string).collect();
                    assert!(failures.is_empty(), "{}", failures.join("\n"));
                    let mut passed = passed.lock().unwrap();
                    passed.extend(report.cases.iter().map(|case| case.name));
                }
            });
        }
    });
    let passed = passed.into_inner().unwrap();
    let all: BTreeSet<&str> = cases().map(|case| case.name).collect();
    println!("{} cases of {}", passed.len(), all.len());
    assert!(only.is_some() || passed == all, "{passed:?}");
}

/// Asks one area of a new registryd.
fn run(moto: &Moto, setup: Setup, area: &str, password: &Path) -> Report {
    let bucket = moto.fresh_bucket().unwrap();
    let mut variables = moto::variables(&moto.endpoint(), &bucket, "suite");
    let mut options = Options::default();
    options.filter = vec![format!("{area}.")];
    // A server in Python on a busy machine.
    options.patience = Duration::from_secs(1800);
    let mut set = |name: &str, value: &str| variables.push((name.to_owned(), value.to_owned()));
    match setup {
        Setup::Usual => {}
        Setup::DeletesRefused => {
            options.deletes = false;
            set("REGISTRY_STORAGE_DELETE_ENABLED", "false");
        }
        Setup::WithPassword => {
            options.credentials = Some(Credentials::new("user", "secret"));
            set("REGISTRY_AUTH", "htpasswd");
            set("REGISTRY_AUTH_HTPASSWD_REALM", "suite");
            set(
                "REGISTRY_AUTH_HTPASSWD_PATH",
                &password.display().to_string(),
            );
        }
    }
    let registryd = Registryd::start(BINARY, &variables).unwrap();
    let url = format!("http://{}", registryd.address);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(run_url(&url, Protocol::Http1, &options));
    report.unwrap()
}
