//! podman, without its service.

use std::{fs, path::Path, time::Duration};

use anyhow::Result;

use super::{digest_in, login};
use crate::{
    command::{Invocation, Output},
    machine::Machine,
    security::Access,
};

/// podman on one machine.
#[derive(Debug, Clone, Copy)]
pub struct Podman<'a> {
    machine: &'a Machine,
}

impl<'a> Podman<'a> {
    /// podman on this machine.
    pub fn new(machine: &'a Machine) -> Self {
        Self { machine }
    }

    /// Logs in; a wrong password must be refused.
    pub fn login(&self, access: &Access) -> Result<()> {
        login(self.machine, "podman", &access.with_wrong_password())?.refused()?;
        login(self.machine, "podman", access)?.succeed()?;
        Ok(())
    }

    /// Makes an image of one layer from a tar archive.
    pub fn import(&self, tar: &Path, name: &str) -> Result<()> {
        self.command("import")
            .arg("--quiet")
            .arg(tar)
            .arg(name)
            .succeed()?;
        Ok(())
    }

    /// Pushes an image; returns the digest podman reports and its debug log.
    pub fn push(
        &self,
        name: &str,
        destination: &str,
        options: &[&str],
    ) -> Result<(String, Output)> {
        let file = tempfile::NamedTempFile::new_in(self.machine.path())?;
        let output = self
            .machine
            .command("podman")
            .args(["--log-level", "debug", "push", "--digestfile"])
            .arg(file.path())
            .args(options)
            .args([name, destination])
            .limit(Duration::from_secs(240))
            .succeed()?;
        Ok((digest_in(&fs::read_to_string(file.path())?)?, output))
    }

    /// Pulls an image; returns the digest of its manifest and podman's debug log.
    pub fn pull(&self, name: &str) -> Result<(String, Output)> {
        let output = self
            .machine
            .command("podman")
            .args(["--log-level", "debug", "pull", name])
            .succeed()?;
        let format = "{{.Digest}}";
        let inspected = self
            .command("image")
            .args(["inspect", "--format", format, name])
            .succeed()?;
        Ok((digest_in(&inspected.text())?, output))
    }

    /// Any other verb.
    pub fn command(&self, verb: &str) -> Invocation {
        self.machine.command("podman").arg(verb)
    }
}
