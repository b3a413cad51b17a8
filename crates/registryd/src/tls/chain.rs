//! The order of the certificates in a file: clients want the server's own first, then who signed it.

use rustls::sign::SigningKey;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificate of this key first, then who signed it, and so on; and whether another was the first. As it
/// was if none belongs to the key, or the first one does.
pub(super) fn ordered(
    mut file: Vec<CertificateDer<'static>>,
    key: &dyn SigningKey,
) -> (Vec<CertificateDer<'static>>, bool) {
    let own = file.iter().position(|one| is_of(one, key));
    let Some(own) = own.filter(|own| *own > 0) else {
        return (file, false);
    };
    let mut last = file.remove(own);
    let mut chain = Vec::new();
    while let Some(next) = file.iter().position(|one| signed(one, &last)) {
        let next = file.remove(next);
        chain.push(std::mem::replace(&mut last, next));
    }
    chain.push(last);
    // What is left belongs to nobody here, as far as can be seen: clients may know better.
    chain.extend(file);
    (chain, true)
}

/// Whether the first of these belongs to this key.
pub(super) fn belongs(chain: &[CertificateDer<'_>], key: &dyn SigningKey) -> bool {
    chain.first().is_some_and(|own| is_of(own, key))
}

fn is_of(certificate: &CertificateDer<'_>, key: &dyn SigningKey) -> bool {
    let Some(key) = key.public_key() else {
        return false;
    };
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, certificate)| certificate.public_key().raw == key.as_ref())
}

fn signed(authority: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    let (Ok((_, authority)), Ok((_, other))) = (
        X509Certificate::from_der(authority),
        X509Certificate::from_der(other),
    ) else {
        return false;
    };
    authority.subject().as_raw() == other.issuer().as_raw()
}
