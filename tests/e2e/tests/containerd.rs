//! containerd: `ctr` pushes and pulls.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use anyhow::Result;
use registry_e2e::{
    Bench, DebianImage, Lane, Security,
    clients::{Containerd, Skopeo},
};

#[test]
fn pushes_and_pulls_debian() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let debian = DebianImage::cached()?;
    let plain = bench.serve(Security::Plain)?;
    let guarded = bench.serve(Security::Guarded)?;
    let machine = bench.machine(plain.access())?;
    let archive = machine.path().join("debian.tar");
    let target = format!(
        "oci-archive:{}:docker.io/library/debian:1",
        archive.display()
    );
    Skopeo::new(&machine).copy(&debian.oci(), &target, &[])?;
    let containerd = Containerd::start(&machine)?;
    let local = "docker.io/library/debian:1";

    for server in [&plain, &guarded] {
        let access = server.access();
        let name = access.image("containerd/debian:1");
        containerd.import(&archive, local)?;
        containerd.tag(local, &name)?;
        assert_eq!(
            containerd.digest(&name)?.as_deref(),
            Some(debian.digest.as_str())
        );
        if access.is_guarded() {
            containerd
                .push(&access.with_wrong_password(), &name)?
                .refused()?;
            assert!(!bench.api(access).has_manifest("containerd/debian", "1")?);
        }
        containerd.push(access, &name)?.succeed()?;
        let manifest = bench.api(access).manifest("containerd/debian", "1")?;
        assert_eq!(manifest.digest, debian.digest);

        containerd.remove(&[local, &name])?;
        assert_eq!(
            containerd.content()?,
            Vec::<String>::new(),
            "the pull must fetch all"
        );
        if access.is_guarded() {
            containerd
                .pull(&access.with_wrong_password(), &name)?
                .refused()?;
        }
        containerd.pull(access, &name)?.succeed()?;
        assert_eq!(
            containerd.digest(&name)?.as_deref(),
            Some(debian.digest.as_str())
        );
        let content = containerd.content()?;
        for digest in manifest
            .digests("layers")?
            .iter()
            .chain(&manifest.digests("config")?)
        {
            assert!(content.contains(digest), "{digest} was not pulled");
        }
        containerd.remove(&[&name])?;
    }
    Ok(())
}
