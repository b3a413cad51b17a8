//! The same configuration makes Debian's `docker-registry` and `registryd` behave alike, except where
//! `peer_configuration.txt` says how they differ; docs/configuration.md says why.
//!
//! Takes the program that `REGISTRYD_BIN` names, or the one beside this test: `cargo build -p registryd`
//! makes it.
#![cfg(feature = "peer")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what goes wrong while setting up fails the test"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value as Json;

#[path = "peer_configuration/encrypted.rs"]
mod encrypted;

use encrypted::{Certificates, Client};

const CASES: &str = include_str!("peer_configuration.txt");
/// A manifest that needs no blobs.
const MANIFEST: &str =
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
/// `u` with the password `p`.
const HTPASSWD: &str = "u:$2b$04$84ZP9vcVFvkatmHvQKgjv.HFXeh2GgoIhZiH4FrQ7D33GFmV4NvZK\n";
/// Headers that say something about the configuration or the protocol.
const HEADERS: &[&str] = &[
    "allow",
    "cache-control",
    "docker-content-digest",
    "docker-distribution-api-version",
    "etag",
    "link",
    "location",
    "range",
    "www-authenticate",
];

#[derive(Default)]
struct Case {
    title: &'static str,
    file: String,
    variables: Vec<(&'static str, &'static str)>,
    requests: Vec<&'static str>,
    differences: Vec<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in CASES.lines() {
        if let Some(title) = line.strip_prefix("== ") {
            cases.push(Case {
                title,
                ..Case::default()
            });
            continue;
        }
        let Some((sign, rest)) = line.split_at_checked(2) else {
            continue;
        };
        if sign == "# " {
            continue;
        }
        let case = cases.last_mut().expect("a case begins with its title");
        match sign {
            "| " => writeln!(case.file, "{rest}").unwrap(),
            "$ " => case.variables.push(rest.split_once('=').unwrap()),
            "> " => case.requests.push(rest),
            "~ " => case.differences.push(rest),
            _ => panic!("not understood: {line}"),
        }
    }
    cases
}

/// A registry that runs, or has refused to.
struct Registry {
    child: Child,
    address: SocketAddr,
    root: tempfile::TempDir,
    runs: bool,
    /// What the configuration of TLS may name, if it is about that.
    certificates: Option<Certificates>,
    /// The configuration, in lower case: the headers it names are compared too.
    configured: String,
}

impl Registry {
    fn start(program: &Path, case: &Case) -> Self {
        // The port is free a moment before: neither program can choose one and say which. Should somebody
        // else take it in between, another one is tried.
        for _ in 0..5 {
            let registry = Self::attempt(program, case);
            if registry.runs
                || !registry
                    .log()
                    .to_lowercase()
                    .contains("address already in use")
            {
                return registry;
            }
        }
        panic!("no port stays free");
    }

