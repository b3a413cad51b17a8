//! Who may do what, and how they are told.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use http_body_util::Full;
use oci_http::oci_core::{Access, Action, Decision, ErrorCode};
use oci_http::{
    Authenticator, Authorizer, Identity, MemoryStore, Registry, RegistryError, RegistryService,
};

use crate::support::{Reply, call, push_blob, push_index, request, send};

/// Believes the header `x-user`; the user `wrong` gave a wrong password.
#[derive(Debug)]
struct ByHeader;

#[async_trait]
impl Authenticator for ByHeader {
    async fn authenticate(&self, request: &Parts) -> Result<Identity, RegistryError> {
        match request
            .headers
            .get("x-user")
            .map(|user| user.to_str().unwrap())
        {
            None => Ok(Identity::anonymous()),
            Some("wrong") => Err(RegistryError::new(
                ErrorCode::Unauthorized,
                "wrong password",
            )),
            Some(user) => Ok(Identity::named(user)),
        }
    }

    fn challenge(&self, access: Option<&Access<'_>>) -> Option<HeaderValue> {
        let scope = access.map(describe).unwrap_or_default();
        HeaderValue::try_from(format!("Test scope=\"{scope}\"")).ok()
    }
}

fn describe(access: &Access<'_>) -> String {
    match access {
        Access::Repository { name, action } => format!("{action:?} {name}"),
        other => format!("{other:?}"),
    }
}

