//! TLS as operators and clients meet it: the binary, real handshakes, files that change.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::match_wild_err_arm,
    reason = "helpers of tests say what they expect, as tests do"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::Digest;

const PATIENCE: Duration = Duration::from_secs(120);

struct Running {
    child: Child,
    log: Receiver<String>,
    address: String,
}

impl Running {
    fn start(dir: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = registryd(dir)
            .args(arguments)
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
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
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {text:?} in {seen:#?}"),
            }
        }
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn registryd(dir: &Path) -> Command {
    program(dir, env!("CARGO_BIN_EXE_registryd").as_ref())
}

fn program(dir: &Path, path: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// Runs it to its end.
fn run(dir: &Path, arguments: &[&str]) -> Output {
    registryd(dir)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

/// Trusts one authority and nobody else.
fn client(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// What one connection of its own brought.
struct Answer {
    bytes: Vec<u8>,
    certificate: Vec<u8>,
}

fn ask(
    config: &Arc<ClientConfig>,
    address: &str,
    head: &str,
    body: &[u8],
) -> Result<Answer, String> {
    let said = |error: std::io::Error| error.to_string();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).map_err(|e| e.to_string())?;
    let socket = TcpStream::connect(address).map_err(said)?;
    socket.set_read_timeout(Some(PATIENCE)).map_err(said)?;
    let mut stream = StreamOwned::new(session, socket);
    let length = body.len();
    let head =
        format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).map_err(said)?;
    stream.write_all(body).map_err(said)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(said)?;
    let chain = stream.conn.peer_certificates().unwrap_or_default();
    Ok(Answer {
        bytes,
        certificate: chain[0].to_vec(),
    })
}

/// An authority that signs for localhost as often as it is asked.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    /// Certificate and key in PEM.
    fn sign(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Swaps the link that the mounted files lead through, as the kubelet does.
fn swap(mount: &Path, version: &str, certificate: &str, key: &str) {
    std::fs::create_dir(mount.join(version)).unwrap();
    std::fs::write(mount.join(version).join("tls.crt"), certificate).unwrap();
    std::fs::write(mount.join(version).join("tls.key"), key).unwrap();
    let temporary = mount.join("..data_tmp");
    std::os::unix::fs::symlink(version, &temporary).unwrap();
    #[expect(clippy::disallowed_methods, reason = "what the kubelet does")]
    std::fs::rename(temporary, mount.join("..data")).unwrap();
}

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;

/// What the next frame of a kind holds.
fn frame(stream: &mut impl Read, kind: u8) -> Vec<u8> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).unwrap();
        if head[3] == kind {
            return payload;
        }
    }
}

