//! `auth.htpasswd`: opening the password file, and making one where there is none.

use std::path::{Path, PathBuf};

use anyhow::Context;
use oci_auth::htpasswd::{HtpasswdAuthenticator, HtpasswdOptions, PasswordHash, UserName, line};

use super::hints;
use crate::config::Htpasswd;
use crate::{files, new_password};

/// Opens the password file of the configuration.
///
/// If it is missing, a user `docker` is made, as Distribution does; but the password goes into a file
/// that only this user can read, never into the log.
pub(super) async fn open(config: &Htpasswd) -> anyhow::Result<HtpasswdAuthenticator> {
    let config = config.clone();
    // Hashing and reading take tens of milliseconds.
    tokio::task::spawn_blocking(move || open_blocking(&config))
        .await
        .context("reading the password file")?
}

fn open_blocking(config: &Htpasswd) -> anyhow::Result<HtpasswdAuthenticator> {
    let realm = config
        .realm
        .parse()
        .with_context(|| format!("`auth.htpasswd.realm`: {:?}", config.realm))?;
    let options = || {
        HtpasswdOptions::new()
            .realm(Clone::clone(&realm))
            .on_problem(|problem| tracing::warn!("{problem}"))
    };
    match HtpasswdAuthenticator::open(&config.path, options()) {
        Err(error) if error.is_missing() => {
            let password_file = create(&config.path)?;
            tracing::warn!(
                "`auth.htpasswd.path`: there was no {}, so it was made with one user, `docker`; the password is in {}",
                config.path.display(),
                password_file.display(),
            );
            Ok(HtpasswdAuthenticator::open(&config.path, options())?)
        }
        opened => opened.map_err(|error| {
            let hint = hints::denied(&config.path, &error);
            // It says itself what the system said.
            anyhow::anyhow!("`auth.htpasswd.path`: {error}{hint}")
        }),
    }
}

/// Writes a password file with one user and, beside it, the password. Returns where that is.
fn create(path: &Path) -> anyhow::Result<PathBuf> {
    let password = new_password::generate()?;
    let hash = PasswordHash::new(&password, PasswordHash::DEFAULT_COST)?;
    let user: UserName = "docker".parse()?;
    let mut password_path = path.as_os_str().to_owned();
    password_path.push(".password");
    let password_path = PathBuf::from(password_path);
    // The one of an older file of users may be readable by others. If it cannot be removed, writing fails.
    let _ = std::fs::remove_file(&password_path);
    // The password first: a user nobody knows the password of would not be made again.
    write(&password_path, &format!("{password}\n"))?;
    write(path, &format!("{}\n", line(&user, &hash)))?;
    Ok(password_path)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || {
        format!(
            "`auth.htpasswd.path`: cannot make the password file {}; make one with `htpasswd -Bbn USER PASSWORD`, or point `auth.htpasswd.path` at it",
            path.display()
        )
    };
    files::replace(path, text.as_bytes(), 0o600).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_about_the_password_file_is_said_once() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let config = Htpasswd {
            realm: "r".to_owned(),
            path: dir.path().join("loop"),
        };
        let said = format!("{:#}", open_blocking(&config).unwrap_err());
        assert_eq!(said.matches("os error 40").count(), 1, "{said}");
    }
}