/// `reader` pulls, `writer` pulls and pushes, both only below `team`; anonymous clients pull `public`.
/// Notes what it was asked.
#[derive(Clone, Debug, Default)]
struct Rules(Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Authorizer for Rules {
    async fn authorize(
        &self,
        identity: &Identity,
        access: &Access<'_>,
    ) -> Result<Decision, RegistryError> {
        self.0.lock().unwrap().push(describe(access));
        Ok(Decision::allow_if(match (identity.name(), access) {
            (Some(_), Access::Base | Access::Catalog) => true,
            (
                name,
                Access::Repository {
                    name: repository,
                    action,
                },
            ) => match repository.as_str() {
                "public" => *action == Action::Pull,
                team if team.starts_with("team/") => match action {
                    Action::Pull => name.is_some(),
                    Action::Push => name == Some("writer"),
                    _ => false,
                },
                _ => false,
            },
            _ => false,
        }))
    }
}

/// A guarded view of a registry, an open one, and the questions asked.
fn guarded() -> (RegistryService, RegistryService, Rules) {
    let registry = Registry::new(MemoryStore::new());
    let rules = Rules::default();
    let guarded = RegistryService::builder(registry.clone())
        .authenticator(ByHeader)
        .authorizer(rules.clone())
        .build()
        .unwrap();
    (guarded, RegistryService::new(registry), rules)
}

async fn as_user(service: &RegistryService, user: &str, method: &str, target: &str) -> Reply {
    let mut builder = request(method, target);
    if !user.is_empty() {
        builder = builder.header("x-user", user);
    }
    send(service, builder.body(Full::new(Bytes::new())).unwrap()).await
}

#[tokio::test]
async fn anonymous_is_asked_for_credentials_and_somebody_known_is_refused() {
    let (service, open, _) = guarded();
    push_index(&open, "team/app", "t").await;
    for (method, target, scope) in [
        ("GET", "/v2/", ""),
        ("GET", "/v2/_catalog", "Catalog"),
        ("GET", "/v2/team/app/manifests/t", "Pull team/app"),
        ("HEAD", "/v2/team/app/manifests/t", "Pull team/app"),
        ("PUT", "/v2/team/app/manifests/t", "Push team/app"),
        ("DELETE", "/v2/team/app/manifests/t", "Delete team/app"),
        ("GET", "/v2/team/app/tags/list", "Pull team/app"),
        ("POST", "/v2/team/app/blobs/uploads/", "Push team/app"),
    ] {
        for user in ["", "wrong"] {
            let reply = as_user(&service, user, method, target).await.is(401);
            assert_eq!(
                reply.header("www-authenticate"),
                format!("Test scope=\"{scope}\"")
            );
        }
    }
    as_user(&service, "reader", "GET", "/v2/").await.is(200);
    as_user(&service, "reader", "GET", "/v2/team/app/manifests/t")
        .await
        .is(200);
    for (method, target) in [
        ("PUT", "/v2/team/app/manifests/t"),
        ("DELETE", "/v2/team/app/manifests/t"),
        ("POST", "/v2/team/app/blobs/uploads/"),
        ("GET", "/v2/other/tags/list"),
    ] {
        let reply = as_user(&service, "reader", method, target).await;
        assert_eq!(reply.error(403), "DENIED");
        assert!(reply.headers.get("www-authenticate").is_none());
    }
}

#[tokio::test]
async fn decisions_are_about_what_is_acted_on() {
    let (service, _, rules) = guarded();
    as_user(&service, "reader", "GET", "/v2/team/%61pp/tags/list").await;
    as_user(&service, "reader", "GET", "/v2/public/tags/list/tags/list").await;
    assert_eq!(
        *rules.0.lock().unwrap(),
        ["Pull team/app", "Pull public/tags/list"]
    );
    rules.0.lock().unwrap().clear();
    for target in [
        "/v2/public%2f..%2fteam/tags/list",
        "/v2/public/../team/app/tags/list",
    ] {
        assert_eq!(
            as_user(&service, "", "GET", target).await.error(400),
            "NAME_INVALID"
        );
    }
    assert!(rules.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_mount_is_decided_on_both_repositories() {
    let (service, open, rules) = guarded();
    let secret = push_blob(&open, "other", b"secret").await;
    let shared = push_blob(&open, "team/lib", b"shared").await;
    let mount = async |query: String| {
        let target = format!("/v2/team/app/blobs/uploads/?{query}");
        as_user(&service, "writer", "POST", &target)
            .await
            .status
            .as_u16()
    };
    assert_eq!(mount(format!("mount={shared}&from=team/lib")).await, 201);
    // Whether it exists is not said.
    assert_eq!(mount(format!("mount={secret}&from=other")).await, 202);
    assert_eq!(mount(format!("mount={secret}")).await, 202);
    let asked = rules.0.lock().unwrap().clone();
    assert_eq!(
        asked,
        [
            "Push team/app",
            "Pull team/lib",
            "Push team/app",
            "Pull other",
            "Push team/app",
            "EveryRepository { action: Pull }",
        ]
    );
    let target = format!("/v2/team/app/blobs/{secret}");
    assert_eq!(
        as_user(&service, "writer", "GET", &target).await.error(404),
        "BLOB_UNKNOWN"
    );
}

#[tokio::test]
async fn cancelling_an_upload_needs_no_right_to_delete() {
    let (service, ..) = guarded();
    let begun = as_user(&service, "writer", "POST", "/v2/team/app/blobs/uploads/").await;
    let location = begun.header("location").to_owned();
    as_user(&service, "reader", "DELETE", &location)
        .await
        .is(403);
    as_user(&service, "writer", "DELETE", &location)
        .await
        .is(204);
}

#[tokio::test]
async fn a_session_belongs_to_who_began_it() {
    let service = RegistryService::builder(Registry::new(MemoryStore::new()))
        .authenticator(ByHeader)
        .build()
        .unwrap();
    let begun = as_user(&service, "one", "POST", "/v2/a/blobs/uploads/")
        .await
        .is(202);
    let location = begun.header("location");
    assert_eq!(
        as_user(&service, "two", "GET", location).await.error(404),
        "BLOB_UPLOAD_UNKNOWN"
    );
    as_user(&service, "one", "GET", location).await.is(204);
}

#[tokio::test]
async fn without_rules_whoever_logs_in_may() {
    let service = RegistryService::builder(Registry::new(MemoryStore::new()))
        .authenticator(ByHeader)
        .build()
        .unwrap();
    as_user(&service, "", "GET", "/v2/").await.is(401);
    let reply = as_user(&service, "somebody", "GET", "/v2/").await.is(200);
    assert_eq!(
        reply.extensions.get::<Identity>(),
        Some(&Identity::named("somebody"))
    );
    // Which methods there are is no secret, and browsers ask without credentials.
    call(&service, "OPTIONS", "/v2/a/tags/list", b"")
        .await
        .is(204);
}

#[tokio::test]
async fn the_host_may_say_who_it_is() {
    let rules = Rules::default();
    let service = RegistryService::builder(Registry::new(MemoryStore::new()))
        .authorizer(rules)
        .build()
        .unwrap();
    let post = async |identity: Option<Identity>| {
        let mut post = request("POST", "/v2/team/app/blobs/uploads/")
            .body(Full::default())
            .unwrap();
        post.extensions_mut().extend(
            identity
                .map(|identity| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(identity);
                    extensions
                })
                .unwrap_or_default(),
        );
        send(&service, post).await
    };
    post(Some(Identity::named("writer"))).await.is(202);
    // Nothing could be challenged for.
    assert_eq!(post(None).await.error(403), "DENIED");
}
