//! Five public tutorials for `registry:2`, as tests: what a guide mounts, sets and types is done here with
//! our image under the guide's own names.
//!
//! A [`Site`] is the guide's machine: its own network, so that the guide's addresses and ports are free;
//! its own `/etc/hosts` and trusted certificates; and a Docker daemon that runs our image, called as the
//! guide calls it. Containers share the machine's network instead of publishing ports.
//!
//! What Kubernetes would do with a manifest (mount, set variables) is read from the manifest, in
//! `fixtures/`, whose form `.ci/checks/deploy.py` checks.

#![allow(
    clippy::disallowed_methods,
    reason = "the bans protect a server's runtime and memory; nothing here serves requests"
)]

mod pod;
mod site;

pub use pod::Pod;
pub use site::Site;
