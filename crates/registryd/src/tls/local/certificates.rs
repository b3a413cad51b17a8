//! Making the authority and what it signs.

use std::collections::BTreeSet;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::super::SubjectName;
use super::limits::Limits;

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A new authority that may sign within these limits and for nothing else.
pub(super) fn authority(
    limits: &Limits,
    title: &str,
    now: OffsetDateTime,
) -> Result<Pair, rcgen::Error> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = titled(title);
    // Signs certificates of servers, but no further authorities.
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Not for mail, nor for programs, nor for clients.
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.name_constraints = Some(limits.constraints());
    parameters.not_before = now - SKEW;
    parameters.not_after = now + AUTHORITY_LIFE;
    let key = KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    Ok(Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    })
}

/// A new certificate for these names, followed by the authority's, which is one `until` then.
pub(super) fn leaf(
    authority: &Pair,
    names: &BTreeSet<SubjectName>,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<Pair, rcgen::Error> {
    let issuer_key = KeyPair::from_pem(&authority.key)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, issuer_key)?;
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = titled("registryd");
    parameters.subject_alt_names = names
        .iter()
        .map(|name| {
            Ok(match name {
                SubjectName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                SubjectName::Ip(address) => SanType::IpAddress(*address),
            })
        })
        .collect::<Result<_, rcgen::Error>>()?;
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    parameters.use_authority_key_identifier_extension = true;
    parameters.not_before = now - SKEW;
    parameters.not_after = until.min(now + LEAF_LIFE);
    let key = KeyPair::generate()?;
    let certificate = parameters.signed_by(&key, &issuer)?;
    Ok(Pair {
        certificate: certificate.pem() + &authority.certificate,
        key: key.serialize_pem(),
    })
}

fn titled(title: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, title);
    name
}

/// Clocks of clients may be behind.
const SKEW: Duration = Duration::hours(1);
/// Trust is set up by hand on every client, so rarely.
const AUTHORITY_LIFE: Duration = Duration::days(3650);
/// Renewed by itself, so short.
pub(super) const LEAF_LIFE: Duration = Duration::days(90);
