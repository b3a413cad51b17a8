//! Two S3 servers, registryd, and a client, for tests of storage in a bucket.
//!
//! One server is [moto](https://docs.getmoto.org), a Python package. It is installed once, below the
//! target directory. The other is [`s3s`], in this process.

pub mod client;
pub mod large;
pub mod moto;
pub mod proxy;
pub mod registry;
pub mod s3s;
pub mod storm;

pub use client::{Answer, ask};
pub use moto::Moto;
pub use registry::{Registryd, refusal};
pub use s3s::S3sFs;
