use crate::running::start;

#[test]
fn metrics_have_the_names_that_dashboards_know() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.path().join("tls.crt"), made.cert.pem()).unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\n\
         http: {addr: '127.0.0.1:0', debug: {addr: '127.0.0.1:0', prometheus: {enabled: true}}}\n",
    );
    server.push("secret/name", "v1");
    assert_eq!(
        server
            .ask("GET /v2/secret/name/manifests/v1 HTTP/1.1")
            .status,
        200
    );
    let blob = "GET /v2/secret/name/blobs/sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1";
    assert_eq!(server.ask(blob).body, "hello");
    assert_eq!(
        server
            .ask("POST /v2/secret/name/blobs/uploads/ HTTP/1.1")
            .status,
        202
    );

    let scraped = server.operator("/metrics");
    assert_eq!(scraped.status, 200);
    assert!(
        scraped
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let text = &scraped.body;
    assert!(text.ends_with("# EOF\n"));
    for line in [
        "registry_http_requests_total{handler=\"blob\",code=\"200\",method=\"get\"} 1",
        "registry_http_requests_total{handler=\"blob_upload\",code=\"201\",method=\"post\"} 1",
        "registry_http_requests_total{handler=\"manifest\",code=\"201\",method=\"put\"} 1",
        "registry_http_in_flight_requests{handler=\"manifest\"} 0",
        "registry_http_request_duration_seconds_count{handler=\"blob\",method=\"get\"} 1",
        "registry_storage_action_seconds_count{driver=\"filesystem\",action=\"PutContent\"} 1",
        "registryd_blob_sent_bytes_total 5",
        "registryd_blob_received_bytes_total 5",
        "registryd_uploads_open 1",
        "registryd_auth_failures_total 0",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("no {name}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    assert!(value("registryd_storage_size_bytes") >= value("registryd_storage_free_bytes"));
    assert!(value("registryd_storage_size_bytes") > 0.0);
    assert!(value("process_resident_memory_bytes") > 0.0);
    assert!(!text.contains("secret"), "a repository is no label: {text}");
}

#[test]
fn wrong_passwords_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {realm: r, path: htpasswd}}\n\
         http: {addr: '127.0.0.1:0', debug: {addr: '127.0.0.1:0', prometheus: {enabled: true, path: /m}}}\n",
    );
    assert_eq!(server.ask("GET /v2/ HTTP/1.1").status, 401);
    // docker:wrong
    let wrong = "GET /v2/ HTTP/1.1\r\nAuthorization: Basic ZG9ja2VyOndyb25n";
    assert_eq!(server.ask(wrong).status, 401);
    let text = server.operator("/m").body;
    assert!(text.contains("registryd_auth_failures_total 1\n"), "{text}");
    assert!(
        text.contains(
            "registry_http_requests_total{handler=\"base\",code=\"401\",method=\"get\"} 2"
        )
    );
    assert!(
        !text.contains("registryd_storage_free_bytes 1"),
        "memory has no disk"
    );
}
