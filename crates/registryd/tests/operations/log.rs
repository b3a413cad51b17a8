use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::running::{Running, start};

fn line(server: &Running) -> Value {
    serde_json::from_str(&server.wait_for("http.request.uri")).unwrap()
}

fn config(more: &str) -> String {
    format!(
        "version: 0.1\nlog: {{formatter: json, fields: {{service: registry}}}}\n\
         storage: inmemory\nhttp: {{addr: '127.0.0.1:0'{more}}}\n"
    )
}

#[test]
fn each_request_is_one_line_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &config(""));
    let answer = server.ask(
        "GET /v2/a/tags/list?n=3&token=hidden&_state=hidden HTTP/1.1\r\nUser-Agent: curl/8 \"x\"\r\n\
         X-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer hidden\r\nX-Request-Id: given-1",
    );
    assert_eq!(answer.header("x-request-id"), "given-1");
    let text = server.wait_for("http.request.uri");
    assert!(!text.contains("hidden"), "{text}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["http.request.id"], "given-1");
    assert_eq!(line["http.request.method"], "GET");
    assert_eq!(
        line["http.request.uri"],
        "/v2/a/tags/list?n=3&token=redacted&_state=redacted"
    );
    assert_eq!(line["http.request.useragent"], "curl/8 \"x\"");
    assert_eq!(line["http.response.status"], 404);
    assert_eq!(line["http.response.written"], answer.body.len());
    assert_eq!(line["service"], "registry");
    let remote = line["http.request.remoteaddr"].as_str().unwrap();
    assert!(
        remote.starts_with("127.0.0.1:"),
        "nobody is trusted: {remote}"
    );

    let made = server.ask("GET /v2/b/tags/list HTTP/1.1\r\nX-Request-Id: not harmless");
    assert_eq!(made.headers("x-request-id").len(), 1);
    let id = made.header("x-request-id");
    assert!(!id.is_empty() && !id.contains(' '), "{id}");
    assert_eq!(self::line(&server)["http.request.id"], id);
}

#[test]
fn a_trusted_proxy_is_believed_about_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        &config(", trustedproxies: [127.0.0.0/8, 10.0.0.1], relativeurls: false"),
    );
    let answer = server.ask(
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: inner:1\r\nX-Forwarded-For: 1.1.1.1, 203.0.113.7, 10.0.0.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: registry.example:8443",
    );
    assert!(
        answer
            .header("location")
            .starts_with("https://registry.example:8443/v2/a/blobs/uploads/"),
        "{answer:?}"
    );
    assert_eq!(line(&server)["http.request.remoteaddr"], "203.0.113.7");
}

#[test]
fn nobody_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(dir.path(), &config(", relativeurls: false"));
    let answer = server.ask(
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: inner:1\r\nX-Forwarded-Proto: https\r\n\
         X-Forwarded-Host: evil.test\r\nForwarded: host=evil.test;proto=https",
    );
    let location = answer.header("location");
    assert!(location.starts_with("http://inner:1/v2/a/"), "{location}");
}

#[test]
fn probes_are_for_level_debug_and_users_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{}auth: {{htpasswd: {{realm: r, path: htpasswd}}}}\n",
        config("")
    );
    let server = start(dir.path(), &text);
    for path in ["/", "/livez", "/readyz", "/startupz"] {
        assert_eq!(server.ask(&format!("GET {path} HTTP/1.1")).status, 200);
    }
    server.ask("GET /v2/ HTTP/1.1");
    let first = line(&server);
    assert_eq!(
        first["http.request.uri"], "/v2/",
        "the probes before it are not there"
    );
    assert_eq!(first["http.response.status"], 401);
    assert_eq!(first["auth.user.name"], "-");

    let password = std::fs::read_to_string(dir.path().join("htpasswd.password")).unwrap();
    let credentials = STANDARD.encode(format!("docker:{}", password.trim()));
    let basic = format!("Authorization: Basic {credentials}");
    server.ask(&format!("GET /v2/_catalog HTTP/1.1\r\n{basic}"));
    assert_eq!(line(&server)["auth.user.name"], "docker");
}

#[test]
fn headers_of_the_configuration_reach_browsers_also_before_a_login() {
    let dir = tempfile::tempdir().unwrap();
    let server = start(
        dir.path(),
        "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {realm: r, path: htpasswd}}\n\
         http:\n  addr: '127.0.0.1:0'\n  headers:\n    X-Content-Type-Options: [nosniff]\n    \
         Access-Control-Allow-Origin: ['https://ui.example']\n    \
         Access-Control-Allow-Methods: ['HEAD', 'GET', 'OPTIONS', 'DELETE']\n    \
         Access-Control-Allow-Headers: ['Authorization', 'Accept']\n",
    );
    let origin = "Origin: https://ui.example";
    let preflight = server.ask(&format!(
        "OPTIONS /v2/_catalog HTTP/1.1\r\n{origin}\r\nAccess-Control-Request-Method: GET\r\n\
         Access-Control-Request-Headers: authorization"
    ));
    assert_eq!(preflight.status, 204, "{preflight:?}");
    assert_eq!(
        preflight.headers("access-control-allow-origin"),
        ["https://ui.example"]
    );
    assert_eq!(preflight.headers("access-control-allow-methods").len(), 4);
    assert_eq!(
        preflight.headers("access-control-allow-headers"),
        ["Authorization", "Accept"]
    );
    let refused = server.ask(&format!("GET /v2/_catalog HTTP/1.1\r\n{origin}"));
    assert_eq!(refused.status, 401);
    assert_eq!(
        refused.headers("access-control-allow-origin"),
        ["https://ui.example"]
    );
    assert_eq!(refused.headers("x-content-type-options"), ["nosniff"]);
}
