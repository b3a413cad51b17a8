//! What clients do: push in every style, pull, resume, delete.

use bytes::Bytes;
use http_body_util::Full;
use oci_http::oci_core::{Algorithm, Digest, ErrorCode, RegistryError};
use oci_http::{MemoryStore, Registry, RegistryService};
use std::sync::Arc;

use crate::support::{call, digest, index, push_blob, push_index, request, send};

#[tokio::test]
async fn an_image_is_pushed_and_pulled() {
    let service = RegistryService::in_memory();
    let config = push_blob(&service, "team/app", b"{}").await;

    // A layer in two chunks and a closing request.
    let begun = call(&service, "POST", "/v2/team/app/blobs/uploads/", b"")
        .await
        .is(202);
    assert_eq!(begun.header("range"), "0-0");
    let location = begun.header("location");
    assert!(
        location.contains(begun.header("docker-upload-uuid")),
        "{location}"
    );
    let patched = call(&service, "PATCH", location, b"hello ").await.is(202);
    assert_eq!(patched.header("range"), "0-5");
    let layer = digest(b"hello world");
    let close = format!("{}&digest={layer}", patched.header("location"));
    let closed = call(&service, "PUT", &close, b"world").await.is(201);
    assert_eq!(
        closed.header("location"),
        format!("/v2/team/app/blobs/{layer}")
    );
    assert_eq!(closed.header("docker-content-digest"), layer.to_string());

    let manifest = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 11}],
        "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": config, "size": 2},
    }))
    .unwrap();
    let pushed = call(&service, "PUT", "/v2/team/app/manifests/v1", &manifest)
        .await
        .is(201);
    assert_eq!(pushed.header("oci-subject"), config.to_string());
    let location = pushed.header("location");
    assert_eq!(
        location,
        format!("/v2/team/app/manifests/{}", digest(&manifest))
    );

    for target in ["/v2/team/app/manifests/v1", location] {
        let pulled = call(&service, "GET", target, b"").await.is(200);
        assert_eq!(pulled.body, manifest);
        assert_eq!(
            pulled.header("content-type"),
            "application/vnd.oci.image.manifest.v1+json"
        );
        let head = call(&service, "HEAD", target, b"").await.is(200);
        assert_eq!(head.headers, pulled.headers);
    }
    let pulled = call(&service, "GET", &format!("/v2/team/app/blobs/{layer}"), b"").await;
    assert_eq!(pulled.is(200).body, "hello world");

    let referrers = call(
        &service,
        "GET",
        &format!("/v2/team/app/referrers/{config}"),
        b"",
    )
    .await;
    assert_eq!(
        referrers.is(200).json()["manifests"][0]["size"],
        manifest.len()
    );

    call(&service, "DELETE", "/v2/team/app/manifests/v1", b"")
        .await
        .is(202);
    assert_eq!(
        call(&service, "GET", "/v2/team/app/manifests/v1", b"")
            .await
            .error(404),
        "MANIFEST_UNKNOWN"
    );
}

#[tokio::test]
async fn a_stream_sent_again_is_refused_and_tells_where_to_go_on() {
    let service = RegistryService::in_memory();
    let begun = call(&service, "POST", "/v2/a/blobs/uploads/", b"").await;
    let first = begun.header("location");
    call(&service, "PATCH", first, b"abc").await.is(202);

    let again = call(&service, "PATCH", first, b"abc").await;
    assert_eq!(again.error(416), "RANGE_INVALID");
    assert_eq!(again.header("range"), "0-2");
    // The old location still tells the status.
    let status = call(&service, "GET", first, b"").await.is(204);
    assert_eq!(status.header("location"), again.header("location"));
    // Closing with bytes would append them twice as well; closing without cannot.
    let close = format!("{first}&digest={}", digest(b"abc"));
    assert_eq!(
        call(&service, "PUT", &close, b"abc").await.error(416),
        "RANGE_INVALID"
    );
    call(&service, "PUT", &close, b"").await.is(201);
}

#[tokio::test]
async fn an_empty_session_says_so_in_two_ways() {
    let service = RegistryService::in_memory();
    let begun = call(&service, "POST", "/v2/a/blobs/uploads/", b"").await;
    // A client that resumes must not take `0-0` for one byte.
    let status = call(&service, "GET", begun.header("location"), b"")
        .await
        .is(204);
    assert_eq!(status.header("range"), "0--1");
    // Docker must be able to read what follows a PATCH.
    let patched = call(&service, "PATCH", begun.header("location"), b"")
        .await
        .is(202);
    assert_eq!(patched.header("range"), "0-0");
}

