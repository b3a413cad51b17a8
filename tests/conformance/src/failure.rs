//! What a case says when the registry did not do what it must.

use std::fmt;

/// The outcome of one case.
pub type Outcome = Result<(), Failure>;

/// Why a case failed: what was asked, what was expected, what came back.
///
/// The runner appends the last few requests of the case, so the message itself only needs to name
/// the expectation.
#[derive(Debug, Clone)]
pub struct Failure(String);

impl Failure {
    /// A failure with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The same failure, with `prefix` saying which step or input it belongs to.
    pub fn within(self, prefix: impl fmt::Display) -> Self {
        Self(format!("{prefix}: {}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Adds the step or input a failure belongs to.
pub(crate) trait Within<T> {
    /// Prefixes the failure, if there is one.
    fn within(self, prefix: impl fmt::Display) -> Result<T, Failure>;
}

impl<T> Within<T> for Result<T, Failure> {
    fn within(self, prefix: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|failure| failure.within(prefix))
    }
}

/// Fails with a formatted message.
macro_rules! fail {
    ($($arg:tt)*) => {
        return Err($crate::failure::Failure::new(format!($($arg)*)))
    };
}

/// Fails with a formatted message unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($arg:tt)*) => {
        if !$condition {
            $crate::failure::fail!($($arg)*);
        }
    };
}

pub(crate) use {ensure, fail};
