//! `REGISTRY_*` variables: what `cases.txt` does not say about them.

use std::path::PathBuf;

use super::{
    super::{Loader, Severity, StorageDriver},
    IMAGE, SMALL, errors, load, loaded, refused, value, warnings, whats,
};

#[test]
fn storage_and_auth_are_replaced_by_name() {
    let memory = loaded(IMAGE, &[("REGISTRY_STORAGE", "inmemory")]);
    assert_eq!(memory.config.storage.driver, StorageDriver::InMemory {});
    // All of the file's `storage` is gone, the cache setting as well.
    assert_eq!(whats(&memory, Severity::Note), [""; 0]);
    // The parent applies before its children, whatever the order of their lengths.
    let replaced = loaded(
        IMAGE,
        &[
            ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data"),
            ("REGISTRY_STORAGE", "filesystem"),
        ],
    );
    assert_eq!(
        value(&replaced, "storage.filesystem.rootdirectory"),
        "/data"
    );
    let whole = loaded(
        IMAGE,
        &[(
            "REGISTRY_STORAGE",
            "{inmemory: {}, delete: {enabled: true}}",
        )],
    );
    assert!(whole.config.storage.delete.enabled);
    // A name in the file and parameters in variables.
    let text = "version: 0.1\nstorage: filesystem\nhttp: {addr: ':1'}\n";
    let named = loaded(
        text,
        &[("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/data")],
    );
    assert_eq!(value(&named, "storage.filesystem.rootdirectory"), "/data");
    let auth = format!("{SMALL}auth: {{htpasswd: {{path: /p}}}}\n");
    let none = loaded(&auth, &[("REGISTRY_AUTH", "none")]);
    assert_eq!(value(&none, "auth"), serde_json::json!({"none": {}}));
    let alone = loaded(SMALL, &[("REGISTRY_AUTH_HTPASSWD_PATH", "/p")]);
    assert_eq!(value(&alone, "auth.htpasswd.path"), "/p");
}

#[test]
fn a_second_driver_or_type_is_refused_with_both_sources() {
    let error = refused(IMAGE, &[("REGISTRY_STORAGE_INMEMORY", "")]);
    assert!(
        error.to_string().contains(
            "\
error: more than one storage driver: `storage.filesystem`, `storage.inmemory`
  --> config.yml:8:3
  --> environment variable REGISTRY_STORAGE_INMEMORY
"
        ),
        "{error}"
    );
    let error = refused(IMAGE, &[("REGISTRY_STORAGE_S3_BUCKET", "b")]);
    assert_eq!(
        errors(&error),
        ["more than one storage driver: `storage.filesystem`, `storage.s3`"]
    );
    let two = [
        ("REGISTRY_AUTH_HTPASSWD_PATH", "/p"),
        ("REGISTRY_AUTH_TOKEN_REALM", "r"),
    ];
    assert_eq!(
        errors(&refused(SMALL, &two)),
        [
            "`auth.token` is not supported",
            "more than one authentication type: `auth.htpasswd`, `auth.token`"
        ]
    );
}

#[test]
fn an_empty_variable_does_not_remove_authentication() {
    let text = format!("{SMALL}auth: {{htpasswd: {{path: /p}}}}\n");
    assert_eq!(
        refused(&text, &[("REGISTRY_AUTH", "")]).to_string(),
        "\
error: an empty variable would remove authentication
  --> environment variable REGISTRY_AUTH
  --> config.yml:4:1
   = why: everybody could push and pull
   = fix: unset the variable; or, if that is meant, set it to `none`
"
    );
    // Nothing to remove: said, not refused.
    let open = loaded(SMALL, &[("REGISTRY_AUTH", "")]);
    assert_eq!(warnings(&open), ["`auth` names no type of authentication"]);
}

