//! No authentication.

use async_trait::async_trait;
use http::HeaderValue;
use http::request::Parts;
use oci_core::{Access, Authenticator, Identity, RegistryError};

/// Everybody is anonymous, and credentials that come along are not looked at.
///
/// There is no challenge: whoever an authorizer refuses is told so for good.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Anonymous;

impl Anonymous {
    /// The same as `Anonymous::default()`.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, _request: &Parts) -> Result<Identity, RegistryError> {
        Ok(Identity::anonymous())
    }

    fn challenge(&self, _access: Option<&Access<'_>>) -> Option<HeaderValue> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_not_looked_at() {
        let request = http::Request::get("/v2/")
            .header("authorization", "Basic ???")
            .body(())
            .unwrap();
        let anonymous = Anonymous::new();
        let identity = anonymous
            .authenticate(&request.into_parts().0)
            .await
            .unwrap();
        assert!(identity.is_anonymous());
        assert_eq!(anonymous.challenge(Some(&Access::Base)), None);
    }
}
