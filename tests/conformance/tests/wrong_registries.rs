//! The cases notice what registries get wrong: each test here spoils the answers of a registry that
//! passes, in one way, and names a case that must fail then.

#![allow(
    clippy::unwrap_used,
    reason = "what goes wrong while setting up fails the test"
)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, LINK, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use oci_http::{RegistryBody, RegistryService};
use registry_conformance::{Body, InProcess, Options, run};
use tower_service::Service;

/// What is done to every answer: given the method and path of the request.
type Spoil = fn(&Method, &str, &mut StatusCode, &mut HeaderMap);

#[derive(Clone)]
struct Spoiled {
    registry: RegistryService,
    spoil: Spoil,
}

impl Service<Request<Body>> for Spoiled {
    type Response = Response<RegistryBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RegistryBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let spoil = self.spoil;
        let response = self.registry.call(request);
        Box::pin(async move {
            let (mut head, body) = response.await?.into_parts();
            spoil(&method, &path, &mut head.status, &mut head.headers);
            Ok(Response::from_parts(head, body))
        })
    }
}

/// The case passes on the registry as it is, and fails on the spoiled one.
async fn notices(case: &str, spoil: Spoil) {
    let mut options = Options::default();
    options.filter = vec![case.to_owned()];
    for (spoil, fails) in [(unspoiled as Spoil, false), (spoil, true)] {
        let registry = RegistryService::in_memory();
        let service = Spoiled { registry, spoil };
        let report = run(Arc::new(InProcess::new(service)), None, &options).await;
        let found = report.cases.iter().find(|result| result.name == case);
        let failure = &found.unwrap().failure;
        assert_eq!(failure.is_some(), fails, "{case}: {failure:?}");
    }
}

fn unspoiled(_: &Method, _: &str, _: &mut StatusCode, _: &mut HeaderMap) {}

/// Puts `prefix` before, and `suffix` after, the value of a header that is there.
fn wrap(headers: &mut HeaderMap, name: HeaderName, prefix: &str, suffix: &str) {
    if let Some(value) = headers.get_mut(name) {
        let text = format!("{prefix}{}{suffix}", value.to_str().unwrap());
        *value = HeaderValue::try_from(text).unwrap();
    }
}

macro_rules! spoilt {
    ($($test:ident: $($case:literal),+ => $spoil:expr;)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                $(notices($case, $spoil).await;)+
            }
        )*
    };
}

