//! Kubernetes, a ConfigMap with two mistakes, htpasswd from a Secret, a certificate without SAN.

use std::fs;

use anyhow::Result;
use registry_e2e::{Bench, Lane};
use registry_guides::{Pod, Site};

const MANIFESTS: &str = include_str!("../../fixtures/000/manifests.yaml");

#[test]
fn the_registry_serves_tls_with_login_and_names_both_mistakes() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let site = Site::new(&bench, &[("10.43.135.120", "docker-registry")])?;
    site.shell(
        "openssl req -x509 -newkey rsa:4096 -days 365 -nodes -sha256 -keyout tls.key -out tls.crt \
         -subj '/CN=docker-registry'",
    )
    .succeed()?;
    let user = site
        .shell("htpasswd -Bbn docker p@ssword")
        .succeed()?
        .text();
    assert!(user.starts_with("docker:$2y$05$"), "{user}");

    let config = site.projected(
        "config",
        &[(
            "config.yml",
            site.config_map(MANIFESTS, "config.yml")?.as_bytes(),
        )],
    )?;
    let credential = site.projected(
        "credential",
        &[("htpasswd", format!("{user}\n").as_bytes())],
    )?;
    let (certificate, key) = (
        fs::read(site.path("tls.crt"))?,
        fs::read(site.path("tls.key"))?,
    );
    let tls = site.projected("tls", &[("tls.crt", &certificate), ("tls.key", &key)])?;
    let pod = Pod::of_manifest(
        MANIFESTS,
        &[
            ("config", &config),
            ("credential", &credential),
            ("registry", &site.path("data")),
            ("tls", &tls),
        ],
    )?;
    let docker = site.docker(&pod.image)?;
    let run = |name: &str| {
        docker
            .command("run")
            .args(["--detach", "--network", "host", "--name", name])
            .args(pod.options())
            .arg(&pod.image)
    };
    run("registry").succeed()?;
    let log = site.listening(&docker)?;
    assert!(log.contains("listening on 0.0.0.0:443, tls"), "{log}");
    for warning in [
        "`cert` is read as `http.tls.certificate`",
        "`auth.htpasswd.path` is the directory `/etc/docker/authentication`",
    ] {
        assert!(log.contains(warning), "no warning {warning}:\n{log}");
    }

    // The guide looks into the container.
    let exec = |command: &str| {
        let shell = docker
            .command("exec")
            .args(["registry", "/bin/sh", "-c", command]);
        Ok::<_, anyhow::Error>(shell.succeed()?.text())
    };
    assert_eq!(exec("cat /etc/docker/authentication/htpasswd")?, user);
    assert_eq!(exec("ls /etc/docker/registry")?, "config.yml");
    assert_eq!(exec("ls /etc/ssl/registry")?, "tls.crt\ntls.key");

    // TLS, and nothing without the password.
    let ca = site.path("tls.crt").display().to_string();
    let v2 = "https://docker-registry:443/v2/";
    let (status, _) = site.curl(&["--cacert", &ca, v2])?;
    assert_eq!(status, 401);
    let (status, _) = site.curl(&["--cacert", &ca, "--user", "docker:guessed", v2])?;
    assert_eq!(status, 401);
    let (status, _) = site.curl(&["--cacert", &ca, "--user", "docker:p@ssword", v2])?;
    assert_eq!(status, 200);

    // Here the guide ends, without the answer: docker takes no certificate without SAN.
    site.trust("docker-registry:443", &site.path("tls.crt"))?;
    let login = || {
        let words = [
            "--username",
            "docker",
            "--password",
            "p@ssword",
            "docker-registry:443",
        ];
        docker.command("login").args(words)
    };
    let said = login().fails()?.all();
    assert!(
        said.contains("legacy Common Name field, use SANs instead"),
        "{said}"
    );

    // With a certificate that has one it goes on.
    site.shell(
        "openssl req -x509 -newkey rsa:2048 -days 365 -nodes -sha256 -keyout new.key -out new.crt \
         -subj '/CN=docker-registry' -addext 'subjectAltName=DNS:docker-registry'",
    )
    .succeed()?;
    fs::copy(site.path("new.crt"), tls.join("tls.crt"))?;
    fs::copy(site.path("new.key"), tls.join("tls.key"))?;
    docker
        .command("restart")
        .args(["--time", "30", "registry"])
        .succeed()?;
    site.listening(&docker)?;
    site.trust("docker-registry:443", &site.path("new.crt"))?;
    let ca = site.path("new.crt").display().to_string();
    site.curl(&[
        "--retry",
        "30",
        "--retry-connrefused",
        "--retry-delay",
        "1",
        "--cacert",
        &ca,
        v2,
    ])?;
    assert!(login().succeed()?.all().contains("Login Succeeded"));
    site.small_image(&docker, "docker-registry:443/app:1")?;
    docker.push("docker-registry:443/app:1")?;
    Ok(())
}
