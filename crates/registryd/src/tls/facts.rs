//! What a certificate says about itself.

use std::fmt;
use std::net::IpAddr;

use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::Fingerprint;

/// What a certificate says about itself, as far as clients and operators care.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Facts {
    /// Whom it is for.
    pub subject: String,
    /// The common name of the subject, which clients no longer look at.
    pub common_name: Option<String>,
    /// Who signed it.
    pub issuer: String,
    /// The names and addresses it is valid for: its `subjectAltName`.
    pub names: Vec<SubjectName>,
    /// Since when it is valid.
    pub not_before: OffsetDateTime,
    /// Until when it is valid.
    pub not_after: OffsetDateTime,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Whether it is for signing alone: an authority by its key usage, which no server should show.
    pub only_signs: bool,
    /// Whether its extended key usage, if it has one, lets servers use it.
    pub for_servers: bool,
    /// The kind of its key.
    pub key: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// An entry of `subjectAltName` that servers are checked by.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum SubjectName {
    /// A host name; its first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl Facts {
    /// Reads a certificate. `None` if it is none.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let time = |time: x509_parser::time::ASN1Time| {
            OffsetDateTime::from_unix_timestamp(time.timestamp()).ok()
        };
        let names = certificate
            .subject_alternative_name()
            .ok()
            .flatten()
            .map(|names| names.value.general_names.iter().filter_map(name).collect())
            .unwrap_or_default();
        let key = match certificate.public_key().parsed() {
            Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
            Ok(PublicKey::EC(point)) => format!("ECDSA {}", point.key_size()),
            _ => "Ed25519 or another kind".to_owned(),
        };
        Some(Self {
            subject: certificate.subject().to_string(),
            common_name: certificate
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: time(certificate.validity().not_before)?,
            not_after: time(certificate.validity().not_after)?,
            is_ca: certificate.is_ca(),
            only_signs: certificate.is_ca()
                && certificate.key_usage().ok().flatten().is_some_and(|usage| {
                    let usage = usage.value;
                    usage.key_cert_sign() && !usage.digital_signature() && !usage.key_encipherment()
                }),
            for_servers: certificate
                .extended_key_usage()
                .ok()
                .flatten()
                .is_none_or(|usage| usage.value.server_auth || usage.value.any),
            key,
            fingerprint: Fingerprint::of(der),
        })
    }

    /// Whether a client that asks for `host` accepts the certificate for it.
    pub fn covers(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.names.contains(&SubjectName::Ip(address));
        }
        self.names.iter().any(|name| match name {
            SubjectName::Ip(_) => false,
            SubjectName::Dns(name) => match name.strip_prefix("*.") {
                Some(parent) => host.split_once('.').is_some_and(|(first, rest)| {
                    !first.is_empty() && rest.eq_ignore_ascii_case(parent)
                }),
                None => name.eq_ignore_ascii_case(host),
            },
        })
    }
}

fn name(name: &GeneralName<'_>) -> Option<SubjectName> {
    match name {
        GeneralName::DNSName(name) => Some(SubjectName::Dns((*name).to_owned())),
        GeneralName::IPAddress(bytes) => address(bytes).map(SubjectName::Ip),
        _ => None,
    }
}

/// An address as it stands in a certificate.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// A day as certificates are talked about: `2027-01-31`.
pub(crate) fn day(time: OffsetDateTime) -> String {
    let month = u8::from(time.month());
    format!("{:04}-{month:02}-{:02}", time.year(), time.day())
}

/// A certificate in PEM.
pub(crate) fn pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for (index, letter) in text.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str("\n-----END CERTIFICATE-----\n");
    pem
}