spoilt! {
    digest_header_left_out:
        "manifests_pull.digest_header", "blobs_pull.get_has_digest_header", "put.digest_header",
        "manifests_push.digest_header", "mount.digest_header", "data.image_head"
        => |_, _, _, headers| { headers.remove("docker-content-digest"); };
    parameter_in_media_type:
        "manifests_pull.content_type_is_what_was_pushed", "data.index_pull"
        => |_, _, _, headers| wrap(headers, CONTENT_TYPE, "", "; charset=utf-8");
    head_without_length:
        "manifests_pull.head_has_content_length", "blobs_pull.head_has_content_length",
        "blobs_sha512.post_put"
        => |method, _, _, headers| if method == Method::HEAD { headers.remove(CONTENT_LENGTH); };
    absolute_location:
        "upload_session.location_is_a_path", "proxy.locations_are_paths",
        "manifests_push.location_names_the_digest"
        => |_, _, _, headers| wrap(headers, LOCATION, "http://registry.example", "");
    relative_location:
        "upload_session.post_is_202_with_location", "blobs_sha256.post_put"
        => |_, _, _, headers| wrap(headers, LOCATION, ".", "");
    unit_in_upload_range:
        "patch.range_has_no_unit", "clients.docker_push", "upload_status.progress_is_204"
        => |_, _, _, headers| wrap(headers, RANGE, "bytes=", "");
    range_missing:
        "upload_status.empty_session_has_a_range", "patch.chunk_is_202_with_location_and_range"
        => |_, _, _, headers| { headers.remove(RANGE); };
    refusal_as_400:
        "patch.out_of_order_is_416", "put.out_of_order_final_chunk_is_416",
        "blobs_pull.range_past_the_end_is_416", "blobs_sha256.out_of_order"
        => |_, _, status, _| if *status == StatusCode::RANGE_NOT_SATISFIABLE {
            *status = StatusCode::BAD_REQUEST;
        };
    part_as_whole:
        "blobs_pull.range_table", "clients.docker_pull", "blobs_sha256.ranges"
        => |_, _, status, _| if *status == StatusCode::PARTIAL_CONTENT { *status = StatusCode::OK; };
    mount_refused:
        "mount.unknown_blob_is_202", "clients.mount_with_fallback"
        => |method, _, status, _| if method == Method::POST && *status == StatusCode::ACCEPTED {
            *status = StatusCode::NOT_FOUND;
        };
    content_coding:
        "blobs_pull.no_content_coding", "manifests_pull.no_content_coding"
        => |_, _, _, headers| {
            headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        };
    subject_left_out:
        "manifests_push.oci_subject_header", "manifests_push.oci_subject_header_of_index",
        "data.missing_subject_push"
        => |_, _, _, headers| { headers.remove("oci-subject"); };
    filter_not_named:
        "referrers.filter_by_type", "referrers.filter_without_match"
        => |_, _, _, headers| { headers.remove("oci-filters-applied"); };
    filter_always_named:
        "referrers.no_filter_no_header", "referrers.unknown_filter_is_ignored"
        => |_, _, _, headers| {
            headers.insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
        };
    referrers_404:
        "referrers.unknown_repository_is_an_empty_index", "clients.oras_probe"
        => |_, path, status, _| if path.contains("/referrers/") { *status = StatusCode::NOT_FOUND; };
    link_left_out:
        "tags.n_limits_the_page", "tags.links_lead_to_everything", "catalog.pages"
        => |_, _, _, headers| { headers.remove(LINK); };
    link_always:
        "tags.no_link_to_an_empty_page", "tags.n_of_zero_is_empty", "tags.last_beyond_the_end"
        => |_, path, _, headers| if path.ends_with("/tags/list") {
            let link = format!("<{path}?n=1&last=zzz>; rel=\"next\"");
            headers.insert(LINK, HeaderValue::try_from(link).unwrap());
        };
    absolute_link:
        "tags.link_is_a_path", "proxy.links_are_paths"
        => |_, _, _, headers| if headers.contains_key(LINK) {
            let link = "<http://registry.example/v2/x/tags/list?n=1&last=a>; rel=\"next\"";
            headers.insert(LINK, HeaderValue::from_static(link));
        };
    etag_left_out:
        "blobs_pull.etag_is_the_digest", "manifests_pull.etag_is_the_digest",
        "blobs_pull.if_none_match_is_304"
        => |_, _, _, headers| { headers.remove(ETAG); };
    errors_as_text:
        "errors.envelope", "blobs_pull.unknown_blob_is_404", "put.mismatch_is_400"
        => |_, _, status, headers| if status.is_client_error() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        };
    allow_left_out:
        "errors.unsupported_methods_are_405", "base.other_methods_are_405"
        => |_, _, _, headers| { headers.remove(ALLOW); };
    version_left_out:
        "base.version_header"
        => |_, _, _, headers| { headers.remove("docker-distribution-api-version"); };
    deletes_as_204:
        "delete.manifest_by_digest_is_202", "delete.tag_is_202", "delete.blob_is_202"
        => |method, _, status, _| if method == Method::DELETE { *status = StatusCode::NO_CONTENT; };
    deletes_claimed:
        "delete.unknown_manifest_is_404", "delete.unknown_blob_is_404", "delete.twice_is_404"
        => |method, _, status, _| if method == Method::DELETE { *status = StatusCode::ACCEPTED; };
    cancel_as_202:
        "upload_status.cancel_is_204"
        => |method, _, status, _| if method == Method::DELETE { *status = StatusCode::ACCEPTED; };
    client_errors_as_500:
        "put.mismatch_is_400", "grammar.malformed_digest_in_put_is_400", "tags.bad_n_is_400"
        => |_, _, status, _| if *status == StatusCode::BAD_REQUEST {
            *status = StatusCode::INTERNAL_SERVER_ERROR;
        };
    malformed_warning:
        "base.get_is_200"
        => |_, _, _, headers| { headers.insert("warning", HeaderValue::from_static("careful")); };
    quota_without_retry_after:
        "upload_session.post_is_202_with_location"
        => |method, _, status, _| if method == Method::POST {
            *status = StatusCode::TOO_MANY_REQUESTS;
        };
    oversize_as_400:
        "limits.larger_manifest_is_413", "limits.larger_streamed_manifest_is_413"
        => |_, _, status, _| if *status == StatusCode::PAYLOAD_TOO_LARGE {
            *status = StatusCode::BAD_REQUEST;
        };
    missing_references_as_400:
        "manifests_push.missing_blob_is_404"
        => |method, _, status, _| if method == Method::PUT && *status == StatusCode::NOT_FOUND {
            *status = StatusCode::BAD_REQUEST;
        };
    tags_not_named:
        "tag_params.several_tags", "tag_params.at_least_ten", "tag_params.sha512"
        => |_, _, _, headers| { headers.remove("oci-tag"); };
}
