//! TLS by rustls with aws-lc-rs. Nothing is installed process-wide.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{Tls, TlsVersion};

/// Reads certificate and key and makes what connections are accepted with.
///
/// # Errors
/// If a file cannot be read, holds something else, or the two do not belong together.
pub fn server_config(tls: &Tls, http2: bool) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let chain = certificates(&tls.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| {
        TlsError::new(
            &tls.key,
            "http.tls.key",
            error.to_string(),
            "it must hold a PEM private key (PKCS#8, PKCS#1 or SEC1) without a passphrase",
        )
    })?;
    let versions: &[_] = match tls.minimumtls {
        TlsVersion::Tls13 => &[&TLS13],
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
    };
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .map(rustls::ConfigBuilder::<rustls::ServerConfig, _>::with_no_client_auth)
        .and_then(|builder| builder.with_single_cert(chain, key))
        .map_err(|error| {
            let fix = match error {
                rustls::Error::InconsistentKeys(_) => {
                    "certificate and key do not belong together: use the key that the certificate was made with"
                }
                _ => "the first certificate in the file must be the server's own, followed by its chain",
            };
            TlsError::new(&tls.certificate, "http.tls.certificate", error.to_string(), fix)
        })?;
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    // Tickets let clients resume without state on our side; pushes open many connections.
    if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fix = "it must hold the server's certificate in PEM, followed by its chain";
    let wrong = |problem: String| TlsError::new(path, "http.tls.certificate", problem, fix);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|error| wrong(error.to_string()))?
        .collect();
    let certificates = certificates.map_err(|error| wrong(error.to_string()))?;
    if certificates.is_empty() {
        Err(wrong("there is no certificate in it".to_owned()))
    } else {
        Ok(certificates)
    }
}

/// A certificate or key that cannot be used.
#[derive(Debug)]
pub struct TlsError {
    path: PathBuf,
    key: &'static str,
    problem: String,
    fix: &'static str,
}

impl TlsError {
    fn new(path: &Path, key: &'static str, problem: String, fix: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            key,
            problem,
            fix,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}`: {}: {}; {}",
            self.key,
            self.path.display(),
            self.problem,
            self.fix
        )
    }
}

impl std::error::Error for TlsError {}
