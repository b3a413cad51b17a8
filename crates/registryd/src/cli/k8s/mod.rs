//! `registryd k8s` and `registryd pull-secret`: what a cluster needs of a registry.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod pull_secret;
mod trust;

pub(super) use pull_secret::PullSecret;

/// What to do.
#[derive(Debug, Args)]
pub(super) struct K8s {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what makes containerd on every node of a cluster trust a registry.
    Trust(trust::Trust),
}

pub(super) fn run(k8s: &K8s) -> anyhow::Result<ExitCode> {
    match &k8s.command {
        Command::Trust(arguments) => trust::run(arguments),
    }
}

pub(super) fn pull_secret(arguments: &PullSecret) -> anyhow::Result<ExitCode> {
    pull_secret::run(arguments)
}

/// A name as Kubernetes gives them: a DNS label.
fn label(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty()
        || text.len() > 63
        || text.starts_with('-')
        || text.ends_with('-')
        || !text.chars().all(fits)
    {
        return Err(
            "it is no name of Kubernetes: at most 63 of a-z, 0-9 and inner `-`, as in `registry-pull`"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::label;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "registry-pull", "0a"] {
            assert_eq!(label(good).unwrap(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a b", &"a".repeat(64)] {
            label(bad).unwrap_err();
        }
    }
}
