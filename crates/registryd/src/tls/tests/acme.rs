//! Certificates by ACME, without an authority. With one: `tests/operations/acme`.

use std::os::unix::fs::PermissionsExt;

use rustls::server::Acceptor;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::acme::{Challenges, Renewer, schedule};
use super::*;
use crate::config::LetsEncrypt;

fn tls(cachefile: &Path) -> Tls {
    let mut tls = Tls::local(crate::config::LocalTls::default());
    tls.source = TlsSource::Acme {
        letsencrypt: LetsEncrypt {
            cachefile: Some(cachefile.to_owned()),
            hosts: vec!["registry.example".to_owned()],
            ..LetsEncrypt::default()
        },
    };
    tls
}

fn opened(cachefile: &Path) -> anyhow::Result<Opened> {
    open(&tls(cachefile), true, Vec::new(), Path::new("/nowhere"))
}

/// A client that asks for these protocols, and what it was shown.
fn asking(protocols: &[&[u8]]) -> (TlsConnector, Seen) {
    let seen = Seen::default();
    let mut config = (*seen.recording(None).unwrap()).clone();
    config.alpn_protocols = protocols.iter().map(|one| one.to_vec()).collect();
    (TlsConnector::from(Arc::new(config)), seen)
}

/// What a client that asks for these protocols at this host is shown as a proof.
async fn shown(
    challenges: &Arc<Challenges>,
    protocols: &[&[u8]],
    host: &'static str,
) -> Option<CertificateDer<'static>> {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = async {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), ours)
            .await
            .unwrap();
        let config = challenges.answer(&begun.client_hello())?;
        Some(begun.into_stream(config).await)
    };
    let name = ServerName::try_from(host).unwrap();
    let (connector, seen) = asking(protocols);
    // A client that knows nothing of the proof ends with it: the extension is critical.
    let (server, client) = tokio::join!(server, connector.connect(name, theirs));
    assert!(client.is_err());
    server.map(|_| seen.chain().remove(0))
}

#[tokio::test]
async fn only_an_authority_that_looks_sees_the_proof_and_only_while_it_is_shown() {
    let challenges = Arc::new(Challenges::default());
    let digest = [7; 32];
    let guard = challenges.show("Registry.example", digest).unwrap();
    let proof = shown(&challenges, &[b"acme-tls/1"], "registry.example")
        .await
        .unwrap();
    let (_, certificate) = X509Certificate::from_der(&proof).unwrap();
    // id-pe-acmeIdentifier, critical, an OCTET STRING of the digest.
    let extension = certificate
        .extensions()
        .iter()
        .find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
        .unwrap();
    assert!(extension.critical);
    assert_eq!(extension.value, [&[4, 32][..], &digest].concat());
    let names: Vec<_> = Facts::of(&proof).unwrap().names;
    assert_eq!(names, [SubjectName::Dns("registry.example".to_owned())]);

    for (protocols, host) in [
        (&[&b"h2"[..], b"http/1.1"][..], "registry.example"),
        (&[], "registry.example"),
        (&[b"acme-tls/1"], "other.example"),
    ] {
        assert_eq!(shown(&challenges, protocols, host).await, None, "{host}");
    }
    drop(guard);
    let after = shown(&challenges, &[b"acme-tls/1"], "registry.example").await;
    assert_eq!(after, None);
}