/// What a restart interrupts under systemd, whose socket takes connections all the while.
#[test]
fn who_has_connected_before_it_is_told_to_stop_gets_one_answer() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.sign();
    std::fs::write(dir.path().join("tls.crt"), certificate).unwrap();
    std::fs::write(dir.path().join("tls.key"), key).unwrap();
    let mut server = Running::start(
        dir.path(),
        &[],
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "tls.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "tls.key"),
        ],
    );
    let config = client(&authority.pem);
    let mut http2 = (*config).clone();
    http2.alpn_protocols = vec![b"h2".to_vec()];
    let mut connections = [&config, &config, &Arc::new(http2)].map(|config| {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        let socket = TcpStream::connect(&server.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        StreamOwned::new(session, socket)
    });
    // One has sent the first half of its handshake, and seen that the server is at it; others only lack the request.
    let [half, whole, http2] = &mut connections;
    half.conn.write_tls(&mut half.sock).unwrap();
    half.sock.peek(&mut [0]).unwrap();
    while whole.conn.is_handshaking() {
        whole.conn.complete_io(&mut whole.sock).unwrap();
    }
    http2
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    frame(http2, SETTINGS);
    kill_process(Pid::from_child(&server.child), Signal::TERM).unwrap();
    server.wait_for("stopping: requests in flight are finished");
    let [half, whole, http2] = &mut connections;
    http2
        .write_all(b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x87\x44\x04/v2/\x41\x01x")
        .unwrap();
    // The first field of the answer's headers: `:status: 200`.
    assert_eq!(frame(http2, HEADERS).first(), Some(&0x88));
    http2.sock.shutdown(std::net::Shutdown::Both).unwrap();
    for stream in [half, whole] {
        stream
            .write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"));
    }
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn certificates_are_swapped_under_pulls_and_none_of_them_fails() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("certs");
    std::fs::create_dir(&mount).unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.sign();
    swap(&mount, "..0", &certificate, &key);
    for name in ["tls.crt", "tls.key"] {
        let target = Path::new("..data").join(name);
        std::os::unix::fs::symlink(target, mount.join(name)).unwrap();
    }
    let server = Running::start(
        dir.path(),
        &[],
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "certs/tls.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "certs/tls.key"),
        ],
    );
    let config = client(&authority.pem);
    let content = vec![7; 256 * 1024];
    let digest = format!("sha256:{}", hex::encode(sha2::Sha256::digest(&content)));
    let push = format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1");
    let pushed = ask(&config, &server.address, &push, &content).unwrap();
    assert!(pushed.bytes.starts_with(b"HTTP/1.1 201"));

    let (stop, pulls) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pull = || {
        let head = format!("GET /v2/a/blobs/{digest} HTTP/1.1");
        while !stop.load(Ordering::Relaxed) {
            let answer = ask(&config, &server.address, &head, b"")?;
            if !answer.bytes.starts_with(b"HTTP/1.1 200") || !answer.bytes.ends_with(&content) {
                return Err("an answer that is not the blob".to_owned());
            }
            pulls.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let served = || {
        ask(&config, &server.address, "GET /v2/ HTTP/1.1", b"")
            .unwrap()
            .certificate
    };
    // Each swap happens while pulls are under way.
    let more_pulls = || {
        let (before, begun) = (pulls.load(Ordering::Relaxed), Instant::now());
        while pulls.load(Ordering::Relaxed) < before + 5 && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    };
    std::thread::scope(|scope| {
        let pullers: Vec<_> = (0..2).map(|_| scope.spawn(pull)).collect();
        // Whatever fails here, the others must end.
        let swapped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for version in 1..=4 {
                more_pulls();
                let (certificate, key) = authority.sign();
                swap(&mount, &format!("..{version}"), &certificate, &key);
                server.hang_up();
                let new = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
                let begun = Instant::now();
                while served() != *new {
                    assert!(
                        begun.elapsed() < PATIENCE,
                        "version {version} was not taken"
                    );
                }
            }
            let before = served();
            let ((one, _), (two, key)) = (authority.sign(), authority.sign());
            for (version, certificate, why) in [
                ("..mismatch", one.as_str(), "does not belong to the key"),
                ("..half", &two[..two.len() / 2], "http.tls.certificate"),
            ] {
                more_pulls();
                swap(&mount, version, certificate, &key);
                server.hang_up();
                let line = server.wait_for("stay in use");
                assert!(line.contains(why), "{line}");
                assert_eq!(served(), before, "{version}");
            }
            more_pulls();
        }));
        stop.store(true, Ordering::Relaxed);
        for puller in pullers {
            assert_eq!(puller.join().unwrap(), Ok(()));
        }
        swapped.unwrap();
    });
    assert!(pulls.into_inner() >= 35);
}

