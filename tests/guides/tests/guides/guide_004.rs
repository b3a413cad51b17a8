//! A compose file; Docker and Kubernetes clients on other machines.

use std::fs;

use anyhow::Result;
use registry_e2e::{Bench, Lane};
use registry_guides::{Pod, Site};

const COMPOSE: &str = include_str!("../../fixtures/004/compose.yaml");

#[test]
fn docker_and_openssl_trust_the_registry_of_the_compose_file() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let site = Site::new(&bench, &[("192.168.1.177", "registry-server")])?;
    let anchors = site.machine().own("usr/local/share/ca-certificates")?;
    site.machine().own("etc/ssl/certs")?;
    site.shell("mkdir -p docker-registry docker-registry/certs docker-registry/private")
        .succeed()?;
    site.shell(
        "openssl req -newkey rsa:4096 -days 3650 -nodes -sha256 \
         -keyout docker-registry/private/private-registry.key \
         -x509 -out docker-registry/certs/private-registry.crt \
         -subj '/CN=unused' -addext 'subjectAltName=DNS:registry-server'",
    )
    .succeed()?;
    site.shell("mkdir -p docker-registry/auth && htpasswd -cBb docker-registry/auth/passwd user_1 password_1")
        .succeed()?;

    let mut pod = Pod::of_compose(COMPOSE, "private-registry")?;
    let folder = site.path("docker-registry").display().to_string();
    for mount in &mut pod.mounts {
        *mount = mount.replace("/etc/docker-registry", &folder);
    }
    assert_eq!(pod.mounts.len(), 3);
    let docker = site.docker(&pod.image)?;
    docker
        .command("run")
        .args([
            "--detach",
            "--network",
            "host",
            "--restart",
            "always",
            "--name",
            "registry",
        ])
        .args(pod.options())
        .arg(&pod.image)
        .succeed()?;
    let log = site.listening(&docker)?;
    assert!(log.contains("listening on 0.0.0.0:5000, tls"), "{log}");

    // Before the machine trusts the certificate, and after.
    let login = || {
        docker
            .command("login")
            .args(["-u", "user_1", "-p", "password_1", "registry-server:5000"])
    };
    let said = login().fails()?.all();
    assert!(
        said.contains("x509: certificate signed by unknown authority"),
        "{said}"
    );
    let certificate = site.path("docker-registry/certs/private-registry.crt");
    site.trust("registry-server:5000", &certificate)?;
    let said = login().succeed()?.all();
    for words in [
        "Using --password via the CLI is insecure",
        "will be stored unencrypted",
        "Login Succeeded",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }

    site.small_image(&docker, "hello-world:latest")?;
    let name = "registry-server:5000/hello-world2:latest";
    docker
        .command("image")
        .args(["tag", "hello-world", name])
        .succeed()?;
    let (digest, said) = docker.push(name)?;
    assert!(
        said.text()
            .contains(&format!("latest: digest: {digest} size: ")),
        "{}",
        said.all()
    );

    // The Kubernetes machine: the system's store, checked as the guide checks it.
    let verification = || {
        let client = "openssl s_client -connect registry-server:5000 -showcerts </dev/null 2>&1";
        Ok::<_, anyhow::Error>(site.shell(client).run()?.all())
    };
    let said = verification()?;
    assert!(
        said.contains("Verification error: self-signed certificate"),
        "{said}"
    );
    fs::copy(&certificate, anchors.join("ca.crt"))?;
    site.machine().command("update-ca-certificates").succeed()?;
    let said = verification()?;
    for words in [
        "Verification: OK",
        "subject=CN = unused",
        "Peer signature type: RSA-PSS",
        "Server Temp Key: X25519",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }

    // REGISTRY_STORAGE_DELETE_ENABLED is "yes", which is no boolean of YAML 1.2.
    let ca = certificate.display().to_string();
    let url = format!("https://registry-server:5000/v2/hello-world2/manifests/{digest}");
    let delete = |password: &str| {
        site.curl(&[
            "--cacert",
            &ca,
            "--user",
            password,
            "--request",
            "DELETE",
            &url,
        ])
    };
    assert_eq!(delete("user_1:guessed")?.0, 401);
    assert_eq!(delete("user_1:password_1")?.0, 202);
    Ok(())
}
