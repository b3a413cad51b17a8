//! Load on a registry, from a client that costs next to nothing itself.
//!
//! Server and client share the machine, so every cycle of the client is one that the server does not
//! have. Blob bodies therefore go from the page cache into the socket by `sendfile`, pulled blobs are
//! discarded in the kernel (`MSG_TRUNC`), and small requests run in a loop of their own over `epoll`.
//! Every answer is checked all the same: its status, its length, its digest header, and its bytes
//! wherever they are read.
//!
//! | module | load |
//! |---|---|
//! | [`connection`] | one keep-alive HTTP/1.1 connection, plain or with TLS |
//! | [`registry`] | pushes and pulls as registry clients do them, over such a connection |
//! | [`closed_loop`] | the same small request on many connections, as fast as answers come |
//! | [`open_loop`] | arrivals by a schedule, with latencies counted from when they were due |
//! | [`http2`] | pulls over one HTTP/2 connection |
//! | [`process`] | what the server's processes used meanwhile |

pub mod closed_loop;
pub mod connection;
pub mod content;
pub mod error;
pub mod http2;
pub mod latency;
pub mod mix;
pub mod open_loop;
pub mod process;
pub mod registry;
pub mod tls;

pub use connection::{Answer, Body, Connection, Head, Request};
pub use content::{Content, Source};
pub use error::{Error, Result};
pub use latency::Latencies;
pub use tls::TlsClient;

use std::time::{Duration, Instant};

/// Sleeps until `until`. Returns at once if that has passed.
pub fn pause_until(until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::park_timeout(left);
    }
}

/// Sleeps for so long.
pub fn pause(time: Duration) {
    pause_until(Instant::now() + time);
}
