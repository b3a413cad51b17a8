//! `registryd init`: the files of `deploy/`, for a registry of one's own.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use oci_auth::htpasswd::{PasswordHash, UserName, line};

use crate::cli::out::{self, note, say};
use crate::new_password;

/// The host name in the files of `deploy/`.
const HOST: &str = "registry.lan";

#[derive(Debug, Args)]
pub(super) struct Init {
    /// What is to run the registry.
    #[arg(value_enum)]
    platform: Platform,
    /// The name by which clients reach the registry.
    #[arg(long, value_name = "NAME", default_value = HOST, value_parser = host)]
    host: String,
    /// Write files into this directory; without it, everything goes to standard output.
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Platform {
    /// A compose.yaml.
    Compose,
    /// One manifest with everything in it; with the user `docker` and a new password.
    Kubernetes,
    /// A service, a socket and a configuration.
    Systemd,
}

struct File {
    name: &'static str,
    text: String,
}

pub(super) fn run(init: &Init) -> anyhow::Result<ExitCode> {
    let (files, next) = files(init)?;
    match &init.out {
        None => {
            for file in &files {
                // One file is its own; several are told apart.
                if files.len() > 1 {
                    say!("# --- {}", file.name);
                }
                out::print(&file.text);
            }
        }
        Some(directory) => {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("make {}", directory.display()))?;
            for file in &files {
                let path = directory.join(file.name);
                write(&path, &file.text)?;
                say!("{}", path.display());
            }
        }
    }
    note!("{next}");
    Ok(ExitCode::SUCCESS)
}

/// The files, and what to do with them.
fn files(init: &Init) -> anyhow::Result<(Vec<File>, String)> {
    let host = &init.host;
    let own = |name, text: &str| File {
        name,
        text: text.replace(HOST, host),
    };
    Ok(match init.platform {
        Platform::Compose => {
            let compose = own(
                "compose.yaml",
                include_str!("../../../deploy/compose/compose.yaml"),
            );
            let next = "next: the commands at the top of compose.yaml".to_owned();
            (vec![compose], next)
        }
        Platform::Kubernetes => {
            let mut manifest = own(
                "registryd.yaml",
                include_str!("../../../deploy/kubernetes/registryd.yaml"),
            );
            let (users, password) = new_user()?;
            let entry = |users: &str| format!("\n  htpasswd: {users}\n");
            let empty = entry("\"\"");
            ensure!(
                manifest.text.contains(&empty),
                "the manifest has no place for a user"
            );
            manifest.text = manifest
                .text
                .replacen(&empty, &entry(&format!("'{users}'")), 1);
            let next = format!(
                "user docker, password {password}\nnext: kubectl create secret tls registryd-tls --cert=tls.crt \
                 --key=tls.key   # for {host}\n      kubectl apply -f registryd.yaml"
            );
            (vec![manifest], next)
        }
        Platform::Systemd => {
            let files = vec![
                own(
                    "registryd.service",
                    include_str!("../../../deploy/systemd/registryd.service"),
                ),
                own(
                    "registryd.socket",
                    include_str!("../../../deploy/systemd/registryd.socket"),
                ),
                own(
                    "config.yml",
                    include_str!("../../../deploy/systemd/config.yml"),
                ),
            ];
            let next = "next: install -D -m 0644 config.yml /etc/registryd/config.yml\n      \
                        put tls.crt, tls.key and htpasswd there, with mode 0600\n      \
                        cp registryd.service registryd.socket /etc/systemd/system/\n      \
                        systemctl daemon-reload && systemctl enable --now registryd.socket registryd.service\n      \
                        after each change of those files: systemctl restart registryd"
                .to_owned();
            (files, next)
        }
    })
}

/// A line of a password file for `docker`, and the password.
fn new_user() -> anyhow::Result<(String, String)> {
    let password = new_password::generate()?;
    let user: UserName = "docker".parse()?;
    let hash = PasswordHash::new(&password, PasswordHash::DEFAULT_COST)?;
    Ok((line(&user, &hash), password))
}

fn host(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if text.is_empty() || text.starts_with(['-', '.']) || !text.chars().all(fits) {
        return Err(
            "it is no host name; write it without scheme and port, as in `registry.lan`".to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// Writes a new file: what somebody has edited is not lost.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| {
            format!(
                "cannot make {}; remove it first, or choose another directory with `--out`",
                path.display()
            )
        })?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use oci_auth::htpasswd::HtpasswdTable;

    use super::*;

    fn init(platform: Platform, out: Option<PathBuf>) -> Init {
        Init {
            platform,
            host: "hub.example.com".to_owned(),
            out,
        }
    }

    #[test]
    fn the_host_is_the_one_that_was_asked_for() {
        for platform in [Platform::Compose, Platform::Kubernetes, Platform::Systemd] {
            let (files, next) = files(&init(platform, None)).unwrap();
            let all: String = files.into_iter().map(|file| file.text).collect();
            assert!(!all.contains(HOST) && !next.contains(HOST), "{platform:?}");
            assert!((all + &next).contains("hub.example.com"), "{platform:?}");
        }
        for bad in ["", "https://registry.lan", "registry.lan:5000", "-x", "a b"] {
            host(bad).unwrap_err();
        }
    }

    #[test]
    fn the_user_of_the_manifest_has_the_password_that_is_shown() {
        let (files, next) = files(&init(Platform::Kubernetes, None)).unwrap();
        let password = next.lines().next().unwrap().rsplit(' ').next().unwrap();
        let text = &files[0].text;
        let hash = text
            .lines()
            .find_map(|line| line.strip_prefix("  htpasswd: 'docker:"))
            .unwrap();
        let entry = format!("docker:{}", hash.trim_end_matches('\''));
        let (users, problems) = HtpasswdTable::parse(entry.as_bytes());
        assert_eq!(problems, []);
        assert!(users.verify("docker", password));
        assert!(!text.contains(password));
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        run(&init(Platform::Systemd, Some(out.clone()))).unwrap();
        assert!(out.join("registryd.socket").is_file());
        let error = run(&init(Platform::Systemd, Some(out))).unwrap_err();
        assert!(error.to_string().contains("remove it first"), "{error}");
    }
}
