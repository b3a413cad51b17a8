//! User names and passwords from an Apache password file, as `htpasswd -B` writes it.
//!
//! [`HtpasswdAuthenticator`] serves; [`HtpasswdTable`] reads a file, [`set_user`] and [`remove_user`]
//! change one; [`PasswordHash`] hashes and verifies one password.
//!
//! Only bcrypt is verified. Everything else in a file is recognised and reported as a [`Problem`]
//! with its line, its user and what to do, because a file that is silently half used costs its
//! owner an hour.

mod authenticator;
mod cache;
mod edit;
mod error;
mod hash;
mod options;
mod problem;
mod source;
mod table;
mod verifier;

#[cfg(test)]
mod tests;

pub use authenticator::HtpasswdAuthenticator;
pub use edit::{UserName, UserNameError, line, remove_user, set_user};
pub use error::HtpasswdError;
pub use hash::{HashError, HashKind, PasswordError, PasswordHash};
pub use options::HtpasswdOptions;
pub use problem::{Problem, ProblemKind, Severity};
pub use table::HtpasswdTable;
