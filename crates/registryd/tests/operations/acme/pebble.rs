//! The authority, and the name server that it asks.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::shown::{get, trusting};
use crate::running::PATIENCE;

/// What listens where.
pub(super) struct Ports {
    pub(super) pebble: u16,
    management: u16,
    names: u16,
    names_management: u16,
    /// Where the authority looks instead of at port 443.
    pub(super) registry: u16,
}

impl Ports {
    /// Ports that nobody listens on. They are held together, so that they are not the same.
    pub(super) fn choose() -> Self {
        let held = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [pebble, management, names, names_management, registry] =
            held.map(|one| one.local_addr().unwrap().port());
        Self {
            pebble,
            management,
            names,
            names_management,
            registry,
        }
    }

    pub(super) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.pebble)
    }
}

/// A running authority. It forgets everything when it ends.
pub(super) struct Pebble {
    processes: [Child; 2],
    management: String,
    /// Who vouches for its own listeners.
    authority: String,
}

impl Pebble {
    /// Starts it with `more` in its settings.
    pub(super) fn start(dir: &Path, ports: &Ports, more: &str) -> Self {
        let (authority, certificate, key) = listener_certificate();
        let file = |name: &str, text: &str| -> PathBuf {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        file("pebble.pem", &authority);
        let certificate = file("pebble.crt", &certificate);
        let key = file("pebble.key", &key);
        let settings = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{}", "managementListenAddress": "127.0.0.1:{}",
                "certificate": "{}", "privateKey": "{}", "httpPort": 1, "tlsPort": {}{more}}}}}"#,
            ports.pebble,
            ports.management,
            certificate.display(),
            key.display(),
            ports.registry,
        );
        let settings = file("pebble.json", &settings);
        let names = format!("127.0.0.1:{}", ports.names);
        let names_management = format!("127.0.0.1:{}", ports.names_management);
        let program = |name: &str, arguments: &[&str]| {
            Command::new(name)
                .args(arguments)
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_AUTHZREUSE", "0")
                // Rejecting good nonces at random tests the client library, and it does.
                .env("PEBBLE_WFE_NONCEREJECT", "0")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{name}: {error}; apt-get install pebble"))
        };
        // Every name is this machine.
        let resolver = program(
            "pebble-challtestsrv",
            &[
                "-dns01",
                &names,
                "-management",
                &names_management,
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ],
        );
        let config = settings.to_str().unwrap();
        let pebble = program("pebble", &["-config", config, "-dnsserver", &names]);
        let mut started = Self {
            processes: [resolver, pebble],
            management: format!("127.0.0.1:{}", ports.management),
            authority,
        };
        for port in [ports.names, ports.pebble, ports.management] {
            started.wait_for(port);
        }
        started
    }

    fn wait_for(&mut self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            for process in &mut self.processes {
                let ended = process.try_wait().unwrap();
                assert!(ended.is_none(), "a part of pebble ended: {ended:?}");
            }
            assert!(begun.elapsed() < PATIENCE, "nothing listens on {port}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The root of what it issues, in PEM.
    pub(super) fn root(&self) -> String {
        let client = trusting(&self.authority);
        get(&client, &self.management, "localhost", "/roots/0").unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// An authority, and a certificate and key for this machine.
fn listener_certificate() -> (String, String, String) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(parameters, key);
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    (authority, certificate.pem(), key.serialize_pem())
}
