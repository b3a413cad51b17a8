//! Clients that look at what is served.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::running::PATIENCE;

/// What a connection brought.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) status: u16,
    chain: Vec<CertificateDer<'static>>,
}

impl Shown {
    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        self.chain.first().unwrap()
    }

    pub(super) fn not_after(&self) -> i64 {
        let (_, own) = X509Certificate::from_der(self.certificate()).unwrap();
        own.validity().not_after.timestamp()
    }

    pub(super) fn not_before(&self) -> i64 {
        let (_, own) = X509Certificate::from_der(self.certificate()).unwrap();
        own.validity().not_before.timestamp()
    }

    /// Whether a client that trusts this root accepts the chain for the host, when it was new.
    pub(super) fn verify(&self, root: &str, host: &str) -> Result<(), rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(root)), provider);
        let (own, chain) = self.chain.split_first().unwrap();
        let begun = u64::try_from(self.not_before()).unwrap() + 1;
        let moment = UnixTime::since_unix_epoch(std::time::Duration::from_secs(begun));
        let name = ServerName::try_from(host).unwrap();
        let verifier = verifier.build().unwrap();
        let verified = verifier.verify_server_cert(own, chain, &name, &[], moment);
        verified.map(|_| ())
    }
}

fn roots(pem: &str) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
        .unwrap();
    roots
}

/// A client that trusts one authority.
pub(super) fn trusting(root: &str) -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(root))
        .with_no_client_auth();
    Arc::new(config)
}

/// A client that looks at nothing but that the server has the key.
pub(super) fn trusting_nobody() -> Arc<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection for several requests.
pub(super) struct Open(StreamOwned<ClientConnection, TcpStream>);

impl Open {
    pub(super) fn new(
        config: &Arc<ClientConfig>,
        address: &str,
        host: &str,
    ) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).map_err(|e| e.to_string())?;
        let socket = TcpStream::connect(address).map_err(said)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(said)?;
        Ok(Self(StreamOwned::new(session, socket)))
    }

    /// Asks for the API, and leaves the connection open.
    pub(super) fn ask(&mut self) -> Result<u16, String> {
        self.send("/v2/", "keep-alive")?;
        let mut answer = Vec::new();
        let mut byte = [0];
        while !answer.ends_with(b"\r\n\r\n{}") {
            self.0
                .read_exact(&mut byte)
                .map_err(|e| format!("{e} after {answer:?}"))?;
            answer.push(byte[0]);
        }
        status(&String::from_utf8_lossy(&answer))
    }

    fn send(&mut self, path: &str, connection: &str) -> Result<(), String> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n");
        self.0.write_all(head.as_bytes()).map_err(|e| e.to_string())
    }

    fn read_all(&mut self) -> Result<String, String> {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).map_err(|e| e.to_string())?;
        String::from_utf8(answer).map_err(|e| e.to_string())
    }
}

/// One request for the API, on a connection of its own.
pub(super) fn ask(config: &Arc<ClientConfig>, address: &str, host: &str) -> Result<Shown, String> {
    let mut open = Open::new(config, address, host)?;
    open.send("/v2/", "close")?;
    let answer = open.read_all()?;
    let chain = open.0.conn.peer_certificates().unwrap_or_default();
    Ok(Shown {
        status: status(&answer)?,
        chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
    })
}

/// The body of an answer.
pub(super) fn get(
    config: &Arc<ClientConfig>,
    address: &str,
    host: &str,
    path: &str,
) -> Result<String, String> {
    let mut open = Open::new(config, address, host)?;
    open.send(path, "close")?;
    let answer = open.read_all()?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
    Ok(body.to_owned())
}

fn status(answer: &str) -> Result<u16, String> {
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.ok_or_else(|| format!("no answer: {answer:?}"))
}
