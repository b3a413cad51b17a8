//! An S3 server, registryd, and a client, for tests of storage in a bucket.
//!
//! The server is [moto](https://docs.getmoto.org), a Python package. It is installed once, below the
//! target directory.

pub mod client;
pub mod moto;
pub mod registry;

pub use client::{Answer, ask};
pub use moto::Moto;
pub use registry::{Registryd, refusal};
