//! Files that change under a running server.

use std::os::unix::fs::symlink;

use super::*;

fn open(directory: &Path) -> (Arc<LiveTls>, Reloader) {
    let now = OffsetDateTime::now_utc();
    Reloader::open(
        paths(directory),
        settings(),
        Keeper::Others,
        Vec::new(),
        now,
    )
    .unwrap()
}

fn check(reloader: &mut Reloader) -> Reload {
    reloader.check(OffsetDateTime::now_utc())
}

fn common_name(live: &LiveTls) -> String {
    live.facts().unwrap().names.first().unwrap().to_string()
}

#[test]
fn the_link_that_kubernetes_swaps_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authority = Authority::new("ours");
    for (version, name) in [("..1", "one.lan"), ("..2", "two.lan")] {
        std::fs::create_dir(at(version)).unwrap();
        write(&at(version), &authority.sign(&[name]));
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/tls.crt", at("tls.crt")).unwrap();
    symlink("..data/tls.key", at("tls.key")).unwrap();
    let (live, mut reloader) = open(directory.path());
    assert_eq!(check(&mut reloader), Reload::Unchanged);
    assert_eq!(common_name(&live), "one.lan");

    symlink("..2", at("..data_tmp")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "what the kubelet does")]
    std::fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(check(&mut reloader), Reload::Swapped);
    assert_eq!(common_name(&live), "two.lan");
    assert_eq!(check(&mut reloader), Reload::Unchanged);
}

#[test]
fn what_cannot_be_used_is_reported_once_it_stays_and_the_last_good_pair_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let (one, two) = (authority.sign(&["one.lan"]), authority.sign(&["two.lan"]));
    let (certificate, key) = write(directory.path(), &one);
    let (live, mut reloader) = open(directory.path());
    let half = two.certificate.len() / 2;
    let text = |what: &'static str| move || what.to_owned();
    let mismatch = two.certificate.clone();
    let cut = two.certificate[..half].to_owned();
    let bad: [(&Path, &str, &dyn Fn() -> String, &str); 5] = [
        (
            &certificate,
            "another certificate",
            &|| mismatch.clone(),
            "does not belong to the key",
        ),
        (
            &certificate,
            "half a certificate",
            &|| cut.clone(),
            "http.tls.certificate",
        ),
        (
            &certificate,
            "an empty file",
            &text(""),
            "no whole certificate",
        ),
        (&key, "no key", &text("hello"), "http.tls.key"),
        (
            &key,
            "a damaged key",
            &text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            "http.tls.key",
        ),
    ];
    for (path, what, contents, said) in bad {
        std::fs::write(path, contents()).unwrap();
        assert_eq!(check(&mut reloader), Reload::Waiting, "{what}");
        let Reload::Refused(error) = check(&mut reloader) else {
            panic!("{what} was taken");
        };
        assert!(error.to_string().contains(said), "{what}: {error}");
        assert_eq!(common_name(&live), "one.lan", "{what}");
        shake(&live.config(), client(authority.roots(), None), "one.lan").unwrap();
        write(directory.path(), &one);
        assert_eq!(check(&mut reloader), Reload::Unchanged, "{what}");
    }
    std::fs::remove_file(&key).unwrap();
    assert_eq!(check(&mut reloader), Reload::Waiting);
    assert!(matches!(check(&mut reloader), Reload::Refused(_)));
    // File by file, as people copy.
    std::fs::write(&key, &two.key).unwrap();
    assert_eq!(check(&mut reloader), Reload::Waiting);
    std::fs::write(&certificate, &two.certificate).unwrap();
    assert_eq!(check(&mut reloader), Reload::Swapped);
    assert_eq!(common_name(&live), "two.lan");
}

#[test]
fn new_authorities_for_clients_hold_from_then_on_also_for_those_who_were_here() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    write(directory.path(), &ours.sign(&["localhost"]));
    let clients = directory.path().join("clients.pem");
    std::fs::write(&clients, &ours.pem).unwrap();
    let mut paths = paths(directory.path());
    paths.authorities.push(clients.clone());
    let now = OffsetDateTime::now_utc();
    let (live, mut reloader) =
        Reloader::open(paths, settings(), Keeper::Others, Vec::new(), now).unwrap();
    let identity = ours.sign(&["client"]);
    // One configuration for both, so that the session could be resumed.
    let client = client(ours.roots(), Some(&identity));
    shake(&live.config(), client.clone(), "localhost").unwrap();

    std::fs::write(&clients, &theirs.pem).unwrap();
    assert_eq!(check(&mut reloader), Reload::Swapped);
    assert!(shake(&live.config(), client, "localhost").is_err());
}

#[test]
fn a_pair_that_does_not_fit_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let (certificate, _) = write(directory.path(), &authority.sign(&["one.lan"]));
    std::fs::write(certificate, authority.sign(&["two.lan"]).certificate).unwrap();
    let now = OffsetDateTime::now_utc();
    let opened = Reloader::open(
        paths(directory.path()),
        settings(),
        Keeper::Others,
        Vec::new(),
        now,
    );
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("does not belong to the key"), "{error}");
}

#[test]
fn the_servers_own_certificate_is_found_wherever_it_stands_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let signed = authority.sign(&["one.lan"]);
    let other = Authority::new("other");
    let backwards = Signed {
        certificate: other.pem.clone() + &authority.pem + &signed.certificate,
        key: signed.key,
    };
    write(directory.path(), &backwards);
    let (live, _) = open(directory.path());
    assert!(live.facts().unwrap().covers("one.lan"));
    let shaken = shake(&live.config(), client(authority.roots(), None), "one.lan").unwrap();
    let shown: Vec<_> = shaken
        .peer_certificates()
        .unwrap()
        .iter()
        .map(|der| crate::tls::pem(der).replace("\r\n", "\n"))
        .collect();
    let wanted = [&signed.certificate, &authority.pem, &other.pem];
    for (shown, wanted) in shown.iter().zip(wanted) {
        let wanted = CertificateDer::from_pem_slice(wanted.as_bytes()).unwrap();
        assert_eq!(*shown, crate::tls::pem(&wanted));
    }
}

#[test]
fn a_certificate_of_x509_v1_is_served_and_warned_about() {
    let directory = tempfile::tempdir().unwrap();
    let mut signed = Authority::new("ours").sign(&["one.lan"]);
    signed.certificate = old(&signed.certificate);
    write(directory.path(), &signed);
    let (live, _) = open(directory.path());
    let facts = live.facts().unwrap();
    let said = warnings::about(&facts, &[], OffsetDateTime::now_utc());
    assert!(
        said[0].to_string().contains("no subjectAltName"),
        "{said:?}"
    );
}
