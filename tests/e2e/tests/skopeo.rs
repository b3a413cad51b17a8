//! skopeo: push, pull, tags, copies, synchronisation and deletion.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use std::{collections::BTreeSet, fs};

use anyhow::Result;
use registry_e2e::{
    Bench, DebianImage, Kind, Lane, Security,
    clients::{Skopeo, Umoci},
    image::layout_digest,
};

#[test]
fn pushes_and_pulls_debian() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let debian = DebianImage::cached()?;
    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let api = bench.api(access);
        let machine = bench.machine(access)?;
        let skopeo = Skopeo::new(&machine);
        let name = access.docker("team/debian:bookworm");

        if access.is_guarded() {
            skopeo.copying(&debian.oci(), &name, &[]).refused()?;
            skopeo.login(access)?;
        }
        skopeo.copy(&debian.oci(), &name, &[])?;
        let manifest = api.manifest("team/debian", "bookworm")?;
        assert_eq!(manifest.digest, debian.digest);
        assert_eq!(skopeo.raw_manifest(&name)?, manifest.bytes);

        let layout = machine.path().join("pulled");
        let by_digest = access.docker(&format!("team/debian@{}", debian.digest));
        for source in [&name, &by_digest] {
            skopeo.copy(source, &format!("oci:{}:back", layout.display()), &[])?;
            assert_eq!(layout_digest(&layout, "back")?, debian.digest);
            fs::remove_dir_all(&layout)?;
        }

        if access.is_guarded() {
            skopeo.logout(access)?;
            let target = format!("oci:{}:back", layout.display());
            skopeo.copying(&name, &target, &[]).refused()?;
            let wrong = ["--src-creds", "alice:guessed"];
            skopeo.copying(&name, &target, &wrong).refused()?;
        }
    }
    Ok(())
}

/// skopeo removes a tag by deleting its manifest, so every tag on that digest goes.
#[test]
fn lists_synchronises_and_deletes() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let server = bench.serve(Security::Guarded)?;
    let access = server.access();
    let api = bench.api(access);
    let machine = bench.machine(access)?;
    let skopeo = Skopeo::new(&machine);
    skopeo.login(access)?;
    let umoci = Umoci::init(&machine, "images")?;
    let one = umoci.small_image("one", "amd64", "one")?;
    let two = umoci.small_image("two", "amd64", "two")?;
    for (source, tag) in [
        ("one", "1"),
        ("one", "1.0"),
        ("one", "Latest"),
        ("two", "_2"),
    ] {
        skopeo.copy(
            &umoci.oci(source),
            &access.docker(&format!("team/app:{tag}")),
            &[],
        )?;
    }

    let repository = access.docker("team/app");
    assert_eq!(
        set(skopeo.list_tags(&repository)?),
        set(["1", "1.0", "Latest", "_2"])
    );

    let mirror = machine.path().join("mirror");
    fs::create_dir(&mirror)?;
    let sync = |from: [&str; 2], to: [&str; 2]| {
        let options = ["sync", "--scoped", "--src", from[0], "--dest", to[0]];
        skopeo
            .command()
            .args(options)
            .args([from[1], to[1]])
            .succeed()
    };
    let directory = mirror.to_string_lossy();
    sync(["docker", &access.image("team/app")], ["dir", &directory])?;
    let inner = mirror.join(access.image("team"));
    sync(
        ["dir", &inner.to_string_lossy()],
        ["docker", &access.image("mirror")],
    )?;
    let copies: Vec<String> = api
        .repositories()?
        .into_iter()
        .filter(|name| name.starts_with("mirror/"))
        .collect();
    let [copy] = copies.as_slice() else {
        panic!("one mirrored repository, not {copies:?}")
    };
    assert_eq!(set(api.tags(copy)?), set(["1", "1.0", "Latest", "_2"]));
    assert_eq!(api.manifest(copy, "1.0")?.digest, one);

    skopeo
        .command()
        .arg("delete")
        .arg(access.docker("team/app:1.0"))
        .succeed()?;
    for gone in ["1", "1.0", "Latest", &one] {
        assert!(
            !api.has_manifest("team/app", gone)?,
            "{gone} is still there"
        );
    }
    assert_eq!(api.tags("team/app")?, ["_2"]);
    assert_eq!(api.manifest("team/app", "_2")?.digest, two);
    assert_eq!(
        api.manifest(copy, "1")?.digest,
        one,
        "another repository lost its image"
    );

    // What was deleted can be pushed again.
    skopeo.copy(&umoci.oci("one"), &access.docker("team/app:again"), &[])?;
    assert_eq!(api.manifest("team/app", "again")?.digest, one);
    if server.kind() == Kind::Registryd {
        assert_eq!(api.tags("team/app")?, ["_2", "again"], "tags in byte order");
    }
    Ok(())
}

/// The Docker manifest types go in and come out as they are.
#[test]
fn converts_to_docker_manifests() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let server = bench.serve(Security::Plain)?;
    let access = server.access();
    let machine = bench.machine(access)?;
    let skopeo = Skopeo::new(&machine);
    let umoci = Umoci::init(&machine, "images")?;
    umoci.small_image("one", "amd64", "one")?;
    let name = access.docker("docker-format:1");
    skopeo.copy(&umoci.oci("one"), &name, &["--format", "v2s2"])?;
    let manifest = bench.api(access).manifest("docker-format", "1")?;
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    assert_eq!(manifest.media_type, docker);
    assert_eq!(manifest.json()?["mediaType"], docker);

    let directory = machine.path().join("pulled");
    skopeo.copy(&name, &format!("dir:{}", directory.display()), &[])?;
    assert_eq!(fs::read(directory.join("manifest.json"))?, manifest.bytes);
    Ok(())
}

/// A blob that skopeo has seen in another repository of the same registry is mounted, not sent.
#[test]
fn mounts_blobs_from_another_repository() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let debian = DebianImage::cached()?;
    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let machine = bench.machine(access)?;
        let skopeo = Skopeo::new(&machine);
        if access.is_guarded() {
            skopeo.login(access)?;
        }
        skopeo.copy(&debian.oci(), &access.docker("team/first:1"), &[])?;
        let said = skopeo
            .copy(&debian.oci(), &access.docker("other/second:1"), &[])?
            .all();
        let api = bench.api(access);
        let manifest = api.manifest("other/second", "1")?;
        assert_eq!(manifest.digest, debian.digest);
        let layers = manifest.digests("layers")?;
        let layer = layers[0].replace(':', "%3A");
        assert!(
            said.contains(&format!("from=team%2Ffirst&mount={layer}"))
                && said.contains("... mount OK"),
            "the layer was not mounted:\n{said}"
        );
        assert_eq!(api.blob("other/second", &layers[0])?.0, layers[0]);
    }
    Ok(())
}

fn set<S: Into<String>>(items: impl IntoIterator<Item = S>) -> BTreeSet<String> {
    items.into_iter().map(Into::into).collect()
}
