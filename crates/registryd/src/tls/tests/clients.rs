//! What is asked of clients: certificates, versions, cipher suites.

use super::*;

fn server(
    directory: &Path,
    own: &Signed,
    authorities: &[&Authority],
    change: impl FnOnce(&mut Settings),
) -> Arc<rustls::ServerConfig> {
    write(directory, own);
    let mut paths = paths(directory);
    for (number, authority) in authorities.iter().enumerate() {
        let path = directory.join(format!("client-{number}.pem"));
        std::fs::write(&path, &authority.pem).unwrap();
        paths.authorities.push(path);
    }
    let mut settings = settings();
    change(&mut settings);
    let (live, _) = Reloader::open(
        paths,
        settings,
        Keeper::Others,
        Vec::new(),
        OffsetDateTime::now_utc(),
    )
    .unwrap();
    live.config()
}

#[test]
fn each_mode_of_clientauth_lets_in_whom_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let own = ours.sign(&["localhost"]);
    let (known, stranger) = (ours.sign(&["client"]), theirs.sign(&["client"]));
    for (mode, nobody, a_stranger) in [
        (ClientAuth::RequestClientCert, true, true),
        (ClientAuth::RequireAnyClientCert, false, true),
        (ClientAuth::VerifyClientCertIfGiven, true, false),
        (ClientAuth::RequireAndVerifyClientCert, false, false),
    ] {
        let server = server(directory.path(), &own, &[&ours], |s| s.clientauth = mode);
        let enters = |identity: Option<&Signed>| {
            let mut client = client(ours.roots(), identity);
            if let Some(signed) = identity {
                client.client_auth_cert_resolver = always(signed);
            }
            shake(&server, client, "localhost").is_ok()
        };
        assert!(enters(Some(&known)), "{mode:?}, known");
        assert_eq!(enters(None), nobody, "{mode:?}, nobody");
        assert_eq!(enters(Some(&stranger)), a_stranger, "{mode:?}, stranger");
    }
}

#[test]
fn who_checks_nothing_takes_certificates_of_x509_v1_too() {
    let directory = tempfile::tempdir().unwrap();
    let ours = Authority::new("ours");
    let own = ours.sign(&["localhost"]);
    let mut identity = ours.sign(&["client"]);
    identity.certificate = old(&identity.certificate);
    let stranger = Signed {
        certificate: identity.certificate.clone(),
        key: KeyPair::generate().unwrap().serialize_pem(),
    };
    for (mode, enters) in [
        (ClientAuth::RequestClientCert, true),
        (ClientAuth::RequireAnyClientCert, true),
        (ClientAuth::VerifyClientCertIfGiven, false),
        (ClientAuth::RequireAndVerifyClientCert, false),
    ] {
        let server = server(directory.path(), &own, &[&ours], |s| s.clientauth = mode);
        for version in rustls::ALL_VERSIONS {
            let shaken = |identity: &Signed| {
                let mut client = client_with(ours.roots(), None, &[version]);
                client.client_auth_cert_resolver = always(identity);
                shake(&server, client, "localhost")
            };
            assert_eq!(shaken(&identity).is_ok(), enters, "{mode:?} {version:?}");
            assert!(shaken(&stranger).is_err(), "{mode:?}: it has another key");
        }
    }
}

/// A client that shows its certificate whichever authorities the server names.
fn always(signed: &Signed) -> Arc<dyn rustls::client::ResolvesClientCert> {
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()];
    let certified = rustls::sign::CertifiedKey::new(chain, key);
    Arc::new(rustls::sign::SingleCertAndKey::from(certified))
}

#[test]
fn several_authorities_vouch_for_clients() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let server = server(
        directory.path(),
        &one.sign(&["localhost"]),
        &[&one, &two],
        |_| {},
    );
    for authority in [&one, &two] {
        let identity = authority.sign(&["client"]);
        let client = client(one.roots(), Some(&identity));
        assert!(shake(&server, client, "localhost").is_ok());
    }
}

#[test]
fn the_oldest_version_is_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let own = authority.sign(&["localhost"]);
    for (minimum, old_client) in [(TlsVersion::Tls12, true), (TlsVersion::Tls13, false)] {
        let server = server(directory.path(), &own, &[], |s| s.minimum = minimum);
        let old = client_with(authority.roots(), None, &[&rustls::version::TLS12]);
        assert_eq!(shake(&server, old, "localhost").is_ok(), old_client);
        let new = client_with(authority.roots(), None, &[&rustls::version::TLS13]);
        assert!(shake(&server, new, "localhost").is_ok());
    }
}

#[test]
fn only_the_cipher_suites_that_were_named_are_offered_for_tls_1_2() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let own = authority.sign(&["localhost"]);
    let chosen = |names: &[&str], version: &'static rustls::SupportedProtocolVersion| {
        let server = server(directory.path(), &own, &[], |settings| {
            settings.ciphersuites = names.iter().map(ToString::to_string).collect();
        });
        let client = client_with(authority.roots(), None, &[version]);
        let connection = shake(&server, client, "localhost").ok()?;
        connection
            .negotiated_cipher_suite()
            .map(|suite| format!("{:?}", suite.suite()))
    };
    let one = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    assert_eq!(
        chosen(&[one], &rustls::version::TLS12).as_deref(),
        Some(one)
    );
    let chacha = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305";
    assert_eq!(
        chosen(&[chacha], &rustls::version::TLS12).as_deref(),
        Some("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256")
    );
    // Like Go: the list does not touch TLS 1.3; and what is not safe is not offered at all.
    assert!(chosen(&[one], &rustls::version::TLS13).is_some());
    assert_eq!(
        chosen(&["TLS_RSA_WITH_AES_128_CBC_SHA"], &rustls::version::TLS12),
        None
    );
    assert!(chosen(&["TLS_RSA_WITH_AES_128_CBC_SHA"], &rustls::version::TLS13).is_some());
}
