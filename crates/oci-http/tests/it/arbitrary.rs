//! Whatever is sent, the answer is one of HTTP's, in the registry's own form, and never a server error.

use bytes::Bytes;
use http_body_util::Full;
use oci_http::RegistryService;
use proptest::prelude::*;

use crate::support::{call, digest, push_blob, push_index, send};

fn any_target() -> impl Strategy<Value = String> {
    let known = digest(b"known").to_string();
    let part = prop_oneof![
        4 => proptest::sample::select(vec![
            "a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "_catalog", "_oci", "ext",
            "discover", "t", "", "..", "%2e%2e", "%2f", "%00", "%ff", "A",
        ])
        .prop_map(str::to_owned),
        2 => Just(known.clone()),
        1 => "[a-z0-9:._%-]{0,12}",
    ];
    let key = proptest::sample::select(vec![
        "n",
        "last",
        "digest",
        "mount",
        "from",
        "tag",
        "artifactType",
        "digest-algorithm",
        "_state",
        "x",
    ]);
    let value = prop_oneof![Just(known), "[a-z0-9%+:./-]{0,12}", Just(String::new())];
    (
        proptest::collection::vec(part, 0..6),
        proptest::collection::vec((key, value), 0..3),
    )
        .prop_map(|(parts, pairs)| {
            let query: Vec<String> = pairs
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!("/v2/{}?{}", parts.join("/"), query.join("&"))
        })
}

fn any_header() -> impl Strategy<Value = (&'static str, String)> {
    let name = proptest::sample::select(vec![
        "range",
        "content-range",
        "if-none-match",
        "if-match",
        "if-range",
        "content-type",
        "expect",
        "host",
    ]);
    let value = prop_oneof![
        "(bytes[= ])?[0-9]{0,3}-[0-9]{0,3}(/[0-9*]{1,2})?",
        Just(format!("\"{}\"", digest(b"known"))),
        Just("*".to_owned()),
        "[ -~]{0,20}",
    ];
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_request_is_answered_in_form(
        method in proptest::sample::select(vec!["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "X"]),
        target in any_target(),
        headers in proptest::collection::vec(any_header(), 0..3),
        body in prop_oneof![Just(&b""[..]), Just(&b"known"[..]), Just(&b"{}"[..])],
    ) {
        let Ok(uri) = target.parse::<http::Uri>() else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let service = RegistryService::in_memory();
            push_blob(&service, "a", b"known").await;
            push_index(&service, "a", "t").await;
            let mut request = http::Request::builder().method(method).uri(uri);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            // `send` checks lengths and the version header.
            let reply = send(&service, request.body(Full::new(Bytes::from_static(body))).unwrap()).await;
            assert!(!reply.status.is_server_error(), "{} {:?}", reply.status, reply.body);
            if reply.status.is_client_error() && method != "HEAD" {
                reply.error(reply.status.as_u16());
            }
            if reply.status == 405 {
                assert!(!reply.header("allow").split(", ").any(|allowed| allowed == method));
            }
            // And it still works.
            call(&service, "GET", "/v2/", b"").await.is(200);
        });
    }
}
