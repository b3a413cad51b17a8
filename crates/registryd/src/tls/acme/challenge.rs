//! What the authority sees when it looks whether this registry has the host: TLS-ALPN-01 (RFC 8737).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivateKeyDer;

/// The protocol that an authority asks for, and nobody else.
const PROTOCOL: &[u8] = b"acme-tls/1";

/// The proofs of orders that are under way, by host.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<HashMap<String, Arc<ServerConfig>>>);

impl Challenges {
    /// The answer to an authority that looks whether the host is this registry.
    pub(crate) fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        if !hello.alpn()?.any(|protocol| protocol == PROTOCOL) {
            return None;
        }
        let host = hello.server_name()?.to_ascii_lowercase();
        self.lock().get(&host).cloned()
    }

    /// Answers for this host until the result is dropped. `digest` is that of the key authorization.
    pub(crate) fn show(self: &Arc<Self>, host: &str, digest: [u8; 32]) -> anyhow::Result<Shown> {
        let host = host.to_ascii_lowercase();
        let config = proof(&host, digest)?;
        self.lock().insert(host.clone(), Arc::new(config));
        Ok(Shown {
            host,
            challenges: Arc::clone(self),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<ServerConfig>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

/// A proof that is being shown.
#[derive(Debug)]
pub(crate) struct Shown {
    host: String,
    challenges: Arc<Challenges>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.challenges.lock().remove(&self.host);
    }
}

/// A certificate for the host that carries the digest, and nothing that clients would ever see: client
/// certificates are not asked for, and no other protocol is spoken.
fn proof(host: &str, digest: [u8; 32]) -> anyhow::Result<ServerConfig> {
    let mut parameters = CertificateParams::new([host.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    // Not by way of what checks a pair: that knows nothing of the extension, which is critical.
    let own = CertifiedKey::new(
        vec![certificate],
        aws_lc_rs::sign::any_supported_type(&key)?,
    );
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own)));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(config)
}
