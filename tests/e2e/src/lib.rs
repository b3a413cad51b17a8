//! End-to-end tests: the clients people use, against a registry process.
//!
//! The tests are in `tests/`, one binary for each client; this library is what they share:
//!
//! * [`Bench`]: the scratch directory of one test, and its place in the queue (at most two tests
//!   run at once, of which at most one has a daemon of its own);
//! * [`Server`]: the registry under test, `registryd` or Debian's `docker-registry`, plain or with
//!   TLS and htpasswd, on a free port of the loopback interface;
//! * [`Machine`]: a client machine of its own: private mounts and processes, so that no cache,
//!   login, mount or process is shared between tests or survives one;
//! * [`clients`]: one wrapper for each client;
//! * [`curl`]: plain HTTP requests, for what no client shows;
//! * [`DebianImage`]: the Debian image that every client pushes and pulls.
//!
//! See `README.md` beside this crate for the way to run them.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

pub mod bench;
pub mod clients;
pub mod command;
pub mod curl;
pub mod digest;
pub mod image;
pub mod machine;
pub mod security;
pub mod server;
pub mod tool;

pub use bench::{Bench, Lane};
pub use command::{Invocation, Output};
pub use curl::Api;
pub use image::DebianImage;
pub use machine::{Daemon, Machine};
pub use security::{Access, Security};
pub use server::{Kind, Server, Store};
