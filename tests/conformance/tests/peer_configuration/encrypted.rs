//! Certificates for both registries, and clients that speak TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

/// Who asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Client {
    /// TLS of any version, and no certificate.
    #[default]
    Any,
    /// TLS 1.2 at most.
    Old,
    /// Without TLS.
    Plain,
    /// With a certificate of the authority in `clients.crt`.
    Known,
    /// With a certificate of another authority.
    Stranger,
}

impl Client {
    /// The client that a line of the table names, and the request.
    pub(super) fn of(line: &str) -> Option<(Self, &str)> {
        let (name, request) = line.split_once(": ")?;
        let client = match name {
            "tls1.2" => Self::Old,
            "plain" => Self::Plain,
            "known" => Self::Known,
            "stranger" => Self::Stranger,
            _ => return None,
        };
        Some((client, request))
    }
}

type Identity = (CertificateDer<'static>, Vec<u8>);

/// What one registry and its clients show.
pub(super) struct Certificates {
    roots: RootCertStore,
    known: Identity,
    stranger: Identity,
}

impl Certificates {
    /// `tls.crt` and `tls.key` for 127.0.0.1, `other.key`, and `clients.crt`.
    pub(super) fn write(directory: &Path) -> Self {
        let write = |name: &str, text: &str| std::fs::write(directory.join(name), text).unwrap();
        let (authority, servers) = authority();
        let (certificate, key) = sign(&servers, "127.0.0.1", ExtendedKeyUsagePurpose::ServerAuth);
        write("tls.crt", &certificate.pem());
        write("tls.key", &key.serialize_pem());
        write("other.key", &KeyPair::generate().unwrap().serialize_pem());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let identity = || {
            let (authority, issuer) = self::authority();
            let (own, key) = sign(&issuer, "client", ExtendedKeyUsagePurpose::ClientAuth);
            (authority.pem(), (own.der().clone(), key.serialize_der()))
        };
        let (clients, known) = identity();
        write("clients.crt", &clients);
        let (_, stranger) = identity();
        Self {
            roots,
            known,
            stranger,
        }
    }

    /// One request and its answer; `HTTP/1.1 no-TLS` if there is none because of TLS.
    pub(super) fn exchange(&self, client: Client, stream: TcpStream, head: &str) -> String {
        let versions: &[_] = match client {
            Client::Old => &[&version::TLS12],
            _ => &[&version::TLS12, &version::TLS13],
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let identity = match client {
            Client::Known => Some(&self.known),
            Client::Stranger => Some(&self.stranger),
            _ => None,
        };
        let config = match identity {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
                let chain = vec![certificate.clone()];
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let mut answer = Vec::new();
        // A refusal may come while the request is written or afterwards; an end without a word is no answer.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.read_to_end(&mut answer);
        if answer.is_empty() {
            return "HTTP/1.1 no-TLS\r\n\r\n".to_owned();
        }
        String::from_utf8(answer).unwrap()
    }
}

fn authority() -> (rcgen::Certificate, Issuer<'static, KeyPair>) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate, Issuer::new(parameters, key))
}

fn sign(
    issuer: &Issuer<'static, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> (rcgen::Certificate, KeyPair) {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = parameters.signed_by(&key, issuer).unwrap();
    (certificate, key)
}
