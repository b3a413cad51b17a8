//! What is wrong with a certificate, a key or a file of authorities.

use std::fmt;
use std::path::{Path, PathBuf};

/// A file of `http.tls` that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsError {
    path: PathBuf,
    key: &'static str,
    problem: String,
    fix: String,
}

impl TlsError {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "errors and texts alike come by value"
    )]
    pub(super) fn new(
        path: &Path,
        key: &'static str,
        problem: impl ToString,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            key,
            problem: problem.to_string(),
            fix: fix.into(),
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            key,
            problem,
            fix,
        } = self;
        write!(f, "`{key}`: {}: {problem}; {fix}", path.display())
    }
}

impl std::error::Error for TlsError {}
