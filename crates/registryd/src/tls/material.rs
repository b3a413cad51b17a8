//! What the files hold at one moment, and what connections are accepted with because of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ResolvesServerCertUsingSni, WantsServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConfigBuilder, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};

use super::{Facts, TlsError, chain, clients, suites};
use crate::config::{ClientAuth, TlsVersion};
use crate::files;

/// The files that are watched.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) authorities: Vec<PathBuf>,
    /// Whether certificate and key may not be there yet.
    pub(super) awaited: bool,
}

/// What does not change while the process runs.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) minimum: TlsVersion,
    pub(super) ciphersuites: Vec<String>,
    pub(super) clientauth: ClientAuth,
    pub(super) http2: bool,
}

/// The contents of the files, not yet looked at.
pub(super) struct Material {
    absent: bool,
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<Vec<u8>>,
}

/// Tells contents apart without keeping a key in memory.
pub(super) type Digested = [u8; 32];

impl Material {
    pub(super) fn read(paths: &Paths) -> Result<Self, TlsError> {
        let read = |path: &Path, key| {
            files::read(path).map_err(|error| {
                let fix = match error.kind() {
                    std::io::ErrorKind::NotFound => "check the path and that the volume is mounted",
                    std::io::ErrorKind::PermissionDenied => {
                        "let the user that registryd runs as read it: chown, or `fsGroup` in Kubernetes"
                    }
                    _ => "it must be a readable PEM file",
                };
                TlsError::new(path, key, error, fix)
            })
        };
        let authorities = || {
            let files = paths.authorities.iter();
            files
                .map(|path| read(path, AUTHORITIES))
                .collect::<Result<_, _>>()
        };
        if paths.awaited && !paths.certificate.exists() {
            return Ok(Self {
                absent: true,
                certificate: Vec::new(),
                key: Vec::new(),
                authorities: authorities()?,
            });
        }
        Ok(Self {
            absent: false,
            certificate: read(&paths.certificate, CERTIFICATE)?,
            key: read(&paths.key, KEY)?,
            authorities: authorities()?,
        })
    }

    /// Whether there is no certificate, where there may be none.
    pub(super) fn is_absent(&self) -> bool {
        self.absent
    }

    /// The same without a certificate, where there may be none.
    pub(super) fn without_certificate(self) -> Self {
        Self {
            absent: true,
            certificate: Vec::new(),
            key: Vec::new(),
            authorities: self.authorities,
        }
    }

    pub(super) fn digest(&self) -> Digested {
        let mut hasher = Sha256::new();
        for bytes in [&self.certificate, &self.key]
            .into_iter()
            .chain(&self.authorities)
        {
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finalize().into()
    }

    /// Makes what connections are accepted with, and reads what the server's own certificate says. Without
    /// one, every handshake is refused.
    pub(super) fn accept(
        &self,
        paths: &Paths,
        settings: &Settings,
    ) -> Result<(Arc<rustls::ServerConfig>, Option<Facts>), TlsError> {
        let builder = self.builder(paths, settings)?;
        if self.absent {
            let nothing = Arc::new(ResolvesServerCertUsingSni::new());
            return Ok((Arc::new(builder.with_cert_resolver(nothing)), None));
        }
        let chain = certificates(&self.certificate, &paths.certificate, CERTIFICATE)?;
        let no_key = |problem: String| {
            let fix =
                "it must hold a PEM private key (PKCS#8, PKCS#1 or SEC1) without a passphrase";
            TlsError::new(&paths.key, KEY, problem, fix)
        };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|e| no_key(e.to_string()))?;
        let signer =
            aws_lc_rs::sign::any_supported_type(&key).map_err(|e| no_key(e.to_string()))?;
        let wrong = |problem: String, fix: &str| {
            TlsError::new(&paths.certificate, CERTIFICATE, problem, fix)
        };
        let (chain, moved) = chain::ordered(chain, signer.as_ref());
        let facts = chain
            .first()
            .and_then(|own| Facts::of(own))
            .ok_or_else(|| {
                wrong(
                    "its first certificate cannot be read".to_owned(),
                    "make it anew, or fetch it again from who issued it",
                )
            })?;
        if !chain::belongs(&chain, signer.as_ref()) {
            let fix = format!(
                "it does not belong to the key {}: use the key that the certificate was made with",
                paths.key.display()
            );
            return Err(wrong("no certificate in it fits the key".to_owned(), &fix));
        }
        if moved {
            tracing::warn!(
                "`{CERTIFICATE}`: {}: the server's own certificate is not the first in the file: it is served first \
                 nevertheless; fix: put it first, then its chain",
                paths.certificate.display()
            );
        }
        // Not read by webpki, which knows X.509 v3 only: what Go serves is served, and warned about.
        let certified = Arc::new(CertifiedKey::new(chain, signer));
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = if settings.http2 {
            vec![b"h2".to_vec(), b"http/1.1".to_vec()]
        } else {
            vec![b"http/1.1".to_vec()]
        };
        // Tickets let clients resume without state on our side; pushes open many connections. Each
        // configuration has its own: what was checked by other authorities is not resumed.
        if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        Ok((Arc::new(config), Some(facts)))
    }

    /// What holds for every certificate.
    fn builder(
        &self,
        paths: &Paths,
        settings: &Settings,
    ) -> Result<ConfigBuilder<rustls::ServerConfig, WantsServerCert>, TlsError> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = suites::chosen(&settings.ciphersuites);
        let versions = suites::versions(
            &provider.cipher_suites,
            settings.minimum == TlsVersion::Tls13,
        );
        let provider = Arc::new(provider);
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| {
                let fix = "change `http.tls.ciphersuites`";
                TlsError::new(&paths.certificate, CERTIFICATE, error, fix)
            })?;
        Ok(match self.clients(paths, settings, &provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        })
    }

    fn clients(
        &self,
        paths: &Paths,
        settings: &Settings,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn rustls::server::danger::ClientCertVerifier>>, TlsError> {
        let Some(first) = paths.authorities.first() else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for (bytes, path) in self.authorities.iter().zip(&paths.authorities) {
            for certificate in certificates(bytes, path, AUTHORITIES)? {
                roots.add(certificate).map_err(|error| {
                    let fix = "it must hold the certificates of authorities in PEM";
                    TlsError::new(path, AUTHORITIES, error, fix)
                })?;
            }
        }
        clients::verifier(roots, settings.clientauth, provider)
            .map(Some)
            .map_err(|error| {
                let fix = "it must hold the certificates of authorities in PEM";
                TlsError::new(first, AUTHORITIES, error, fix)
            })
    }
}

/// The certificates of a PEM file; text around them is skipped.
pub(crate) fn certificates(
    bytes: &[u8],
    path: &Path,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fix = if key == AUTHORITIES {
        "it must hold the certificates of authorities in PEM"
    } else {
        "it must hold the server's certificate in PEM, followed by its chain"
    };
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::new(path, key, error, fix))?;
    if certificates.is_empty() {
        let problem = "there is no whole certificate in it";
        return Err(TlsError::new(path, key, problem, fix));
    }
    Ok(certificates)
}

pub(super) const CERTIFICATE: &str = "http.tls.certificate";
const KEY: &str = "http.tls.key";
const AUTHORITIES: &str = "http.tls.clientcas";
