//! `registryd doctor` and `registryd healthcheck`, against servers with one fault each.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};

use time::{Duration, OffsetDateTime};

mod client_certificates;
mod pushes;

/// registryd in a directory of its own, without the variables of whoever runs the tests.
fn registryd(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    command.env_clear().current_dir(folder);
    command
}

struct Running(Child, String);

impl Running {
    /// Serves from memory, with TLS if there is a certificate `tls.crt` in the directory.
    fn start(folder: &Path) -> Self {
        let tls = folder.join("tls.crt").exists();
        Self::with(
            folder,
            "storage: inmemory",
            if tls {
                "tls: {certificate: tls.crt, key: tls.key}"
            } else {
                ""
            },
        )
    }

    /// Serves with these lines of the configuration and of its `http`.
    fn with(folder: &Path, lines: &str, http: &str) -> Self {
        let config = format!("version: 0.1\n{lines}\nhttp:\n  addr: 127.0.0.1:0\n  {http}\n");
        std::fs::write(folder.join("config.yml"), config).unwrap();
        let mut child = registryd(folder)
            .args(["serve", "config.yml"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "it ended before it listened"
            );
        }
        let port = line.split("listening on 127.0.0.1:").nth(1).unwrap();
        let port = port.chars().take_while(char::is_ascii_digit).collect();
        // The rest of the log must go somewhere, or the server would wait.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Self(child, port)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The findings as JSON, and the exit code.
fn examine(folder: &Path, arguments: &[&str]) -> (serde_json::Value, i32) {
    examine_as(folder, arguments, "")
}

/// As [`examine`], with a password on the standard input. What the clients of the machine that runs the
/// tests trust does not matter.
fn examine_as(folder: &Path, arguments: &[&str], password: &str) -> (serde_json::Value, i32) {
    let nothing = folder.join("no-clients");
    let mut command = registryd(folder)
        .args(["doctor", "--json", "--root"])
        .arg(nothing)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who needs no password may have ended already.
    let _ = command
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{password}\n").as_bytes());
    let output = command.wait_with_output().unwrap();
    let findings = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        serde_json::Value::String(format!("{error}: {said}"))
    });
    (findings, output.status.code().unwrap())
}

/// Severity of a check, and what it says.
fn finding(findings: &serde_json::Value, check: &str) -> (String, String) {
    let found = findings
        .as_array()
        .and_then(|list| list.iter().find(|one| one["check"] == check));
    let found = found.map(|one| {
        (
            one["severity"].as_str(),
            one["what"].as_str(),
            one["fix"].as_str(),
        )
    });
    let Some((Some(severity), Some(what), fix)) = found else {
        return ("none".to_owned(), findings.to_string());
    };
    // Whatever is wrong has a fix beside it.
    assert_eq!(fix.is_some(), severity != "ok", "{findings}");
    (severity.to_owned(), what.to_owned())
}

fn certificate(folder: &Path, names: &[&str], until: i32) {
    let (from, until) = (date_time_ymd(2020, 1, 1), date_time_ymd(until, 1, 1));
    certificate_between(folder, names, from, until);
}

fn certificate_between(folder: &Path, names: &[&str], from: OffsetDateTime, until: OffsetDateTime) {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    (params.not_before, params.not_after) = (from, until);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

/// A certificate for localhost that says what it is for.
fn certificate_for(folder: &Path, until: i32, usages: Vec<ExtendedKeyUsagePurpose>) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params.extended_key_usages = usages;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
}

#[test]
fn a_good_registry_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["localhost"], 4000);
    let server = Running::start(folder.path());
    let url = format!("https://localhost:{}", server.1);
    let (findings, code) = examine(folder.path(), &["--cacert", "tls.crt", &url]);
    assert_eq!(code, 0, "{findings}");
    for check in ["dns", "tcp", "name", "expiry", "trust", "api", "clock"] {
        assert_eq!(finding(&findings, check).0, "ok", "{check} in {findings}");
    }
    let (findings, code) = examine(folder.path(), &[&url]);
    let (severity, what) = finding(&findings, "trust");
    assert_eq!((severity.as_str(), code), ("error", 2));
    assert!(
        what.contains("x509: certificate signed by unknown authority"),
        "{what}"
    );
    let fix = findings.as_array().unwrap().iter().find_map(|one| {
        let fix = one["fix"].as_str()?;
        (one["check"] == "trust").then_some(fix)
    });
    let command = format!(
        "`registryd trust system localhost:{} --fingerprint sha256:",
        server.1
    );
    assert!(fix.unwrap().starts_with(&command), "{fix:?}");
}

#[test]
fn a_certificate_for_another_host_that_has_expired() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["registry.lan"], 2021);
    let server = Running::start(folder.path());
    let (findings, code) = examine(
        folder.path(),
        &[
            "--cacert",
            "tls.crt",
            &format!("https://127.0.0.1:{}", server.1),
        ],
    );
    assert_eq!(code, 2);
    assert_eq!(finding(&findings, "name").0, "error", "{findings}");
    let (severity, what) = finding(&findings, "expiry");
    assert_eq!(severity, "error");
    assert!(what.contains("has expired"), "{what}");
}

