//! A registry inside an axum app that has users, tenants, routes and a 404 page of its own.
//!
//! Shows: the app's own middleware says who is asking; a closure keeps every tenant to its own
//! repositories; a push to the tag `prod` deploys; nothing else about the app changes.
//! To change: `User::of` to the check of your sessions or API keys, `may` to your rules, and the task in
//! `main` that takes from `pushed` to what a deployment is with you.
//!
//! ```text
//! cargo run -p registry-examples --bin axum_app -- 127.0.0.1:5000
//! docker login 127.0.0.1:5000 -u alice -p alices-key
//! docker push 127.0.0.1:5000/acme/shop:prod
//! curl 127.0.0.1:5000/deployments
//! ```

use std::env;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use oci_auth::{BasicCredentials, HostIdentity, Realm, authorize_fn};
use oci_core::memory::MemoryStore;
use oci_core::{Access, Digest, Event, Hooks, Identity, Registry};
use oci_http::{RegistryLayer, RegistryService};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (deploy, mut pushed) = mpsc::channel(100);
    let registry = Registry::builder(MemoryStore::new())
        .hooks(DeployOnPush { deploy })
        .build();
    let service = RegistryService::builder(registry)
        // Clients without credentials are asked for those that `identify` understands.
        .authenticator(HostIdentity::new().with_challenge(Realm::default().basic_challenge()))
        .authorizer(authorize_fn(may))
        .timer(tokio::time::sleep)
        .build()?;

    let deployments = Deployments::default();
    let app = Router::new()
        .route("/", get(home))
        .route("/deployments", get(list))
        .fallback(not_found)
        .with_state(deployments.clone())
        // Takes `/v2/` and leaves everything else to the routes above, their 404 included.
        .layer(RegistryLayer::new(service))
        // Added later, so in front of the registry too.
        .layer(middleware::from_fn(identify));

    tokio::spawn(async move {
        while let Some(image) = pushed.recv().await {
            deployments.add(format!("{image}\n"));
        }
    });

    let addr = env::args().nth(1).unwrap_or("127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(interrupted())
        .await?;
    Ok(())
}

/// The app's middleware: it knows who is asking, and tells handlers and registry alike.
///
/// Wrong credentials count as none. The registry then asks for better ones, and so does `docker login`.
async fn identify(mut request: Request, next: Next) -> Response {
    if let Some(user) = User::of(request.headers()) {
        request.extensions_mut().insert(Identity::named(user.name));
    }
    next.run(request).await
}

/// A user of the app. Yours come from a database.
struct User {
    name: &'static str,
    tenant: &'static str,
    key: &'static [u8],
}

const USERS: [User; 2] = [
    User {
        name: "alice",
        tenant: "acme",
        key: b"alices-key",
    },
    User {
        name: "bob",
        tenant: "globex",
        key: b"bobs-key",
    },
];

impl User {
    /// Who sends a request: `docker login` makes clients send Basic credentials.
    fn of(headers: &HeaderMap) -> Option<&'static Self> {
        let credentials = BasicCredentials::from_headers(headers).ok()??;
        let user = Self::named(credentials.user())?;
        // Digests are compared, so that the time it takes tells nothing about the key.
        let matches = Digest::sha256(user.key) == Digest::sha256(credentials.password().as_bytes());
        matches.then_some(user)
    }

    fn named(name: &str) -> Option<&'static Self> {
        USERS.iter().find(|user| user.name == name)
    }
}

/// Tenants do what they like in repositories that begin with their name, and see no others.
fn may(identity: &Identity, access: &Access<'_>) -> bool {
    let Some(user) = identity.name().and_then(User::named) else {
        return false;
    };
    match access {
        // `docker login`, and the list of repositories: it shows what the user may pull.
        Access::Base | Access::Catalog => true,
        Access::Repository { name, .. } => {
            let namespace = name.as_str().split_once('/');
            namespace.is_some_and(|(tenant, _)| tenant == user.tenant)
        }
        _ => false,
    }
}

/// Hears of every push, and hands those to `prod` on: hooks run while the client waits.
#[derive(Debug)]
struct DeployOnPush {
    deploy: mpsc::Sender<String>,
}

impl Hooks for DeployOnPush {
    fn after(&self, _: &Identity, event: &Event) {
        let Event::ManifestPushed {
            repository,
            digest,
            tags,
            ..
        } = event
        else {
            return;
        };
        if tags.iter().any(|tag| tag.as_str() == "prod")
            && self
                .deploy
                .try_send(format!("{repository}@{digest}"))
                .is_err()
        {
            eprintln!("{repository}@{digest} is not deployed: too many are waiting");
        }
    }
}

#[derive(Clone, Default)]
struct Deployments(Arc<Mutex<Vec<String>>>);

impl Deployments {
    fn add(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }
}

async fn home(identity: Option<axum::Extension<Identity>>) -> String {
    let name = identity.as_ref().and_then(|identity| identity.name());
    format!("Hello, {}!\n", name.unwrap_or("stranger"))
}

async fn list(State(deployments): State<Deployments>) -> String {
    let lines = deployments.0.lock().unwrap_or_else(PoisonError::into_inner);
    lines.concat()
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "This app has no such page.\n").into_response()
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("stopping, because signals cannot be heard: {error}");
    }
}