#[test]
fn an_empty_variable_does_not_remove_what_the_file_protects_with() {
    let files = "certificate: /c, key: /k, clientcas: [/ca], minimumtls: tls1.3";
    let text = format!(
        "version: 0.1\nstorage: inmemory\nhttp: {{addr: ':5000', tls: {{{files}}}}}\nauth: {{htpasswd: {{path: /p, realm: r}}}}\n"
    );
    for (names, paths) in [
        (&["REGISTRY_HTTP"][..], &["http"][..]),
        (&["REGISTRY_HTTP_TLS"], &["http.tls"]),
        (
            &["REGISTRY_HTTP_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_KEY"],
            &["http.tls.certificate", "http.tls.key"],
        ),
        (&["REGISTRY_HTTP_TLS_CLIENTCAS"], &["http.tls.clientcas"]),
        (
            &["REGISTRY_HTTP_TLS_CLIENTCAS_0"],
            &["http.tls.clientcas.0"],
        ),
        (&["REGISTRY_HTTP_TLS_MINIMUMTLS"], &["http.tls.minimumtls"]),
        (&["REGISTRY_AUTH_HTPASSWD"], &["auth.htpasswd"]),
        (&["REGISTRY_AUTH_HTPASSWD_PATH"], &["auth.htpasswd.path"]),
    ] {
        for empty in ["", " ", "~", "''"] {
            let variables: Vec<_> = names.iter().map(|name| (*name, empty)).collect();
            let error = refused(&text, &variables);
            let want: Vec<_> = paths
                .iter()
                .map(|path| format!("an empty variable would remove `{path}`"))
                .collect();
            assert_eq!(errors(&error), want);
            let place = format!("environment variable {}", names[0]);
            assert!(error.to_string().contains(&place), "{error}");
        }
        // Nothing to remove, as the templates of compose files leave it.
        let small = format!("{SMALL}auth: none\n");
        let variables: Vec<_> = names.iter().map(|name| (*name, "")).collect();
        if ["http", "http.tls", "http.tls.certificate"].contains(&paths[0]) {
            load(&small, &variables).unwrap_or_else(|error| panic!("{names:?}: {error}"));
        }
    }
    // What is meant is said.
    let plain = loaded(&text, &[("REGISTRY_HTTP_TLS", "{}")]);
    assert_eq!(plain.config.http.tls, None);
    let realm = loaded(&text, &[("REGISTRY_AUTH_HTPASSWD_REALM", "")]);
    assert_eq!(value(&realm, "auth.htpasswd.path"), "/p");
}

#[test]
fn list_items_sort_by_number_under_either_name() {
    let names = ["REGISTRY_HEALTH_FILECHECKERS", "REGISTRY_HEALTH_FILE"];
    for name in names {
        let variables: Vec<_> = (0..12)
            .map(|n| (format!("{name}_{n}_FILE"), format!("/{n}")))
            .collect();
        let borrowed: Vec<_> = variables
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        let loaded = loaded(SMALL, &borrowed);
        let files: Vec<_> = loaded
            .config
            .health
            .file
            .iter()
            .map(|check| check.file.to_str().unwrap().to_owned())
            .collect();
        let want: Vec<_> = (0..12).map(|n| format!("/{n}")).collect();
        assert_eq!(files, want);
    }
    let text = format!("{SMALL}health: {{file: [{{file: /a}}, {{file: /b}}]}}\n");
    let changed = loaded(&text, &[("REGISTRY_HEALTH_FILE_1_INTERVAL", "3s")]);
    assert_eq!(value(&changed, "health.file.1.interval"), "3s");
    assert_eq!(value(&changed, "health.file.1.file"), "/b");
    let error = refused(&text, &[("REGISTRY_HEALTH_FILE_3_FILE", "/d")]);
    assert_eq!(
        errors(&error),
        ["`health.file` has 2 items, so there is no item 3"]
    );
    // Lists of plain values.
    let loaded = loaded(
        SMALL,
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "c"),
            ("REGISTRY_HTTP_TLS_KEY", "k"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_0", "a.pem"),
            ("REGISTRY_HTTP_TLS_CLIENTCAS_1", "b.pem"),
        ],
    );
    let clientcas = &loaded.config.http.tls.as_ref().unwrap().clientcas;
    assert_eq!(clientcas, &[PathBuf::from("a.pem"), PathBuf::from("b.pem")]);
}

