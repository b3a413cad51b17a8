//! Every program of `src/bin` runs, takes an image over HTTP, gives it back and stops when asked to.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a failed expectation is how a test reports"
)]

mod axum_app;
mod client;
mod host_layers;
mod image;
mod plain_hyper;
mod program;
mod third_party_backend;
mod tonic_port;
