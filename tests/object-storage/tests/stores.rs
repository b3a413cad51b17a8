//! registryd on a bucket and on sled: the HTTP suite, large blobs, replicas that are killed, and addresses
//! of the bucket for downloads.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::path::Path;

use oci_core::Digest;
use registry_conformance::{Options, Protocol, run_url};
use registry_object_storage_tests::storm::Storm;
use registry_object_storage_tests::{Moto, Registryd, S3sFs, ask, large};

const BINARY: &str = env!("CARGO_BIN_EXE_registryd_on_a_bucket");
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

fn moto() -> &'static Moto {
    Moto::shared(SCRATCH)
}

/// Asks a registry, which has no passwords and allows deletes, the cases whose names begin so; all, if
/// nothing is said.
fn conforms(registryd: &Registryd, areas: &[&str]) {
    let mut options = Options::default();
    options.filter = areas.iter().map(|area| (*area).to_owned()).collect();
    let url = format!("http://{}", registryd.address);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(run_url(&url, Protocol::Http1, &options));
    let report = report.unwrap();
    println!("{} cases", report.cases.len());
    assert!(report.cases.len() > 50, "{} cases", report.cases.len());
    let failures: Vec<String> = report.failures().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Both servers look at all of their keys for a listing, so all cases take minutes: uploads are where
/// buckets differ from other stores. With the variable `ALL_CASES` it is all.
fn areas() -> &'static [&'static str] {
    match std::env::var_os("ALL_CASES") {
        Some(_) => &[],
        None => &["patch.", "put.", "mount.", "upload_"],
    }
}

#[test]
fn the_http_suite_passes_on_a_bucket() {
    let root = moto().fresh_root();
    let registryd = Registryd::start(BINARY, &moto().variables(&root)).unwrap();
    conforms(&registryd, areas());
}

#[test]
fn the_http_suite_passes_on_a_bucket_for_one_process() {
    let service = S3sFs::start(Path::new(SCRATCH)).unwrap();
    let registryd = Registryd::start(BINARY, &service.variables("suite")).unwrap();
    conforms(&registryd, areas());
}

