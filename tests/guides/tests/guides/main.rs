//! The guides, one module each, named by their numbers in `docs/guides.md`.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

mod guide_000;
mod guide_001;
mod guide_002;
mod guide_003;
mod guide_004;
