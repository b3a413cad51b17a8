//! The tests of a client program (`src/bin/list_tags.rs`), which need a registry: one line brings it.
//!
//! Shows: a registry for each test, on a port of its own, in the test's process. No Docker, nothing to
//! clean up, nothing that tests share. It has a thread to itself, so that a test may block.
//! To change: the program. In your `dev-dependencies`, `oci-http` with the feature `testing` is enough.

use std::error::Error;
use std::process::{Command, Output};

use oci_http::oci_core::registry::PushManifest;
use oci_http::oci_core::{Decision, Identity, Tag};
use oci_http::testing::{self, TestRegistry};
use oci_http::{MemoryStore, Registry, RegistryService};

type TestResult = Result<(), Box<dyn Error>>;

#[tokio::test]
async fn the_tags_of_a_repository_are_printed() -> TestResult {
    let registry = testing::spawn().await?;
    for (repository, tag) in [("team/app", "v1"), ("team/app", "v2"), ("team/tool", "v3")] {
        push(&registry, repository, tag).await?;
    }
    let output = list_tags(&registry.reference("team/app"))?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stdout)?, "v1\nv2\n");
    Ok(())
}

#[tokio::test]
async fn each_test_has_its_own_registry() -> TestResult {
    let (one, other) = (testing::spawn().await?, testing::spawn().await?);
    push(&one, "team/app", "v1").await?;
    assert!(list_tags(&one.reference("team/app"))?.status.success());
    assert!(!list_tags(&other.reference("team/app"))?.status.success());
    Ok(())
}

// Without an async runtime.
#[test]
fn a_repository_that_is_not_there_is_an_error() -> TestResult {
    let registry = testing::spawn_blocking()?;
    let output = list_tags(&registry.reference("team/app"))?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("404 Not Found"));
    Ok(())
}

// Any service can be put behind the port: one that asks for passwords, or one that refuses.
#[test]
fn a_refusal_is_an_error() -> TestResult {
    let service = RegistryService::builder(Registry::new(MemoryStore::new()))
        .authorizer(oci_auth::authorize_fn(|_, _| Decision::Deny))
        .build()?;
    let registry = testing::builder().with_service(service).spawn_blocking()?;
    let output = list_tags(&registry.reference("team/app"))?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr)?.contains("403 Forbidden"));
    Ok(())
}

fn list_tags(repository: &str) -> std::io::Result<Output> {
    let program = env!("CARGO_BIN_EXE_list_tags");
    Command::new(program).arg(repository).output()
}

/// Puts something under a tag, past HTTP: an index of no images is enough to have one.
async fn push(registry: &TestRegistry, repository: &str, tag: &str) -> TestResult {
    const INDEX: &str = r#"{
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": []
    }"#;
    let manifest = PushManifest::new(tag.parse::<Tag>()?, INDEX);
    let anybody = Identity::anonymous();
    registry
        .registry()
        .put_manifest(&anybody, &repository.parse()?, manifest)
        .await?;
    Ok(())
}
