//! Who may do what: the fixed answers and the host's closures.

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use oci_core::{Access, Authorizer, Decision, Identity, RegistryError};

/// Everybody may do everything.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AllowAll;

impl AllowAll {
    /// The same as `AllowAll::default()`.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(
        &self,
        _identity: &Identity,
        _access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        Ok(Decision::Allow)
    }
}

/// Whoever has a name may do everything; anonymous clients nothing, not even use the base endpoint.
///
/// That they are refused the base endpoint too is what makes `docker login` check a password.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Authenticated;

impl Authenticated {
    /// The same as `Authenticated::default()`.
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Authorizer for Authenticated {
    async fn authorize(
        &self,
        identity: &Identity,
        _access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        Ok(Decision::allow_if(!identity.is_anonymous()))
    }
}

/// An [`Authorizer`] that asks a closure.
///
/// The closure runs on the thread that polls the request, so it must not block; see
/// [`authorize_async`] for a decision that takes time. It answers with anything that is
/// [`IntoDecision`]: a `bool`, a [`Decision`] or a [`Result`] of one of them.
///
/// ```
/// use oci_auth::authorize_fn;
/// use oci_core::{Access, Action};
///
/// // Repositories below `public/` are there for everybody to pull.
/// let authorizer = authorize_fn(|identity, access| match access {
///     Access::Base => true,
///     Access::Repository { name, action: Action::Pull } if name.as_str().starts_with("public/") => true,
///     _ => !identity.is_anonymous(),
/// });
/// # drop(authorizer);
/// ```
pub fn authorize_fn<F, R>(decide: F) -> AuthorizeFn<F>
where
    F: Fn(&Identity, &Access<'_>) -> R + Send + Sync + 'static,
    R: IntoDecision,
{
    AuthorizeFn(decide)
}

/// An [`Authorizer`] that asks a closure which returns a boxed future.
///
/// ```
/// use oci_auth::authorize_async;
/// use oci_core::RegistryError;
///
/// async fn is_member(user: &str) -> Result<bool, RegistryError> {
///     // … ask a database …
///     Ok(user == "alice")
/// }
///
/// let authorizer = authorize_async(|identity, _access| {
///     Box::pin(async move {
///         match identity.name() {
///             Some(user) => is_member(user).await,
///             None => Ok(false),
///         }
///     })
/// });
/// # drop(authorizer);
/// ```
pub fn authorize_async<F, R>(decide: F) -> AuthorizeAsync<F>
where
    F: for<'a> Fn(&'a Identity, &'a Access<'a>) -> DecisionFuture<'a, R> + Send + Sync + 'static,
    R: IntoDecision,
{
    AuthorizeAsync(decide)
}

/// What the closure of [`authorize_async`] returns.
pub type DecisionFuture<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// See [`authorize_fn`].
#[derive(Clone, Copy)]
pub struct AuthorizeFn<F>(F);

impl<F> fmt::Debug for AuthorizeFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeFn").finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, R> Authorizer for AuthorizeFn<F>
where
    F: Fn(&Identity, &Access<'_>) -> R + Send + Sync + 'static,
    R: IntoDecision,
{
    async fn authorize(
        &self,
        identity: &Identity,
        access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        (self.0)(identity, access).into_decision()
    }
}

/// See [`authorize_async`].
#[derive(Clone, Copy)]
pub struct AuthorizeAsync<F>(F);

impl<F> fmt::Debug for AuthorizeAsync<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeAsync").finish_non_exhaustive()
    }
}

#[async_trait]
impl<F, R> Authorizer for AuthorizeAsync<F>
where
    F: for<'a> Fn(&'a Identity, &'a Access<'a>) -> DecisionFuture<'a, R> + Send + Sync + 'static,
    R: IntoDecision,
{
    async fn authorize(
        &self,
        identity: &Identity,
        access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        (self.0)(identity, access).await.into_decision()
    }
}

/// What an authorizing closure may answer with.
pub trait IntoDecision: 'static {
    /// The decision, or that none could be made.
    ///
    /// # Errors
    /// What the closure failed with.
    fn into_decision(self) -> Result<Decision, RegistryError>;
}

impl IntoDecision for Decision {
    fn into_decision(self) -> Result<Decision, RegistryError> {
        Ok(self)
    }
}

/// `true` allows.
impl IntoDecision for bool {
    fn into_decision(self) -> Result<Decision, RegistryError> {
        Ok(Decision::allow_if(self))
    }
}

impl<T: IntoDecision> IntoDecision for Result<T, RegistryError> {
    fn into_decision(self) -> Result<Decision, RegistryError> {
        self.and_then(T::into_decision)
    }
}

#[cfg(test)]
mod tests {
    use oci_core::{Action, ErrorCode, RepositoryName};

    use super::*;

    async fn allows(authorizer: &dyn Authorizer, identity: &Identity, access: &Access<'_>) -> bool {
        authorizer
            .authorize(identity, access)
            .await
            .unwrap()
            .is_allowed()
    }

    #[tokio::test]
    async fn the_fixed_answers() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let (alice, nobody) = (Identity::named("alice"), Identity::anonymous());
        for access in [
            Access::Base,
            Access::Catalog,
            Access::EveryRepository {
                action: Action::Pull,
            },
            Access::repository(&name, Action::Pull),
            Access::repository(&name, Action::Delete),
        ] {
            assert!(allows(&AllowAll::new(), &nobody, &access).await);
            assert!(allows(&Authenticated::new(), &alice, &access).await);
            assert!(!allows(&Authenticated::new(), &nobody, &access).await);
        }
    }

    #[tokio::test]
    async fn closures_see_identity_and_access() {
        let name: RepositoryName = "team/app".parse().unwrap();
        let pull = Access::repository(&name, Action::Pull);
        let push = Access::repository(&name, Action::Push);
        let (alice, nobody) = (Identity::named("alice"), Identity::anonymous());

        let by_bool = authorize_fn(|identity, access| {
            matches!(access, Access::Repository { name, action: Action::Pull } if name.as_str() == "team/app")
                || identity.name() == Some("alice")
        });
        let by_decision = authorize_fn(|identity: &Identity, access: &Access<'_>| match access {
            Access::Repository {
                action: Action::Pull,
                ..
            } => Decision::Allow,
            _ => Decision::allow_if(identity.name().is_some()),
        });
        let prefix = "team/".to_owned();
        let by_future = authorize_async(move |identity, access| {
            let prefix = prefix.clone();
            Box::pin(async move {
                tokio::task::yield_now().await;
                match access {
                    Access::Repository {
                        name,
                        action: Action::Pull,
                    } => Ok(name.as_str().starts_with(&prefix)),
                    _ => Ok(!identity.is_anonymous()),
                }
            })
        });
        for authorizer in [&by_bool as &dyn Authorizer, &by_decision, &by_future] {
            assert!(allows(authorizer, &nobody, &pull).await, "{authorizer:?}");
            assert!(allows(authorizer, &alice, &push).await, "{authorizer:?}");
            assert!(!allows(authorizer, &nobody, &push).await, "{authorizer:?}");
        }
    }

    #[tokio::test]
    async fn a_closure_can_fail() {
        let down = || RegistryError::new(ErrorCode::Unavailable, "the directory does not answer");
        let failing = authorize_fn(move |_, _| Err::<bool, _>(down()));
        let error = failing
            .authorize(&Identity::anonymous(), &Access::Base)
            .await
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
    }
}
