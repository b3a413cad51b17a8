//! An OCI registry for your own server, as a [`tower`](tower_service) service.
//!
//! ```
//! use bytes::Bytes;
//! use http::Request;
//! use http_body_util::Full;
//! use oci_http::RegistryService;
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let registry = RegistryService::in_memory();
//!
//! // Any server for `http` types drives it: hyper, axum, warp, tonic. Here, none at all.
//! let layer = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
//! let push = Request::post(format!("/v2/team/app/blobs/uploads/?digest={layer}"))
//!     .body(Full::new(Bytes::from("hello")))?;
//! assert_eq!(registry.clone().oneshot(push).await?.status(), 201);
//!
//! let pull = Request::get(format!("/v2/team/app/blobs/{layer}")).body(Full::<Bytes>::default())?;
//! let response = registry.oneshot(pull).await?;
//! assert_eq!(response.headers()["content-length"], "5");
//! # Ok(())
//! # }
//! ```
//!
//! Beside the routes of an axum app:
//!
//! ```
//! use axum::{Router, routing::get};
//! use oci_http::{RegistryLayer, RegistryService};
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "my own page" }))
//!     .fallback(|| async { "my own 404" })
//!     .layer(RegistryLayer::new(RegistryService::in_memory()));
//! ```
//!
//! In a test, on a port of its own (feature `testing`):
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let registry = oci_http::testing::spawn().await?;
//! println!("docker push {}", registry.reference("app:v1"));
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # What is served
//!
//! All of OCI distribution-spec 1.1; what has been merged since: cancelling uploads,
//! `digest-algorithm`, several tags in one push; and what clients in use rely on beyond that, such as
//! `_catalog`, conditional requests and Docker's media types.
//!
//! # What to hand in
//!
//! * A [`Registry`]: the operations over some store. [`MemoryStore`] is at hand; `oci-storage` has
//!   persistent ones, and any [`oci_core::BlobStore`] and [`oci_core::ManifestStore`] will do.
//! * An [`Authenticator`] and an [`Authorizer`], unless everybody may do everything.
//!
//! See [`RegistryService::builder`]. How to mount the service in different servers, and which of their
//! layers break pushes, is told in `docs/embedding.md` of the repository.
//!
//! # How a request goes
//!
//! `limits → Endpoint → method → Identity → access → operation → response`. The path and query are
//! parsed once, into an [`Endpoint`]; authorisation and operation both act on that value. The body is not
//! polled before everything that can be decided without it has been decided, so a client that asks with
//! `Expect: 100-continue` is refused before it has sent anything.
//!
//! # What it does not do
//!
//! It starts no threads except those of the registry's blocking pool, installs nothing global, writes no
//! logs and needs no particular async runtime. Timeouts, TLS and limits on connections are the server's.
//!
//! # Features
//!
//! * `testing` (off): `oci_http::testing`, a listening registry for tests. Brings tokio and hyper.

pub mod endpoint;
pub mod range;
#[cfg(feature = "testing")]
pub mod testing;

mod access;
mod builder;
mod conditions;
mod drain;
mod handlers;
mod layer;
mod pagination;
mod request;
mod response;
mod service;

pub use builder::{BuildError, Redirects, RegistryServiceBuilder};
pub use endpoint::{Endpoint, EndpointError};
pub use layer::{LayeredBody, LayeredFuture, RegistryLayer, WithRegistry};
pub use range::{ContentRange, ContentRangeError};
pub use response::{ClientOrigin, RegistryBody};
pub use service::{RegistryService, ResponseFuture};

pub use oci_core;
pub use oci_core::memory::MemoryStore;
pub use oci_core::{
    Access, Action, Authenticator, Authorizer, Decision, Hooks, Identity, Registry, RegistryError,
};

// The examples of the page on embedding are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct EmbeddingPage;
