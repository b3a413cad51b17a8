//! Authentication and authorisation for an embeddable OCI registry.
//!
//! Who is asking ([`Authenticator`]):
//!
//! * [`Anonymous`]: nobody is asked for credentials.
//! * [`HostIdentity`]: the host has authenticated the request already.
//! * [`HtpasswdAuthenticator`]: user names and passwords from an Apache password file.
//!
//! What they may do ([`Authorizer`]):
//!
//! * [`AllowAll`] and [`Authenticated`].
//! * [`authorize_fn`] and [`authorize_async`]: a closure of the host.
//!
//! The crate needs no async runtime, installs no logger and starts no thread before the first
//! request with a password. What is wrong with a password file goes to a callback of the host.
//!
//! # Example
//!
//! Everybody in the file may pull, only `ci` may change anything:
//!
//! ```no_run
//! use oci_auth::{HtpasswdAuthenticator, HtpasswdOptions, authorize_fn};
//! use oci_core::{Access, Action};
//!
//! # fn main() -> Result<(), oci_auth::HtpasswdError> {
//! let options = HtpasswdOptions::new().on_problem(|problem| eprintln!("{problem}"));
//! let authenticator = HtpasswdAuthenticator::open("/etc/registry/htpasswd", options)?;
//!
//! let authorizer = authorize_fn(|identity, access| match access {
//!     Access::Base => !identity.is_anonymous(),
//!     Access::Repository { action: Action::Pull, .. } => !identity.is_anonymous(),
//!     _ => identity.name() == Some("ci"),
//! });
//! # drop((authenticator, authorizer));
//! # Ok(())
//! # }
//! ```
//!
//! [`Authenticator`]: oci_core::Authenticator
//! [`Authorizer`]: oci_core::Authorizer

pub mod htpasswd;

mod anonymous;
mod authorize;
mod basic;
mod host;

pub use anonymous::Anonymous;
pub use authorize::{
    AllowAll, Authenticated, AuthorizeAsync, AuthorizeFn, DecisionFuture, IntoDecision,
    authorize_async, authorize_fn,
};
pub use basic::{BasicCredentials, Realm, RealmError};
pub use host::HostIdentity;
#[doc(inline)]
pub use htpasswd::{HtpasswdAuthenticator, HtpasswdError, HtpasswdOptions};
