//! One requirement, one case.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::{areas, ctx::Ctx, failure::Outcome};

/// A requirement and the code that checks it.
///
/// Cases are independent of each other: each works in repositories of its own, so all of them may
/// run at the same time and against a store that keeps what earlier runs left.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// A stable identifier, `area.what`, e.g. `patch.out_of_order_is_416`.
    pub name: &'static str,
    /// The area of the protocol the case belongs to.
    pub area: &'static str,
    /// The requirement, in one sentence.
    pub what: &'static str,
    /// Where the requirement comes from.
    pub level: Level,
    /// What the case can not do without.
    pub needs: &'static [Need],
    /// Checks the requirement.
    pub run: for<'a> fn(&'a Ctx) -> BoxFuture<'a, Outcome>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("level", &self.level)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// Where a requirement comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// The OCI distribution-spec (or a text it refers to) says MUST.
    Must,
    /// The OCI distribution-spec says SHOULD.
    Should,
    /// An optional part of the OCI distribution-spec that a complete registry offers.
    May,
    /// Not in the text, but clients in use depend on it, or leaving it out has hurt others.
    Practice,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "must",
            Self::Should => "should",
            Self::May => "may",
            Self::Practice => "practice",
        })
    }
}

/// What a case can not do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Need {
    /// A TCP address, because the case writes bytes that no HTTP library would send.
    Socket,
    /// A registry that allows manifests and blobs to be deleted.
    Deletes,
    /// A registry that is configured to refuse deletes.
    NoDeletes,
    /// A registry that wants credentials for everything, and a pair that it accepts.
    Credentials,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socket => "socket",
            Self::Deletes => "deletes",
            Self::NoDeletes => "no-deletes",
            Self::Credentials => "credentials",
        })
    }
}

/// Every case, in the order of the areas.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    areas::cases()
}

/// Declares the case table of an area: `Level function [Needs]: "requirement";`.
macro_rules! case_table {
    ($area:literal; $($level:ident $name:ident $([$($need:ident),+])? : $what:literal;)*) => {
        pub(crate) static CASES: &[$crate::case::Case] = &[$($crate::case::Case {
            name: concat!($area, ".", stringify!($name)),
            area: $area,
            what: $what,
            level: $crate::case::Level::$level,
            needs: &[$($($crate::case::Need::$need),+)?],
            run: |cx| Box::pin($name(cx)),
        }),*];
    };
}

pub(crate) use case_table;
