//! What goes wrong.

use std::io;
use std::path::PathBuf;

use oci_core::error::BoxError;

use crate::records::{ExtentError, RecordError};

/// Why a database could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SledError {
    /// sled could not read its own files.
    #[error(
        "the database in {} cannot be read; restore it from a backup, or move it away and begin anew",
        .directory.display()
    )]
    Database {
        /// Where it is.
        directory: PathBuf,
        /// What sled says.
        #[source]
        source: BoxError,
    },
    /// The directory cannot be made or used.
    #[error("the directory {} cannot be used", .directory.display())]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was written by a later version of this crate.
    #[error(
        "the database in {} has the format {found:?}, and this version reads {expected:?}; use the version that wrote it",
        .directory.display()
    )]
    Format {
        /// Where it is.
        directory: PathBuf,
        /// What it says of itself.
        found: String,
        /// What this version writes.
        expected: &'static str,
    },
    /// Another process, or another store of this one, has it open.
    #[error(
        "the database in {} is in use, and only one process can have it open; stop the other one, or choose another directory",
        .directory.display()
    )]
    InUse {
        /// Where it is.
        directory: PathBuf,
    },
    /// There is something else in the directory.
    #[error(
        "{} is not empty and holds no sled database; choose an empty directory",
        .directory.display()
    )]
    NotEmpty {
        /// Which.
        directory: PathBuf,
    },
}

/// Why a read or a write failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A record does not stand where it should.
    Conflict,
    NoSpace(BoxError),
    NotFound,
    Unavailable(BoxError),
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        match &error {
            ::sled::Error::Io(cause)
                if matches!(
                    cause.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::NoSpace(error.into())
            }
            _ => Self::Unavailable(error.into()),
        }
    }
}

impl From<Fault> for ExtentError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoSpace(source) => Self::NoSpace(source),
            Fault::NotFound => Self::NotFound,
            Fault::Conflict => Self::Unavailable("an extent has changed".into()),
            Fault::Unavailable(source) => Self::Unavailable(source),
        }
    }
}

impl From<Fault> for RecordError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Conflict => Self::Conflict,
            Fault::NoSpace(source) => Self::NoSpace(source),
            Fault::NotFound => Self::Unavailable("a record is incomplete".into()),
            Fault::Unavailable(source) => Self::Unavailable(source),
        }
    }
}