    fn attempt(program: &Path, case: &Case) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let at = |text: &str| {
            text.replace("ROOT", root.path().to_str().unwrap())
                .replace("ADDR", &address.to_string())
        };
        fs::write(root.path().join("htpasswd"), HTPASSWD).unwrap();
        let certificates = case
            .file
            .contains("tls:")
            .then(|| Certificates::write(root.path()));
        let file = root.path().join("config.yml");
        fs::write(&file, at(&case.file)).unwrap();
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REGISTRY_") {
                command.env_remove(name);
            }
        }
        let mut child = command
            .arg("serve")
            .arg(&file)
            .envs(case.variables.iter().map(|(name, value)| (name, at(value))))
            .current_dir(root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.path().join("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        let begin = Instant::now();
        let runs = loop {
            if child.try_wait().unwrap().is_some() {
                break false;
            }
            // Both say so. Before, somebody else may have the port.
            let log = fs::read_to_string(root.path().join("log")).unwrap_or_default();
            if log.contains("listening on ") && TcpStream::connect(address).is_ok() {
                break true;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "{} neither listens nor ends",
                program.display()
            );
            std::thread::park_timeout(Duration::from_millis(10));
        };
        Self {
            child,
            address,
            root,
            runs,
            certificates,
            configured: format!("{}{:?}", case.file, case.variables).to_lowercase(),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }

    /// Sends `METHOD PATH | Name: value | …`, where `+manifest` at the end is the body and `CLIENT: ` at the
    /// begin says who asks, and tells what can be seen in the answer.
    fn ask(&self, request: &str) -> BTreeMap<String, String> {
        let request = request.replace("DIGEST", &digest(MANIFEST));
        if let Some((client, request)) = Client::of(&request) {
            return self.seen(&self.exchange_as(client, request, ""));
        }
        match request.strip_suffix(" +manifest") {
            Some(request) => {
                self.push_blob(request);
                self.seen(&self.exchange(request, MANIFEST))
            }
            None => self.seen(&self.exchange(&request, "")),
        }
    }

    /// Into the repository that a manifest goes to: docker-registry lists none in its catalog that never
    /// had a blob. Where pushing is refused, so is this, which the manifest will show.
    fn push_blob(&self, manifest: &str) {
        let (line, headers) = manifest.split_once(" | ").unwrap_or((manifest, ""));
        let more = if headers.is_empty() { "" } else { " | " };
        let (before, _) = line.split_once("/manifests/").unwrap();
        let repository = before.trim_start_matches("PUT ");
        let begin = format!("POST {repository}/blobs/uploads/{more}{headers}");
        let begun = self.exchange(&begin, "");
        let location = begun.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("location").then_some(value)
        });
        let Some((_, session)) = location.and_then(|location| location.split_once("/uploads/"))
        else {
            return;
        };
        let sign = if session.contains('?') { '&' } else { '?' };
        let digest = digest("{}").replace(':', "%3A");
        let end = format!(
            "PUT {repository}/blobs/uploads/{session}{sign}digest={digest}{more}{headers} | \
             Content-Type: application/octet-stream"
        );
        let ended = self.exchange(&end, "{}");
        assert!(ended.starts_with("HTTP/1.1 201"), "{end}: {ended}");
    }

    fn exchange(&self, request: &str, body: &str) -> String {
        self.exchange_as(Client::default(), request, body)
    }

    fn exchange_as(&self, client: Client, request: &str, body: &str) -> String {
        let mut parts = request.split(" | ");
        let line = parts.next().unwrap();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        let mut host = format!("Host: {}\r\n", self.address);
        for header in parts {
            if header.starts_with("Host:") {
                host.clear();
            }
            write!(head, "{header}\r\n").unwrap();
        }
        head.push_str(&host);
        if body == MANIFEST {
            head.push_str("Content-Type: application/vnd.oci.image.index.v1+json\r\n");
        }
        write!(head, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        match &self.certificates {
            Some(certificates) if client != Client::Plain => {
                certificates.exchange(client, stream, &head)
            }
            _ => {
                stream.write_all(head.as_bytes()).unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                String::from_utf8(answer).unwrap()
            }
        }
    }

    fn seen(&self, answer: &str) -> BTreeMap<String, String> {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let mut seen = BTreeMap::from([("status".to_owned(), status.to_owned())]);
        let mut chunked = false;
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let name = name.to_ascii_lowercase();
            chunked |= name == "transfer-encoding";
            let configured = self.configured.contains(&format!("{name}:"))
                || self.configured.contains(&format!("headers_{name}\""));
            if configured || HEADERS.contains(&name.as_str()) {
                let value = self.plain(&name, value);
                // Go's maps have no order, so the values of a header that is sent twice have none.
                let slot = seen.entry(name).or_default();
                let mut values: Vec<_> = slot.split(", ").filter(|v| !v.is_empty()).collect();
                values.push(&value);
                values.sort_unstable();
                *slot = values.join(", ");
            }
        }
        let body = if chunked {
            unchunked(body)
        } else {
            body.to_owned()
        };
        if let Ok(json) = serde_json::from_str::<Json>(&body) {
            let codes = json["errors"].as_array().map(|errors| {
                let codes = errors.iter().filter_map(|error| error["code"].as_str());
                codes.collect::<Vec<_>>().join(" ")
            });
            seen.insert("body".to_owned(), codes.unwrap_or_else(|| json.to_string()));
        }
        seen
    }

    /// Without what differs from run to run.
    fn plain(&self, name: &str, value: &str) -> String {
        let value = value
            .replace(&self.address.to_string(), "ADDR")
            .replace(&digest(MANIFEST), "DIGEST");
        match name {
            "allow" => {
                let mut methods: Vec<_> = value.split(", ").collect();
                methods.sort_unstable();
                methods.join(", ")
            }
            // The identifier of the session and its signature.
            "location" => match value.split_once("/uploads/") {
                Some((before, _)) => format!("{before}/uploads/…"),
                None => value,
            },
            _ => value,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn digest(content: &str) -> String {
    oci_core::Digest::sha256(content.as_bytes()).to_string()
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&after[..size]);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

fn registryd() -> PathBuf {
    if let Some(path) = std::env::var_os("REGISTRYD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let beside = test.parent().unwrap().parent().unwrap().join("registryd");
    assert!(
        beside.exists(),
        "{} is not there: build it with `cargo build -p registryd`, or set REGISTRYD_BIN",
        beside.display()
    );
    beside
}

/// What differs, a line each: `REQUEST: FIELD: THEIRS -> OURS`.
fn differences(case: &Case, ours: &Path) -> (Vec<String>, String) {
    let theirs = Registry::start(Path::new("docker-registry"), case);
    let ours = Registry::start(ours, case);
    let words = |runs: bool| if runs { "starts" } else { "refuses" };
    let mut found = Vec::new();
    if theirs.runs != ours.runs {
        found.push(format!("{} -> {}", words(theirs.runs), words(ours.runs)));
    }
    if theirs.runs && ours.runs {
        for request in &case.requests {
            let (theirs, ours) = (theirs.ask(request), ours.ask(request));
            let fields: std::collections::BTreeSet<_> = theirs.keys().chain(ours.keys()).collect();
            for field in fields {
                let value = |seen: &BTreeMap<String, String>| {
                    seen.get(field).map_or("nothing", String::as_str).to_owned()
                };
                let (mut theirs, ours) = (value(&theirs), value(&ours));
                // Without a word about it in the configuration, ours are relative.
                if field == "location"
                    && !case.file.contains("urls:")
                    && !case.file.contains("host:")
                {
                    for scheme in ["http", "https"] {
                        let origin = format!("{scheme}://ADDR");
                        theirs = theirs.trim_start_matches(&origin).to_owned();
                    }
                }
                if theirs != ours {
                    found.push(format!("{request}: {field}: {theirs} -> {ours}"));
                }
            }
        }
    }
    (found, ours.log())
}

#[test]
fn the_same_configuration_behaves_alike() {
    let ours = registryd();
    let cases = cases();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let (found, log) = differences(case, &ours);
        if found != case.differences {
            writeln!(wrong, "== {}", case.title).unwrap();
            for line in found {
                writeln!(wrong, "~ {line}").unwrap();
            }
            writeln!(wrong, "{log}").unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "these differ otherwise than peer_configuration.txt says:\n{wrong}"
    );
}
