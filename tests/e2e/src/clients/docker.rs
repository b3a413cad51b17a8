//! docker: the classic daemon with its own image store.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::digest_in;
use crate::{
    command::{Invocation, Output},
    machine::{Daemon, Machine},
    security::Access,
};

/// A Docker daemon of its own and the client that speaks to it.
///
/// dockerd treats registries on loopback addresses as insecure by its own rule: it speaks TLS to
/// them without checking the certificate. The other clients check it.
#[derive(Debug)]
pub struct Docker<'a> {
    machine: &'a Machine,
    socket: PathBuf,
    _daemon: Daemon,
}

impl<'a> Docker<'a> {
    /// Starts dockerd on this machine.
    pub fn start(machine: &'a Machine) -> Result<Self> {
        let socket = machine.socket("docker.sock");
        let root = machine.path().join("docker");
        fs::create_dir_all(&root)?;
        let daemon = machine
            .command("dockerd")
            .args(["--iptables=false", "--ip6tables=false", "--bridge=none"])
            .args(["--storage-driver", "vfs", "--exec-root", "/run/docker"])
            .args(["--pidfile", "/run/docker.pid"])
            .arg("--data-root")
            .arg(&root)
            .arg("--host")
            .arg(format!("unix://{}", socket.display()));
        let probe =
            || Ok(socket.exists() && client(machine, &socket, "version").run()?.is_success());
        let daemon = machine.daemon(daemon, probe)?;
        Ok(Self {
            machine,
            socket,
            _daemon: daemon,
        })
    }

    /// Logs in; a wrong password must be refused.
    pub fn login(&self, access: &Access) -> Result<()> {
        let login = |access: &Access| -> Result<Invocation> {
            let password = access.password().context("an open registry has no login")?;
            Ok(self
                .command("login")
                .args(["--username", Access::USER, "--password", password])
                .arg(access.authority()))
        };
        login(&access.with_wrong_password())?.refused()?;
        login(access)?.succeed()?;
        Ok(())
    }

    /// Makes an image of one layer from a tar archive.
    pub fn import(&self, tar: &Path, name: &str) -> Result<()> {
        self.command("import").arg(tar).arg(name).succeed()?;
        Ok(())
    }

    /// Builds an image with the daemon's own builder.
    pub fn build(&self, dockerfile: &str, content: &str, name: &str) -> Result<()> {
        let context = tempfile::Builder::new()
            .prefix("context-")
            .tempdir_in(self.machine.path())?;
        fs::write(context.path().join("Dockerfile"), dockerfile)?;
        fs::write(context.path().join("content"), content)?;
        self.command("build")
            .args(["--network", "none", "--tag", name])
            .arg(context.path())
            .env("DOCKER_BUILDKIT", "0")
            .succeed()?;
        Ok(())
    }

    /// Pushes an image; returns the digest docker reports and what it said.
    pub fn push(&self, name: &str) -> Result<(String, Output)> {
        let output = self
            .command("push")
            .arg(name)
            .limit(Duration::from_secs(240))
            .succeed()?;
        let text = output.text();
        let line = text.lines().find(|line| line.contains("digest: "));
        Ok((digest_in(line.unwrap_or_default())?, output))
    }

    /// Pulls an image; returns the digest docker reports and what it said.
    pub fn pull(&self, name: &str) -> Result<(String, Output)> {
        let output = self.command("pull").arg(name).succeed()?;
        let text = output.text();
        let line = text.lines().find(|line| line.starts_with("Digest: "));
        Ok((digest_in(line.unwrap_or_default())?, output))
    }

    /// Removes every image and layer, so that the next pull has to fetch them.
    pub fn forget_images(&self) -> Result<()> {
        self.command("image")
            .args(["prune", "--all", "--force"])
            .succeed()?;
        let left = self
            .command("image")
            .args(["ls", "--all", "--quiet"])
            .succeed()?
            .text();
        ensure!(left.is_empty(), "images stay after a prune: {left}");
        Ok(())
    }

    /// Removes these names, and with the last one of an image its layers.
    pub fn forget(&self, names: &[&str]) -> Result<()> {
        self.command("image").arg("rm").args(names).succeed()?;
        Ok(())
    }

    /// The id of an image: the digest of its configuration.
    pub fn image_id(&self, name: &str) -> Result<String> {
        let output = self
            .command("image")
            .args(["inspect", "--format", "{{.Id}}", name]);
        digest_in(&output.succeed()?.text())
    }

    /// Any other verb.
    pub fn command(&self, verb: &str) -> Invocation {
        client(self.machine, &self.socket, verb)
    }
}

fn client(machine: &Machine, socket: &Path, verb: &str) -> Invocation {
    let host = format!("unix://{}", socket.display());
    machine.command("docker").args(["--host", &host, verb])
}
