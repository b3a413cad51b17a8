//! A registry that keeps everything in one database file, through a backend of our own.
//!
//! Shows: a store from outside (`src/third_party_backend.rs`) under the engine, behind the HTTP API.
//! To change: the store. Everything else stays as it is for any other.
//!
//! ```text
//! cargo run -p registry-examples --bin third_party_backend -- 127.0.0.1:5000 registry.redb
//! docker push 127.0.0.1:5000/app:v1
//! ```

use std::env;
use std::error::Error;

use oci_core::Registry;
use oci_http::RegistryService;
use oci_storage::records::Records;
use registry_examples::third_party_backend::RedbStore;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let addr = args.next().unwrap_or("127.0.0.1:5000".to_owned());
    let path = args.next().unwrap_or("registry.redb".to_owned());

    let store = RedbStore::open(path)?;
    let registry = Registry::new(Records::new(store.clone(), store));
    let service = RegistryService::builder(registry)
        .timer(tokio::time::sleep)
        .build()?;

    let listener = TcpListener::bind(addr).await?;
    println!("listening on {}", listener.local_addr()?);
    // axum only because it is the shortest way to a server; see `plain_hyper.rs` for one without.
    axum::serve(listener, axum::Router::new().fallback_service(service))
        .with_graceful_shutdown(interrupted())
        .await?;
    Ok(())
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("stopping, because signals cannot be heard: {error}");
    }
}
