//! Registries with the certificates that people make.

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use rustls::crypto::aws_lc_rs;
use rustls::{ServerConfig, ServerConnection, Stream};
use rustls_pki_types::PrivateKeyDer;

use super::*;

/// Serves a certificate that signs itself and may sign for others, as `openssl req -x509` makes it.
fn tutorial(change: impl FnOnce(&mut CertificateParams)) -> (Remote, Fingerprint) {
    let mut parameters = CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut parameters);
    let key = KeyPair::generate().unwrap();
    let own = parameters.self_signed(&key).unwrap().der().clone();
    let fingerprint = Fingerprint::of(&own);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("localhost:0").unwrap();
    let registry = format!("localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
            // It has nothing to say, and a client that only looks hangs up.
            let _ = Stream::new(&mut session, &mut socket).read(&mut [0; 1024]);
        }
    });
    (registry.parse().unwrap(), fingerprint)
}

fn trusted(change: impl FnOnce(&mut CertificateParams)) -> Result<String, String> {
    let (registry, fingerprint) = tutorial(change);
    authority(&registry, None, Some(fingerprint)).map_err(|error| format!("{error:#}"))
}

#[test]
fn a_self_signed_certificate_that_may_sign_is_trusted_by_its_fingerprint() {
    let pem = trusted(|_| ()).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
}

#[test]
fn what_clients_would_refuse_of_a_self_signed_certificate_is_said() {
    let other = CertificateParams::new(["registry.lan".to_owned()]).unwrap();
    let error = trusted(|made| made.subject_alt_names = other.subject_alt_names).unwrap_err();
    assert!(
        error.contains("not for localhost but for registry.lan"),
        "{error}"
    );
    let error = trusted(|made| made.not_after = date_time_ymd(2021, 1, 1)).unwrap_err();
    assert!(error.contains("to 2021-01-01 only"), "{error}");
    let clients = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let error = trusted(|made| made.extended_key_usages = clients).unwrap_err();
    assert!(error.contains("not made for servers"), "{error}");
}

#[test]
fn without_a_fingerprint_the_one_that_is_seen_is_shown_and_nothing_is_trusted() {
    let (registry, fingerprint) = tutorial(|_| ());
    let error = authority(&registry, None, None).unwrap_err().to_string();
    assert!(
        error.contains(&fingerprint.to_string()) && error.contains("compare"),
        "{error}"
    );
}