#[test]
fn wrong_values_name_the_variable() {
    for (name, written, what) in [
        (
            "REGISTRY_STORAGE_DELETE_ENABLED",
            "1",
            "`storage.delete.enabled` must be `true` or `false`, not `1`",
        ),
        (
            "REGISTRY_STORAGE_DELETE",
            "true",
            "`storage.delete` must be a mapping with the keys `enabled`, not `true`",
        ),
        (
            "REGISTRY_HTTP_ADDR",
            "5000",
            "`http.addr` is `5000`: it has no `:PORT`",
        ),
        (
            "REGISTRY_HTTP_HEADERS",
            "{a: [b",
            "the value of `http.headers` is not valid YAML",
        ),
        (
            "REGISTRY_LOG_LEVEL",
            "wran",
            "`log.level` must be one of `error`, `warn`, `info`, `debug`, not `wran`",
        ),
        (
            "REGISTRY_HTTP_DEBUG",
            "yes",
            "`http.debug` must be a mapping with the keys `addr`, `prometheus`, not `yes`",
        ),
    ] {
        let error = refused(SMALL, &[(name, written)]);
        let found = errors(&error);
        assert_eq!(found.len(), 1, "{error}");
        assert!(found[0].starts_with(what), "{error}");
        let place = format!("  --> environment variable {name}\n");
        assert!(error.to_string().contains(&place), "{error}");
    }
}

#[test]
fn a_variable_below_a_plain_value_names_both() {
    let text = SMALL.replace("{addr: ':5000'}", "nonsense");
    assert_eq!(
        refused(&text, &[("REGISTRY_HTTP_ADDR", ":5000")])
            .to_string()
            .lines()
            .take(3)
            .collect::<Vec<_>>(),
        [
            "error: `http` must be a mapping for this variable to apply, not `nonsense`",
            "  --> environment variable REGISTRY_HTTP_ADDR",
            "  --> config.yml:3:7",
        ]
    );
}

#[test]
fn unknown_variables_are_warned_of_with_the_one_that_was_meant() {
    for (name, meant) in [
        (
            "REGISTRY_STORAGE_DELETE_ENABLE",
            Some("REGISTRY_STORAGE_DELETE_ENABLED"),
        ),
        ("REGISTRY_HTTP_ADR", Some("REGISTRY_HTTP_ADDR")),
        ("REGISTRY_PORT", Some("REGISTRY_HTTP_ADDR")),
        ("REGISTRY_HTTP_PORT", Some("REGISTRY_HTTP_ADDR")),
        ("REGISTRY_http_addr", Some("REGISTRY_HTTP_ADDR")),
        (
            "REGISTRY_STORAGE_FILESYSTEM_ROOT_DIRECTORY",
            Some("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY"),
        ),
        (
            "REGISTRY_LOG_FIELD_SERVICE",
            Some("REGISTRY_LOG_FIELDS_SERVICE"),
        ),
        ("REGISTRY_USERNAME", None),
        ("REGISTRY_", None),
        ("REGISTRY__", None),
    ] {
        let loaded = loaded(SMALL, &[(name, "5000")]);
        assert_eq!(
            warnings(&loaded),
            [format!("unknown environment variable `{name}` is ignored")]
        );
        let fix = loaded.diagnostics.iter().next().unwrap().fix.clone();
        let want = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "unset it, or rename it if it is not meant for the registry".to_owned(),
        };
        assert_eq!(fix, Some(want), "{name}");
        let strict = Loader::new()
            .text("c", SMALL)
            .variables([(name, "5000")])
            .strict(true)
            .load();
        assert_eq!(errors(&strict.unwrap_err()).len(), 1);
    }
    // As a compose list item with spaces around `=`.
    let loaded = loaded(SMALL, &[("REGISTRY_STORAGE_DELETE_ENABLED ", " true")]);
    assert_eq!(
        loaded.diagnostics.to_string(),
        "\
warning: unknown environment variable `REGISTRY_STORAGE_DELETE_ENABLED ` is ignored
  --> environment variable REGISTRY_STORAGE_DELETE_ENABLED 
   = fix: its name ends with a space; did you mean `REGISTRY_STORAGE_DELETE_ENABLED`?
"
    );
}