#[test]
fn with_tls_local_a_client_comes_to_trust_it_by_its_fingerprint_alone() {
    let dir = tempfile::tempdir().unwrap();
    let server = Running::start(
        dir.path(),
        &["serve", "--tls", "local", "--host", "registry.lan"],
        &[],
    );
    let line = server.wait_for("registryd trust docker registry.lan:");
    let words: Vec<_> = line.split(' ').collect();
    let at = words
        .iter()
        .position(|word| *word == "--fingerprint")
        .unwrap();
    let fingerprint = words[at + 1];
    let registry = format!("localhost:{}", server.port());
    let root = dir.path().join("client");
    let root = root.to_str().unwrap();
    let trust = |fingerprint: &str, more: &[&str]| {
        let mut words = vec![
            "trust",
            "docker",
            &registry,
            "--fingerprint",
            fingerprint,
            "--root",
            root,
        ];
        words.extend(more);
        run(dir.path(), &words)
    };
    let certificate = format!("{root}/etc/docker/certs.d/{registry}/ca.crt");

    let other = trust(&format!("sha256:{}", "0".repeat(64)), &["--apply"]);
    assert!(
        !other.status.success() && said(&other).contains(fingerprint),
        "{}",
        said(&other)
    );
    let dry = trust(fingerprint, &[]);
    assert!(
        dry.status.success() && said(&dry).contains("BEGIN CERTIFICATE"),
        "{}",
        said(&dry)
    );
    assert!(
        !Path::new(&certificate).exists(),
        "a dry run writes nothing"
    );

    let applied = trust(fingerprint, &["--apply"]);
    assert!(applied.status.success(), "{}", said(&applied));
    let authority = std::fs::read_to_string(&certificate).unwrap();
    assert!(!authority.contains("PRIVATE KEY"));
    let answer = ask(
        &client(&authority),
        &server.address,
        "GET /v2/ HTTP/1.1",
        b"",
    )
    .unwrap();
    assert!(answer.bytes.starts_with(b"HTTP/1.1 200"));
    let again = trust(fingerprint, &["--apply"]);
    assert!(said(&again).contains("as it should be"), "{}", said(&again));

    let shown = run(dir.path(), &["cert", "show", &registry]);
    assert!(
        said(&shown).contains("registry.lan") && said(&shown).contains(fingerprint),
        "{}",
        said(&shown)
    );
    let undone = run(
        dir.path(),
        &["untrust", "docker", &registry, "--root", root, "--apply"],
    );
    assert!(undone.status.success(), "{}", said(&undone));
    assert!(!Path::new(&certificate).exists());
}

#[test]
fn trust_writes_what_each_client_reads_and_takes_back_only_that() {
    trust_and_untrust("r.lan:5000", "r.lan_5000");
    // Images of a registry on port 443 are named without it, and so is what clients look for.
    trust_and_untrust("r.lan", "r.lan");
}

#[test]
fn a_file_that_is_missing_is_not_asked_for_on_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let shown = run(dir.path(), &["cert", "show", "tls.crt"]);
    assert!(!shown.status.success());
    assert!(
        said(&shown).contains("tls.crt, and a server is HOST:PORT: No such file"),
        "{}",
        said(&shown)
    );
}

#[test]
fn what_openssl_makes_for_a_tutorial_is_warned_of_when_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let own = parameters.self_signed(&key).unwrap();
    std::fs::write(dir.path().join("tls.crt"), own.pem()).unwrap();
    let shown = said(&run(dir.path(), &["cert", "show", "tls.crt"]));
    assert!(shown.contains("names        none"), "{shown}");
    assert!(
        shown.contains("if a server shows it: the certificate has no subjectAltName"),
        "{shown}"
    );
    // An authority that is for signing alone has no names, and needs none.
    run(
        dir.path(),
        &["cert", "new", "--host", "r.lan", "--out", "made"],
    );
    let shown = said(&run(dir.path(), &["cert", "show", "made/ca.crt"]));
    assert!(
        !shown.contains("warning") && !shown.contains("names"),
        "{shown}"
    );
}

#[test]
fn cert_new_prints_a_command_that_works_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = ["--host", "registry.lan", "--host", "hub.lan"];
    let made = said(&run(
        dir.path(),
        &[&["cert", "new", "--out", "made"], &hosts[..]].concat(),
    ));
    assert!(
        made.contains("trust docker registry.lan:PORT") && made.contains("--ca made/ca.crt"),
        "{made}"
    );
    let no_host = run(dir.path(), &["cert", "new", "--host", "999.1.1.1"]);
    assert!(!no_host.status.success(), "{}", said(&no_host));
}

