//! The suite against another registry: Debian's `docker-registry`, CNCF Distribution 2.8.2.
//!
//! What that registry does not do is known, and is a list beside this file. The list is asserted
//! exactly: a case that starts to pass there checks nothing, and one that starts to fail is wrong, or
//! asks for more than clients can count on. `BLESS=1` writes the list anew.
//!
//! It also proves that the cases can fail.
#![cfg(feature = "peer")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong while setting up fails the test"
)]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use registry_conformance::{Options, Protocol, run_url};

const LIST: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/peer_docker_registry_failures.txt"
);

const HEADER: &str = "\
# Cases that Debian's docker-registry 2.8.2 (CNCF Distribution) fails, checked by
# tests/peer_docker_registry.rs; write anew with BLESS=1. A leading `?` marks a race that the registry
# loses only sometimes: such a line is put by hand and survives BLESS=1.
";

/// The registry's process; killed when dropped.
struct Peer {
    child: Child,
    url: String,
    root: tempfile::TempDir,
}

impl Peer {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Free a moment ago: the registry can not bind port 0 and say which it got.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\n  maintenance: {{uploadpurging: {{enabled: false}}}}\n\
             http: {{addr: \"{address}\"}}\n",
            root.path().join("data").display()
        );
        let path = root.path().join("config.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(
                fs::File::create(root.path().join("log")).unwrap(),
            ))
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "docker-registry does not start ({error}); install it with \
                     `apt-get install --no-install-recommends docker-registry`"
                )
            });
        let peer = Self {
            child,
            url: format!("http://{address}"),
            root,
        };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "docker-registry does not listen: {}",
                fs::read_to_string(peer.root.path().join("log")).unwrap_or_default()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The failures of the list: those that always happen, and the races.
fn listed() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = if Path::new(LIST).exists() {
        fs::read_to_string(LIST).unwrap()
    } else {
        String::new()
    };
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (races, always): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('?'));
    let races = races
        .iter()
        .map(|line| line.trim_start_matches(['?', ' ']).to_owned());
    (
        always.into_iter().map(str::to_owned).collect(),
        races.collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn fails_exactly_where_it_is_known_to() {
    let peer = Peer::start().await;
    let report = run_url(&peer.url, Protocol::Http1, &Options::default())
        .await
        .unwrap();
    let failed: BTreeSet<String> = report.failures().map(|case| case.name.to_owned()).collect();
    let (always, races) = listed();

    if std::env::var_os("BLESS").is_some() {
        let mut lines: Vec<String> = failed
            .difference(&races)
            .cloned()
            .chain(races.iter().map(|name| format!("? {name}")))
            .collect();
        lines.sort_by_key(|line| line.trim_start_matches("? ").to_owned());
        fs::write(LIST, format!("{HEADER}{}\n", lines.join("\n"))).unwrap();
        return;
    }

    let mut complaints = String::new();
    for name in always.difference(&failed) {
        writeln!(complaints, "passes now, but is listed: {name}").unwrap();
    }
    for case in report.failures() {
        if !always.contains(case.name) && !races.contains(case.name) {
            writeln!(complaints, "fails, but is not listed: {case}").unwrap();
        }
    }
    let names: BTreeSet<String> = report
        .cases
        .iter()
        .map(|case| case.name.to_owned())
        .collect();
    for name in always.union(&races).filter(|name| !names.contains(*name)) {
        writeln!(complaints, "is listed, but there is no such case: {name}").unwrap();
    }
    assert!(
        complaints.is_empty(),
        "{complaints}\n{LIST} can be written anew with BLESS=1"
    );
    assert!(
        report.cases.len() > 2 * failed.len(),
        "the registry fails more than half of the cases"
    );
}
