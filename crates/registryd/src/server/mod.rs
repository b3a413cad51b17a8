//! From a bound socket to a served request.
//!
//! A connection passes `listener` (accept, limits), `tls` (handshake), `guard` (timeouts on the bytes
//! themselves) and `connection` (HTTP/1.1 or HTTP/2) before `app` answers its requests. Every stage
//! has a deadline of its own, because hyper's timeouts do not cover the time before it has decided
//! which HTTP version is spoken.

use std::time::Duration;

pub mod app;
mod connection;
mod forwarded;
mod guard;
mod handshakes;
mod listener;
mod places;
mod prefixed;
mod record;
mod shutdown;

pub use forwarded::TrustedProxies;
pub use listener::{BindError, Inherited, Listener, bind, inherited};
pub use shutdown::{Signals, run};

/// How long a peer may take, and how many there may be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// From the accept to the first byte.
    pub first_byte: Duration,
    /// For the TLS handshake.
    pub tls_handshake: Duration,
    /// From the first byte of a connection to the end of its first request's headers. Those of later
    /// requests have as long as [`idle`](Self::idle).
    pub headers: Duration,
    /// Between two requests on one connection.
    pub idle: Duration,
    /// Without a byte of a request body arriving, or of a response leaving.
    pub stalled: Duration,
    /// After being told to stop, until requests in flight are cut off.
    pub drain: Duration,
    /// Connections at once. When all are taken, the one that was not used for the longest makes room for
    /// the next; those with a request in flight stay.
    pub connections: usize,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            tls_handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(60),
            // Below the 30 seconds that Kubernetes and docker leave before they kill.
            drain: Duration::from_secs(25),
            connections: 16_384,
            http2: true,
        }
    }
}