#[test]
fn the_http_suite_passes_on_sled() {
    let directory = tempfile::tempdir_in(SCRATCH).unwrap();
    let path = directory.path().join("db").display().to_string();
    let variables = [
        ("REGISTRY_STORAGE", "sled"),
        ("REGISTRY_STORAGE_SLED_PATH", path.as_str()),
        ("REGISTRY_HTTP_ADDR", "127.0.0.1:0"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let registryd = Registryd::start(BINARY, &variables).unwrap();
    conforms(&registryd, &[]);
}

/// The heads of the requests and the records of the session come on top.
fn costs_no_more_than_it_must(cost: large::Cost) {
    println!("{cost}");
    assert!(cost.sent >= cost.size, "{cost}");
    assert!(
        cost.sent <= cost.size + cost.size / 100,
        "sent again: {cost}"
    );
    assert!(cost.answered <= 4 << 20, "read again: {cost}");
    assert!(cost.peak_memory <= 64 << 20, "{cost}");
}

#[test]
fn a_large_blob_in_one_request_is_sent_once_and_never_held() {
    let cost = large::push(BINARY, Path::new(SCRATCH), 512 << 20, None).unwrap();
    costs_no_more_than_it_must(cost);
}

#[test]
fn a_large_blob_in_chunks_is_sent_once_and_never_held() {
    let chunk = Some(10 << 20);
    let cost = large::push(BINARY, Path::new(SCRATCH), 512 << 20, chunk).unwrap();
    costs_no_more_than_it_must(cost);
}

#[test]
fn pushes_survive_replicas_that_are_killed() {
    let root = moto().fresh_root();
    let mut storm = Storm::new(15, 5);
    storm.kill_every = 4;
    let outcome = storm.run(BINARY, &moto().variables(&root)).unwrap();
    println!("{outcome}");
    assert!(
        outcome.failed.is_empty() && outcome.lost.is_empty(),
        "{outcome}"
    );
    assert_eq!(outcome.acknowledged, 15);
    assert!(outcome.kills >= 3, "{outcome}");
    assert!(outcome.spread > 0, "{outcome}");
}

/// A blob of `length` bytes in repository `a`, and where it is read.
fn pushed(registryd: &Registryd, length: usize) -> (Vec<u8>, String) {
    let content: Vec<u8> = (0..length)
        .map(|n| u8::try_from(n / 251 % 256).unwrap())
        .collect();
    let digest = Digest::sha256(&content);
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let pushed = ask(&registryd.address, "POST", &target, &[], &content).unwrap();
    assert_eq!(pushed.status, 201, "{pushed:?}");
    (content, format!("/v2/a/blobs/{digest}"))
}

fn redirecting(root: &str, more: &[(&str, &str)]) -> Registryd {
    let mut variables = moto().variables(root);
    let more = [("REGISTRY_STORAGE_REDIRECT_DISABLE", "false")]
        .iter()
        .chain(more);
    variables.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Registryd::start(BINARY, &variables).unwrap()
}

#[test]
fn downloads_are_sent_to_the_bucket_if_wanted() {
    let root = moto().fresh_root();
    let registryd = redirecting(&root, &[("REGISTRY_STORAGE_REDIRECT_TTL", "90s")]);
    let address = &registryd.address;
    let (content, target) = pushed(&registryd, 200_000);

    let answer = ask(address, "GET", &target, &[], b"").unwrap();
    assert_eq!(answer.status, 307, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.body.is_empty());
    let location = answer.header("location").expect("a location");
    let (host, path) = split(location);
    assert_eq!(format!("http://{host}"), moto().endpoint());
    assert!(path.contains("X-Amz-Expires=90"), "{location}");
    assert!(path.contains("X-Amz-Signature="), "{location}");
    assert!(!location.contains("tests-secret"), "{location}");
    let found = ask(host, "GET", path, &[], b"").unwrap();
    assert_eq!(found.status, 200);
    assert!(found.body == content, "{} bytes", found.body.len());

    // A range is asked of the bucket as well; one that is not there is refused here.
    let range = [("range", "bytes=1000-1999")];
    let answer = ask(address, "GET", &target, &range, b"").unwrap();
    assert_eq!(answer.status, 307);
    let (host, path) = split(answer.header("location").expect("a location"));
    let part = ask(host, "GET", path, &range, b"").unwrap();
    assert_eq!(part.status, 206);
    assert!(part.body == content[1000..2000]);
    let beyond = [("range", "bytes=200000-")];
    let answer = ask(address, "GET", &target, &beyond, b"").unwrap();
    assert_eq!(answer.status, 416);

    // HEAD, what is small, and what the repository does not show.
    let answer = ask(address, "HEAD", &target, &[], b"").unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-length"), Some("200000"));
    let (small, at) = pushed(&registryd, 9000);
    let answer = ask(address, "GET", &at, &[], b"").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == small);
    let elsewhere = target.replace("/v2/a/", "/v2/b/");
    let answer = ask(address, "GET", &elsewhere, &[], b"").unwrap();
    assert_eq!(answer.status, 404);
}

#[test]
fn addresses_name_the_host_that_clients_know() {
    let root = moto().fresh_root();
    let public = "https://blobs.example.com:8443";
    let registryd = redirecting(&root, &[("REGISTRY_STORAGE_S3_REDIRECTENDPOINT", public)]);
    let (_, target) = pushed(&registryd, 100_000);
    let answer = ask(&registryd.address, "GET", &target, &[], b"").unwrap();
    assert_eq!(answer.status, 307, "{answer:?}");
    let location = answer.header("location").expect("a location");
    let expected = format!("{public}/layers/{root}/data/");
    assert!(location.starts_with(&expected), "{location}");
}

#[test]
fn without_a_word_downloads_pass_through_the_registry() {
    let root = moto().fresh_root();
    let registryd = Registryd::start(BINARY, &moto().variables(&root)).unwrap();
    let (content, target) = pushed(&registryd, 100_000);
    let answer = ask(&registryd.address, "GET", &target, &[], b"").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body == content);
}

/// Host and the rest of a URL.
fn split(url: &str) -> (&str, &str) {
    let (_, rest) = url.split_once("://").expect("a scheme");
    rest.split_at(rest.find('/').expect("a path"))
}
