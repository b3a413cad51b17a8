//! TLS with a server that nobody vouches for yet: for commands that look at one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

/// What a server has shown of itself, and asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<State>);

#[derive(Debug, Default)]
struct State {
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: AtomicBool,
}

/// Who a client is, to servers that want a certificate.
pub(crate) type Identity = Arc<CertifiedKey>;

/// An identity from a certificate with its chain, and its key.
pub(crate) fn identity(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Identity, Error> {
    let provider = aws_lc_rs::default_provider();
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &provider)?))
}

impl Seen {
    /// TLS that takes every certificate whose key the server has, and keeps it here: for looking, and for
    /// requests that carry no secret and whose answer nobody relies on.
    pub(crate) fn recording(&self, identity: Option<Identity>) -> Result<Arc<ClientConfig>, Error> {
        self.config(identity, None)
    }

    /// TLS with the server of this certificate and nobody else.
    pub(crate) fn only(
        &self,
        server: CertificateDer<'static>,
        identity: Option<Identity>,
    ) -> Result<Arc<ClientConfig>, Error> {
        self.config(identity, Some(server))
    }

    fn config(
        &self,
        identity: Option<Identity>,
        only: Option<CertificateDer<'static>>,
    ) -> Result<Arc<ClientConfig>, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let recorder = Recorder {
            provider: Arc::clone(&provider),
            seen: self.clone(),
            only,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(recorder))
            .with_client_cert_resolver(Arc::new(Shown {
                seen: self.clone(),
                identity,
            }));
        Ok(Arc::new(config))
    }

    /// What was shown last, the server's own certificate first.
    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0
            .chain
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether a certificate was asked for in turn.
    pub(crate) fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }
}

/// Notes that the server asks for a certificate, and shows one if there is one.
#[derive(Debug)]
struct Shown {
    seen: Seen,
    identity: Option<Identity>,
}

impl ResolvesClientCert for Shown {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _sigschemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.seen.0.asked.store(true, Ordering::Relaxed);
        self.identity.clone()
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}

/// Keeps what it is shown and takes it.
#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    seen: Seen,
    only: Option<CertificateDer<'static>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.only.as_ref().is_some_and(|only| only != end_entity) {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let state = &self.seen.0;
        let mut seen = state.chain.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
