//! umoci: images whose manifests carry no `mediaType`.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use std::fs;

use anyhow::Result;
use registry_e2e::{
    Bench, DebianImage, Lane, Security,
    clients::{Skopeo, Umoci},
};

#[test]
fn changed_debian_image_without_media_type_comes_back_the_same() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let debian = DebianImage::cached()?;
    let build = bench.serve(Security::Plain)?;
    let machine = bench.machine(build.access())?;
    let layout = machine.path().join("layout");
    let umoci = Umoci::open(&machine, layout.clone());
    let skopeo = Skopeo::new(&machine);
    skopeo.copy(&debian.oci(), &umoci.oci("base"), &[])?;
    let root = umoci.unpack("base", "bundle")?;
    fs::write(root.join("etc/made-by"), "umoci\n")?;
    umoci.repack("changed", "bundle")?;
    let digest = umoci.digest("changed")?;
    drop(build);

    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let machine = bench.machine(access)?;
        let skopeo = Skopeo::new(&machine);
        if access.is_guarded() {
            skopeo.login(access)?;
        }
        let name = access.docker("umoci/debian:changed");
        skopeo.copy(&umoci.oci("changed"), &name, &[])?;

        let manifest = bench.api(access).manifest("umoci/debian", "changed")?;
        assert_eq!(manifest.digest, digest);
        assert_eq!(
            manifest.json()?.get("mediaType"),
            None,
            "the point of this test"
        );
        assert_eq!(manifest.digests("layers")?.len(), 2);
        assert_eq!(
            manifest.media_type,
            "application/vnd.oci.image.manifest.v1+json"
        );

        let pulled = Umoci::open(&machine, machine.path().join("pulled"));
        skopeo.copy(&name, &pulled.oci("back"), &[])?;
        assert_eq!(pulled.digest("back")?, digest);
        let root = pulled.unpack("back", "bundle")?;
        assert_eq!(fs::read_to_string(root.join("etc/made-by"))?, "umoci\n");
        assert!(root.join("usr/bin/dpkg").is_file());
        fs::remove_dir_all(machine.path())?;
    }
    Ok(())
}