#[test]
fn unknown_variables_that_would_protect_or_place_content_are_refused() {
    for name in [
        "REGISTRY_AUTH_HTPASWD_PATH",
        "REGISTRY_AUTH_HTPASSWD_FILE",
        "REGISTRY_ATUH_HTPASSWD_PATH",
        "REGISTRY_HTTP_TLS_CERTIFICAT",
        "REGISTRY_HTTP_TSL_KEY",
        "REGISTRY_STORAGE_FILESYTEM_ROOTDIRECTORY",
        "REGISTRY_AUTH_HTPASSWD_PATH ",
    ] {
        let error = refused(SMALL, &[(name, "/x")]);
        let what = format!("unknown environment variable `{name}`");
        assert_eq!(errors(&error), [what]);
    }
}

#[test]
fn variables_that_ask_for_tls_or_a_login_in_another_place_are_refused_with_the_right_one() {
    for (name, meant) in [
        ("REGISTRY_TLS_CERTIFICATE", "REGISTRY_HTTP_TLS_CERTIFICATE"),
        ("REGISTRY_TLS_KEY", "REGISTRY_HTTP_TLS_KEY"),
        ("REGISTRY_HTTP_CERTIFICATE", "REGISTRY_HTTP_TLS_CERTIFICATE"),
        ("REGISTRY_HTTP_KEY", "REGISTRY_HTTP_TLS_KEY"),
        (
            "REGISTRY_HTTPS_CERTIFICATE",
            "REGISTRY_HTTP_TLS_CERTIFICATE",
        ),
        ("REGISTRY_CERTIFICATE", "REGISTRY_HTTP_TLS_CERTIFICATE"),
        ("REGISTRY_HTTP_CLIENTCAS", "REGISTRY_HTTP_TLS_CLIENTCAS"),
        ("REGISTRY_HTTPS", "REGISTRY_HTTP_TLS"),
        ("REGISTRY_TLS", "REGISTRY_HTTP_TLS"),
        ("REGISTRY_HTPASSWD", "REGISTRY_AUTH_HTPASSWD"),
        ("REGISTRY_HTPASSWD_PATH", "REGISTRY_AUTH_HTPASSWD_PATH"),
        (
            "REGISTRY_AUTHENTICATION_HTPASSWD_PATH",
            "REGISTRY_AUTH_HTPASSWD_PATH",
        ),
        ("REGISTRY_AUTHENTICATION", "REGISTRY_AUTH"),
    ] {
        let error = refused(SMALL, &[(name, "/x")]);
        let what = format!("unknown environment variable `{name}`");
        assert_eq!(errors(&error), [what]);
        let fix = format!("did you mean `{meant}`?");
        assert!(error.to_string().contains(&fix), "{name}: {error}");
    }
    // Words without a key that was meant.
    for name in [
        "REGISTRY_TLS_ENABLED",
        "REGISTRY_SSL",
        "REGISTRY_HTTP_AUTH_USERS",
    ] {
        let error = refused(SMALL, &[(name, "true")]);
        assert_eq!(
            errors(&error),
            [format!("unknown environment variable `{name}`")]
        );
    }
    // Of clients, of links, or with nothing in them.
    for (name, written) in [
        ("REGISTRY_TLS_VERIFY", "false"),
        ("REGISTRY_ENV_REGISTRY_HTTP_TLS_CERTIFICATE", "/c"),
        ("REGISTRY_KEY", "k"),
        ("REGISTRY_EMAIL", "ops@example.com"),
        ("REGISTRY_TLS_ENABLED", ""),
    ] {
        let loaded = loaded(SMALL, &[(name, written)]);
        assert_eq!(
            warnings(&loaded),
            [format!("unknown environment variable `{name}` is ignored")]
        );
    }
}

