//! The container image: loaded by docker and podman, run, and pushed to the registry that it contains.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]
#![allow(clippy::indexing_slicing, reason = "what is missing fails the test")]

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use registry_e2e::{
    Bench, Lane, Security,
    bench::target_directory,
    clients::{Docker, Podman, Skopeo},
    image::layout_digest,
};

/// An archive that `cargo xtask image` wrote.
fn archive(name: &str) -> Result<PathBuf> {
    let path = target_directory()
        .join("image")
        .join(format!("registryd-{name}-amd64.tar"));
    ensure!(
        path.is_file(),
        "{} is missing: run `cargo xtask image` and `cargo xtask image --variant nonroot`",
        path.display()
    );
    Ok(path)
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// docker loads the image and runs it; the registry in it takes the image itself, and gives it back.
#[test]
fn docker_runs_the_image_and_pushes_it_to_itself() -> Result<()> {
    let archive = archive(VERSION)?;
    let bench = Bench::new(Lane::Heavy)?;
    let outside = bench.serve(Security::Plain)?;
    let machine = bench.machine(outside.access())?;
    let docker = Docker::start(&machine)?;
    let said = docker
        .command("load")
        .arg("--input")
        .arg(&archive)
        .succeed()?
        .text();
    for tag in ["latest", VERSION] {
        ensure!(
            said.contains(&format!("Loaded image: registryd:{tag}")),
            "{said}"
        );
    }
    let id = docker.image_id("registryd:latest")?;
    let inspected = docker
        .command("image")
        .args(["inspect", "registryd:latest"])
        .succeed()?;
    let inspected: serde_json::Value = serde_json::from_slice(inspected.bytes())?;
    let config = &inspected[0]["Config"];
    assert_eq!(config["Cmd"][0], "/etc/docker/registry/config.yml");
    assert!(
        config["Volumes"].get("/var/lib/registry").is_some(),
        "{config}"
    );
    assert!(config["ExposedPorts"].get("5000/tcp").is_some(), "{config}");

    // What people run in the official image: a shell, its tools, both configurations, the program.
    let run = |arguments: &[&str]| {
        docker
            .command("run")
            .args(["--rm", "--network", "none", "registryd"])
            .args(arguments)
    };
    let listed = run(&["ls", "/etc/docker/registry", "/etc/distribution"])
        .succeed()?
        .text();
    assert_eq!(listed.matches("config.yml").count(), 2, "{listed}");
    let found = run(&[
        "sh",
        "-c",
        "cat /etc/ssl/certs/ca-certificates.crt | grep -c BEGIN; stat -c %a /tmp",
    ]);
    let found = found.succeed()?.text();
    let (roots, mode) = found.split_once('\n').context("two lines")?;
    assert!(roots.parse::<u32>()? > 50, "{roots} root certificates");
    assert_eq!(mode, "1777");
    for version in [
        &["--version"][..],
        &["registry", "--version"],
        &["/bin/registryd", "--version"],
    ] {
        let text = run(version).succeed()?.text();
        assert_eq!(text, format!("registryd {VERSION}"));
    }
    let said = run(&["nonesuch"]).fails()?.all();
    assert!(
        said.contains("neither a command of registryd nor a program"),
        "{said}"
    );

    // It serves, from variables alone, and says so to a health check.
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    let variable = format!("REGISTRY_HTTP_ADDR={address}");
    docker
        .command("run")
        .args([
            "--detach",
            "--name",
            "registry",
            "--network",
            "host",
            "--env",
            &variable,
            "registryd",
        ])
        .succeed()?;
    let check = || {
        docker
            .command("exec")
            .args(["registry", "registryd", "healthcheck"])
            .run()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check()?.is_success() {
        if Instant::now() > deadline {
            let log = docker.command("logs").arg("registry").run()?.all();
            bail!("the container does not become healthy:\n{log}");
        }
        thread::sleep(Duration::from_millis(200));
    }
    let log = docker.command("logs").arg("registry").succeed()?.all();
    assert!(log.contains(&format!("listening on {address}")), "{log}");
    let sick =
        docker
            .command("exec")
            .args(["registry", "registryd", "healthcheck", "http://127.0.0.1:1"]);
    assert!(
        sick.fails()?
            .all()
            .contains("unhealthy: http://127.0.0.1:1")
    );

    // Into the registry that it contains, and back.
    let name = format!("{address}/registryd:itself");
    docker
        .command("tag")
        .args(["registryd:latest", &name])
        .succeed()?;
    let (pushed, _) = docker.push(&name)?;
    docker.command("image").args(["rm", &name]).succeed()?;
    let (pulled, _) = docker.pull(&name)?;
    assert_eq!(pulled, pushed);
    assert_eq!(docker.image_id(&name)?, id);

    // It goes when it is told to, and not because it is killed.
    docker
        .command("stop")
        .args(["--time", "30", "registry"])
        .succeed()?;
    let state = docker
        .command("inspect")
        .args(["--format", "{{.State.ExitCode}}", "registry"]);
    assert_eq!(state.succeed()?.text(), "0");
    Ok(())
}

/// podman loads both variants, which are what the archives say; the small one holds nothing to run but us.
#[test]
fn podman_loads_both_variants() -> Result<()> {
    let bench = Bench::new(Lane::Heavy)?;
    let server = bench.serve(Security::Plain)?;
    let machine = bench.machine(server.access())?;
    let podman = Podman::new(&machine);
    for (name, tag, user) in [
        (VERSION.to_owned(), "latest", ""),
        (format!("{VERSION}-nonroot"), "nonroot", "65532:65532"),
    ] {
        let said = podman
            .command("load")
            .arg("--input")
            .arg(archive(&name)?)
            .succeed()?
            .text();
        // Docker's short names are those of its hub.
        let image = format!("docker.io/library/registryd:{tag}");
        assert!(said.contains(&format!("Loaded image: {image}")), "{said}");
        let inspected = podman
            .command("image")
            .args(["inspect", &image])
            .succeed()?;
        let inspected: serde_json::Value = serde_json::from_slice(inspected.bytes())?;
        assert_eq!(inspected[0]["User"], user);
        assert_eq!(inspected[0]["Architecture"], "amd64");
        let (digest, _) = podman.push(
            &image,
            &server.access().image(&format!("self/{tag}:1")),
            &[],
        )?;
        assert_eq!(
            bench
                .api(server.access())
                .manifest(&format!("self/{tag}"), "1")?
                .digest,
            digest
        );
    }
    let run = |arguments: &[&str]| {
        podman
            .command("run")
            .args(["--rm", "--runtime", "runc", "--network", "host"])
            .args([
                "--ulimit",
                "nofile=1024:1024",
                "--ulimit",
                "nproc=1000:1000",
            ])
            .arg("docker.io/library/registryd:nonroot")
            .args(arguments)
    };
    assert_eq!(
        run(&["--version"]).succeed()?.text(),
        format!("registryd {VERSION}")
    );
    let said = run(&["sh", "-c", "true"]).fails()?.all();
    assert!(said.contains("cannot run `sh`"), "{said}");
    Ok(())
}

/// The archive is an OCI layout: skopeo copies it with its digest unchanged.
#[test]
fn skopeo_pushes_the_archive_as_it_is() -> Result<()> {
    let bench = Bench::new(Lane::Tools)?;
    let server = bench.serve(Security::Guarded)?;
    let machine = bench.machine(server.access())?;
    let skopeo = Skopeo::new(&machine);
    skopeo.login(server.access())?;
    let archive = archive(&format!("{VERSION}-nonroot"))?;
    let layout = bench.directory("layout")?;
    machine
        .command("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&layout)
        .succeed()?;
    let digest = layout_digest(&layout, "nonroot")?;
    let source = format!("oci-archive:{}:nonroot", archive.display());
    skopeo.copy(&source, &server.access().docker("registryd:nonroot"), &[])?;
    let manifest = bench
        .api(server.access())
        .manifest("registryd", "nonroot")?;
    assert_eq!(manifest.digest, digest);
    // Every file in it belongs to the time that was asked for.
    let layer = manifest.json()?["layers"][1]["digest"]
        .as_str()
        .context("a layer")?
        .replace(':', "/");
    let listed = machine
        .command("tar")
        .arg("-tvzf")
        .arg(layout.join("blobs").join(layer))
        .succeed()?
        .text();
    assert!(
        listed.lines().all(|line| line.contains(" 1970-01-01 ")),
        "{listed}"
    );
    assert!(
        listed.contains("bin/registry -> registryd") && listed.contains("usr/bin/htpasswd -> "),
        "{listed}"
    );
    fs::remove_dir_all(layout)?;
    Ok(())
}

/// What `cargo xtask image --push` does for two architectures, with the login and the authority that skopeo knows.
#[test]
fn both_architectures_are_pushed_as_one_image() -> Result<()> {
    let xtask = target_directory().join("debug/xtask");
    ensure!(
        xtask.is_file(),
        "{} is missing: run `cargo xtask image`",
        xtask.display()
    );
    let bench = Bench::new(Lane::Heavy)?;
    let server = bench.serve(Security::Guarded)?;
    let access = server.access();
    let machine = bench.machine(access)?;
    let names = [
        access.image("team/registryd:1"),
        access.image("team/registryd:latest"),
    ];
    let image = || {
        let mut image = machine
            .command(&xtask)
            .args([
                "image",
                "--arch",
                "amd64,arm64",
                "--variant",
                "nonroot",
                "--out",
            ])
            .arg(machine.path().join("both.tar"));
        for machine_code in [62, 183] {
            // The header of a static program for it; nobody runs it.
            let mut header = vec![0; 64];
            header[..6].copy_from_slice(b"\x7fELF\x02\x01");
            header[18] = machine_code;
            let program = machine.path().join(format!("program-{machine_code}"));
            fs::write(&program, header)?;
            image = image.arg("--binary").arg(program);
        }
        for name in &names {
            image = image.args(["--push", name]);
        }
        anyhow::Ok(image)
    };
    let said = image()?.fails()?.all();
    assert!(said.contains("could not push to"), "{said}");
    Skopeo::new(&machine).login(access)?;
    let said = image()?.succeed()?.all();
    let api = bench.api(access);
    for tag in ["1", "latest"] {
        let index = api.manifest("team/registryd", tag)?;
        assert!(said.contains(&index.digest), "{said}");
        let index = index.json()?;
        let mut platforms = Vec::new();
        for listed in index["manifests"].as_array().context("an index")? {
            let digest = listed["digest"].as_str().context("a digest")?;
            assert!(api.has_manifest("team/registryd", digest)?);
            platforms.push(listed["platform"].to_string());
        }
        assert_eq!(
            platforms,
            [
                r#"{"architecture":"amd64","os":"linux"}"#,
                r#"{"architecture":"arm64","os":"linux","variant":"v8"}"#
            ]
        );
    }

    // Of the archive, docker takes what this machine can run.
    let docker = Docker::start(&machine)?;
    let archive = machine.path().join("both.tar");
    docker
        .command("load")
        .arg("--input")
        .arg(archive)
        .succeed()?;
    let architecture = docker
        .command("image")
        .args([
            "inspect",
            "--format",
            "{{.Architecture}}",
            "registryd:nonroot",
        ])
        .succeed()?
        .text();
    assert_eq!(architecture, "amd64");
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
