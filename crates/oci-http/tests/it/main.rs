//! The service as an embedder and a client see it, over the memory store.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect, in helpers too"
)]

mod access;
mod arbitrary;
mod flows;
mod listings;
mod mounting;
mod support;
mod wire;
