//! podman: push, pull, mounts, and zstd:chunked with partial pulls.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use anyhow::Result;
use registry_e2e::{Bench, DebianImage, Lane, Security, clients::Podman};

#[test]
fn pushes_and_pulls_debian() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let debian = DebianImage::cached()?;
    for security in Security::BOTH {
        let server = bench.serve(security)?;
        let access = server.access();
        let api = bench.api(access);
        let machine = bench.machine(access)?;
        let podman = Podman::new(&machine);
        podman.import(&debian.root_tar, "localhost/debian:1")?;

        let name = access.image("podman/debian:1");
        if access.is_guarded() {
            podman
                .command("push")
                .args(["localhost/debian:1", &name])
                .refused()?;
            podman.login(access)?;
        }
        let (pushed, _) = podman.push("localhost/debian:1", &name, &[])?;
        assert_eq!(api.manifest("podman/debian", "1")?.digest, pushed);

        // The second repository gets the layer by a mount.
        let second = access.image("other/debian:2");
        let (mounted, said) = podman.push("localhost/debian:1", &second, &[])?;
        assert_eq!(api.manifest("other/debian", "2")?.digest, mounted);
        let said = said.all();
        assert!(
            said.contains("... mount OK"),
            "the layer was not mounted:\n{said}"
        );

        machine.forget_images()?;
        assert_eq!(podman.pull(&name)?.0, pushed);
        assert_eq!(podman.pull(&second)?.0, mounted);

        if access.is_guarded() {
            machine.forget_images()?;
            podman
                .command("pull")
                .args(["--creds", "alice:guessed", &name])
                .refused()?;
        }
    }
    Ok(())
}

/// A zstd:chunked layer is pulled file by file: podman asks for many ranges in one request, and
/// for those only that it does not have.
#[test]
fn zstd_chunked_layers_are_pulled_in_parts() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let debian = DebianImage::cached()?;
    let server = bench.serve(Security::Guarded)?;
    let access = server.access();
    let api = bench.api(access);
    let machine = bench.machine(access)?;
    let podman = Podman::new(&machine);
    podman.login(access)?;
    podman.import(&debian.root_tar, "localhost/debian:1")?;
    let name = access.image("podman/chunked:1");
    let options = ["--compression-format", "zstd:chunked"];
    let (pushed, _) = podman.push("localhost/debian:1", &name, &options)?;
    let manifest = api.manifest("podman/chunked", "1")?;
    assert_eq!(manifest.digest, pushed);
    let layer = &manifest.json()?["layers"][0];
    assert_eq!(
        layer["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+zstd"
    );

    machine.forget_images()?;
    // Partial pulls are off by default, and only the overlay driver can do them.
    machine.use_storage(
        "driver = \"overlay\"\n[storage.options]\npull_options = {enable_partial_images = \
         \"true\", use_hard_links = \"false\", ostree_repos = \"\"}\n",
    )?;
    let (pulled, said) = podman.pull(&name)?;
    assert_eq!(pulled, pushed);
    let said = said.all();
    assert!(
        said.contains("Retrieved partial blob"),
        "it was pulled as a whole:\n{said}"
    );
    Ok(())
}
