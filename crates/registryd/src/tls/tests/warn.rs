//! What is said about a certificate that will not do.

use std::os::unix::fs::PermissionsExt;

use super::warnings::{Warning, about, about_key};
use super::*;

fn facts(signed: &Signed) -> Facts {
    Facts::of(&CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()).unwrap()
}

fn hosts(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_good_certificate_is_not_talked_about() {
    let authority = Authority::new("ours");
    let signed = authority.sign(&["registry.lan", "*.apps.lan", "192.168.0.2"]);
    let asked = hosts(&["REGISTRY.lan", "a.apps.lan", "192.168.0.2"]);
    assert_eq!(
        about(&facts(&signed), &asked, OffsetDateTime::now_utc()),
        []
    );
}

#[test]
fn names_are_missing_or_others() {
    let authority = Authority::new("ours");
    let now = OffsetDateTime::now_utc();
    let bare = authority.sign_with(&[], |parameters| {
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "docker-registry");
    });
    let said = about(&facts(&bare), &hosts(&["docker-registry"]), now);
    let [warning] = &said[..] else {
        panic!("one warning, not one more for each host");
    };
    assert!(
        warning
            .to_string()
            .contains("cert new --host docker-registry"),
        "{warning}"
    );

    let other = facts(&authority.sign(&["registry.lan", "*.lan", "10.0.0.1"]));
    for (host, fits) in [
        ("registry.lan", true),
        ("other.lan", true),
        ("a.b.lan", false),
        ("lan", false),
        ("10.0.0.1", true),
        ("10.0.0.2", false),
    ] {
        assert_eq!(other.covers(host), fits, "{host}");
        let said = about(&other, &hosts(&[host]), now);
        assert_eq!(said.is_empty(), fits, "{host}");
        assert!(said.iter().all(|w| {
            w.to_string()
                .contains(&format!("not for {host} but for registry.lan"))
        }));
    }
}

#[test]
fn time_runs_out_has_run_out_or_has_not_begun() {
    let facts = facts(&Authority::new("ours").sign(&["registry.lan"]));
    let at = |offset: Duration| about(&facts, &[], facts.not_after + offset);
    assert_eq!(at(-Duration::days(31)), []);
    let soon = at(-Duration::days(30) + Duration::SECOND);
    assert!(
        matches!(soon[..], [Warning::ExpiresSoon { days: 29, .. }]),
        "{soon:?}"
    );
    let late = at(Duration::SECOND);
    assert!(matches!(late[..], [Warning::Expired(_)]), "{late:?}");
    let early = about(&facts, &[], facts.not_before - Duration::SECOND);
    assert!(matches!(early[..], [Warning::NotYetValid(_)]), "{early:?}");
}

#[test]
fn a_key_that_everybody_can_read_is_named_and_one_for_a_group_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (_, key) = write(directory.path(), &Authority::new("ours").sign(&["a.lan"]));
    for (mode, named) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let warning = about_key(&key);
        assert_eq!(warning.is_some(), named, "{mode:o}");
        assert!(warning.is_none_or(|warning| warning.to_string().contains("chmod 600")));
    }
}
