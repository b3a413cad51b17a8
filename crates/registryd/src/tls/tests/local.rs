//! The local authority.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::tls::local::LocalCa;

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn opened(directory: &Path, names: &[&str]) -> Opened {
    let tls = Tls::local(crate::config::LocalTls {
        hosts: hosts(names),
        directory: Some(directory.to_owned()),
    });
    open(&tls, true, Vec::new(), Path::new("/nowhere")).unwrap()
}

#[test]
fn clients_that_trust_the_authority_accept_every_name_of_the_registry_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let opened = opened(
        directory.path(),
        &["registry.lan", "192.0.2.7", "hub.tools.svc"],
    );
    let authority = opened.authority.unwrap().pem;
    let config = opened.live.config();
    for name in [
        "registry.lan",
        "192.0.2.7",
        "hub.tools.svc",
        "hub.tools.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        "::1",
    ] {
        let accepted = shake(&config, client(roots(&authority), None), name);
        assert!(accepted.is_ok(), "{name}: {:?}", accepted.err());
    }
    for name in ["other.lan", "192.0.2.8", "hub.tools"] {
        assert!(
            shake(&config, client(roots(&authority), None), name).is_err(),
            "{name}"
        );
    }
}

#[test]
fn the_authority_cannot_vouch_for_anybody_else() {
    let directory = tempfile::tempdir().unwrap();
    // Services live in namespaces, and machines have names, that are called like TLDs.
    let ca = directory.path().join("ca");
    let opened = opened(&ca, &["registry.lan", "com", "registry.dev.svc"]);
    let ours = opened.authority.unwrap();
    // Somebody has the key and signs for another host.
    let key = std::fs::read_to_string(ca.join("ca.key")).unwrap();
    let stolen = Authority {
        issuer: Issuer::from_ca_cert_pem(&ours.pem, KeyPair::from_pem(&key).unwrap()).unwrap(),
        pem: ours.pem.clone(),
    };
    let machine = rustix::system::uname();
    let machine = machine.nodename().to_string_lossy();
    let below_machine = format!("www.{machine}");
    for (name, asked, accepted) in [
        ("bank.example", "bank.example", false),
        ("203.0.113.1", "203.0.113.1", false),
        ("registry.lan", "registry.lan", true),
        ("a.registry.lan", "a.registry.lan", true),
        ("com", "com", true),
        ("example.com", "example.com", false),
        ("a.example.com", "a.example.com", false),
        ("*.com", "example.com", false),
        ("registry.dev.svc", "registry.dev.svc", true),
        ("registry.dev", "registry.dev", false),
        ("www.registry.dev", "www.registry.dev", false),
        (&below_machine, &below_machine, machine.contains('.')),
    ] {
        write(directory.path(), &stolen.sign(&[name]));
        let (live, _) = Reloader::open(
            paths(directory.path()),
            settings(),
            Keeper::Others,
            Vec::new(),
            OffsetDateTime::now_utc(),
        )
        .unwrap();
        let shaken = shake(&live.config(), client(roots(&ours.pem), None), asked);
        assert_eq!(shaken.is_ok(), accepted, "{name}");
    }
}

/// What other clients make of the limits: those that use OpenSSL, as curl does.
#[test]
fn openssl_reads_the_limits_of_the_authority_likewise() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca");
    opened(&ca, &["registry"]);
    let pem = std::fs::read_to_string(ca.join("ca.crt")).unwrap();
    let key = std::fs::read_to_string(ca.join("ca.key")).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&key).unwrap()).unwrap();
    let stolen = Authority { issuer, pem };
    for (name, accepted) in [
        ("registry", true),
        ("www.registry", false),
        ("*.registry", false),
        ("registry.com", false),
    ] {
        let (certificate, _) = write(directory.path(), &stolen.sign(&[name]));
        let verified = std::process::Command::new("openssl")
            .args(["verify", "-CAfile"])
            .args([&ca.join("ca.crt"), &certificate])
            .output();
        // Only what needs nothing but Rust and a C compiler has to run everywhere.
        let Ok(verified) = verified else { return };
        assert_eq!(verified.status.success(), accepted, "{name}: {verified:?}");
    }
}

