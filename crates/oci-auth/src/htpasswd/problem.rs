//! What is wrong with a password file, for the host's log.

use std::fmt;
use std::path::{Path, PathBuf};

use super::hash::HashKind;

/// Something in a password file that its owner should know about.
///
/// `Display` says where it is, what it is and what to do, on one line without control characters
/// and without any password or hash.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, if it came from one.
    pub path: Option<PathBuf>,
    /// The line, counted from 1, if it is about one line.
    pub line: Option<usize>,
    /// The user, if it is about one.
    pub user: Option<String>,
    /// What it is.
    pub kind: ProblemKind,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind) -> Self {
        Self {
            path: None,
            line: None,
            user: None,
            kind,
        }
    }

    pub(super) fn at(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    pub(super) fn of(mut self, user: &str) -> Self {
        self.user = Some(user.to_owned());
        self
    }

    /// Says which file it is about.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self.kind {
            ProblemKind::Duplicate { .. }
            | ProblemKind::LowCost(_)
            | ProblemKind::More(_)
            | ProblemKind::NoUsers
            | ProblemKind::SignBug => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(path) = &self.path {
            write!(f, "{}", path.to_string_lossy().escape_debug())?;
            separator = ", ";
        }
        if let Some(line) = self.line {
            write!(f, "{separator}line {line}")?;
            separator = ", ";
        }
        if let Some(user) = &self.user {
            write!(f, "{separator}user {user:?}")?;
            separator = ", ";
        }
        if !separator.is_empty() {
            f.write_str(": ")?;
        }
        fmt::Display::fmt(&self.kind, f)
    }
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Severity {
    /// Everything works, but somebody should look at it.
    Warning,
    /// Somebody cannot log in, or a change of the file has no effect.
    Error,
}

/// The kinds of [`Problem`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The cost of a bcrypt hash is outside what is verified. The user cannot log in.
    Cost(u32),
    /// The user is there already; this line has no effect.
    Duplicate {
        /// The line that counts.
        first: usize,
    },
    /// There is no user name before the colon.
    EmptyUser,
    /// The line is longer than 4096 bytes.
    LineTooLong,
    /// Somebody who gets hold of the file can try passwords quickly. The user can log in.
    LowCost(u32),
    /// A bcrypt hash that is cut off or damaged. The user cannot log in.
    MalformedHash,
    /// There is no colon in the line.
    MissingColon,
    /// So many further problems are not listed.
    More(usize),
    /// Nobody can log in.
    NoUsers,
    /// The line is not UTF-8.
    NotUtf8,
    /// The file changed and could not be read; what was read before still counts. Says why.
    NotReloaded(String),
    /// A `$2x$` hash. Only passwords in ASCII match.
    SignBug,
    /// Not a bcrypt hash. The user cannot log in.
    Unsupported(HashKind),
    /// The whole file is UTF-16.
    Utf16,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const AGAIN: &str = "set the password again with `htpasswd -B`";
        const STRONGER: &str = "set the password again with `htpasswd -B -C 10`";
        match self {
            Self::Cost(cost) => write!(
                f,
                "the user cannot log in: the bcrypt cost is {cost}, and from 4 to 14 are verified; \
                 {STRONGER}"
            ),
            Self::Duplicate { first } => write!(
                f,
                "the line has no effect, the user is in line {first} already; remove one of them"
            ),
            Self::EmptyUser => f.write_str("no user name before the colon; write `user:hash`"),
            Self::LineTooLong => f.write_str("the line is longer than 4096 bytes and was left out"),
            Self::LowCost(cost) => write!(
                f,
                "the bcrypt cost is only {cost}, so the password is easy to guess for whoever gets \
                 hold of the file; {STRONGER}"
            ),
            Self::MalformedHash => write!(
                f,
                "the user cannot log in: the bcrypt hash is cut off or damaged; {AGAIN}"
            ),
            Self::MissingColon => {
                f.write_str("no colon in the line; write `user:hash`, or `#` in front of a comment")
            }
            Self::More(count) => write!(f, "{count} more problems are not listed"),
            Self::NoUsers => f.write_str(
                "nobody can log in: no user has a bcrypt hash; add one with `htpasswd -B`",
            ),
            Self::NotUtf8 => f.write_str("the line is not UTF-8 and was left out"),
            Self::NotReloaded(reason) => write!(
                f,
                "{reason}; until that is mended, the users read before can log in and no others"
            ),
            Self::SignBug => write!(
                f,
                "a `$2x$` hash matches only if the password is ASCII; {AGAIN} if the user cannot log in"
            ),
            Self::Unsupported(kind) => write!(
                f,
                "the user cannot log in: it is {kind}, and only bcrypt is verified; {AGAIN}"
            ),
            Self::Utf16 => f.write_str(
                "the file is UTF-16, as `>` of older PowerShells writes it; save it as UTF-8",
            ),
        }
    }
}