#[tokio::test]
async fn content_range_must_fit_the_body() {
    let service = RegistryService::in_memory();
    let begun = call(&service, "POST", "/v2/a/blobs/uploads/", b"").await;
    let location = begun.header("location");
    for (range, status, code) in [
        ("0-3", 400, "SIZE_INVALID"),
        ("2-0", 400, "RANGE_INVALID"),
        ("x", 400, "RANGE_INVALID"),
        ("3-5", 416, "RANGE_INVALID"),
    ] {
        let patch = request("PATCH", location).header("content-range", range);
        let reply = send(&service, patch.body(Full::new(Bytes::from("abc"))).unwrap()).await;
        assert_eq!(reply.error(status), code, "{range}");
    }
    let patch = request("PATCH", location).header("content-range", "bytes 0-2/*");
    let reply = send(&service, patch.body(Full::new(Bytes::from("abc"))).unwrap()).await;
    assert_eq!(reply.is(202).header("range"), "0-2");
}

#[tokio::test]
async fn one_post_with_or_without_its_body() {
    let service = RegistryService::in_memory();
    let digest = digest(b"abc");
    // The body can only come next.
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    call(&service, "POST", &target, b"").await.is(202);
    call(&service, "POST", &target, b"abc").await.is(201);
    assert_eq!(
        call(&service, "POST", &target, b"abd").await.error(400),
        "DIGEST_INVALID"
    );
    let empty = crate::support::digest(b"");
    call(
        &service,
        "POST",
        &format!("/v2/a/blobs/uploads/?digest={empty}"),
        b"",
    )
    .await
    .is(201);
}

#[tokio::test]
async fn a_mount_needs_no_bytes_and_falls_back() {
    let service = RegistryService::in_memory();
    let digest = push_blob(&service, "a", b"abc").await;
    for query in [format!("mount={digest}&from=a"), format!("mount={digest}")] {
        let mounted = call(
            &service,
            "POST",
            &format!("/v2/b/blobs/uploads/?{query}"),
            b"",
        )
        .await;
        assert_eq!(
            mounted.is(201).header("location"),
            format!("/v2/b/blobs/{digest}")
        );
    }
    for from in ["nothing", "UPPER", ""] {
        let target = format!("/v2/c/blobs/uploads/?mount={digest}&from={from}");
        call(&service, "POST", &target, b"").await.is(202);
    }
}

#[tokio::test]
async fn parts_of_a_blob() {
    let service = RegistryService::in_memory();
    let digest = push_blob(&service, "a", b"0123456789").await;
    let empty = push_blob(&service, "a", b"").await;
    let get = async |digest: &Digest, headers: &[(&str, &str)]| {
        let mut get = request("GET", &format!("/v2/a/blobs/{digest}"));
        for (name, value) in headers {
            get = get.header(*name, *value);
        }
        send(&service, get.body(Full::default()).unwrap()).await
    };
    let part = get(&digest, &[("range", "bytes=2-4")]).await.is(206);
    assert_eq!(
        (part.body.as_ref(), part.header("content-range")),
        (&b"234"[..], "bytes 2-4/10")
    );
    assert_eq!(
        get(&digest, &[("range", "bytes=-3")]).await.is(206).body,
        "789"
    );
    for range in ["bytes=10-", "bytes=5-2", "bytes=-0"] {
        let refused = get(&digest, &[("range", range)]).await;
        assert_eq!(refused.error(416), "RANGE_INVALID");
        assert_eq!(refused.header("content-range"), "bytes */10");
        assert!(refused.headers.get("etag").is_none());
    }
    for range in ["bytes=0-1,3-4", "lines=1-2"] {
        assert_eq!(
            get(&digest, &[("range", range)]).await.is(200).body,
            "0123456789"
        );
    }
    for range in ["bytes=0-", "bytes=-1", "bytes=5-2"] {
        get(&empty, &[("range", range)]).await.is(200);
    }
    let etag = format!("\"{digest}\"");
    get(&digest, &[("if-none-match", &etag)]).await.is(304);
    get(&digest, &[("range", "bytes=0-0"), ("if-range", &etag)])
        .await
        .is(206);
    get(&digest, &[("range", "bytes=0-0"), ("if-range", "\"x\"")])
        .await
        .is(200);
    // Not even "not modified" is said of a blob of another repository.
    let elsewhere = request("GET", &format!("/v2/b/blobs/{digest}")).header("if-none-match", etag);
    let reply = send(&service, elsewhere.body(Full::default()).unwrap()).await;
    assert_eq!(reply.error(404), "BLOB_UNKNOWN");
}

#[tokio::test]
async fn several_tags_in_one_push() {
    let service = RegistryService::in_memory();
    let document = index("x");
    let sha512 = Digest::of(Algorithm::Sha512, &document);
    let push = async |tags: usize| {
        let query: Vec<String> = (0..tags).map(|tag| format!("tag=t{tag}")).collect();
        let target = format!("/v2/a/manifests/{sha512}?{}", query.join("&"));
        call(&service, "PUT", &target, &document).await
    };
    let pushed = push(3).await.is(201);
    let tags: Vec<_> = pushed.headers.get_all("oci-tag").iter().collect();
    assert_eq!(tags, ["t0", "t1", "t2"]);
    // Clients take at most a hundred headers.
    let pushed = push(100).await.is(201);
    assert!(pushed.headers.len() < 100, "{}", pushed.headers.len());
    let tags = pushed.headers.get_all("oci-tag").iter();
    assert_eq!(
        tags.flat_map(|tags| tags.to_str().unwrap().split(','))
            .count(),
        100
    );
    assert_eq!(push(101).await.error(414), "TAG_INVALID");
    let by_tag = call(&service, "PUT", "/v2/a/manifests/x?tag=y", &document).await;
    assert_eq!(by_tag.error(400), "TAG_INVALID");
    let pulled = call(&service, "GET", "/v2/a/manifests/t1", b"")
        .await
        .is(200);
    assert_eq!(pulled.header("docker-content-digest"), sha512.to_string());
}

