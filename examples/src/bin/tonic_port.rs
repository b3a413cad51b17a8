//! A registry in the port of a gRPC server, among tower layers.
//!
//! Shows: `RegistryLayer` in tonic's own server; layers that concern the registry outside of it, layers
//! that would break pushes (timeouts, body limits) inside, where only gRPC sees them.
//! To change: put your own services where the health service is, and your layers where they belong.
//!
//! ```text
//! cargo run -p registry-examples --bin tonic_port -- 127.0.0.1:5000
//! docker push 127.0.0.1:5000/app:v1
//! grpcurl -plaintext 127.0.0.1:5000 grpc.health.v1.Health/Check
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use http::StatusCode;
use oci_core::{Registry, memory::MemoryStore};
use oci_http::{RegistryLayer, RegistryService};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let registry = RegistryService::builder(Registry::new(MemoryStore::new()))
        .timer(tokio::time::sleep)
        .build()?;

    let addr = env::args().nth(1).unwrap_or("127.0.0.1:5000".to_owned());
    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);

    Server::builder()
        // Without TLS, docker and most other clients speak HTTP/1.1.
        .accept_http1(true)
        // tonic's 64 KiB would make every upload wait for the network's delay, again and again.
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        // Not `Server::timeout`: it is outside of all layers, and cuts off every longer push.
        .layer(TraceLayer::new_for_http())
        // Takes `/v2/`, and leaves the rest to what follows.
        .layer(RegistryLayer::new(registry))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            Duration::from_secs(10),
        ))
        .layer(RequestBodyLimitLayer::new(1 << 20))
        .add_service(health)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            interrupted(),
        )
        .await?;
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("stopping, because signals cannot be heard: {error}");
    }
}
