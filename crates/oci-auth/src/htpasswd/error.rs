//! Why a password file cannot be used at all.

use std::io;
use std::path::PathBuf;

use super::problem::Problem;
use super::source::MAX_FILE;

/// Why a password file cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HtpasswdError {
    /// The path leads to a directory, as it does if a Kubernetes Secret is mounted there.
    #[error(
        "the password file {} is a directory; name the file inside it, for example {}",
        path.display(), path.join("htpasswd").display()
    )]
    Directory {
        /// The path as it was given.
        path: PathBuf,
    },
    /// No line of the file is a user with a hash of any known kind.
    #[error(
        "the password file {} holds no users{}",
        path.display(),
        problems.first().map(|problem| format!(": {problem}")).unwrap_or_default()
    )]
    Foreign {
        /// The path as it was given.
        path: PathBuf,
        /// What is wrong with its lines.
        problems: Vec<Problem>,
    },
    /// There is no such file.
    #[error("there is no password file {}; make one with `htpasswd -B -c`", path.display())]
    Missing {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The path leads to a device, a pipe or a socket.
    #[error("the password file {} is not a regular file", path.display())]
    NotAFile {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The operating system gave no random bytes for the key of the cache.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
    /// The file is there and cannot be read.
    #[error("the password file {} cannot be read: {source}{}", path.display(), hint(source))]
    Unreadable {
        /// The path as it was given.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is longer than 16 MiB, enough for 200,000 users.
    #[error("the password file {} is longer than {} MiB", path.display(), MAX_FILE >> 20)]
    TooLarge {
        /// The path as it was given.
        path: PathBuf,
    },
}

impl HtpasswdError {
    /// Whether there is no such file, so that a first user can be made.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; let the user that runs the registry read it",
        _ => "",
    }
}
