//! The clients, each with the few verbs the tests need.

mod buildah;
mod containerd;
mod docker;
mod oras;
mod podman;
mod skopeo;
mod umoci;

pub use self::{
    buildah::Buildah,
    containerd::Containerd,
    docker::Docker,
    oras::{Oras, Pushed},
    podman::Podman,
    skopeo::Skopeo,
    umoci::Umoci,
};

use anyhow::{Context as _, Result};

use crate::{command::Invocation, machine::Machine, security::Access};

/// `login` of skopeo, buildah and podman, which share one file of logins.
fn login(machine: &Machine, program: &str, access: &Access) -> Result<Invocation> {
    let password = access.password().context("an open registry has no login")?;
    Ok(machine
        .command(program)
        .args(["login", "--username", Access::USER, "--password", password])
        .arg(access.authority()))
}

/// The first `sha256:…` in a text.
fn digest_in(text: &str) -> Result<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == ':'))
        .find(|word| word.len() == 71 && word.starts_with("sha256:"))
        .map(str::to_owned)
        .with_context(|| format!("no digest in {text:?}"))
}
