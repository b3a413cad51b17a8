//! Handshakes in memory, and files on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::{Duration, OffsetDateTime};

use super::material::{Paths, Settings};
use super::*;
use crate::config::{ClientAuth, TlsVersion};

mod acme;
mod clients;
mod local;
mod reload;
mod warn;

/// An authority that signs whatever it is asked to.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(title: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, title);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(parameters, key),
            pem,
        }
    }

    fn sign(&self, names: &[&str]) -> Signed {
        self.sign_with(names, |_| {})
    }

    fn sign_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        let now = OffsetDateTime::now_utc();
        parameters.not_before = now - Duration::days(1);
        parameters.not_after = now + Duration::days(60);
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Signed {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    fn roots(&self) -> RootCertStore {
        roots(&self.pem)
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    roots
}

fn settings() -> Settings {
    Settings {
        minimum: TlsVersion::Tls12,
        ciphersuites: Vec::new(),
        clientauth: ClientAuth::default(),
        http2: true,
    }
}

fn paths(directory: &Path) -> Paths {
    Paths {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
        authorities: Vec::new(),
        awaited: false,
    }
}

fn write(directory: &Path, signed: &Signed) -> (PathBuf, PathBuf) {
    let paths = paths(directory);
    std::fs::write(&paths.certificate, &signed.certificate).unwrap();
    std::fs::write(&paths.key, &signed.key).unwrap();
    (paths.certificate, paths.key)
}

fn client(roots: RootCertStore, identity: Option<&Signed>) -> ClientConfig {
    client_with(roots, identity, rustls::DEFAULT_VERSIONS)
}

fn client_with(
    roots: RootCertStore,
    identity: Option<&Signed>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some(signed) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    }
}

/// Shakes hands for `localhost` in memory, and returns the client's end of it.
fn shake(
    server: &Arc<rustls::ServerConfig>,
    client: ClientConfig,
    name: &str,
) -> Result<ClientConnection, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut read = bytes.as_slice();
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut read = bytes.as_slice();
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
            client.process_new_packets()?;
        }
        if !client.is_handshaking() && !server.is_handshaking() && !client.wants_write() {
            return Ok(client);
        }
    }
}

/// The same certificate as X.509 v1: without version and extensions, so that its signature is wrong.
fn old(pem: &str) -> String {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, certificate) = elements(&der).remove(0);
    let outer = elements(&certificate);
    let kept: Vec<u8> = elements(&outer[0].1)
        .iter()
        .filter(|(tag, _)| ![0xa0, 0xa3].contains(tag))
        .flat_map(|(tag, content)| element(*tag, content))
        .collect();
    let rest = outer[1..]
        .iter()
        .flat_map(|(tag, content)| element(*tag, content));
    let whole: Vec<u8> = element(0x30, &kept).into_iter().chain(rest).collect();
    super::pem(&element(0x30, &whole))
}

fn elements(mut der: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let bytes = usize::from(first & 0x7f) * usize::from(first >> 7);
        let length = if bytes == 0 {
            usize::from(*first)
        } else {
            rest[..bytes]
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
        };
        found.push((*tag, rest[bytes..bytes + length].to_vec()));
        der = &rest[bytes + length..];
    }
    found
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match u16::try_from(content.len()).unwrap().to_be_bytes() {
        [0, short @ ..0x80] => vec![short],
        [0, long] => vec![0x81, long],
        [high, low] => vec![0x82, high, low],
    };
    [&[tag][..], &length, content].concat()
}