#[test]
fn what_an_earlier_version_opened_too_wide_is_still_used() {
    let directory = tempfile::tempdir().unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.name_constraints = Some(rcgen::NameConstraints {
        permitted_subtrees: ["dev", "localhost"]
            .map(|name| rcgen::GeneralSubtree::DnsName(name.to_owned()))
            .to_vec(),
        excluded_subtrees: Vec::new(),
    });
    let key = KeyPair::generate().unwrap();
    let pem = parameters.self_signed(&key).unwrap().pem();
    std::fs::write(directory.path().join("ca.crt"), &pem).unwrap();
    std::fs::write(directory.path().join("ca.key"), key.serialize_pem()).unwrap();
    let now = OffsetDateTime::now_utc();
    let local = LocalCa::open(directory.path(), &hosts(&["registry.dev"]), now).unwrap();
    assert_eq!(local.authority().pem, pem);
}

#[test]
fn keys_are_for_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca");
    opened(&ca, &["registry.lan"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&ca), 0o700);
    assert_eq!(mode(&ca.join("ca.key")), 0o600);
    assert_eq!(mode(&ca.join("tls.key")), 0o600);
}

#[test]
fn a_restart_changes_nothing_and_two_thirds_of_a_life_bring_a_new_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let names = hosts(&["registry.lan"]);
    let now = OffsetDateTime::now_utc();
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    let open = |now| LocalCa::open(directory.path(), &names, now).unwrap();
    open(now);
    let (authority, leaf) = (read("ca.crt"), read("tls.crt"));
    open(now + Duration::days(59));
    assert_eq!(read("tls.crt"), leaf);
    open(now + Duration::days(61));
    assert_ne!(read("tls.crt"), leaf);
    assert_eq!(read("ca.crt"), authority);
}

#[test]
fn a_running_server_renews_by_itself_and_clients_notice_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut opened = opened(directory.path(), &["registry.lan"]);
    let authority = opened.authority.take().unwrap().pem;
    let before = opened.live.facts().unwrap();
    let now = OffsetDateTime::now_utc();
    assert_eq!(
        opened.reloader.check(now + Duration::days(59)),
        Reload::Unchanged
    );
    assert_eq!(
        opened.reloader.check(now + Duration::days(61)),
        Reload::Swapped
    );
    assert!(opened.live.facts().unwrap().not_after > before.not_after);
    // The new one is valid from its own now, which is not yet: only its signature is checked here.
    let new = opened.live.facts().unwrap();
    assert_eq!(new.issuer, before.issuer);
    assert_eq!(new.names, before.names);
    assert_eq!(
        std::fs::read_to_string(directory.path().join("ca.crt")).unwrap(),
        authority
    );
}

#[test]
fn damaged_or_foreign_certificates_are_made_anew_under_the_same_authority() {
    let directory = tempfile::tempdir().unwrap();
    let names = hosts(&["registry.lan"]);
    let now = OffsetDateTime::now_utc();
    let fingerprint = || {
        let local = LocalCa::open(directory.path(), &names, now).unwrap();
        let paths = paths(directory.path());
        let (live, _) = Reloader::open(paths, settings(), Keeper::Others, Vec::new(), now).unwrap();
        shake(
            &live.config(),
            client(roots(&local.authority().pem), None),
            "registry.lan",
        )
        .unwrap();
        local.authority().fingerprint
    };
    let first = fingerprint();
    for damage in ["tls.crt", "tls.key"] {
        std::fs::write(directory.path().join(damage), "half").unwrap();
        assert_eq!(fingerprint(), first, "{damage}");
        std::fs::remove_file(directory.path().join(damage)).unwrap();
        assert_eq!(fingerprint(), first, "{damage}");
    }
    write(
        directory.path(),
        &Authority::new("other").sign(&["registry.lan"]),
    );
    assert_eq!(fingerprint(), first);
}

#[test]
fn a_host_that_the_authority_may_not_sign_for_is_refused_and_the_authority_kept() {
    let directory = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    let open = |names: &[&str]| LocalCa::open(directory.path(), &hosts(names), now);
    let first = open(&["registry.lan"]).unwrap().authority().fingerprint;
    let error = open(&["registry.lan", "hub.lan"]).unwrap_err().to_string();
    assert!(
        error.contains("not for hub.lan") && error.contains("trust anew"),
        "{error}"
    );
    let below = open(&["mirror.registry.lan"]).unwrap();
    assert_eq!(below.authority().fingerprint, first);
}