#[test]
fn a_certificate_whose_time_has_not_come_or_is_almost_over() {
    let folder = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    for (from, until, severity, says) in [
        (10, 100, "error", "not valid yet"),
        (-10, 10, "warning", "expires within 14 days"),
        (-10, 100, "ok", "more than 14 days"),
    ] {
        let (from, until) = (now + Duration::days(from), now + Duration::days(until));
        certificate_between(folder.path(), &["localhost"], from, until);
        let server = Running::start(folder.path());
        let url = format!("https://localhost:{}", server.1);
        let (findings, _) = examine(folder.path(), &["--cacert", "tls.crt", &url]);
        let (found, what) = finding(&findings, "expiry");
        assert_eq!(found, severity, "{findings}");
        assert!(what.contains(says), "{what}");
    }
}

#[test]
fn what_is_no_registry() {
    let folder = tempfile::tempdir().unwrap();
    for (script, check, says) in [
        (
            (|_| "220 mail.lan ESMTP\r\n".to_owned()) as fn(&str) -> String,
            "scheme",
            "neither HTTP nor TLS",
        ),
        (
            |_| pushes::answer("404 Not Found", ""),
            "api",
            "no registry",
        ),
        (
            |_| pushes::answer("502 Bad Gateway", ""),
            "api",
            "answers 502",
        ),
    ] {
        let (findings, code) = examine(folder.path(), &[&pushes::scripted(script)]);
        let (severity, what) = finding(&findings, check);
        assert_eq!((severity.as_str(), code), ("error", 2), "{findings}");
        assert!(what.contains(says), "{what}");
    }
}

#[test]
fn the_wrong_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path());
    let (findings, code) = examine(folder.path(), &[&format!("https://127.0.0.1:{}", server.1)]);
    let (severity, what) = finding(&findings, "scheme");
    assert_eq!((severity.as_str(), code), ("error", 2));
    assert!(
        what.contains("server gave HTTP response to HTTPS client"),
        "{what}"
    );
    // Plain HTTP where it is meant is a warning.
    let (findings, code) = examine(folder.path(), &[&format!("http://127.0.0.1:{}", server.1)]);
    assert_eq!((finding(&findings, "tls").0.as_str(), code), ("warning", 1));
    drop(server);

    certificate(folder.path(), &["localhost"], 4000);
    let server = Running::start(folder.path());
    let (findings, code) = examine(folder.path(), &[&format!("http://localhost:{}", server.1)]);
    let (severity, what) = finding(&findings, "scheme");
    assert_eq!((severity.as_str(), code), ("error", 2));
    assert!(what.ends_with("speaks TLS"), "{what}");
}

#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let (findings, code) = examine(folder.path(), &["http://registry.invalid:5000"]);
    assert_eq!((finding(&findings, "dns").0.as_str(), code), ("error", 2));
    // A port that nobody has: it was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (findings, code) = examine(folder.path(), &[&format!("http://127.0.0.1:{port}")]);
    assert_eq!((finding(&findings, "tcp").0.as_str(), code), ("error", 2));
}

/// A proxy that takes the challenge away, on a machine whose clock stands still.
#[test]
fn a_proxy_that_takes_headers_away() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
            while head
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            let _ = stream.write_all(
                b"HTTP/1.1 401 Unauthorized\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    let (findings, code) = examine(folder.path(), &[&url]);
    assert_eq!(code, 2);
    let (severity, what) = finding(&findings, "api");
    assert_eq!(severity, "error");
    assert!(what.contains("without WWW-Authenticate"), "{what}");
    assert_eq!(finding(&findings, "clock").0, "warning");
}

#[test]
fn a_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: config.yml/data}}\n";
    std::fs::write(folder.path().join("config.yml"), config).unwrap();
    let (findings, code) = examine(folder.path(), &["config.yml"]);
    assert_eq!((finding(&findings, "write").0.as_str(), code), ("error", 2));
    let output = registryd(folder.path())
        .args(["doctor", "config.yml"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.starts_with("error    write: cannot write to ")
            && text.contains("\n         fix: name a directory in "),
        "{text}"
    );
    let config = "version: 0.1\nstorage: inmemory\n";
    std::fs::write(folder.path().join("config.yml"), config).unwrap();
    let (findings, code) = examine(folder.path(), &["config.yml"]);
    assert_eq!(
        (finding(&findings, "storage").0.as_str(), code),
        ("warning", 1)
    );
}

#[test]
fn a_health_check_needs_no_trust_and_finds_the_address_itself() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["registry.lan"], 2021);
    let server = Running::start(folder.path());
    let check = |arguments: &[&str]| -> Output {
        registryd(folder.path())
            .arg("healthcheck")
            .args(arguments)
            .output()
            .unwrap()
    };
    let url = format!("https://127.0.0.1:{}", server.1);
    assert!(check(&[&url]).status.success());
    let config = std::fs::read_to_string(folder.path().join("config.yml")).unwrap();
    let own = config.replace("127.0.0.1:0", &format!("127.0.0.1:{}", server.1));
    std::fs::write(folder.path().join("own.yml"), own).unwrap();
    assert!(check(&["--config", "own.yml"]).status.success());
    drop(server);
    let output = check(&[&url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("unhealthy: https://127.0.0.1:"));
}

#[test]
fn an_address_without_a_scheme_is_a_registry_and_a_file_that_is_not_there_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path(), &["localhost"], 4000);
    let server = Running::start(folder.path());
    let address = format!("localhost:{}", server.1);
    let (with_scheme, _) = examine(folder.path(), &[&format!("https://{address}"), "--no-push"]);
    let (without, _) = examine(folder.path(), &[&address, "--no-push"]);
    assert!(without.is_array(), "{without}");
    assert_eq!(without, with_scheme);
    let output = registryd(folder.path())
        .args(["doctor", "nope.yml"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.starts_with("error: the configuration file cannot be read\n"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}
