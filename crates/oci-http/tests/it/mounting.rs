//! The service inside other servers, under prefixes, and beside other routes.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use oci_http::{MemoryStore, Registry, RegistryLayer, RegistryService, ResponseFuture};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::support::{call, digest, request, send};

#[test]
fn servers_can_share_it() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    shared::<RegistryService>();
    sent::<ResponseFuture>();
    sent::<oci_http::RegistryBody>();
}

async fn fetch(app: &Router, target: &str) -> (u16, Bytes) {
    let request = Request::get(target).body(Body::empty()).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    (status, bytes.into())
}

#[tokio::test]
async fn as_the_fallback_of_an_axum_app() {
    let app = Router::new()
        .route("/own", get(|| async { "own" }))
        .fallback_service(RegistryService::in_memory());
    assert_eq!(fetch(&app, "/own").await, (200, "own".into()));
    assert_eq!(fetch(&app, "/v2/").await, (200, "{}".into()));
    assert_eq!(fetch(&app, "/other").await.0, 404);
}

#[tokio::test]
async fn as_a_layer_over_an_axum_app() {
    let app = Router::new()
        .route("/own", get(|| async { "own" }))
        .fallback(|| async { (http::StatusCode::NOT_FOUND, "own 404") })
        .layer(RegistryLayer::new(RegistryService::in_memory()));
    assert_eq!(fetch(&app, "/own").await, (200, "own".into()));
    assert_eq!(fetch(&app, "/v2/").await, (200, "{}".into()));
    assert_eq!(fetch(&app, "/v2").await, (200, "{}".into()));
    assert_eq!(fetch(&app, "/other").await, (404, "own 404".into()));
    assert_eq!(fetch(&app, "/v2x").await, (404, "own 404".into()));
}

#[tokio::test]
async fn the_layer_passes_errors_of_the_service_behind() {
    let inner =
        service_fn(async |_: Request<Full<Bytes>>| Err::<http::Response<String>, _>("broken"));
    let mut layered = RegistryLayer::new(RegistryService::in_memory()).layer(inner);
    let request = Request::get("/x").body(Full::default()).unwrap();
    assert_eq!(
        layered
            .ready()
            .await
            .unwrap()
            .call(request)
            .await
            .unwrap_err(),
        "broken"
    );
}

#[tokio::test]
async fn requests_of_the_host_are_given_back() {
    let service = RegistryService::in_memory();
    for target in ["/", "/v2x", "/v1/", "//v2/", "*"] {
        let request = Request::get(target).body(Full::<Bytes>::default()).unwrap();
        assert!(service.try_handle(request).is_err(), "{target}");
    }
    for target in ["/v2", "/v2/", "/v2/anything", "http://host/v2/"] {
        let request = Request::get(target).body(Full::<Bytes>::default()).unwrap();
        assert!(service.try_handle(request).is_ok(), "{target}");
    }
    // By itself the service answers those, too.
    assert_eq!(
        call(&service, "GET", "/", b"").await.error(404),
        "UNSUPPORTED"
    );
}

#[tokio::test]
async fn below_a_base_path() {
    let builder = || RegistryService::builder(Registry::new(MemoryStore::new()));
    let whole = builder().base_path("/reg/istry/").build().unwrap();
    let begun = call(&whole, "POST", "/reg/istry/v2/a/blobs/uploads/", b"")
        .await
        .is(202);
    let location = begun.header("location");
    assert!(
        location.starts_with("/reg/istry/v2/a/blobs/uploads/"),
        "{location}"
    );
    let close = format!("{location}&digest={}", digest(b"abc"));
    call(&whole, "PUT", &close, b"abc").await.is(201);
    call(&whole, "GET", "/v2/", b"").await.is(404);

    let stripped = builder().stripped_base_path("/reg").build().unwrap();
    let app = Router::<()>::new().nest_service("/reg", stripped);
    assert_eq!(fetch(&app, "/reg/v2/").await.0, 200);
    let post = Request::post("/reg/v2/a/blobs/uploads/")
        .body(Body::empty())
        .unwrap();
    let begun = app.clone().oneshot(post).await.unwrap();
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        location.starts_with("/reg/v2/a/blobs/uploads/"),
        "{location}"
    );
    assert_eq!(fetch(&app, &location).await.0, 204);
}

#[tokio::test]
async fn absolute_urls() {
    let builder = || RegistryService::builder(Registry::new(MemoryStore::new()));
    let post = |host: &str| {
        request("POST", "/v2/a/blobs/uploads/")
            .header("host", host)
            .body(Full::default())
            .unwrap()
    };
    let fixed = builder()
        .absolute_urls("https://r.example:5000/")
        .build()
        .unwrap();
    let begun = send(&fixed, post("other")).await.is(202);
    assert!(
        begun
            .header("location")
            .starts_with("https://r.example:5000/v2/a/blobs/")
    );

    let by_host = builder().absolute_urls_by_host(false).build().unwrap();
    let begun = send(&by_host, post("other:81")).await.is(202);
    assert!(
        begun
            .header("location")
            .starts_with("http://other:81/v2/a/blobs/")
    );
    // A host that is none is not repeated.
    let begun = send(&by_host, post("a/b")).await.is(202);
    assert!(begun.header("location").starts_with("/v2/a/blobs/"));

    assert!(builder().absolute_urls("r.example").build().is_err());
    assert!(builder().base_path("reg").build().is_err());
}
