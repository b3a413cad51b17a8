//! The requirements, one module per area.

mod auth;
mod base;
mod blobs;
mod blobs_pull;
mod catalog;
mod clients;
mod concurrency;
mod data;
mod delete;
mod delete_disabled;
mod errors;
mod extensions;
mod grammar;
mod isolation;
mod limits;
mod manifests_pull;
mod manifests_push;
mod manifests_refused;
mod mount;
mod patch;
mod proxy;
mod put;
mod referrers;
mod shapes;
mod tag_params;
mod tags;
mod upload_session;
mod upload_status;
mod wire;

use crate::case::Case;

/// Every case, in the order they are run and listed.
pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    AREAS.iter().chain(data::CASES).flat_map(|area| area.iter())
}

static AREAS: &[&[Case]] = &[
    base::CASES,
    grammar::CASES,
    manifests_pull::CASES,
    blobs_pull::CASES,
    upload_session::CASES,
    mount::CASES,
    patch::CASES,
    put::CASES,
    upload_status::CASES,
    manifests_push::CASES,
    manifests_refused::CASES,
    tags::CASES,
    tag_params::CASES,
    referrers::CASES,
    delete::CASES,
    delete_disabled::CASES,
    errors::CASES,
    extensions::CASES,
    catalog::CASES,
    isolation::CASES,
    limits::CASES,
    wire::CASES,
    proxy::CASES,
    concurrency::CASES,
    clients::CASES,
    auth::CASES,
    blobs::SHA256,
    blobs::SHA512,
];
