//! A volume changes hands: from Debian's docker-registry to the registry under test and back.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]
#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::Path,
};

use anyhow::Result;
use registry_e2e::{
    Access, Api, Bench, DebianImage, Kind, Lane, Machine, Security,
    clients::{Buildah, Skopeo, Umoci},
    curl::Manifest,
    digest,
    image::layout_digest,
};

/// Names whose byte order differs from the order of a walk over directories.
const REPOSITORIES: [&str; 7] = [
    "a-b/x",
    "a/x",
    "a/x/y",
    "a0",
    "ab",
    "team/sub-team/deep/er/app",
    "z",
];

/// Tags whose byte order differs from a numeric or case-blind one.
const TAGS: [&str; 7] = ["1.10", "1.9", "10", "B", "_x", "a", "v2-rc.1"];

/// Everything that a registry serves: what two owners of one volume must agree on.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    tags: BTreeMap<String, BTreeSet<String>>,
    manifests: BTreeMap<(String, String), Manifest>,
    /// Repository and digest → length.
    blobs: BTreeMap<(String, String), u64>,
}

impl Content {
    fn read(api: &Api) -> Result<Self> {
        let mut content = Self {
            tags: BTreeMap::new(),
            manifests: BTreeMap::new(),
            blobs: BTreeMap::new(),
        };
        for repository in api.repositories()? {
            let tags = api.tags(&repository)?;
            let mut references = tags.clone();
            while let Some(reference) = references.pop() {
                let key = (repository.clone(), reference.clone());
                if content.manifests.contains_key(&key) {
                    continue;
                }
                let manifest = api.manifest(&repository, &reference)?;
                // The same by digest; and everything below an index.
                references.push(manifest.digest.clone());
                references.extend(manifest.digests("manifests")?);
                for blob in manifest
                    .digests("layers")?
                    .into_iter()
                    .chain(manifest.digests("config")?)
                {
                    let key = (repository.clone(), blob.clone());
                    if let Entry::Vacant(entry) = content.blobs.entry(key) {
                        let (found, length) = api.blob(&repository, &blob)?;
                        assert_eq!(found, blob, "the bytes of a blob in {repository}");
                        entry.insert(length);
                    }
                }
                content.manifests.insert(key, manifest);
            }
            content.tags.insert(repository, tags.into_iter().collect());
        }
        Ok(content)
    }
}

#[test]
fn a_volume_of_docker_registry_is_served_extended_and_handed_back() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let volume = bench.directory("volume")?;
    let ours = Kind::under_test()?;

    // The peer fills the volume.
    let peer = bench.serve_volume(Kind::DockerRegistry, &volume, Security::Plain)?;
    fill(&bench.machine(peer.access())?, peer.access())?;
    let written = Content::read(&bench.api(peer.access()))?;
    peer.stop()?;
    let files = blob_files(&volume)?;

    // The registry under test serves it as it is.
    let server = bench.serve_volume(ours, &volume, Security::Plain)?;
    let (access, api) = (server.access().clone(), bench.api(server.access()));
    let served = Content::read(&api)?;
    assert_eq!(served, written);
    if ours == Kind::Registryd {
        assert_in_byte_order(&api)?;
    }

    // It adds a repository, a tag, another manifest under an old tag, and a mounted layer.
    let machine = bench.machine(&access)?;
    let skopeo = Skopeo::new(&machine);
    let umoci = Umoci::init(&machine, "added")?;
    let added = umoci.small_image("added", "amd64", "added by the second owner")?;
    for target in ["a/x:new", "a0:1.9", "added/here:1"] {
        skopeo.copy(&umoci.oci("added"), &access.docker(target), &[])?;
        let (repository, tag) = target.split_once(':').unwrap_or_default();
        assert_eq!(api.manifest(repository, tag)?.digest, added);
    }
    let debian = DebianImage::cached()?;
    // skopeo mounts what it has seen in another repository, so it must have seen it.
    let source = access.docker("library/debian:bookworm");
    skopeo.copy(&source, &umoci.oci("seen"), &[])?;
    let said = skopeo
        .copy(&source, &access.docker("added/debian:1"), &[])?
        .all();
    assert!(
        said.contains("... mount OK"),
        "the layer was not mounted:\n{said}"
    );
    let extended = Content::read(&api)?;
    if ours == Kind::Registryd {
        assert_in_byte_order(&api)?;
    }
    server.stop()?;
    let kept = blob_files(&volume)?;
    for (name, digest) in &files {
        assert_eq!(kept.get(name), Some(digest), "{name} was changed");
    }

    // The peer takes it back, serves the same, and goes on writing.
    let peer = bench.serve_volume(Kind::DockerRegistry, &volume, Security::Plain)?;
    let api = bench.api(peer.access());
    assert_eq!(Content::read(&api)?, extended);
    assert_eq!(extended.tags.len(), written.tags.len() + 2);
    let machine = bench.machine(peer.access())?;
    let skopeo = Skopeo::new(&machine);
    let layout = machine.path().join("pulled");
    for (name, expected) in [("a0:1.9", &added), ("added/debian:1", &debian.digest)] {
        let target = format!("oci:{}:back", layout.display());
        skopeo.copy(&peer.access().docker(name), &target, &[])?;
        assert_eq!(&layout_digest(&layout, "back")?, expected);
    }
    skopeo.copy(
        &umoci.oci("added"),
        &peer.access().docker("added/here:2"),
        &[],
    )?;
    peer.stop()
}

