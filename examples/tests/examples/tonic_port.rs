//! `src/bin/tonic_port.rs`, and the same in an axum app.

use http::StatusCode;
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tonic::service::Routes;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::client::Client;
use crate::host_layers::{Host, registry};
use crate::image::Image;
use crate::program::Program;

#[tokio::test]
async fn images_and_grpc_share_a_port() {
    let program = Program::start(env!("CARGO_BIN_EXE_tonic_port"), &[]);
    for client in [Client::http1(&program.url()), Client::http2(&program.url())] {
        // Its layer is larger than what the program lets gRPC send.
        let image = Image::new("beside gRPC");
        client.push("team/app", "v1", &image).await.unwrap();
        assert_eq!(client.pull("team/app", "v1").await.unwrap(), image);

        assert_eq!(health(&program.url()).await, ServingStatus::Serving);
    }

    // What neither of them knows is tonic's to answer, which it does with 200 and a gRPC status.
    let unknown = Client::http2(&program.url()).get("/nothing").await.unwrap();
    assert_eq!(unknown.status(), StatusCode::OK);
    assert_eq!(unknown.headers()["grpc-status"], "12");
    program.stop().await;
}

// For a host that is an axum app rather than a tonic server.
#[tokio::test]
async fn grpc_routes_in_an_axum_app_share_its_port() {
    let (_reporter, health_service) = tonic_health::server::health_reporter();
    let grpc = Routes::new(health_service).into_axum_router();
    let host = Host::serve(grpc.layer(registry())).await;
    host.push_fast().await.unwrap();
    assert_eq!(health(&host.url).await, ServingStatus::Serving);
}

/// What the gRPC service says of itself.
async fn health(url: &str) -> ServingStatus {
    let grpc = legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<tonic::body::Body>();
    let mut client = HealthClient::with_origin(grpc, url.parse().unwrap());
    let answer = client.check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status()
}
