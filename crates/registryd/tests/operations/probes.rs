use crate::running::start;

const CHECKED: &str = "\
version: 0.1
storage: {filesystem: {rootdirectory: data}}
http: {addr: '127.0.0.1:0', debug: {addr: '127.0.0.1:0'}}
";

#[test]
fn a_storage_that_is_gone_fails_readiness_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "{CHECKED}health: {{storagedriver: {{enabled: true, interval: 20ms, threshold: 2}}}}\n"
    );
    let server = start(dir.path(), &config);
    for path in ["/", "/livez", "/readyz", "/startupz"] {
        assert_eq!(
            server.ask(&format!("GET {path} HTTP/1.1")).status,
            200,
            "{path}"
        );
        assert_eq!(
            server.ask(&format!("HEAD {path} HTTP/1.1")).status,
            200,
            "{path}"
        );
    }
    assert_eq!(server.ask("POST /readyz HTTP/1.1").status, 405);
    let health = server.operator("/debug/health");
    assert_eq!((health.status, health.body.as_str()), (200, "{}"));

    let (here, away) = (dir.path().join("data"), dir.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    let unready = server.until(&server.address, "/readyz", 503);
    assert!(
        !unready.body.contains("data"),
        "clients are not told where: {unready:?}"
    );
    assert_eq!(server.ask("GET / HTTP/1.1").status, 503);
    assert_eq!(server.ask("GET /livez HTTP/1.1").status, 200);
    assert_eq!(server.ask("GET /v2/ HTTP/1.1").status, 200);
    let health = server.operator("/debug/health");
    assert_eq!(health.status, 503);
    let problems: serde_json::Value = serde_json::from_str(&health.body).unwrap();
    let problem = problems["storagedriver_filesystem"].as_str().unwrap();
    assert!(problem.contains("data"), "operators are told: {problem}");
    server.wait_for("a health check fails");

    std::fs::rename(&away, &here).unwrap();
    server.until(&server.address, "/readyz", 200);
    assert_eq!(server.ask("GET / HTTP/1.1").status, 200);
    server.wait_for("a health check is fine again");
}

#[test]
fn other_checks_show_to_operators_only() {
    let dir = tempfile::tempdir().unwrap();
    let down = dir.path().join("down");
    let config = format!(
        "{CHECKED}health: {{file: [{{file: '{}', interval: 20ms}}]}}\n",
        down.display()
    );
    let server = start(dir.path(), &config);
    assert_eq!(server.operator("/debug/health").status, 200);
    std::fs::write(&down, "").unwrap();
    let health = server.until(&server.operators, "/debug/health", 503);
    assert!(health.body.contains("file exists"), "{health:?}");
    for path in ["/", "/readyz", "/v2/"] {
        assert_eq!(
            server.ask(&format!("GET {path} HTTP/1.1")).status,
            200,
            "{path}"
        );
    }
    std::fs::remove_file(&down).unwrap();
    server.until(&server.operators, "/debug/health", 200);
}

#[test]
fn what_operators_see_clients_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), CHECKED);
    for path in ["/debug/health", "/metrics"] {
        assert_eq!(
            server.ask(&format!("GET {path} HTTP/1.1")).status,
            404,
            "{path}"
        );
    }
    assert_eq!(server.operator("/metrics").status, 404, "it is not enabled");
    assert!(server.operator("/debug/pprof/").body.contains("perf"));
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(server.operator(path).status, 200, "{path}");
    }
}
