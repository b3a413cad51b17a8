//! What is open to everybody.

use super::{SMALL, loaded};

#[test]
fn a_registry_that_everybody_can_push_to_is_warned_of_once_with_what_to_do() {
    let warning = loaded(SMALL, &[]).exposure().unwrap();
    assert_eq!(
        warning.what,
        "everybody who reaches `:5000` can push and pull"
    );
    assert_eq!(warning.places[0].to_string(), "config.yml:3:14");
    let fix = warning.fix.unwrap();
    for way in [
        "auth.htpasswd.path",
        "127.0.0.1:PORT",
        "readonly",
        "auth: none",
    ] {
        assert!(fix.contains(way), "{fix}");
    }
    for addr in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "registry.lan:1"] {
        let open = loaded(SMALL, &[("REGISTRY_HTTP_ADDR", addr)]);
        assert!(open.exposure().is_some(), "{addr}");
    }
}

#[test]
fn what_is_protected_or_meant_is_not_warned_of() {
    for variables in [
        &[("REGISTRY_HTTP_ADDR", "127.0.0.1:1")][..],
        &[("REGISTRY_HTTP_ADDR", "localhost:1")],
        &[("REGISTRY_HTTP_ADDR", "[::1]:1")],
        &[
            ("REGISTRY_HTTP_ADDR", "/run/r.sock"),
            ("REGISTRY_HTTP_NET", "unix"),
        ],
        &[("REGISTRY_AUTH", "none")],
        &[("REGISTRY_AUTH_HTPASSWD_PATH", "/p")],
        &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")],
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/c"),
            ("REGISTRY_HTTP_TLS_KEY", "/k"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "/ca"),
        ],
    ] {
        let found = loaded(SMALL, variables).exposure();
        assert_eq!(found, None, "{variables:?}");
    }
}
