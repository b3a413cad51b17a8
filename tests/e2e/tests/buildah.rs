//! buildah: images it builds, and multi-architecture lists in both families.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]
#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::collections::BTreeSet;

use anyhow::Result;
use registry_e2e::{
    Bench, DebianImage, Lane, Security,
    clients::{Buildah, Skopeo},
    image::layout_digest,
};
use serde_json::Value;

#[test]
fn pushes_and_pulls_debian() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let debian = DebianImage::cached()?;
    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let machine = bench.machine(access)?;
        let buildah = Buildah::new(&machine);
        let name = access.image("buildah/debian:1");
        buildah.build_from_tar(&debian.root_tar, &name)?;

        if access.is_guarded() {
            buildah.command("push").arg(&name).refused()?;
            buildah.login(access)?;
        }
        let pushed = buildah.push(&name, &format!("docker://{name}"))?;
        assert_eq!(
            bench.api(access).manifest("buildah/debian", "1")?.digest,
            pushed
        );

        machine.forget_images()?;
        assert_eq!(buildah.pull(&name)?, pushed);

        if access.is_guarded() {
            machine.forget_images()?;
            buildah
                .command("pull")
                .args(["--creds", "alice:guessed", &name])
                .refused()?;
        }
    }
    Ok(())
}

#[test]
fn multi_architecture_oci_index() -> Result<()> {
    multi_architecture("oci", "application/vnd.oci.image.index.v1+json")
}

#[test]
fn multi_architecture_docker_manifest_list() -> Result<()> {
    multi_architecture(
        "v2s2",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
}

/// Pushes a list of three architectures, copies it as a whole to another repository and a layout,
/// and pulls one architecture out of it.
fn multi_architecture(format: &str, media_type: &str) -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let server = bench.serve(Security::Guarded)?;
    let access = server.access();
    let api = bench.api(access);
    let machine = bench.machine(access)?;
    let buildah = Buildah::new(&machine);
    buildah.login(access)?;
    let architectures = ["amd64", "arm64", "s390x"];
    let images = architectures.map(|name| format!("localhost/{name}:1"));
    for (image, architecture) in images.iter().zip(architectures) {
        buildah.build_small(image, architecture, architecture)?;
    }
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    buildah.manifest_create("localhost/all:1", &images)?;
    let pushed = buildah.manifest_push("localhost/all:1", &access.image("multi/app:1"), format)?;

    let index = api.manifest("multi/app", "1")?;
    assert_eq!(index.digest, pushed);
    assert_eq!(index.media_type, media_type);
    let json = index.json()?;
    let found: BTreeSet<&str> = json["manifests"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|child| child["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(found, BTreeSet::from(architectures));
    for child in index.digests("manifests")? {
        let child = api.manifest("multi/app", &child)?;
        for blob in child
            .digests("layers")?
            .into_iter()
            .chain(child.digests("config")?)
        {
            assert_eq!(api.blob("multi/app", &blob)?.0, blob);
        }
    }

    let skopeo = Skopeo::new(&machine);
    let source = access.docker("multi/app:1");
    skopeo.copy(&source, &access.docker("copied/app:1"), &["--all"])?;
    let copy = api.manifest("copied/app", "1")?;
    assert_eq!(
        (copy.digest, copy.media_type.as_str()),
        (index.digest.clone(), media_type)
    );
    for child in index.digests("manifests")? {
        assert_eq!(api.manifest("copied/app", &child)?.digest, child);
    }

    // An OCI layout holds no Docker list: skopeo would rewrite it.
    if format == "oci" {
        let layout = machine.path().join("layout");
        let target = format!("oci:{}:back", layout.display());
        skopeo.copy(&access.docker("copied/app:1"), &target, &["--all"])?;
        assert_eq!(layout_digest(&layout, "back")?, index.digest);
    }

    let output = skopeo
        .command()
        .args(["--override-arch", "s390x", "inspect", "--config"])
        .arg(&source)
        .succeed()?;
    let config: Value = serde_json::from_slice(output.bytes())?;
    assert_eq!(config["architecture"], "s390x");

    // The image chosen for this machine, by the digest of the list.
    machine.forget_images()?;
    let name = access.image(&format!("multi/app@{pushed}"));
    buildah
        .command("pull")
        .args(["--arch", "arm64", &name])
        .succeed()?;
    Ok(())
}
