//! skopeo: copies images between registries, layouts and local stores.

use std::time::Duration;

use anyhow::Result;

use super::login;
use crate::{
    command::{Invocation, Output},
    machine::Machine,
    security::Access,
};

/// skopeo on one machine.
#[derive(Debug, Clone, Copy)]
pub struct Skopeo<'a> {
    machine: &'a Machine,
}

impl<'a> Skopeo<'a> {
    /// skopeo on this machine.
    pub fn new(machine: &'a Machine) -> Self {
        Self { machine }
    }

    /// Logs in; a wrong password must be refused.
    pub fn login(&self, access: &Access) -> Result<()> {
        login(self.machine, "skopeo", &access.with_wrong_password())?.refused()?;
        login(self.machine, "skopeo", access)?.succeed()?;
        Ok(())
    }

    /// Forgets the login.
    pub fn logout(&self, access: &Access) -> Result<()> {
        self.command()
            .arg("logout")
            .arg(access.authority())
            .succeed()?;
        Ok(())
    }

    /// Copies an image and says what it did, in skopeo's debug log.
    pub fn copy(&self, source: &str, destination: &str, options: &[&str]) -> Result<Output> {
        self.copying(source, destination, options).succeed()
    }

    /// The copy, not yet run.
    pub fn copying(&self, source: &str, destination: &str, options: &[&str]) -> Invocation {
        self.command()
            .args(["--debug", "copy"])
            .args(options)
            .args([source, destination])
            .limit(Duration::from_secs(240))
    }

    /// The bytes of a manifest as skopeo gets them.
    pub fn raw_manifest(&self, source: &str) -> Result<Vec<u8>> {
        let output = self
            .command()
            .args(["inspect", "--raw", source])
            .succeed()?;
        Ok(output.bytes().to_vec())
    }

    /// The tags of a repository.
    pub fn list_tags(&self, repository: &str) -> Result<Vec<String>> {
        let output = self.command().args(["list-tags", repository]).succeed()?;
        let json: serde_json::Value = serde_json::from_slice(output.bytes())?;
        let tags = json.get("Tags").and_then(|tags| tags.as_array());
        Ok(tags
            .into_iter()
            .flatten()
            .filter_map(|tag| tag.as_str())
            .map(str::to_owned)
            .collect())
    }

    /// Any other verb.
    pub fn command(&self) -> Invocation {
        self.machine.command("skopeo")
    }
}
