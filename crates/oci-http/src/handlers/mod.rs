//! One module for each kind of endpoint.

use http::Method;
use http::request::Parts;
use oci_core::{Identity, Registry};

use crate::access::Caller;
use crate::builder::Redirects;
use crate::endpoint::Endpoint;
use crate::request::RequestBody;
use crate::response::{Failure, Links, Reply};

mod base;
mod blobs;
mod catalog;
mod extensions;
mod manifests;
mod nearest;
mod referrers;
mod tags;
mod uploads;

/// What a handler works with. The caller has been let in.
pub(crate) struct Exchange<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) links: &'a Links,
    pub(crate) redirects: Option<&'a Redirects>,
    pub(crate) caller: &'a Caller,
    pub(crate) head: &'a Parts,
}

impl Exchange<'_> {
    fn identity(&self) -> &Identity {
        self.caller.identity()
    }
}

/// Does what was asked for.
pub(crate) async fn handle(
    x: &Exchange<'_>,
    body: &mut RequestBody,
    endpoint: &Endpoint,
) -> Result<Reply, Failure> {
    // HEAD is answered like GET wherever that costs no more; its body is dropped in the end.
    let method = &x.head.method;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (endpoint, method) {
        (Endpoint::Base, _) if reads => Ok(base::probe()),
        (Endpoint::Blob { repository, digest }, &Method::GET) => {
            blobs::get(x, repository, digest).await
        }
        (Endpoint::Blob { repository, digest }, &Method::HEAD) => {
            blobs::head(x, repository, digest).await
        }
        (Endpoint::Blob { repository, digest }, &Method::DELETE) => {
            blobs::delete(x, repository, digest).await
        }
        (Endpoint::Catalog { page }, _) if reads => catalog::list(x, page).await,
        (Endpoint::Extensions { .. }, _) if reads => Ok(extensions::discover()),
        (
            Endpoint::Manifest {
                repository,
                reference,
                ..
            },
            _,
        ) if reads => manifests::get(x, repository, reference).await,
        (
            Endpoint::Manifest {
                repository,
                reference,
                tags,
            },
            &Method::PUT,
        ) => manifests::put(x, body, repository, reference, tags).await,
        (
            Endpoint::Manifest {
                repository,
                reference,
                ..
            },
            &Method::DELETE,
        ) => manifests::delete(x, repository, reference).await,
        (
            Endpoint::Referrers {
                repository,
                subject,
                artifact_types,
                last,
            },
            _,
        ) if reads => {
            referrers::list(x, repository, subject, artifact_types, last.as_deref()).await
        }
        (Endpoint::Tags { repository, page }, _) if reads => tags::list(x, repository, page).await,
        (
            Endpoint::Upload {
                repository,
                id,
                state,
                digest,
            },
            method,
        ) => {
            let session = uploads::Session::new(repository, id, *state);
            match *method {
                Method::PATCH => session.append(x, body).await,
                Method::PUT => session.finish(x, body, digest.as_ref()).await,
                Method::DELETE => session.cancel(x).await,
                _ if reads => session.status(x).await,
                _ => Err(wrong_method(endpoint, method)),
            }
        }
        (Endpoint::Uploads { repository, start }, &Method::POST) => {
            uploads::begin(x, body, repository, start).await
        }
        (endpoint, method) => Err(wrong_method(endpoint, method)),
    }
}

/// The methods of an endpoint, without those that are switched off.
pub(crate) fn methods(endpoint: &Endpoint, registry: &Registry) -> &'static [Method] {
    if registry.writes_enabled() {
        offered(endpoint, registry.deletes_enabled())
    } else if let Endpoint::Uploads { .. } = endpoint {
        OPTIONS_ALONE
    } else {
        READ_METHODS
    }
}

fn offered(endpoint: &Endpoint, deletes: bool) -> &'static [Method] {
    match (endpoint, deletes) {
        (Endpoint::Blob { .. }, true) => BLOB_METHODS,
        (Endpoint::Manifest { .. }, true) => MANIFEST_METHODS,
        (Endpoint::Manifest { .. }, false) => KEPT_MANIFEST_METHODS,
        (Endpoint::Upload { .. }, _) => UPLOAD_METHODS,
        (Endpoint::Uploads { .. }, _) => UPLOADS_METHODS,
        _ => READ_METHODS,
    }
}

/// The error for a method that an endpoint does not have, whatever is switched off.
pub(crate) fn wrong_method(endpoint: &Endpoint, method: &Method) -> Failure {
    Failure::method(method, offered(endpoint, true))
}

/// Whether an endpoint has a method, be it switched off.
pub(crate) fn has_method(endpoint: &Endpoint, method: &Method) -> bool {
    offered(endpoint, true).contains(method)
}

const OPTIONS_ALONE: &[Method] = &[Method::OPTIONS];
const READ_METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
const BLOB_METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS];
const MANIFEST_METHODS: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
];
const KEPT_MANIFEST_METHODS: &[Method] = &[Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS];
const UPLOAD_METHODS: &[Method] = &[
    Method::GET,
    Method::HEAD,
    Method::PATCH,
    Method::PUT,
    Method::DELETE,
    Method::OPTIONS,
];
const UPLOADS_METHODS: &[Method] = &[Method::POST, Method::OPTIONS];
