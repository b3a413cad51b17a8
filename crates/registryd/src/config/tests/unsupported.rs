//! Keys of Distribution that are not supported: known by name, never lost without a word.

use super::{
    super::{
        Loader, schema,
        schema::{Kind, Support},
    },
    SMALL, errors, loaded, refused, value, warnings,
};

#[test]
fn what_would_serve_or_protect_something_else_is_refused() {
    for (addition, what) in [
        (
            "auth: {token: {realm: r, service: s, issuer: i}}",
            "`auth.token` is not supported",
        ),
        ("auth: token", "`auth.token` is not supported"),
        ("auth: {silly: {realm: r}}", "`auth.silly` is not supported"),
        (
            "proxy: {remoteurl: https://registry-1.docker.io}",
            "`proxy.remoteurl` is not supported",
        ),
        (
            "notifications: {endpoints: [{name: a, url: http://b}]}",
            "`notifications.endpoints` is not supported",
        ),
        (
            "middleware: {storage: [{name: cloudfront, options: {baseurl: https://cdn.example}}]}",
            "`middleware` is not supported",
        ),
    ] {
        let error = refused(&format!("{SMALL}{addition}\n"), &[]);
        assert_eq!(errors(&error), [what], "{addition}");
    }
    for driver in ["swift", "oss"] {
        let text = format!("version: 0.1\nhttp: {{addr: ':1'}}\nstorage: {driver}\n");
        assert_eq!(
            errors(&refused(&text, &[])),
            [format!("`storage.{driver}` is not supported")]
        );
    }
}

#[test]
fn the_rest_is_ignored_with_a_warning_and_refused_when_strict() {
    for addition in [
        "redis: {addr: 'redis:6379'}",
        "compatibility: {schema1: {enabled: true}}",
        "reporting: {bugsnag: {apikey: k}}",
        "validation: {manifests: {indexes: {platforms: none}}}",
        "log: {hooks: [{type: mail}]}",
        "log: {reportcaller: true}",
    ] {
        let text = format!("{SMALL}{addition}\n");
        let loaded = loaded(&text, &[]);
        let warnings = warnings(&loaded);
        assert_eq!(warnings.len(), 1, "{addition}: {warnings:?}");
        assert!(warnings[0].ends_with("is not supported and is ignored"));
        let strict = Loader::new().text("c", text).strict(true).load();
        assert_eq!(errors(&strict.unwrap_err()).len(), 1, "{addition}");
    }
}

#[test]
fn what_is_switched_off_is_no_news() {
    let loaded = loaded(
        &format!(
            "{SMALL}\
proxy: {{remoteurl: ''}}
notifications: {{endpoints: []}}
redis:
middleware: {{storage: [{{name: cloudfront, disabled: true}}]}}
compatibility: {{schema1: {{enabled: false}}}}
log: {{reportcaller: false, hooks: [{{type: mail, disabled: true}}]}}
"
        ),
        &[
            ("REGISTRY_PROXY_REMOTEURL", ""),
            ("REGISTRY_PROXY_PASSWORD", ""),
        ],
    );
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
}

#[test]
fn no_key_is_half_described() {
    schema::visit(&mut |path, key| {
        let opaque = matches!(key.kind, Kind::Opaque);
        let full = matches!(key.support, Support::Full);
        assert!(!(opaque && full), "{path} is neither read nor reported");
        assert_eq!(path, path.to_lowercase(), "keys are lower case");
    });
}

/// A key that is read and has no field would vanish without a word.
#[test]
fn every_key_that_is_read_has_a_field() {
    let files = "certificate: c, key: k";
    let everything = [
        ("filesystem", files),
        ("{s3: {bucket: b}}", files),
        ("{gcs: {bucket: b}}", files),
        ("{azure: {accountname: a, container: c}}", files),
        ("{sled: {path: /s}}", files),
        ("filesystem", "letsencrypt: {hosts: [a.example]}"),
    ]
    .map(|(driver, tls)| {
        let text = format!(
            "\
version: 0.1
storage: {driver}
auth: {{htpasswd: {{path: /p}}}}
http: {{addr: ':5000', tls: {{{tls}}}}}
"
        );
        loaded(&text, &[])
    });
    // Names of a choice that was not made, and keys that become part of another.
    let elsewhere = [
        "loglevel",
        "storage.inmemory",
        "auth.none",
        "http.net",
        "http.tls.local.directory",
    ];
    let shown = value(&everything[0], "http");
    assert!(shown.get("net").is_none() && shown.get("addr").is_some());
    let configs = everything.map(|loaded| serde_json::to_value(&loaded.config).unwrap());
    schema::visit(&mut |path, key| {
        let read = matches!(key.support, Support::Full) && key.kind.is_scalar();
        if read && !elsewhere.contains(&path) {
            let pointer = format!("/{}", path.replace('.', "/"));
            let has = configs
                .iter()
                .any(|config| config.pointer(&pointer).is_some());
            assert!(has, "{path} has no field");
        }
    });
    let local = loaded(
        &SMALL.replace(
            "':5000'",
            "':5000', tls: {local: {hosts: [a], directory: /d}}",
        ),
        &[],
    );
    assert_eq!(value(&local, "http.tls.local.directory"), "/d");
}
