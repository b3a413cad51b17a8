//! docker: the classic daemon.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

use anyhow::Result;
use registry_e2e::{Bench, DebianImage, Lane, Security, clients::Docker};

#[test]
fn pushes_pulls_and_builds_on_debian() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let debian = DebianImage::cached()?;
    let plain = bench.serve(Security::Plain)?;
    let guarded = bench.serve(Security::Guarded)?;
    let machine = bench.machine(plain.access())?;
    let docker = Docker::start(&machine)?;

    for server in [&plain, &guarded] {
        let access = server.access();
        let api = bench.api(access);
        let name = access.image("docker/debian:1");
        docker.import(&debian.root_tar, &name)?;
        let id = docker.image_id(&name)?;
        if access.is_guarded() {
            docker.command("push").arg(&name).refused()?;
            docker.login(access)?;
        }
        let (pushed, _) = docker.push(&name)?;
        let manifest = api.manifest("docker/debian", "1")?;
        assert_eq!(manifest.digest, pushed);
        assert_eq!(
            manifest.media_type,
            "application/vnd.docker.distribution.manifest.v2+json"
        );

        docker.forget_images()?;
        let (pulled, said) = docker.pull(&name)?;
        assert_eq!(pulled, pushed);
        assert_eq!(docker.image_id(&name)?, id);
        assert!(
            said.all().contains("Pull complete"),
            "nothing was pulled:\n{}",
            said.all()
        );

        // An image built on it; its base layer is mounted from the other repository.
        let built = access.image("docker/built/app:1");
        let dockerfile = format!("FROM {name}\nCOPY content /content\nLABEL purpose=test\n");
        docker.build(&dockerfile, access.authority(), &built)?;
        let (pushed, said) = docker.push(&built)?;
        let said = said.all();
        assert!(
            said.contains("Mounted from docker/debian"),
            "nothing was mounted:\n{said}"
        );
        let manifest = api.manifest("docker/built/app", "1")?;
        assert_eq!(manifest.digest, pushed);
        assert_eq!(manifest.digests("layers")?.len(), 2);
        let id = docker.image_id(&built)?;
        docker.forget_images()?;
        assert_eq!(docker.pull(&built)?.0, pushed);
        assert_eq!(docker.image_id(&built)?, id);

        docker.forget_images()?;
        if access.is_guarded() {
            docker.command("logout").arg(access.authority()).succeed()?;
            docker.command("pull").arg(&built).fails()?;
            docker.command("image").args(["inspect", &built]).fails()?;
        }
    }
    Ok(())
}
