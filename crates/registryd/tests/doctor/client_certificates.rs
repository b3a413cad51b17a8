//! Registries that speak with nobody who has no certificate.

use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, Issuer};

use super::*;

/// A certificate for clients, `NAME.crt` and `NAME.key`, and its authority, `NAME-ca.crt`.
fn client(folder: &Path, name: &str) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let mut own = CertificateParams::new(["client".to_owned()]).unwrap();
    own.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = own.signed_by(&key, &issuer).unwrap().pem();
    std::fs::write(folder.join(format!("{name}-ca.crt")), pem).unwrap();
    std::fs::write(folder.join(format!("{name}.crt")), certificate).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn health_and_doctor_where_clients_need_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(folder, &["localhost"], 4000);
    client(folder, "known");
    client(folder, "other");
    for minimum in ["tls1.2", "tls1.3"] {
        let tls = format!(
            "tls: {{certificate: tls.crt, key: tls.key, minimumtls: {minimum}, clientcas: [known-ca.crt], clientauth: require-and-verify-client-cert}}"
        );
        let server = Running::with(folder, "storage: inmemory", &tls);
        let url = format!("https://localhost:{}", server.1);
        let health = |more: &[&str]| {
            let output = registryd(folder)
                .arg("healthcheck")
                .args(more)
                .arg(&url)
                .output()
                .unwrap();
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        };
        // It answers as it should: that is alive. Whether it is ready, it tells to those with a certificate.
        assert_eq!(health(&[]), (Some(0), String::new()));
        assert_eq!(
            health(&["--cert", "known.crt", "--key", "known.key"]),
            (Some(0), String::new())
        );
        let (code, said) = health(&["--cert", "other.crt", "--key", "other.key"]);
        assert_eq!(code, Some(1), "{said}");
        let (code, said) = health(&["--cert", "known.crt", "--key", "other.key"]);
        assert_eq!(code, Some(1));
        assert!(said.contains("other.key"), "{said}");

        let doctor = |more: &[&str]| {
            let mut arguments = vec!["--cacert", "tls.crt"];
            arguments.extend(more);
            arguments.push(&url);
            examine(folder, &arguments)
        };
        let (findings, code) = doctor(&[]);
        let (severity, what) = finding(&findings, "client-certificate");
        assert_eq!((severity.as_str(), code), ("warning", 1), "{findings}");
        assert!(what.contains("asks clients for a certificate"), "{what}");
        assert_eq!(finding(&findings, "name").0, "ok", "{findings}");
        let (findings, code) = doctor(&["--cert", "known.crt", "--key", "known.key"]);
        assert_eq!(code, 0, "{findings}");
        assert_eq!(finding(&findings, "location").0, "ok", "{findings}");
        let (findings, code) = doctor(&["--cert", "other.crt", "--key", "other.key"]);
        assert_eq!(code, 2, "{findings}");
        assert_eq!(
            finding(&findings, "client-certificate").0,
            "error",
            "{findings}"
        );
    }
}
