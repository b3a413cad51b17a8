//! The machine of a guide.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use registry_e2e::bench::target_directory;
use registry_e2e::clients::Docker;
use registry_e2e::{Bench, Invocation, Machine};

/// The guide's machine, before its daemon starts.
#[derive(Debug)]
pub struct Site {
    machine: Machine,
}

impl Site {
    /// A machine that reaches the addresses of these lines of `/etc/hosts` at itself.
    pub fn new(bench: &Bench, hosts: &[(&str, &str)]) -> Result<Self> {
        let mut machine = bench.bare_machine()?;
        let file = machine.own("etc/hosts")?;
        let addresses: Vec<&str> = hosts.iter().map(|(address, _)| *address).collect();
        machine.own_network(&addresses)?;
        let mut text = fs::read_to_string(&file)?;
        for (address, names) in hosts {
            let _ = writeln!(text, "{address} {names}");
        }
        // The mounted file stays the same one.
        fs::write(&file, text)?;
        Ok(Self { machine })
    }

    /// The machine itself.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A shell command in the directory that stands for the guide's.
    pub fn shell(&self, command: &str) -> Invocation {
        self.machine
            .command("sh")
            .args(["-euc", command])
            .current_dir(self.machine.path())
    }

    /// A path below that directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.machine.path().join(name)
    }

    /// A directory as a kubelet mounts a secret or a `ConfigMap`: names that lead through `..data` to the
    /// files of the moment.
    pub fn projected(&self, name: &str, files: &[(&str, &[u8])]) -> Result<PathBuf> {
        let volume = self.path(name);
        let moment = volume.join("..2026_01_01_00_00_00.1");
        fs::create_dir_all(&moment)?;
        symlink("..2026_01_01_00_00_00.1", volume.join("..data"))?;
        for (file, content) in files {
            fs::write(moment.join(file), content)?;
            symlink(format!("..data/{file}"), volume.join(file))?;
        }
        Ok(volume)
    }

    /// The file of a `ConfigMap` in a manifest.
    pub fn config_map(&self, manifest: &str, key: &str) -> Result<String> {
        crate::pod::config_map(manifest, key)
    }

    /// What the guide copies to `/etc/docker/certs.d/REGISTRY/ca.crt`.
    pub fn trust(&self, registry: &str, certificate: &Path) -> Result<()> {
        let folder = self.path("etc/docker/certs.d").join(registry);
        fs::create_dir_all(&folder)?;
        fs::copy(certificate, folder.join("ca.crt"))?;
        Ok(())
    }

    /// The daemon, with our image under the name that the guide uses.
    pub fn docker(&self, image: &str) -> Result<Docker<'_>> {
        let name = format!("registryd-{}-amd64.tar", env!("CARGO_PKG_VERSION"));
        let archive = target_directory().join("image").join(name);
        ensure!(
            archive.is_file(),
            "{} is missing: run `cargo xtask image`",
            archive.display()
        );
        let docker = Docker::start(&self.machine)?;
        docker
            .command("load")
            .arg("--input")
            .arg(archive)
            .succeed()?;
        docker
            .command("tag")
            .args(["registryd:latest", image])
            .succeed()?;
        Ok(docker)
    }

    /// An image of a few bytes to push, by the name that the guide gives it.
    pub fn small_image(&self, docker: &Docker<'_>, name: &str) -> Result<()> {
        fs::write(self.path("content"), name)?;
        self.shell("tar -cf content.tar content").succeed()?;
        docker.import(&self.path("content.tar"), name)
    }

    /// Waits until the container `registry` listens, and returns what it has said.
    pub fn listening(&self, docker: &Docker<'_>) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = docker.command("logs").arg("registry").succeed()?.all();
            if log.contains("listening on ") {
                return Ok(log);
            }
            let running =
                docker
                    .command("inspect")
                    .args(["--format", "{{.State.Running}}", "registry"]);
            if running.succeed()?.text() != "true" {
                bail!("the registry ended:\n{log}");
            }
            if Instant::now() > deadline {
                bail!("the registry does not listen after 60 s:\n{log}");
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// curl on this machine: status code and body.
    pub fn curl(&self, arguments: &[&str]) -> Result<(u16, String)> {
        let output = self
            .machine
            .command("curl")
            .args(["-q", "--silent", "--show-error", "--max-time", "60"])
            .args(["--write-out", "\n%{http_code}"])
            .args(arguments)
            .succeed()?
            .text();
        let (body, status) = output.rsplit_once('\n').unwrap_or(("", &output));
        Ok((status.parse().context("a status")?, body.to_owned()))
    }
}