/// Pushes single images, many tags, lists of both families, and Debian.
fn fill(machine: &Machine, access: &Access) -> Result<()> {
    let skopeo = Skopeo::new(machine);
    let umoci = Umoci::init(machine, "images")?;
    for repository in REPOSITORIES {
        let tag = repository.replace('/', "-");
        umoci.small_image(&tag, "amd64", repository)?;
        skopeo.copy(
            &umoci.oci(&tag),
            &access.docker(&format!("{repository}:1")),
            &[],
        )?;
    }
    for (number, tag) in TAGS.iter().enumerate() {
        let image = REPOSITORIES[number % REPOSITORIES.len()].replace('/', "-");
        skopeo.copy(
            &umoci.oci(&image),
            &access.docker(&format!("a0:{tag}")),
            &[],
        )?;
    }
    // A tag that moved: the manifest it left stays reachable by its digest only.
    skopeo.copy(&umoci.oci("z"), &access.docker("a0:10"), &[])?;
    skopeo.copy(
        &umoci.oci("z"),
        &access.docker("docker/v2s2:1"),
        &["--format", "v2s2"],
    )?;

    let buildah = Buildah::new(machine);
    let images = ["localhost/amd64:1", "localhost/arm64:1"];
    buildah.build_small(images[0], "amd64", "first")?;
    buildah.build_small(images[1], "arm64", "second")?;
    buildah.manifest_create("localhost/all:1", &images)?;
    buildah.manifest_push("localhost/all:1", &access.image("multi/oci:1"), "oci")?;
    buildah.manifest_push("localhost/all:1", &access.image("multi/docker:1"), "v2s2")?;

    let debian = DebianImage::cached()?;
    skopeo.copy(
        &debian.oci(),
        &access.docker("library/debian:bookworm"),
        &[],
    )?;
    Ok(())
}

fn assert_in_byte_order(api: &Api) -> Result<()> {
    let repositories = api.repositories()?;
    assert!(repositories.is_sorted(), "{repositories:?}");
    for repository in repositories {
        let tags = api.tags(&repository)?;
        assert!(tags.is_sorted(), "{repository}: {tags:?}");
    }
    Ok(())
}

/// The content-addressed files of a volume, and the digest of each.
fn blob_files(volume: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![volume.join("docker/registry/v2/blobs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.display().to_string(), digest::of_file(&path)?);
            }
        }
    }
    assert!(!found.is_empty(), "no blobs below {}", volume.display());
    Ok(found)
}
