//! Short runs against registries in this process: a good one, and ones that answer wrongly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod wrong;

use std::net::SocketAddr;
use std::process::{Command, Output};

use wrong::{Fault, WrongRegistry};

/// Runs the rows with a registry that runs already, and no other.
fn compare(address: SocketAddr, rows: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_registry-compare"))
        .args([
            "--short",
            "--rounds",
            "1",
            "--without",
            "registryd,docker-registry,nginx",
        ])
        .args(["--rows", rows, "--attach", &format!("registryd={address}")])
        .output()
        .unwrap()
}

#[test]
fn every_row_over_http_passes_with_a_good_registry() {
    let registry = oci_http::testing::spawn_blocking().unwrap();
    let output = compare(registry.addr(), "");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    // What was run has figures, and what was not says why.
    for row in [
        "push-put",
        "push-chunks",
        "push-known",
        "push-images",
        "mix",
        "pull-16",
        "manifest-head-digest-64",
    ] {
        let at = text
            .find(&format!("### {row}:"))
            .unwrap_or_else(|| panic!("no row {row}: {text}"));
        let part = text[at..].lines().nth(2).unwrap();
        assert!(
            part.contains("MB/s") || part.contains("per s"),
            "{row}: {part}"
        );
    }
    for row in ["tags", "start", "connections", "pull-tls"] {
        let at = text
            .find(&format!("### {row}:"))
            .unwrap_or_else(|| panic!("no row {row}: {text}"));
        let part = text[at..].lines().nth(2).unwrap();
        assert!(
            part.contains("not run: it was running already"),
            "{row}: {part}"
        );
    }
    assert!(text.contains("nginx: not run"), "{text}");
}

#[test]
fn the_wrong_registry_passes_without_its_fault() {
    let server = WrongRegistry::start(Fault::None);
    let output = compare(server.address(), "push-put,pull-1,manifest-get-tag-32");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
}

#[test]
fn wrong_answers_fail_the_run_and_are_named() {
    // What is wrong, the row that meets it, and what the run must say.
    let cases = [
        (Fault::Bytes, "pull-1", "the body's bytes are wrong"),
        (Fault::Bytes, "push-put", "the body's bytes are wrong"),
        (
            Fault::Bytes,
            "manifest-get-tag-32",
            "the body's bytes are wrong",
        ),
        (Fault::Short, "pull-1", "bytes instead of"),
        (Fault::Short, "manifest-get-digest-32", "bytes instead of"),
        (Fault::CutOff, "pull-1", "bytes instead of"),
        (Fault::PushStatus, "push-put", "status 200 instead of 201"),
        (Fault::PullStatus, "pull-1", "status 206 instead of 200"),
        (
            Fault::PullStatus,
            "manifest-get-tag-32",
            "status 206 instead of 200",
        ),
        (
            Fault::DigestHeader,
            "pull-1",
            "header Docker-Content-Digest is Some(\"sha256:0000",
        ),
        (
            Fault::NoDigestHeader,
            "push-put",
            "header Docker-Content-Digest is None",
        ),
        (Fault::NoLocation, "push-put", "header Location is None"),
        (Fault::NotHttp, "push-put", "not HTTP"),
    ];
    for (fault, row, said) in cases {
        let server = WrongRegistry::start(fault);
        let output = compare(server.address(), row);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success(),
            "{fault:?} with {row} passed: {errors}"
        );
        // The last lines sum up: row, program, request, and what is wrong with the answer.
        let last = errors.lines().last().unwrap_or_default();
        assert!(
            last.contains(row) && last.contains(said),
            "{fault:?} with {row}: {errors}"
        );
        assert!(
            last.contains("/v2/"),
            "{fault:?} with {row} names no request: {last}"
        );
    }
}

#[test]
fn a_directory_in_memory_is_refused() {
    let registry = oci_http::testing::spawn_blocking().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_registry-compare"))
        .args([
            "--short",
            "--scratch",
            "/dev/shm",
            "--without",
            "registryd,docker-registry,nginx",
        ])
        .args(["--attach", &format!("registryd={}", registry.addr())])
        .output()
        .unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(errors.contains("/dev/shm is in memory"), "{errors}");
}
