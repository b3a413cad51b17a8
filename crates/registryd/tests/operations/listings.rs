use crate::running::{BLOB, image, start};

#[test]
fn each_listing_has_a_limit_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n\
         catalog: {maxentries: 2}\ntags: {maxtags: 3}\n",
    );
    for repository in ["a", "b", "c"] {
        for tag in ["1", "2", "3", "4"] {
            server.push(repository, tag);
        }
    }
    let catalog = server.ask("GET /v2/_catalog HTTP/1.1");
    assert_eq!(catalog.body, r#"{"repositories":["a","b"]}"#);
    assert!(catalog.header("link").contains("last=b"));
    let tags = server.ask("GET /v2/a/tags/list?n=100 HTTP/1.1");
    assert_eq!(tags.body, r#"{"name":"a","tags":["1","2","3"]}"#);
    assert!(tags.header("link").contains("last=3"));
}

#[test]
fn an_unknown_tag_names_the_nearest() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n",
    );
    server.push("team/site", "0.1");
    let missing = server.ask("GET /v2/team/site/manifests/latest HTTP/1.1");
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("MANIFEST_UNKNOWN"));
    assert!(
        missing
            .body
            .contains("the tag `latest` is not in team/site; its tags are: 0.1"),
        "{missing:?}"
    );
    for tag in ["0.2", "0.3", "lates", "x", "y"] {
        server.push("team/site", tag);
    }
    let missing = server.ask("GET /v2/team/site/manifests/latest HTTP/1.1");
    assert!(
        missing.body.contains("among its tags are: lates, "),
        "{missing:?}"
    );
    let nothing = server.ask("GET /v2/team/sites/manifests/latest HTTP/1.1");
    assert!(
        nothing
            .body
            .contains("nothing was pushed to that repository"),
        "{nothing:?}"
    );
    assert_eq!(
        server
            .ask("HEAD /v2/team/site/manifests/latest HTTP/1.1")
            .status,
        404
    );
}

#[test]
fn layers_from_elsewhere_need_leave() {
    let foreign = format!(
        r#"{{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": "{BLOB}",
            "size": 5, "urls": ["https://layers.example/x"]}}"#
    );
    for (validation, status) in [
        ("", 400),
        ("validation: {disabled: true}", 201),
        (
            "validation: {manifests: {urls: {allow: ['^https://layers\\.example/']}}}",
            201,
        ),
        (
            "validation: {manifests: {urls: {allow: ['.'], deny: ['layers']}}}",
            400,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "version: 0.1\nstorage: inmemory\nhttp: {{addr: '127.0.0.1:0'}}\n{validation}\n"
        );
        let server = start(dir.path(), &config);
        server.push("a", "plain");
        let answer = server.put("a", "foreign", &image(&foreign));
        assert_eq!(answer.status, status, "{validation}: {answer:?}");
        assert!(
            status == 201 || answer.body.contains("validation.manifests.urls"),
            "{answer:?}"
        );
    }
}

#[test]
fn read_only_says_so_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: {inmemory: {}, maintenance: {readonly: {enabled: true}}}\n\
         http: {addr: '127.0.0.1:0'}\n",
    );
    let reads = "GET, HEAD, OPTIONS";
    for (request, allowed) in [
        ("POST /v2/a/blobs/uploads/ HTTP/1.1", "OPTIONS"),
        ("PUT /v2/a/manifests/b HTTP/1.1", reads),
        ("DELETE /v2/a/manifests/b HTTP/1.1", reads),
        (
            "PATCH /v2/a/blobs/uploads/00000000-0000-4000-8000-000000000000 HTTP/1.1",
            reads,
        ),
    ] {
        let answer = server.send(request, image("").as_bytes());
        assert_eq!(answer.status, 405, "{request}: {answer:?}");
        assert!(
            answer.headers("allow") == [allowed],
            "{request}: {answer:?}"
        );
        assert!(
            answer.body.contains("storage.maintenance.readonly.enabled"),
            "{answer:?}"
        );
    }
    assert_eq!(server.ask("GET /v2/ HTTP/1.1").status, 200);
    assert_eq!(server.ask("GET /readyz HTTP/1.1").status, 200);
}