fn trust_and_untrust(registry: &str, in_files: &str) {
    let dir = tempfile::tempdir().unwrap();
    let made = run(
        dir.path(),
        &["cert", "new", "--host", "r.lan", "--out", "made"],
    );
    assert!(made.status.success(), "{}", said(&made));
    let root = dir.path().join("root");
    for existing in [
        "usr/local/share/ca-certificates",
        "etc/rancher/k3s",
        "etc/containerd",
    ] {
        std::fs::create_dir_all(root.join(existing)).unwrap();
    }
    let of_k3s = root.join("etc/rancher/k3s/registries.yaml");
    let theirs = "mirrors:\n  docker.io:\n    endpoint: [\"https://m.lan\"]\n";
    std::fs::write(&of_k3s, theirs).unwrap();
    let on = |verb: &str, client: &str, more: &[&str]| {
        let mut words = vec![
            verb,
            client,
            registry,
            "--root",
            root.to_str().unwrap(),
            "--apply",
        ];
        words.extend(more);
        let output = run(dir.path(), &words);
        (output.status.success(), said(&output))
    };
    let docker = format!("etc/docker/certs.d/{registry}");
    let podman = format!("etc/containers/certs.d/{registry}");
    let containerd = format!("etc/containerd/certs.d/{registry}");
    let system = format!("usr/local/share/ca-certificates/registryd-{in_files}.crt");
    let ca = |at: &str| format!("{at}/ca.crt");
    let registries = |one: &str| format!("etc/rancher/{one}/registries.yaml");
    let entry = |one: &str| format!("ca_file: \"/etc/rancher/{one}/registryd-{in_files}.crt\"");
    let hosts = format!(
        "server = \"https://{registry}\"\n\n[host.\"https://{registry}\"]\n  \
         capabilities = [\"pull\", \"resolve\", \"push\"]\n  ca = \"/{containerd}/ca.crt\"\n"
    );
    let pem = "BEGIN CERTIFICATE".to_owned();
    for (client, file, holds) in [
        ("docker", ca(&docker), pem.clone()),
        ("podman", ca(&podman), pem.clone()),
        ("containerd", format!("{containerd}/hosts.toml"), hosts),
        ("k3s", registries("k3s"), entry("k3s")),
        ("rke2", registries("rke2"), entry("rke2")),
        ("system", system, pem),
    ] {
        let (fine, text) = on("trust", client, &["--ca", "made/ca.crt"]);
        assert!(fine, "{client}: {text}");
        let written = std::fs::read_to_string(root.join(&file)).unwrap();
        assert!(written.contains(&holds), "{client}: {written}");
        assert!(
            client != "containerd" || text.contains("config_path"),
            "{text}"
        );
        let (fine, text) = on("trust", client, &["--ca", "made/ca.crt"]);
        assert!(
            fine && text.contains("as it should be") && !text.contains("write "),
            "{client}: {text}"
        );
        let (fine, text) = on("untrust", client, &[]);
        assert!(fine, "{client}: {text}");
        assert!(!root.join(file).exists() || client == "k3s", "{client}");
    }
    assert_eq!(std::fs::read_to_string(&of_k3s).unwrap(), theirs);
    for directory in [&docker, &podman, &containerd] {
        assert!(!root.join(directory).exists(), "{directory} is left");
    }

    let (fine, text) = on("trust", "docker", &["--ca", "made/ca.key"]);
    assert!(!fine && text.contains("private key"), "{text}");
    let (fine, text) = on(
        "trust",
        "docker",
        &["--ca", "made/ca.crt", "--fingerprint", &"0".repeat(64)],
    );
    assert!(!fine, "{text}");
    // What somebody else wrote is neither replaced nor removed.
    let foreign = root.join(ca(&docker));
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "theirs").unwrap();
    assert!(!on("trust", "docker", &["--ca", "made/ca.crt"]).0);
    assert!(on("untrust", "docker", &[]).1.contains("stays"));
    assert_eq!(std::fs::read_to_string(foreign).unwrap(), "theirs");
}
