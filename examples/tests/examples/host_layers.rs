//! Layers of a host that break pushes: each as it breaks them, and where it does not.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{Request, StatusCode};
use oci_core::Registry;
use oci_core::memory::MemoryStore;
use oci_http::{RegistryLayer, RegistryService};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::{Layer, ServiceExt};
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};

use crate::client::Client;
use crate::image::Image;

/// A server in this process, ended with the value.
pub(crate) struct Host {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl Host {
    pub(crate) async fn serve(app: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            task: tokio::spawn(async move { axum::serve(listener, app).await.unwrap() }),
        }
    }

    /// Pushes and pulls with a client that takes 4 × 250 ms to send the layer.
    async fn push_slowly(&self) -> Result<(), String> {
        self.push(Client::http1(&self.url).with_pace(Duration::from_millis(250)))
            .await
    }

    pub(crate) async fn push_fast(&self) -> Result<(), String> {
        self.push(Client::http1(&self.url)).await
    }

    async fn push(&self, client: Client) -> Result<(), String> {
        let image = Image::new("host");
        client.push("team/app", "v1", &image).await?;
        assert_eq!(client.pull("team/app", "v1").await?, image);
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn service() -> RegistryService {
    RegistryService::builder(Registry::new(MemoryStore::new()))
        .timer(tokio::time::sleep)
        .build()
        .unwrap()
}

pub(crate) fn registry() -> RegistryLayer {
    RegistryLayer::new(service())
}

fn app() -> Router {
    Router::new().route("/", get(|| async { "the app" }))
}

// A time limit on requests is a limit on the size of layers, different for every client.
#[tokio::test]
async fn a_timeout_belongs_behind_the_registry() {
    let limit =
        || TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, Duration::from_millis(600));

    let broken = Host::serve(app().layer(registry()).layer(limit())).await;
    let refused = broken.push_slowly().await.unwrap_err();
    assert!(refused.starts_with("PATCH of the layer: 408"), "{refused}");

    let sound = Host::serve(app().layer(limit()).layer(registry())).await;
    sound.push_slowly().await.unwrap();
}

// A wildcard takes at least one character, and `/v2/`, which clients ask first, has none to give.
#[tokio::test]
async fn a_wildcard_route_misses_the_base() {
    let host = Host::serve(app().route_service("/v2/{*rest}", service())).await;
    let base = Client::http1(&host.url).get("/v2/").await.unwrap();
    assert_eq!(base.status(), StatusCode::NOT_FOUND);
}

// `layer` covers the app's 404, which is where `/v2/` arrives; `route_layer` covers routes only.
#[tokio::test]
async fn the_registry_is_no_route_layer() {
    let broken = Host::serve(app().route_layer(registry())).await;
    let refused = broken.push_fast().await.unwrap_err();
    assert!(refused.starts_with("POST of an upload: 404"), "{refused}");
}

// What can be limited is how long a client sends nothing.
#[tokio::test]
async fn a_limit_on_silence_lets_pushes_through() {
    let silence = |millis| RequestBodyTimeoutLayer::new(Duration::from_millis(millis));
    let host = Host::serve(app().layer(registry()).layer(silence(5000))).await;
    host.push_slowly().await.unwrap();

    let strict = Host::serve(app().layer(registry()).layer(silence(20))).await;
    strict.push_slowly().await.unwrap_err();
}

#[tokio::test]
async fn a_body_limit_belongs_behind_the_registry() {
    let limit = || RequestBodyLimitLayer::new(1 << 20);

    let broken = Host::serve(app().layer(registry()).layer(limit())).await;
    let refused = broken.push_fast().await.unwrap_err();
    assert!(refused.starts_with("PATCH"), "{refused}");

    let sound = Host::serve(app().layer(limit()).layer(registry())).await;
    sound.push_fast().await.unwrap();
}

// axum's own limit of 2 MB concerns its extractors, not the registry.
#[tokio::test]
async fn axums_default_body_limit_does_no_harm() {
    let host = Host::serve(app().layer(registry())).await;
    host.push_fast().await.unwrap();
    let host = Host::serve(app().fallback_service(service())).await;
    host.push_fast().await.unwrap();
}

// A compressed blob has no length and no ranges any more: no progress, no resumption. HEAD still tells
// the length that GET no longer has.
#[tokio::test]
async fn compression_belongs_behind_the_registry() {
    for (compressed, app) in [
        (true, app().layer(registry()).layer(CompressionLayer::new())),
        (
            false,
            app().layer(CompressionLayer::new()).layer(registry()),
        ),
    ] {
        let image = Image::new("host");
        let host = Host::serve(app.clone()).await;
        let client = Client::http1(&host.url);
        client.push("team/app", "v1", &image).await.unwrap();

        let layer = oci_core::Digest::sha256(&image.layer);
        let request = Request::get(format!("/v2/team/app/blobs/{layer}"))
            .header(ACCEPT_ENCODING, "gzip")
            .body(axum::body::Body::empty());
        let response = app.oneshot(request.unwrap()).await.unwrap();
        let has = |name| response.headers().contains_key(name);
        assert_eq!(has(CONTENT_ENCODING), compressed);
        assert_eq!(has(CONTENT_LENGTH), !compressed);
        assert_eq!(has(ACCEPT_RANGES), !compressed);
    }
}

// The registry's own URLs end with a slash or do without it.
#[tokio::test]
async fn trimmed_slashes_do_no_harm() {
    let layer = NormalizePathLayer::trim_trailing_slash();
    let normalized = layer.layer(app().layer(registry()));
    let host = Host::serve(Router::new().fallback_service(normalized)).await;
    host.push_fast().await.unwrap();
}

// Every digest has a slash too many: `/v2/team/app/manifests/v1/` is no URL of the API.
#[tokio::test]
async fn appended_slashes_break_everything() {
    let layer = NormalizePathLayer::append_trailing_slash();
    let normalized = layer.layer(app().layer(registry()));
    let host = Host::serve(Router::new().fallback_service(normalized)).await;
    let refused = host.push_fast().await.unwrap_err();
    assert!(refused.contains("404"), "{refused}");
}

// `nest` takes the prefix off that the registry looks for.
#[tokio::test]
async fn a_nested_registry_has_to_know() {
    let broken = Host::serve(app().nest_service("/v2", service())).await;
    let refused = broken.push_fast().await.unwrap_err();
    assert!(refused.starts_with("POST of an upload: 404"), "{refused}");

    let nested = RegistryService::builder(Registry::new(MemoryStore::new()))
        .stripped_base_path("/images")
        .build()
        .unwrap();
    let mut sound = Host::serve(app().nest_service("/images", nested)).await;
    // The client takes the URL that the registry names for an upload as it is.
    let root = sound.url.clone();
    sound.url.push_str("/images");
    sound
        .push(Client::http1(&sound.url).with_origin(&root))
        .await
        .unwrap();
}

/// tonic's server with the registry in front of nothing but an empty router.
async fn tonic(server: Server, registry: RegistryLayer) -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (_, health) = tonic_health::server::health_reporter();
    let serve = server
        .layer(registry)
        .add_service(health)
        .serve_with_incoming(TcpIncoming::from(listener));
    let task = tokio::spawn(async move { serve.await.unwrap() });
    Host { url, task }
}

#[tokio::test]
async fn tonic_has_to_accept_http_1() {
    let broken = tonic(Server::builder(), registry()).await;
    broken.push_fast().await.unwrap_err();
    broken.push(Client::http2(&broken.url)).await.unwrap();

    let sound = tonic(Server::builder().accept_http1(true), registry()).await;
    sound.push_fast().await.unwrap();
}

// It is outside of all layers, and answers 200 with a gRPC status.
#[tokio::test]
async fn tonics_own_timeout_breaks_pushes() {
    let limit = Duration::from_millis(600);
    let server = Server::builder().accept_http1(true).timeout(limit);
    let broken = tonic(server, registry()).await;
    let refused = broken.push_slowly().await.unwrap_err();
    assert!(refused.starts_with("PATCH of the layer: 200"), "{refused}");
}
