//! What commands do when nobody reads what they print: `registryd … | head`.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn registryd(dir: &Path, arguments: &[&str], stdout: impl Into<Stdio>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    command
        .current_dir(dir)
        .env_clear()
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped());
    command
}

/// A pipe that nobody reads.
fn closed() -> std::io::PipeWriter {
    let (_, writer) = std::io::pipe().unwrap();
    writer
}

fn end(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

const COMMANDS: &[&[&str]] = &[
    &["config", "schema"],
    &["config", "show", "--effective"],
    &["config", "check"],
    &["proxy-config", "nginx"],
    &["init", "compose"],
    &["init", "systemd"],
    &["k8s", "trust", "registry.lan:5000", "--uninstall"],
    &["cert", "new", "--host", "registry.lan"],
    &["cert", "show", "registryd-tls/tls.crt"],
    &["user", "add", "docker", "--generate", "--file", "users"],
    &["user", "list", "--file", "users"],
    &["htpasswd", "-nbB", "docker", "secret"],
];

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly_and_as_others_do() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in COMMANDS {
        let (code, said) = end(registryd(dir.path(), arguments, closed()));
        assert_eq!(code, Some(128 + 13), "{arguments:?}: {said}");
        assert!(
            !said.contains("panicked") && !said.contains("error"),
            "{arguments:?}: {said}"
        );
        // `2>&1 | head`
        if arguments[0] != "user" {
            let mut command = registryd(dir.path(), arguments, closed());
            command.stderr(closed());
            assert_eq!(end(command).0, Some(128 + 13), "{arguments:?}");
        }
    }
    // What they were asked for is done.
    for file in ["registryd-tls/tls.key", "users"] {
        assert!(dir.path().join(file).is_file(), "{file}");
    }
}

#[test]
fn a_failure_keeps_its_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yml"), "version: 0.1\n").unwrap();
    let check = ["config", "check", "config.yml"];
    let (code, said) = end(registryd(dir.path(), &check, closed()));
    assert_eq!((code, said.as_str()), (Some(1), ""));
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let full = File::create("/dev/full").unwrap();
    let (code, said) = end(registryd(dir.path(), &["config", "schema"], full));
    assert_eq!(code, Some(1));
    assert!(
        said.starts_with("error: cannot write to standard output: "),
        "{said}"
    );
}
