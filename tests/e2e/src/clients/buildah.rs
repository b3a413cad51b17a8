//! buildah: builds images and multi-architecture lists.

use std::{fs, path::Path};

use anyhow::Result;

use super::{digest_in, login};
use crate::{command::Invocation, machine::Machine, security::Access};

/// buildah on one machine.
#[derive(Debug, Clone, Copy)]
pub struct Buildah<'a> {
    machine: &'a Machine,
}

impl<'a> Buildah<'a> {
    /// buildah on this machine.
    pub fn new(machine: &'a Machine) -> Self {
        Self { machine }
    }

    /// Logs in; a wrong password must be refused.
    pub fn login(&self, access: &Access) -> Result<()> {
        login(self.machine, "buildah", &access.with_wrong_password())?.refused()?;
        login(self.machine, "buildah", access)?.succeed()?;
        Ok(())
    }

    /// Builds an image of one layer from a tar archive.
    pub fn build_from_tar(&self, tar: &Path, name: &str) -> Result<()> {
        let context = tempfile::Builder::new()
            .prefix("context-")
            .tempdir_in(self.machine.path())?;
        fs::hard_link(tar, context.path().join("root.tar"))
            .or_else(|_| fs::copy(tar, context.path().join("root.tar")).map(drop))?;
        let file = context.path().join("Containerfile");
        fs::write(&file, "FROM scratch\nADD root.tar /\nCMD [\"/bin/sh\"]\n")?;
        self.build(context.path(), name, &[])
    }

    /// Builds a small image for one architecture.
    pub fn build_small(&self, name: &str, architecture: &str, content: &str) -> Result<()> {
        let context = tempfile::Builder::new()
            .prefix("context-")
            .tempdir_in(self.machine.path())?;
        fs::write(context.path().join("content"), content)?;
        let file = context.path().join("Containerfile");
        fs::write(&file, "FROM scratch\nCOPY content /content\n")?;
        self.build(
            context.path(),
            name,
            &["--platform", &format!("linux/{architecture}")],
        )
    }

    /// Pushes an image and returns the digest buildah reports.
    pub fn push(&self, name: &str, destination: &str) -> Result<String> {
        self.with_digest_file(
            |file| self.command("push").args(["--digestfile", file]),
            &[name, destination],
        )
    }

    /// Pulls an image and returns the digest of its manifest.
    pub fn pull(&self, name: &str) -> Result<String> {
        self.command("pull").arg(name).succeed()?;
        let format = "{{.FromImageDigest}}";
        let output = self
            .command("inspect")
            .args(["--type", "image", "--format", format, name])
            .succeed()?;
        digest_in(&output.text())
    }

    /// Makes a list of images.
    pub fn manifest_create(&self, list: &str, images: &[&str]) -> Result<()> {
        self.command("manifest").args(["create", list]).succeed()?;
        for image in images {
            let image = format!("containers-storage:{image}");
            self.command("manifest")
                .args(["add", list, &image])
                .succeed()?;
        }
        Ok(())
    }

    /// Pushes a list with everything in it, and returns the digest buildah reports.
    ///
    /// `format` is `oci` for an index, `v2s2` for a Docker manifest list.
    pub fn manifest_push(&self, list: &str, destination: &str, format: &str) -> Result<String> {
        self.with_digest_file(
            |file| {
                self.command("manifest")
                    .args(["push", "--all", "--format", format])
                    .args(["--digestfile", file])
            },
            &[list, &format!("docker://{destination}")],
        )
    }

    /// Any other verb.
    pub fn command(&self, verb: &str) -> Invocation {
        self.machine.command("buildah").arg(verb)
    }

    fn build(self, context: &Path, name: &str, options: &[&str]) -> Result<()> {
        self.command("build")
            .args(["--isolation", "chroot", "--tag", name])
            .args(options)
            .arg("--file")
            .arg(context.join("Containerfile"))
            .arg(context)
            .succeed()?;
        Ok(())
    }

    fn with_digest_file(
        self,
        command: impl FnOnce(&str) -> Invocation,
        arguments: &[&str],
    ) -> Result<String> {
        let file = tempfile::NamedTempFile::new_in(self.machine.path())?;
        command(&file.path().to_string_lossy())
            .args(arguments)
            .succeed()?;
        digest_in(&fs::read_to_string(file.path())?)
    }
}