#[test]
fn an_authority_without_its_key_or_without_limits_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    let open = || LocalCa::open(directory.path(), &hosts(&["registry.lan"]), now);
    open().unwrap();
    std::fs::remove_file(directory.path().join("ca.key")).unwrap();
    assert!(format!("{:#}", open().unwrap_err()).contains("ca.key is not"));
    let foreign = Authority::new("company");
    std::fs::write(directory.path().join("ca.crt"), &foreign.pem).unwrap();
    let key = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(directory.path().join("ca.key"), key).unwrap();
    assert!(format!("{:#}", open().unwrap_err()).contains("not limited"));
}

#[test]
fn two_processes_with_different_hosts_share_one_certificate_and_leave_it_alone() {
    let directory = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    let open = |names: &[&str], now| LocalCa::open(directory.path(), &hosts(names), now).unwrap();
    let read = || std::fs::read_to_string(directory.path().join("tls.crt")).unwrap();
    open(&["registry.lan", "hub.lan"], now);
    std::fs::remove_file(directory.path().join("tls.crt")).unwrap();
    let mut one = open(&["registry.lan"], now);
    let alone = read();
    let mut two = open(&["hub.lan"], now);
    let both = read();
    assert_ne!(alone, both);
    let names = |pem: &str| {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let facts = Facts::of(&der).unwrap();
        assert!(facts.covers("registry.lan"), "{:?}", facts.names);
        facts.names.len()
    };
    assert_eq!(names(&both), names(&alone) + 1);
    for minutes in 1..4 {
        let later = now + Duration::minutes(15 * minutes);
        one.renew(later).unwrap();
        two.renew(later).unwrap();
        assert_eq!(read(), both, "neither takes the other's host away");
    }
    // Whoever renews it keeps the hosts of both.
    one.renew(now + Duration::days(61)).unwrap();
    let renewed = read();
    assert_ne!(renewed, both);
    assert_eq!(names(&renewed), names(&both));
    two.renew(now + Duration::days(61)).unwrap();
    assert_eq!(read(), renewed);
}

#[test]
fn the_end_of_the_authority_is_warned_of_and_no_certificate_outlives_it() {
    let directory = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    let names = hosts(&["registry.lan"]);
    let open = |now| LocalCa::open(directory.path(), &names, now).unwrap();
    let days = |days| now + Duration::days(days);
    assert_eq!(open(now).warning(now), None);
    assert_eq!(open(days(3460)).warning(days(3460)), None);
    let warning = open(days(3480)).warning(days(3480)).unwrap().to_string();
    assert!(
        warning.contains(&crate::tls::day(days(3650))) && warning.contains("registryd trust"),
        "{warning}"
    );
    let read = || std::fs::read_to_string(directory.path().join("tls.crt")).unwrap();
    let mut last = open(days(3630));
    let leaf = read();
    let facts = Facts::of(&CertificateDer::from_pem_slice(leaf.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        crate::tls::day(facts.not_after),
        crate::tls::day(days(3650))
    );
    // It is as good as one can be: it is not made anew again and again.
    last.renew(days(3640)).unwrap();
    assert_eq!(read(), leaf);
}

#[test]
fn commands_name_hosts_that_clients_can_ask() {
    let directory = tempfile::tempdir().unwrap();
    let host = |name: &str, hosts: &[&str]| {
        let opened = opened(&directory.path().join(name), hosts);
        opened.authority.unwrap().host()
    };
    assert_eq!(host("a", &["*.apps.lan", "registry.lan"]), "registry.lan");
    assert_eq!(host("b", &["*.apps.lan"]), "NAME.apps.lan");
    assert_eq!(host("c", &["*.apps.lan", "192.0.2.7"]), "192.0.2.7");
    assert_eq!(host("d", &[]), "localhost");
    // The first that was named, whatever the alphabet says, and nothing that was derived from it.
    assert_eq!(host("e", &["registry.lan", "hub.lan"]), "registry.lan");
    assert_eq!(host("f", &["reg.tools.svc", "a.lan"]), "reg.tools.svc");
}
