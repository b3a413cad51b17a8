//! What was found wrong.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

/// The nature of a violation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Something acknowledged is gone.
    Lost,
    /// Something is there with other content.
    Corrupt,
    /// Something whose removal was acknowledged, or that never was, is there.
    Resurrected,
    /// The registry did not start, or too slowly.
    Start,
    /// An answer that should not be, while nothing was wrong with the machine.
    Answer,
}

/// One finding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Violation {
    /// Its nature.
    pub kind: Kind,
    /// What exactly.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.what)
    }
}

/// Findings of several threads.
#[derive(Debug, Default)]
pub struct Violations(Mutex<Vec<Violation>>);

impl Violations {
    /// Notes one.
    pub fn add(&self, kind: Kind, what: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Violation {
                kind,
                what: what.into(),
            });
    }

    /// All so far.
    pub fn list(&self) -> Vec<Violation> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }
}
