//! `http.tls.ciphersuites`: the names of Go's `crypto/tls`, as Distribution reads them.

use rustls::crypto::aws_lc_rs::cipher_suite as ours;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// What a name in the list stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    /// A suite of TLS 1.2 that can be offered.
    Offered(SupportedCipherSuite),
    /// A suite of TLS 1.3. Like Go, the list does not choose among those.
    Always,
    /// A suite of Go's that is never offered, and why.
    Never(&'static str),
}

/// Looks up one of Go's names.
pub(crate) fn named(name: &str) -> Option<Named> {
    const NO_FORWARD_SECRECY: &str =
        "it has no forward secrecy: who gets the key later can read what was recorded";
    const BROKEN: &str = "its cipher is broken or its padding can be attacked";
    Some(match name {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
            Named::Offered(ours::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
            Named::Offered(ours::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
        | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Named::Offered(ours::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
            Named::Offered(ours::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
        }
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
            Named::Offered(ours::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
        }
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            Named::Offered(ours::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256)
        }
        "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256" => {
            Named::Always
        }
        "TLS_RSA_WITH_AES_128_CBC_SHA"
        | "TLS_RSA_WITH_AES_128_CBC_SHA256"
        | "TLS_RSA_WITH_AES_256_CBC_SHA"
        | "TLS_RSA_WITH_AES_128_GCM_SHA256"
        | "TLS_RSA_WITH_AES_256_GCM_SHA384" => Named::Never(NO_FORWARD_SECRECY),
        "TLS_RSA_WITH_RC4_128_SHA"
        | "TLS_RSA_WITH_3DES_EDE_CBC_SHA"
        | "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"
        | "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_RC4_128_SHA"
        | "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
        | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
        | "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA" => Named::Never(BROKEN),
        _ => return None,
    })
}

/// Every name that can be offered for TLS 1.2, for messages.
pub(crate) const OFFERED: &str =
    "TLS_ECDHE_{ECDSA,RSA}_WITH_{AES_128_GCM_SHA256,AES_256_GCM_SHA384,CHACHA20_POLY1305_SHA256}";

/// The suites to offer. An empty list offers all that are safe; of TLS 1.3, all are always offered.
pub(super) fn chosen(names: &[String]) -> Vec<SupportedCipherSuite> {
    let all = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;
    if names.is_empty() {
        return rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.to_vec();
    }
    let is_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let mut suites: Vec<_> = all.iter().copied().filter(is_13).collect();
    for name in names {
        match named(name) {
            Some(Named::Offered(suite)) if !suites.contains(&suite) => suites.push(suite),
            Some(Named::Never(why)) => {
                tracing::warn!("`http.tls.ciphersuites`: {name} is not offered: {why}");
            }
            _ => {}
        }
    }
    suites
}

/// The versions that can be spoken with these suites.
pub(super) fn versions(
    suites: &[SupportedCipherSuite],
    only_13: bool,
) -> &'static [&'static SupportedProtocolVersion] {
    const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    const NEWEST: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    if only_13 || suites.iter().all(|suite| suite.tls13().is_some()) {
        NEWEST
    } else {
        BOTH
    }
}
