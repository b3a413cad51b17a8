//! One atomic step of a protocol: who takes it, what it does, and the state it leads to.

use std::fmt;

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// A client's connection that pushes one manifest and, before it, that manifest's blobs.
    Writer(usize),
    /// A client's connection that uploads a blob and never refers to it.
    Uploader,
    /// One run of the garbage collector.
    Collector(usize),
    /// One run of the sweeper that removes extents which no record names.
    Sweeper(usize),
    /// A client's connection that deletes a manifest.
    Deleter(usize),
    /// The background job that forgets old tombstones.
    Purger,
    /// The power supply of the machine.
    Power,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Writer(index) => write!(f, "writer {index}"),
            Self::Uploader => f.write_str("uploader"),
            Self::Collector(index) => write!(f, "collector {index}"),
            Self::Sweeper(index) => write!(f, "sweeper {index}"),
            Self::Deleter(index) => write!(f, "deleter {index}"),
            Self::Purger => f.write_str("purger"),
            Self::Power => f.write_str("power"),
        }
    }
}

/// One atomic step together with the state after it.
///
/// A model lists its possible steps in one place, successor included, so that a line of the model
/// is a line of the protocol.
#[derive(Clone, PartialEq)]
pub struct Step<S> {
    actor: Actor,
    what: &'static str,
    to: S,
}

impl<S> Step<S> {
    /// A step in which `actor` does `what`, after which the world is `to`.
    pub const fn new(actor: Actor, what: &'static str, to: S) -> Self {
        Self { actor, what, to }
    }

    /// The state after the step.
    pub fn into_state(self) -> S {
        self.to
    }
}

/// Prints the step only: a trace of whole states is unreadable.
impl<S> fmt::Debug for Step<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.actor, self.what)
    }
}
