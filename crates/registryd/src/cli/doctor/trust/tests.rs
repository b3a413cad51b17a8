use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

use super::super::Severity;
use super::*;

const HOST: &str = "registry.lan";

type Change = fn(&mut CertificateParams);

fn for_servers(change: Change) -> CertificateParams {
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(4000, 1, 1);
    change(&mut params);
    params
}

fn for_clients(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2021, 1, 1);
}

fn too_early(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(3999, 1, 1);
}

fn authority() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let mut params = for_servers(|_| ());
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    (authority.der().clone(), Issuer::new(params, key))
}

fn by_itself(change: Change) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let params = for_servers(change);
    params.self_signed(&key).unwrap().der().clone()
}

#[test]
fn whatever_is_wrong_with_a_certificate_only_a_trusted_authority_vouches_for_it() {
    let (trusted, signs) = authority();
    let (_, stranger) = authority();
    let by = |issuer: &Issuer<'_, KeyPair>, change: Change| {
        let key = KeyPair::generate().unwrap();
        let leaf = for_servers(change).signed_by(&key, issuer).unwrap();
        leaf.der().clone()
    };
    let vouched = |leaf| vouched(&[leaf], HOST, std::slice::from_ref(&trusted));
    for (what, change) in [
        ("as it should be", (|_| ()) as Change),
        // These have findings of their own.
        ("expired", expired),
        ("too early", too_early),
        ("for another host", |params| {
            params.subject_alt_names.clear();
        }),
    ] {
        assert!(vouched(by(&signs, change)), "{what}");
        assert!(!vouched(by_itself(change)), "{what}, signed by itself");
        assert!(!vouched(by(&stranger, change)), "{what}, by a stranger");
    }
    // These are refused before anybody looks at who signed.
    for (what, change) in [
        ("for clients", for_clients as Change),
        ("an authority", |params| {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
        ("for clients and expired", |params| {
            for_clients(params);
            expired(params);
        }),
    ] {
        assert!(!vouched(by(&signs, change)), "{what}");
        assert!(!vouched(by_itself(change)), "{what}, signed by itself");
    }
    assert!(!super::vouched(&[by_itself(expired)], HOST, &[]));
}

#[test]
fn a_certificate_that_is_not_for_servers_is_told_from_one_that_nobody_trusts() {
    let (trusted, _) = authority();
    let name = ServerName::try_from(HOST).unwrap();
    let target: Target = format!("https://{HOST}").parse().unwrap();
    let found = |leaf| purpose(&leaf, &[], &name, std::slice::from_ref(&trusted), &target);
    let finding = found(by_itself(for_clients)).unwrap();
    assert_eq!(
        (finding.check, finding.severity),
        ("trust", Severity::Error)
    );
    assert!(
        finding.what.contains("not made for servers"),
        "{}",
        finding.what
    );
    assert!(found(by_itself(|_| ())).is_none());
}