#[test]
fn variables_of_others_are_let_alone() {
    let loaded = loaded(
        SMALL,
        &[
            // Services called `registry`, `registry-auth`, `registry-storage`, `registry-redis`.
            ("REGISTRY_PORT", "tcp://10.43.0.7:5000"),
            ("REGISTRY_PORT_5000_TCP_ADDR", "10.43.0.7"),
            ("REGISTRY_SERVICE_HOST", "10.43.0.7"),
            ("REGISTRY_SERVICE_PORT_HTTP", "5000"),
            ("REGISTRY_AUTH_PORT", "tcp://10.43.0.8:5001"),
            ("REGISTRY_TLS_PORT", "tcp://10.43.0.8:443"),
            ("REGISTRY_TLS_PORT_443_TCP_PROTO", "tcp"),
            ("REGISTRY_TLS_SERVICE_HOST", "10.43.0.8"),
            ("REGISTRY_HTTPS_SERVICE_PORT_HTTPS", "443"),
            ("REGISTRY_AUTH_SERVICE_HOST", "10.43.0.8"),
            ("REGISTRY_STORAGE_PORT", "tcp://10.43.0.9:1"),
            ("REGISTRY_STORAGE_PORT_1_TCP", "tcp://10.43.0.9:1"),
            ("REGISTRY_REDIS_PORT", "tcp://10.43.0.10:6379"),
            ("REGISTRY_REDIS_SERVICE_HOST", "10.43.0.10"),
            ("REGISTRY_REDIS_PORT_6379_TCP_PORT", "6379"),
            // Not of this program at all.
            ("REGISTRYD_PORT", "x"),
            ("HOME", "/root"),
            ("registry_http_addr", "x"),
        ],
    );
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
    let loaded = super::loaded(
        SMALL,
        &[
            ("REGISTRY_AUTH_FILE", "/run/containers/0/auth.json"),
            ("REGISTRY_VERSION", "2.8.3"),
        ],
    );
    assert_eq!(
        whats(&loaded, Severity::Note),
        [
            "`REGISTRY_AUTH_FILE` has no effect",
            "`REGISTRY_VERSION` has no effect"
        ]
    );
    assert_eq!(warnings(&loaded), [""; 0]);
}

#[test]
fn a_variable_names_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yml");
    std::fs::write(&path, SMALL).unwrap();
    let variable = ("REGISTRY_CONFIGURATION_PATH", path.to_str().unwrap());
    let loaded = Loader::new().variables([variable]).load().unwrap();
    assert_eq!(loaded.path.as_ref(), Some(&path));
    assert_eq!(loaded.config.storage.driver, StorageDriver::InMemory {});
    assert!(loaded.diagnostics.is_empty());
    // The path that is given wins.
    let other = Loader::new()
        .variables([variable])
        .text("other.yml", IMAGE)
        .load()
        .unwrap();
    assert_ne!(other.config.storage.driver, StorageDriver::InMemory {});
}

#[test]
fn a_text_that_is_no_yaml_is_still_a_text() {
    for secret in [
        "p@ss: word",
        "%abc",
        "@x",
        "*star",
        "[half",
        "{",
        "a: b: c",
        "&a",
        "&a b",
        "!a",
        "!a b",
        "!!a",
        "#a",
        "# a",
        "|",
        "|a",
        "| a",
        ">",
        ">-",
        "> a",
        "...",
    ] {
        let mut variables = vec![
            ("REGISTRY_HTTP_SECRET", secret),
            ("REGISTRY_LOG_FIELDS_SECRET", secret),
        ];
        // A list of one needs no brackets; what could be a list or a mapping is one.
        let is_one = !secret.starts_with(['[', '{', '.']) && !secret.contains(": ");
        if is_one {
            variables.push(("REGISTRY_HTTP_HEADERS_X-SECRET", secret));
        }
        let loaded = loaded(SMALL, &variables);
        assert_eq!(loaded.config.http.secret.as_ref().unwrap().expose(), secret);
        assert_eq!(value(&loaded, "log.fields.secret"), secret);
        if is_one {
            assert_eq!(value(&loaded, "http.headers.x-secret.0"), secret);
        }
    }
    // A block is one, and so is a tag that only says text.
    for (written, read) in [("|\n  a\n  b\n", "a\nb\n"), ("!!str 5", "5"), ("~", "")] {
        let loaded = loaded(SMALL, &[("REGISTRY_HTTP_SECRET", written)]);
        let secret = loaded.config.http.secret.as_ref();
        let secret = secret.map(|secret| secret.expose().to_owned());
        assert_eq!(secret.unwrap_or_default(), read);
    }
}
