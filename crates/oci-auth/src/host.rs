//! Authentication that the host has done.

use async_trait::async_trait;
use http::HeaderValue;
use http::request::Parts;
use oci_core::{Access, Authenticator, Identity, RegistryError};

/// Takes the [`Identity`] that the host's own middleware has put into the request's extensions.
///
/// A request without one is anonymous. The registry believes what it finds, so the middleware has to
/// run in front of every way to the registry.
///
/// ```
/// use http::{HeaderValue, Request};
/// use oci_auth::HostIdentity;
/// use oci_core::{Authenticator, Identity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // In the host's middleware:
/// let mut request = Request::get("/v2/").body(())?;
/// request.extensions_mut().insert(Identity::named("alice"));
///
/// // In the registry:
/// let authenticator = HostIdentity::new()
///     .with_challenge(HeaderValue::from_static(r#"Basic realm="company""#));
/// let identity = authenticator.authenticate(&request.into_parts().0).await?;
/// assert_eq!(identity.name(), Some("alice"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct HostIdentity {
    challenge: Option<HeaderValue>,
}

impl HostIdentity {
    /// Without a challenge: whoever is refused is told so for good.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks anonymous clients with this `WWW-Authenticate` value for the credentials that the host's
    /// middleware understands. [`Realm::basic_challenge`](crate::Realm::basic_challenge) makes one.
    #[must_use]
    pub fn with_challenge(mut self, challenge: impl Into<Option<HeaderValue>>) -> Self {
        self.challenge = challenge.into();
        self
    }
}

#[async_trait]
impl Authenticator for HostIdentity {
    async fn authenticate(&self, request: &Parts) -> Result<Identity, RegistryError> {
        Ok(request
            .extensions
            .get::<Identity>()
            .cloned()
            .unwrap_or_default())
    }

    fn challenge(&self, _access: Option<&Access<'_>>) -> Option<HeaderValue> {
        self.challenge.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Realm;

    #[tokio::test]
    async fn only_the_extension_counts() {
        let (mut parts, ()) = http::Request::get("/v2/")
            .header("authorization", "Basic YWxpY2U6eA==")
            .body(())
            .unwrap()
            .into_parts();
        let host = HostIdentity::new();
        assert!(host.authenticate(&parts).await.unwrap().is_anonymous());
        parts.extensions.insert(Identity::named("bob"));
        assert_eq!(host.authenticate(&parts).await.unwrap().name(), Some("bob"));
    }

    #[test]
    fn the_challenge_is_the_hosts() {
        assert_eq!(HostIdentity::new().challenge(None), None);
        let challenge = Realm::default().basic_challenge();
        let host = HostIdentity::new().with_challenge(challenge.clone());
        assert_eq!(host.challenge(Some(&Access::Catalog)), Some(challenge));
    }
}
