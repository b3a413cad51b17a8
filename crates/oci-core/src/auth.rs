//! Who is asking ([`Authenticator`]) and what they may do ([`Authorizer`]).

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderValue;
use http::request::Parts;

use crate::error::RegistryError;
use crate::name::RepositoryName;

/// Tells who sends a request.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Reads the credentials of a request, if it has any.
    ///
    /// A host that has authenticated already puts an [`Identity`] into the request's extensions; see
    /// `oci_auth::HostIdentity`.
    ///
    /// # Errors
    /// Credentials that are malformed (400), wrong (401) or that cannot be checked now (429, 503).
    /// A request without credentials is not an error: it is [`Identity::anonymous`].
    async fn authenticate(&self, request: &Parts) -> Result<Identity, RegistryError>;

    /// The `WWW-Authenticate` value to send with 401, or `None` if no credentials could ever help.
    ///
    /// `access` is what was asked for; the base endpoint asks for nothing in particular.
    fn challenge(&self, access: Option<&Access<'_>>) -> Option<HeaderValue>;
}

/// Decides what an identity may do. It sees the same parsed values that the operation then acts on.
#[async_trait]
pub trait Authorizer: Debug + Send + Sync + 'static {
    /// Decides one access.
    ///
    /// # Errors
    /// Only if no decision could be made; the request then fails without having had any effect.
    async fn authorize(
        &self,
        identity: &Identity,
        access: &Access<'_>,
    ) -> Result<Decision, RegistryError>;
}

/// Who is asking. Cloning is cheap.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Identity {
    name: Option<Arc<str>>,
}

impl Identity {
    /// Somebody who gave no credentials.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Somebody known by `name`. Upload sessions are bound to it.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: Some(name.into()),
        }
    }

    /// The name, unless anonymous.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether no credentials were given.
    pub fn is_anonymous(&self) -> bool {
        self.name.is_none()
    }
}

/// One thing that a request wants to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Access<'a> {
    /// Use the API at all: the base endpoint, which `docker login` checks.
    Base,
    /// List all repositories.
    Catalog,
    /// Something in every repository there is or ever will be. Asked where a request names no
    /// repository, as a mount without `from` does.
    EveryRepository {
        /// What.
        action: Action,
    },
    /// Something inside one repository.
    Repository {
        /// Which one.
        name: &'a RepositoryName,
        /// What.
        action: Action,
    },
}

impl<'a> Access<'a> {
    /// An access to one repository.
    pub fn repository(name: &'a RepositoryName, action: Action) -> Self {
        Self::Repository { name, action }
    }
}

/// What can be done in a repository.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Delete manifests, tags and blobs.
    Delete,
    /// Read manifests, blobs, tags and referrers.
    Pull,
    /// Upload blobs, and put manifests and tags. Cancelling an upload needs no more than this.
    Push,
}

/// The answer of an [`Authorizer`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Decision {
    /// Go on.
    Allow,
    /// Refuse. Somebody anonymous is asked for credentials, somebody known is told 403.
    Deny,
}

impl Decision {
    /// `Allow` if `allowed`.
    pub fn allow_if(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }

    /// Whether it is `Allow`.
    pub fn is_allowed(self) -> bool {
        self == Self::Allow
    }
}
