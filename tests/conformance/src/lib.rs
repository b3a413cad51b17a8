//! An HTTP conformance suite for OCI registries.
//!
//! Every case is one requirement: of the OCI distribution-spec, of the image-spec where a registry
//! is concerned, or of the clients that people use. The suite runs
//!
//! * in this process, against anything that is a tower service: [`run_all`];
//! * against any base URL, ours or another registry's: [`run_url`], or the program
//!   `registry-conformance --url http://127.0.0.1:5000`.
//!
//! Each case works in repositories of its own with names and bytes that no other run has used. So
//! cases run side by side, and against stores that keep what earlier runs left.
//!
//! # What is covered
//!
//! | area | requirements about |
//! |---|---|
//! | `base` | the probe at `/v2/`, the version header |
//! | `grammar` | names, tags and digests; routing from the right end of the path; percent-encoding and traversal |
//! | `manifests_pull` | GET and HEAD of manifests: exact bytes, digests, lengths, types, conditions |
//! | `blobs_pull` | GET and HEAD of blobs: ranges, conditions, what a browser may do with them |
//! | `upload_session` | POST: sessions, single-request pushes, declared algorithms |
//! | `mount` | cross-repository mounts and their fallback |
//! | `patch` | streamed and chunked uploads, refused chunks, resuming |
//! | `put` | closing an upload: digests, retries, rollback |
//! | `upload_status` | asking for an upload's progress, cancelling it |
//! | `manifests_push` | PUT of manifests: validation, references, subjects, both families of media types |
//! | `tags`, `tag_params` | tag listing and paging; several tags in one push |
//! | `referrers` | the referrers API: descriptors, filters, paging, the tag schema |
//! | `delete`, `delete_disabled` | deleting manifests, tags and blobs, or refusing to |
//! | `errors` | the error envelope, unsupported methods |
//! | `extensions`, `catalog` | extension discovery, proxy parameters, repository listing |
//! | `isolation` | nothing crosses from one repository into another |
//! | `limits` | sizes that must be accepted and sizes that must be refused |
//! | `wire` | what only shows on a bare connection: early answers, 100-continue, smuggling, hang-ups |
//! | `proxy` | forwarded headers and hosts do not leak into links |
//! | `concurrency` | races between clients |
//! | `clients` | the request sequences of docker, containerd, podman, crane, regclient and oras |
//! | `auth` | challenges and refused credentials |
//! | `blobs_sha256`, `blobs_sha512` | every style of push with good and bad digests, in both algorithms |
//! | `data` | one document shape each, from push through listing, pull and referrers to delete |
//!
//! Areas that need a registry set up in a special way say so by their cases' [`Need`]s.

#[allow(
    clippy::indexing_slicing,
    reason = "a serde_json Value answers null for a member it does not have"
)]
mod areas;
mod case;
mod ctx;
mod digest;
mod documents;
mod failure;
mod payload;
mod reply;
mod repo;
mod report;
mod request;
mod runner;
mod transport;

pub use self::{
    case::{Case, Level, Need, cases},
    ctx::Ctx,
    failure::{Failure, Outcome},
    payload::{Body, BoxError, Payload},
    report::{CaseReport, Complaints, LeftOut, Report},
    runner::{Credentials, Options, Reach, Setup, run, run_all, run_url},
    transport::{
        HttpTransport, InProcess, MAX_COLLECTED_BODY, Protocol, Response, Transport,
        TransportError, serve_in_process,
    },
};