#[tokio::test]
async fn before_the_first_certificate_clients_are_refused_and_then_get_it() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("acme");
    let mut opened = opened(&cache).unwrap();
    assert_eq!(opened.live.facts(), None);
    assert!(opened.renewer.is_some());
    let mode = std::fs::metadata(&cache).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let shake = async |live: &LiveTls| {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("registry.example").unwrap();
        let (connector, _) = asking(&[b"http/1.1"]);
        let (server, client) = tokio::join!(live.accept(ours), connector.connect(name, theirs));
        server.map(drop).and(client.map(drop))
    };
    assert!(shake(&opened.live).await.is_err());
    let now = OffsetDateTime::now_utc();
    assert_eq!(opened.reloader.check(now), Reload::Unchanged);

    let signed = Authority::new("theirs").sign(&["registry.example"]);
    std::fs::write(&opened.certificate, signed.certificate + &signed.key).unwrap();
    assert_eq!(opened.reloader.check(now), Reload::Swapped);
    shake(&opened.live).await.unwrap();
    assert!(opened.live.facts().unwrap().covers("registry.example"));

    // Somebody tidies up: what is served stays.
    std::fs::remove_file(&opened.certificate).unwrap();
    assert_eq!(opened.reloader.check(now), Reload::Unchanged);
    shake(&opened.live).await.unwrap();
}

#[test]
fn a_damaged_certificate_is_as_good_as_none_and_a_bad_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("acme");
    let path = opened(&cache).unwrap().certificate;
    let signed = Authority::new("theirs").sign(&["registry.example"]);
    let other = Authority::new("theirs").sign(&["registry.example"]);
    for damaged in [
        String::new(),
        signed.certificate.clone(),
        signed.certificate + &other.key,
    ] {
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(opened(&cache).unwrap().live.facts(), None);
    }
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = opened(&file).unwrap_err().to_string();
    assert!(
        error.contains("cachefile") && error.contains("directory"),
        "{error}"
    );
}

/// Another authority has another place in the same directory.
#[test]
fn what_one_authority_gave_is_not_served_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = LetsEncrypt::default();
    let at = |settings: &LetsEncrypt| {
        let renewer = Renewer::open(settings, directory.path()).unwrap();
        renewer.certificate_path().to_owned()
    };
    let production = at(&settings);
    settings.directoryurl = "https://acme-staging-v02.api.letsencrypt.org/directory".to_owned();
    assert_ne!(at(&settings), production);
    settings.directoryurl = "https://../../etc:1/\u{e4}".to_owned();
    assert!(at(&settings).starts_with(directory.path()));
    assert!(!at(&settings).to_str().unwrap().contains("/../"));
}

#[test]
fn renewal_is_due_with_a_third_of_the_life_left() {
    let authority = Authority::new("theirs");
    for days in [6, 90] {
        let signed = authority.sign_with(&["registry.example"], |parameters| {
            parameters.not_after = parameters.not_before + Duration::days(days);
        });
        let der = CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap();
        let facts = Facts::of(&der).unwrap();
        let left = facts.not_after - schedule::due(&facts);
        let third = Duration::days(days) / 3;
        assert!(
            left >= third && left <= third * 1.1,
            "{left} of {days} days"
        );
        assert_eq!(schedule::due(&facts), schedule::due(&facts));
    }
}

#[test]
fn failures_are_tried_again_ever_later_and_when_the_authority_says() {
    let minutes = |n: u64| std::time::Duration::from_secs(60 * n);
    let mut attempts = 1;
    let mut passed = std::time::Duration::ZERO;
    for failures in 1..=40 {
        let wait = schedule::again_after(failures, None);
        assert!(
            wait >= minutes(1) && wait <= minutes(450),
            "{failures}: {wait:?}"
        );
        passed += wait;
        attempts += u32::from(passed < minutes(60));
    }
    // Let's Encrypt allows five failed validations an hour.
    assert!(attempts <= 5, "{attempts}");
    let asked = schedule::again_after(1, Some(minutes(180)));
    assert_eq!(asked, minutes(180));
    let moment = schedule::again_after(9, Some(std::time::Duration::ZERO));
    assert_eq!(moment, minutes(1));
}

#[test]
fn the_directory_that_is_meant_when_none_is_written_is_that_of_lets_encrypt() {
    assert_eq!(
        LetsEncrypt::default().directoryurl,
        instant_acme::LetsEncrypt::Production.url()
    );
}
