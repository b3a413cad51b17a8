//! Who asks, and may they? Decided on the same parsed [`Endpoint`] that is then acted on.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method};
use oci_core::{
    Access, Action, Authenticator, Authorizer, ErrorCode, Identity, RegistryError, RepositoryName,
};

use crate::endpoint::Endpoint;

/// The door of a service.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    pub(crate) authenticator: Option<Arc<dyn Authenticator>>,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
}

impl Gate {
    /// Who sends `request`.
    pub(crate) async fn identify(&self, request: &Parts) -> Result<Caller, RegistryError> {
        let identity = match &self.authenticator {
            Some(authenticator) => authenticator.authenticate(request).await?,
            // A host that knows the caller says so here; clients cannot reach extensions.
            None => request
                .extensions
                .get::<Identity>()
                .cloned()
                .unwrap_or_default(),
        };
        Ok(Caller {
            gate: self.clone(),
            identity,
        })
    }

    /// The `WWW-Authenticate` value for a 401 to `method` on `endpoint`.
    pub(crate) fn challenge(
        &self,
        endpoint: Option<&Endpoint>,
        method: &Method,
    ) -> Option<HeaderValue> {
        let access = endpoint.and_then(|endpoint| required(endpoint, method));
        // The base endpoint asks for nothing in particular.
        let access = access.filter(|access| *access != Access::Base);
        self.authenticator.as_ref()?.challenge(access.as_ref())
    }
}

/// Somebody who was identified.
#[derive(Debug)]
pub(crate) struct Caller {
    gate: Gate,
    identity: Identity,
}

impl Caller {
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Refuses unless the caller may do `method` on `endpoint`.
    pub(crate) async fn check(
        &self,
        endpoint: &Endpoint,
        method: &Method,
    ) -> Result<(), RegistryError> {
        let Some(access) = required(endpoint, method) else {
            return Ok(());
        };
        if self.may(&access).await? {
            return Ok(());
        }
        let challenge = || self.gate.challenge(Some(endpoint), method);
        Err(if self.identity.is_anonymous() && challenge().is_some() {
            RegistryError::new(
                ErrorCode::Unauthorized,
                "authentication required; log in to this registry first",
            )
        } else {
            let who = self.identity.name().unwrap_or("an anonymous client");
            RegistryError::new(
                ErrorCode::Denied,
                format!("{who} is not allowed to {}", describe(&access)),
            )
        })
    }

    /// Whether the caller may do `action` in `repository`.
    pub(crate) async fn may_in(
        &self,
        repository: &RepositoryName,
        action: Action,
    ) -> Result<bool, RegistryError> {
        self.may(&Access::repository(repository, action)).await
    }

    /// Whether the caller may pull whatever there is or will be.
    pub(crate) async fn may_pull_everything(&self) -> Result<bool, RegistryError> {
        self.may(&Access::EveryRepository {
            action: Action::Pull,
        })
        .await
    }

    async fn may(&self, access: &Access<'_>) -> Result<bool, RegistryError> {
        match &self.gate.authorizer {
            Some(authorizer) => Ok(authorizer
                .authorize(&self.identity, access)
                .await?
                .is_allowed()),
            // Without rules, whoever logs in may do everything; and everybody, if nobody can.
            None => Ok(self.gate.authenticator.is_none() || !self.identity.is_anonymous()),
        }
    }
}

/// What `method` on `endpoint` takes. `None` if there is no such operation.
fn required<'a>(endpoint: &'a Endpoint, method: &Method) -> Option<Access<'a>> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let (repository, action) = match endpoint {
        Endpoint::Base | Endpoint::Extensions { repository: None } => return Some(Access::Base),
        Endpoint::Catalog { .. } => return Some(Access::Catalog),
        Endpoint::Extensions {
            repository: Some(repository),
        }
        | Endpoint::Referrers { repository, .. }
        | Endpoint::Tags { repository, .. } => (repository, Action::Pull),
        Endpoint::Blob { repository, .. } | Endpoint::Manifest { repository, .. } => {
            let action = match *method {
                Method::DELETE => Action::Delete,
                Method::PUT => Action::Push,
                _ if reads => Action::Pull,
                _ => return None,
            };
            (repository, action)
        }
        // Asking for the progress of an upload, or cancelling it, is a part of pushing.
        Endpoint::Upload { repository, .. } | Endpoint::Uploads { repository, .. } => {
            (repository, Action::Push)
        }
    };
    Some(Access::repository(repository, action))
}

fn describe(access: &Access<'_>) -> String {
    match access {
        Access::Repository { name, action } => format!("{} {name}", verb(*action)),
        Access::EveryRepository { action } => format!("{} every repository", verb(*action)),
        Access::Catalog => "list the repositories".to_owned(),
        _ => "use this registry".to_owned(),
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Delete => "delete from",
        Action::Pull => "pull from",
        Action::Push => "push to",
        _ => "use",
    }
}