#[tokio::test]
async fn conditional_pushes() {
    let service = RegistryService::in_memory();
    let put = async |target: &str, name: &str, value: &str, document: &[u8]| {
        let put = request("PUT", target).header(name, value);
        let body = Full::new(Bytes::copy_from_slice(document));
        send(&service, put.body(body).unwrap())
            .await
            .status
            .as_u16()
    };
    let (one, two) = (index("1"), index("2"));
    let etag = |document: &[u8]| format!("\"{}\"", digest(document));
    let tag = "/v2/a/manifests/t";
    assert_eq!(put(tag, "if-match", "*", &one).await, 412);
    assert_eq!(put(tag, "if-none-match", "*", &one).await, 201);
    assert_eq!(put(tag, "if-none-match", "*", &two).await, 412);
    assert_eq!(put(tag, "if-none-match", &etag(&one), &two).await, 412);
    assert_eq!(put(tag, "if-match", &etag(&two), &two).await, 412);
    assert_eq!(
        put(tag, "if-match", &format!("\"x\", {}", etag(&one)), &two).await,
        201
    );
    assert_eq!(put(tag, "if-match", "*", &one).await, 201);
    let by_digest = format!("/v2/a/manifests/{}", digest(&two));
    assert_eq!(put(&by_digest, "if-none-match", "*", &two).await, 412);
    assert_eq!(put(&by_digest, "if-match", &etag(&two), &two).await, 201);
    // Several tags that differ have no one state that the write could depend on.
    push_index(&service, "a", "u").await;
    let both = format!("{by_digest}?tag=t&tag=u");
    assert_eq!(put(&both, "if-match", "*", &two).await, 400);
    assert_eq!(
        put(
            &format!("{by_digest}?tag=v&tag=w"),
            "if-none-match",
            "*",
            &two
        )
        .await,
        201
    );
}

#[tokio::test]
async fn a_manifest_over_the_limit_is_413() {
    let mut limits = oci_http::oci_core::registry::Limits::default();
    limits.manifest_size = 100;
    let registry = Registry::builder(MemoryStore::new()).limits(limits).build();
    let service = RegistryService::new(registry);
    let reply = call(&service, "PUT", "/v2/a/manifests/t", &[b' '; 101]).await;
    assert_eq!(reply.error(413), "MANIFEST_INVALID");
}

#[tokio::test]
async fn methods_that_do_not_exist() {
    let registry = Registry::builder(MemoryStore::new())
        .without_deletes("ask the host")
        .build();
    let service = RegistryService::new(registry);
    let reply = call(&service, "POST", "/v2/a/tags/list", b"").await;
    assert_eq!(reply.error(405), "UNSUPPORTED");
    assert_eq!(reply.header("allow"), "GET, HEAD, OPTIONS");
    let options = call(&service, "OPTIONS", "/v2/a/manifests/t", b"")
        .await
        .is(204);
    assert_eq!(options.header("allow"), "GET, HEAD, PUT, OPTIONS");
    let reply = call(&service, "DELETE", "/v2/a/manifests/t", b"").await;
    assert_eq!(reply.error(405), "UNSUPPORTED");
    assert_eq!(reply.header("allow"), "GET, HEAD, PUT, OPTIONS");
    assert!(
        reply.json()["errors"][0]["message"]
            .as_str()
            .unwrap()
            .contains("ask the host")
    );
}

#[tokio::test]
async fn limits_of_what_is_parsed() {
    let service = RegistryService::in_memory();
    let target = format!("/v2/?{}", "x".repeat(40_000));
    assert_eq!(
        call(&service, "GET", &target, b"").await.error(414),
        "UNSUPPORTED"
    );
    let get = request("GET", "/v2/").header("x-large", "x".repeat(70_000));
    let reply = send(&service, get.body(Full::default()).unwrap()).await;
    assert_eq!(reply.error(431), "UNSUPPORTED");
}

#[tokio::test]
async fn errors_reach_the_logs_of_the_host() {
    let service = RegistryService::in_memory();
    let reply = call(&service, "GET", "/v2/a/manifests/t", b"").await;
    let error = reply.extensions.get::<Arc<RegistryError>>().unwrap();
    assert_eq!(error.code(), ErrorCode::ManifestUnknown);
}
