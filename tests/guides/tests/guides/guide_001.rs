//! k3s, a volume with `subPath`, a LoadBalancer, the certificate in the system's store, no login.

use std::fs;

use anyhow::Result;
use registry_e2e::{Bench, Lane};
use registry_guides::{Pod, Site};

const MANIFESTS: &str = include_str!("../../fixtures/001/manifests.yaml");

/// What Kubernetes adds to the pod because of the Service called `registry-service`.
const SERVICE_LINKS: [(&str, &str); 7] = [
    ("REGISTRY_SERVICE_PORT", "tcp://10.43.5.16:5000"),
    ("REGISTRY_SERVICE_PORT_5000_TCP", "tcp://10.43.5.16:5000"),
    ("REGISTRY_SERVICE_PORT_5000_TCP_ADDR", "10.43.5.16"),
    ("REGISTRY_SERVICE_PORT_5000_TCP_PORT", "5000"),
    ("REGISTRY_SERVICE_PORT_5000_TCP_PROTO", "tcp"),
    ("REGISTRY_SERVICE_SERVICE_HOST", "10.43.5.16"),
    ("REGISTRY_SERVICE_SERVICE_PORT", "5000"),
];

#[test]
fn docker_pushes_through_the_system_trust_store() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let site = Site::new(&bench, &[("192.168.0.202", "registry registry.cube.local")])?;
    let anchors = site.machine().own("usr/local/share/ca-certificates")?;
    site.machine().own("etc/ssl/certs")?;
    site.shell(
        "openssl req -x509 -newkey rsa:4096 -sha256 -days 3650 -nodes -keyout registry.key \
         -out registry.crt -subj '/CN=registry.cube.local' -addext \
         'subjectAltName=DNS:registry.cube.local,DNS:*.cube.local,IP:192.168.0.201'",
    )
    .succeed()?;
    let (certificate, key) = (
        fs::read(site.path("registry.crt"))?,
        fs::read(site.path("registry.key"))?,
    );
    let certs = site.projected("certs", &[("tls.crt", &certificate), ("tls.key", &key)])?;

    // The guide counts what is new; what else waits to be added to this system's store is not.
    let update = || site.machine().command("update-ca-certificates").succeed();
    update()?;
    // Only the certificate: the guide copies the key too, which nobody needs.
    fs::copy(site.path("registry.crt"), anchors.join("registry.crt"))?;
    let said = update()?.all();
    assert!(said.contains("1 added, 0 removed; done."), "{said}");

    let volume = site.path("volume");
    let mut pod = Pod::of_manifest(MANIFESTS, &[("lv-storage", &volume), ("certs", &certs)])?;
    for (name, value) in SERVICE_LINKS {
        pod.variables.insert(name.to_owned(), value.to_owned());
    }
    let docker = site.docker(&pod.image)?;
    docker
        .command("run")
        .args(["--detach", "--network", "host", "--name", "registry"])
        .args(pod.options())
        .arg(&pod.image)
        .succeed()?;
    let log = site.listening(&docker)?;
    assert!(log.contains("listening on [::]:5000, tls"), "{log}");
    assert!(
        !log.contains("REGISTRY_SERVICE"),
        "a service link is taken for a setting:\n{log}"
    );

    site.small_image(&docker, "ubuntu:16.04")?;
    let name = "registry.cube.local:5000/my-ubuntu";
    docker
        .command("tag")
        .args(["ubuntu:16.04", name])
        .succeed()?;
    let (_, said) = docker.push(name)?;
    assert!(
        said.text().contains("latest: digest: sha256:"),
        "{}",
        said.all()
    );
    let (status, body) = site.curl(&["https://registry.cube.local:5000/v2/_catalog"])?;
    assert_eq!(
        (status, body.trim()),
        (200, r#"{"repositories":["my-ubuntu"]}"#)
    );
    // The volume's own directory, below which the registry's begins.
    assert!(volume.join("registry/docker/registry/v2").is_dir());

    // By the address of the LoadBalancer the certificate is for another: the guide wrote .201 into it.
    let said = docker
        .command("pull")
        .arg("192.168.0.202:5000/my-ubuntu")
        .fails()?
        .all();
    assert!(
        said.contains("valid for 192.168.0.201, not 192.168.0.202"),
        "{said}"
    );
    Ok(())
}
