//! `registryd user`: who may log in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use oci_auth::htpasswd::{HtpasswdTable, PasswordHash, UserName, remove_user, set_user};

use super::password;
use crate::cli::out::{note, say};
use crate::config::{Auth, Loader};
use crate::files;
use crate::new_password;

#[derive(Debug, Args)]
pub(super) struct User {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a user, or give one a new password. A running registry takes it up within a second; one whose file
    /// systemd loads as a credential, when it is restarted.
    Add {
        name: UserName,
        #[command(flatten)]
        place: Place,
        /// Read the password from the standard input.
        #[arg(long)]
        password_stdin: bool,
        /// Make up a password and print it.
        #[arg(long, conflicts_with = "password_stdin")]
        generate: bool,
    },
    /// Remove a user.
    #[command(visible_alias = "rm")]
    Remove {
        name: UserName,
        #[command(flatten)]
        place: Place,
    },
    /// List the users, and what is wrong with the file.
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        place: Place,
    },
}

/// Which password file.
#[derive(Debug, Args)]
struct Place {
    /// The password file.
    #[arg(long, conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The configuration whose `auth.htpasswd.path` names the file; by default what the variables
    /// `REGISTRY_CONFIGURATION_PATH` and `REGISTRY_AUTH_HTPASSWD_PATH` say.
    #[arg(long)]
    config: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let mut loader = Loader::from_process();
        if let Some(path) = &self.config {
            loader = loader.path(path);
        }
        match loader.load()?.config.auth {
            Auth::Htpasswd(htpasswd) => Ok(htpasswd.path),
            _ => bail!("the configuration has no `auth.htpasswd.path`; name the file with --file"),
        }
    }
}

pub(super) fn run(arguments: &User) -> anyhow::Result<ExitCode> {
    match &arguments.action {
        Action::Add {
            name,
            place,
            password_stdin,
            generate,
        } => add(name, &place.path()?, *password_stdin, *generate)?,
        Action::Remove { name, place } => {
            let path = place.path()?;
            // A file that is not there needs no lock beside it.
            files::read(&path).with_context(|| path.display().to_string())?;
            let _lock = lock(&path)?;
            let old = files::read(&path).with_context(|| path.display().to_string())?;
            let Some(new) = remove_user(&old, name) else {
                bail!("there is no user {name} in {}", path.display());
            };
            write(&path, &new)?;
            note!("{name} can no longer log in ({})", path.display());
        }
        Action::List { place } => {
            let path = place.path()?;
            let file = files::read(&path).with_context(|| path.display().to_string())?;
            let (table, problems) = HtpasswdTable::parse(&file);
            let mut users: Vec<_> = table.users().collect();
            users.sort_unstable();
            for user in users {
                say!("{user}");
            }
            for problem in &problems {
                note!("{}: {problem}", path.display());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(name: &UserName, path: &Path, stdin: bool, generate: bool) -> anyhow::Result<()> {
    let password = if generate {
        new_password::generate()?
    } else if stdin {
        password::line().context("no password on the standard input")?
    } else {
        let first = password::ask("Password: ").context("no password was typed")?;
        if password::ask("Again: ").context("no password was typed")? != first {
            bail!("the two passwords differ; nothing was changed");
        }
        first
    };
    let hash = PasswordHash::new(&password, PasswordHash::DEFAULT_COST)?;
    // After the password, for which a person may let others wait.
    let _lock = lock(path)?;
    let old = files::read_if_there(path).with_context(|| path.display().to_string())?;
    write(path, &set_user(&old.unwrap_or_default(), name, &hash))?;
    if generate {
        say!("{password}");
    }
    note!("{name} can log in ({})", path.display());
    Ok(())
}

/// Two that edit the file at once would lose what one of them did.
fn lock(path: &Path) -> anyhow::Result<std::fs::File> {
    files::lock_beside(path)
        .with_context(|| format!("cannot lock the password file {}", path.display()))
}

fn write(path: &Path, file: &[u8]) -> anyhow::Result<()> {
    files::replace(path, file, 0o600)
        .with_context(|| format!("cannot write the password file {}", path.display()))
}
