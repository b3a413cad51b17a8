//! `http.tls.clientcas` and `clientauth`: what is asked of clients.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use x509_parser::asn1_rs::Sequence;
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::config::ClientAuth;

/// What checks the certificates of clients.
pub(super) fn verifier(
    authorities: RootCertStore,
    mode: ClientAuth,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, rustls::server::VerifierBuilderError> {
    let mandatory = match mode {
        ClientAuth::RequestClientCert => false,
        ClientAuth::RequireAnyClientCert => true,
        ClientAuth::VerifyClientCertIfGiven | ClientAuth::RequireAndVerifyClientCert => {
            let builder = WebPkiClientVerifier::builder_with_provider(
                Arc::new(authorities),
                Arc::clone(provider),
            );
            return if mode == ClientAuth::VerifyClientCertIfGiven {
                builder.allow_unauthenticated().build()
            } else {
                builder.build()
            };
        }
    };
    Ok(Arc::new(Unchecked {
        mandatory,
        hints: authorities.subjects(),
        provider: Arc::clone(provider),
    }))
}

/// Takes any certificate whose key the client has, whoever signed it.
#[derive(Debug)]
struct Unchecked {
    mandatory: bool,
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Unchecked {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match old_key(certificate) {
            Some(key) => verify_with_key(message, &key, signature, algorithms),
            None => verify_tls12_signature(message, certificate, signature, algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        match old_key(certificate) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, signature, algorithms),
            None => verify_tls13_signature(message, certificate, signature, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The key of a certificate that is no X.509 v3, as `openssl x509 -req` makes it without `-extfile`: webpki does
/// not read those, but who checks nothing else needs no more than the key.
fn old_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    (certificate.version() != X509Version::V3)
        .then(|| SubjectPublicKeyInfoDer::from(certificate.public_key().raw.to_vec()))
}

/// What rustls does for TLS 1.3 alone: checks a signature with a key that no certificate comes with.
fn verify_with_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signature: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error> {
    let unreadable = || rustls::Error::from(CertificateError::BadEncoding);
    let (_, info) = Sequence::from_der(key).map_err(|_| unreadable())?;
    let (_, kind) = Sequence::from_der(&info.content).map_err(|_| unreadable())?;
    let (_, parsed) = SubjectPublicKeyInfo::from_der(key).map_err(|_| unreadable())?;
    let scheme = algorithms
        .mapping
        .iter()
        .find(|(scheme, _)| *scheme == signature.scheme);
    let fitting = scheme.iter().flat_map(|(_, all)| all.iter());
    fitting
        .filter(|one| one.public_key_alg_id().as_ref() == &*kind.content)
        .any(|one| {
            let bits = &parsed.subject_public_key.data;
            one.verify_signature(bits, message, signature.signature())
                .is_ok()
        })
        .then(HandshakeSignatureValid::assertion)
        .ok_or_else(|| CertificateError::BadSignature.into())
}
