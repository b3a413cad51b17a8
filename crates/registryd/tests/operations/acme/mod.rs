//! Certificates by ACME, of the authority that Let's Encrypt tests its clients with.
//!
//! `apt-get install pebble` on Debian 12.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use self::pebble::{Pebble, Ports};
use self::shown::{Shown, trusting, trusting_nobody};
use crate::running::{PATIENCE, Running, start};

mod pebble;
mod shown;

const HOSTS: [&str; 2] = ["registry.example", "hub.example"];

/// A configuration that asks this authority for a certificate for the hosts.
fn config(ports: &Ports, hosts: &[&str]) -> String {
    config_at(ports.registry, ports, hosts)
}

fn config_at(port: u16, ports: &Ports, hosts: &[&str]) -> String {
    let (directory, hosts) = (ports.directory(), hosts.join(", "));
    format!(
        "version: 0.1
storage: {{filesystem: {{rootdirectory: data}}}}
http:
  addr: 127.0.0.1:{port}
  debug: {{addr: '127.0.0.1:0', prometheus: {{enabled: true}}}}
  tls:
    letsencrypt:
      cachefile: acme
      email: ops@registry.example
      hosts: [{hosts}]
      directoryurl: {directory}
      directoryca: pebble.pem
"
    )
}

/// What a client without opinions is shown.
fn served(server: &Running) -> Shown {
    shown::ask(&trusting_nobody(), &server.address, HOSTS[0]).unwrap()
}

/// Waits until something else is served.
fn replaced(server: &Running, before: &Shown) -> Shown {
    let begun = Instant::now();
    loop {
        let now = served(server);
        if now.certificate() != before.certificate() {
            return now;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "still the certificate of before"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn a_certificate_is_obtained_and_kept_and_not_asked_for_again() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::choose();
    let pebble = Pebble::start(dir.path(), &ports, "");
    let mut server = start(dir.path(), &config(&ports, &HOSTS));
    server.wait_for("a certificate is requested by ACME");
    server.wait_for("a new ACME account was made");
    server.wait_for("the certificate was replaced");
    let root = pebble.root();
    for host in HOSTS {
        let shown = shown::ask(&trusting(&root), &server.address, host).unwrap();
        assert_eq!(shown.status, 200, "{host}");
    }
    let wrong = shown::ask(&trusting(&root), &server.address, "other.example");
    assert!(wrong.is_err(), "the certificate is not for other.example");
    let before = served(&server);
    let metrics = server.operator("/metrics").body;
    let expiry = format!(
        "registryd_tls_certificate_expiry_seconds{{file=\"acme/127.0.0.1-{}-dir/certificate.pem\"}} {}",
        ports.pebble,
        before.not_after()
    );
    assert!(metrics.contains(&expiry), "{expiry}\n{metrics}");

    let own = dir
        .path()
        .join(format!("acme/127.0.0.1-{}-dir", ports.pebble));
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&own), 0o700);
    for name in ["account.json", "certificate.pem"] {
        assert_eq!(mode(&own.join(name)), 0o600, "{name}");
    }
    assert!(server.terminate().success());

    // Nobody could be asked now.
    drop(pebble);
    let server = start(dir.path(), &config(&ports, &HOSTS));
    assert_eq!(served(&server).certificate(), before.certificate());
    server.wait_for("there is a certificate of the ACME authority");
}

#[test]
fn renewal_is_in_time_and_no_connection_notices() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::choose();
    // Two thirds of its life are what this test lasts.
    let pebble = Pebble::start(dir.path(), &ports, ", \"certificateValidityPeriod\": 20");
    let server = start(dir.path(), &config(&ports, &HOSTS));
    server.wait_for("the certificate was replaced");
    let first = served(&server);
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = trusting_nobody();
    let ask = || {
        while !stop.load(Ordering::Relaxed) {
            let shown = shown::ask(&client, &server.address, HOSTS[1])?;
            if shown.status != 200 {
                return Err(format!("status {}", shown.status));
            }
            asked.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let mut open = shown::Open::new(&client, &server.address, HOSTS[0]).unwrap();
    assert_eq!(open.ask().unwrap(), 200);
    let second = std::thread::scope(|scope| {
        let asking = scope.spawn(ask);
        // Whatever fails here, the other must end.
        let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let second = replaced(&server, &first);
            assert_eq!(open.ask().unwrap(), 200, "the connection that was open");
            second
        }));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(asking.join().unwrap(), Ok(()));
        second.unwrap()
    });
    assert!(asked.into_inner() > 10);
    assert!(second.not_after() > first.not_after());
    // By the clock of the moment it was made: how long this test takes does not matter.
    for shown in [&first, &second] {
        shown.verify(&pebble.root(), HOSTS[0]).unwrap();
    }
    let renewed_at = second.not_before();
    let left = first.not_after() - renewed_at;
    assert!(left <= 8, "renewed with {left} of 20 seconds left");
}

#[test]
fn without_the_authority_the_certificate_stays_and_with_another_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::choose();
    let pebble = Pebble::start(dir.path(), &ports, "");
    let mut server = start(dir.path(), &config(&ports, &HOSTS[..1]));
    server.wait_for("the certificate was replaced");
    let first = served(&server);
    assert!(server.terminate().success());
    drop(pebble);

    // One more host needs another certificate, at once.
    let server = start(dir.path(), &config(&ports, &HOSTS));
    let line = server.wait_for("no certificate by ACME");
    for part in [
        "Connection refused",
        "directoryurl",
        "stays in use and expires on",
        "SIGHUP",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert_eq!(served(&server).certificate(), first.certificate());

    // It has forgotten everything, the account too.
    let pebble = Pebble::start(dir.path(), &ports, "");
    server.hang_up();
    server.wait_for("does not know the ACME account any more");
    let second = replaced(&server, &first);
    for host in HOSTS {
        second.verify(&pebble.root(), host).unwrap();
    }
}

#[test]
fn what_the_authority_does_not_accept_is_said_and_an_end_in_the_middle_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::choose();
    let pebble = Pebble::start(dir.path(), &ports, "");
    // Nothing listens where the authority looks.
    let elsewhere = Ports::choose().registry;
    let mut server = start(dir.path(), &config_at(elsewhere, &ports, &HOSTS));
    let line = server.wait_for("no certificate by ACME");
    for part in [
        "does not accept the proof for",
        "port 443 of registry.example, hub.example",
        "there is none yet",
    ] {
        assert!(line.contains(part), "{line}");
    }
    let refused = shown::ask(&trusting_nobody(), &server.address, HOSTS[0]);
    assert!(refused.is_err(), "there is nothing to serve");
    assert!(server.terminate().success());

    // Somebody listens there who never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", ports.registry)).unwrap();
    let mut server = start(dir.path(), &config_at(elsewhere, &ports, &HOSTS));
    server.wait_for("a certificate is requested by ACME");
    let (connection, _) = silent.accept().unwrap();
    assert!(server.terminate().success());
    drop((connection, silent));

    let server = start(dir.path(), &config(&ports, &HOSTS));
    server.wait_for("the certificate was replaced");
    served(&server).verify(&pebble.root(), HOSTS[0]).unwrap();
}
