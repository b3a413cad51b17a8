//! The binary as a person starts it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::match_wild_err_arm,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

struct Running {
    child: Child,
    log: Receiver<String>,
    address: String,
}

impl Running {
    fn start(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = registryd(dir);
        command
            .args(arguments)
            .envs(variables.iter().copied())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (send, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut running = Self {
            child,
            log,
            address: String::new(),
        };
        let line = running.wait_for("listening on ");
        let address = line.split("listening on ").nth(1).unwrap();
        let address = address.split(',').next().unwrap().trim();
        address.clone_into(&mut running.address);
        running
    }

    fn wait_for(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(Duration::from_secs(60)) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        exchange(&mut stream, request)
    }

    fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registryd(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registryd"));
    command
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> String {
    stream
        .write_all(format!("{request}\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    // A TLS peer may close without saying so; what was read counts.
    let _ = stream.read_to_string(&mut answer);
    answer
}

const ANY_PORT: (&str, &str) = ("REGISTRY_HTTP_ADDR", "127.0.0.1:0");

#[test]
fn alone_it_serves_a_directory_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Running::start(dir.path(), &[], &[ANY_PORT]);
    assert!(
        server
            .wait_for("push with")
            .contains("docker push localhost:")
    );
    assert!(
        server
            .ask("GET /v2/ HTTP/1.1")
            .starts_with("HTTP/1.1 200 OK")
    );
    assert!(
        server.ask("GET / HTTP/1.1").starts_with("HTTP/1.1 200 OK"),
        "the probe of load balancers"
    );
    let elsewhere = server.ask("GET /favicon.ico HTTP/1.1");
    assert!(
        elsewhere.starts_with("HTTP/1.1 404") && elsewhere.contains("\"errors\""),
        "{elsewhere}"
    );
    assert!(dir.path().join("registry-data").is_dir());
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_wrong_configuration_is_refused_by_name_and_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("config.yml"),
        "version: 0.1\nstorage: inmemory\nhttp:\n  addr: 127.0.0.1:0\n  tls:\n    certifcate: /a\n",
    )
    .unwrap();
    let output = registryd(dir.path())
        .args(["serve", "config.yml"])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("config.yml:6:5") && said.contains("certificate"),
        "{said}"
    );
}

#[test]
fn a_storage_root_that_cannot_be_is_named_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let output = registryd(dir.path())
        .envs([
            ANY_PORT,
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "file"),
        ])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("storage.filesystem.rootdirectory") && said.contains("not a directory"),
        "{said}"
    );
}

#[test]
fn an_address_in_use_is_named_with_the_fix() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = registryd(dir.path())
        .envs([
            ("REGISTRY_HTTP_ADDR", address.as_str()),
            ("REGISTRY_STORAGE", "inmemory"),
        ])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains(&address) && said.contains("REGISTRY_HTTP_ADDR"),
        "{said}"
    );
}

#[test]
fn tls_and_a_password_file_that_was_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(dir.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(
        dir.path().join("config.yml"),
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n\
         http: {addr: '127.0.0.1:0', tls: {certificate: tls.crt, key: tls.key}}\n\
         auth: {htpasswd: {realm: Test, path: htpasswd}}\n",
    )
    .unwrap();
    let mut server = Running::start(dir.path(), &["serve", "config.yml"], &[]);

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    let ask = |request: &str| {
        let name = "localhost".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut socket = TcpStream::connect(&server.address).unwrap();
        exchange(&mut rustls::Stream::new(&mut session, &mut socket), request)
    };

    let refused = ask("GET /v2/ HTTP/1.1");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(
        refused
            .to_lowercase()
            .contains("www-authenticate: basic realm=\"test\""),
        "{refused}"
    );

    let password_file = dir.path().join("htpasswd.password");
    let password = std::fs::read_to_string(&password_file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(&password_file).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let credentials = STANDARD.encode(format!("docker:{}", password.trim()));
    let accepted = ask(&format!(
        "GET /v2/ HTTP/1.1\r\nAuthorization: Basic {credentials}"
    ));
    assert!(accepted.starts_with("HTTP/1.1 200"), "{accepted}");
    let wrong = STANDARD.encode("docker:wrong");
    assert!(
        ask(&format!(
            "GET /v2/ HTTP/1.1\r\nAuthorization: Basic {wrong}"
        ))
        .starts_with("HTTP/1.1 401")
    );

    let plain = server.ask("GET /v2/ HTTP/1.1");
    assert!(plain.contains("speaks HTTPS"), "{plain}");
    assert_eq!(server.terminate().code(), Some(0));
    assert!(
        server
            .log
            .iter()
            .all(|line| !line.contains(password.trim())),
        "the password is not in the log"
    );
}
