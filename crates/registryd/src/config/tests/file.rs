//! Configuration files: defaults, mistakes, and how they are reported.

use std::{fs, path::Path, time::Duration};

use super::{
    super::{
        Auth, ClientAuth, Config, ListenAddr, Loader, LogFormatter, LogLevel, Severity, Source,
        StorageDriver,
    },
    IMAGE, SMALL, errors, loaded, refused, value, warnings, whats,
};

#[test]
fn without_a_file_the_native_defaults_apply() {
    let loaded = Loader::new().load().unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.diagnostics.is_empty());
    assert_eq!(loaded.path, None);
    assert_eq!(loaded.sources.iter().count(), 0);
    let config = loaded.config;
    let StorageDriver::Filesystem(filesystem) = &config.storage.driver else {
        panic!("{:?}", config.storage)
    };
    assert_eq!(filesystem.rootdirectory, Path::new("./registry-data"));
    assert_eq!(config.http.addr.to_string(), "127.0.0.1:5000");
    assert!(config.storage.delete.enabled);
    assert_eq!(config.auth, Auth::None {});
}

#[test]
fn without_a_file_variables_change_only_what_they_name() {
    let load = |variables: &[(&str, &str)]| {
        let loader = Loader::new().variables(variables.iter().copied());
        loader.load().unwrap()
    };
    let threads = load(&[("REGISTRY_STORAGE_FILESYSTEM_MAXTHREADS", "50")]);
    assert_eq!(
        value(&threads, "storage.filesystem.rootdirectory"),
        "./registry-data"
    );
    assert_eq!(value(&threads, "storage.filesystem.maxthreads"), 50);
    assert_eq!(value(&threads, "storage.delete.enabled"), true);
    let memory = load(&[
        ("REGISTRY_STORAGE", "inmemory"),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "off"),
        ("REGISTRY_HTTP_ADDR", ":8080"),
    ]);
    assert_eq!(memory.config.storage.driver, StorageDriver::InMemory {});
    assert!(!memory.config.storage.delete.enabled);
    assert_eq!(memory.config.http.addr.to_string(), ":8080");
}

#[test]
fn a_file_has_the_defaults_of_distribution() {
    let loaded = loaded(
        "version: 0.1\nstorage:\n  filesystem:\nhttp:\n  addr: :5000\n",
        &[],
    );
    assert!(loaded.diagnostics.is_empty(), "{}", loaded.diagnostics);
    let config = &loaded.config;
    let StorageDriver::Filesystem(filesystem) = &config.storage.driver else {
        panic!("{:?}", config.storage)
    };
    assert_eq!(filesystem.rootdirectory, Path::new("/var/lib/registry"));
    assert_eq!(filesystem.maxthreads, 100);
    assert!(!config.storage.delete.enabled);
    assert_eq!(
        config.storage.maintenance.uploadpurging.age,
        Duration::from_secs(168 * 3600)
    );
    assert_eq!(config.http.relativeurls, None);
    assert_eq!(config.http.draintimeout, None);
    assert_eq!(config.http.prefix, "/");
    assert_eq!(config.catalog.maxentries, 1000);
    assert_eq!(config.log.level, LogLevel::Info);
}

#[test]
fn every_supported_key_arrives() {
    let loaded = loaded(
        "\
version: 0.1
log:
  level: WARN
  formatter: json
  fields: {service: registry, shard: 7}
  accesslog: {disabled: true}
storage:
  filesystem: {rootdirectory: /data, maxthreads: 200}
  delete: {enabled: on}
  redirect: {disable: true}
  maintenance:
    uploadpurging: {enabled: false, age: 24h, interval: 1h30m, dryrun: true}
    readonly: {enabled: true}
  gc: {enabled: true, interval: 6h, grace: 48h, untagged: true, dryrun: true, maxshare: 20, anyfilesystem: true}
  retention: {enabled: true, policies: [{repositories: ['**'], keeptags: [{patterns: ['v.*'], pushedwithin: 48h}]}]}
auth:
  none:
http:
  addr: /run/registry.sock
  net: unix
  host: https://registry.example.com:8443/ignored
  prefix: /mirror/
  secret: a very secret secret
  relativeurls: false
  draintimeout: 90s
  headers: {X-One: [a, b], X-Two: c}
  http2: {disabled: true}
  trustedproxies: [10.1.2.3/8, 192.168.1.5]
  debug: {addr: 'localhost:5001', prometheus: {enabled: true}}
  tls:
    certificate: /c.pem
    key: /k.pem
    minimumtls: tls1.3
    clientcas: [/ca.pem]
    ciphersuites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
health:
  storagedriver: {enabled: yes, interval: 5s, threshold: 3}
catalog: {maxentries: 50}
tags: {maxtags: 60}
validation: {manifests: {urls: {allow: ['^https://']}}}
policy: {repository: {classes: [image]}}
",
        &[],
    );
    assert_eq!(warnings(&loaded), [""; 0]);
    let shown = serde_json::to_value(&loaded.config).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({
            "version": "0.1",
            "log": {
                "level": "warn", "formatter": "json",
                "fields": {"service": "registry", "shard": "7"},
                "accesslog": {"disabled": true},
            },
            "storage": {
                "filesystem": {"rootdirectory": "/data", "maxthreads": 200},
                "delete": {"enabled": true},
                "redirect": {"disable": true, "ttl": "20m0s"},
                "maintenance": {
                    "uploadpurging": {
                        "enabled": false, "age": "24h0m0s", "interval": "1h30m0s", "dryrun": true,
                    },
                    "readonly": {"enabled": true},
                },
                "gc": {
                    "enabled": true, "interval": "6h0m0s", "grace": "48h0m0s", "untagged": true,
                    "dryrun": true, "maxshare": 20, "anyfilesystem": true,
                },
                "retention": {
                    "enabled": true, "dryrun": false,
                    "policies": [{
                        "repositories": ["**"],
                        "keeptags": [{
                            "patterns": ["v.*"], "mostrecentlypushedcount": null,
                            "pushedwithin": "48h0m0s",
                        }],
                    }],
                },
                "cache": {"blobdescriptor": null, "blobdescriptorsize": null},
                "tag": {"concurrencylimit": null},
            },
            "auth": {"none": {}},
            "http": {
                "addr": "unix:/run/registry.sock",
                "host": "https://registry.example.com:8443",
                "prefix": "/mirror/",
                "secret": "[redacted]",
                "relativeurls": false,
                "trustedproxies": ["10.0.0.0/8", "192.168.1.5/32"],
                "draintimeout": "1m30s",
                "headers": {"X-One": ["a", "b"], "X-Two": ["c"]},
                "http2": {"disabled": true},
                "debug": {
                    "addr": "localhost:5001",
                    "prometheus": {"enabled": true, "path": "/metrics"},
                },
                "tls": {
                    "certificate": "/c.pem", "key": "/k.pem", "minimumtls": "tls1.3",
                    "clientcas": ["/ca.pem"], "clientauth": "require-and-verify-client-cert",
                    "ciphersuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
                },
            },
            "health": {
                "storagedriver": {"enabled": true, "interval": "5s", "threshold": 3},
                "file": [], "http": [], "tcp": [],
            },
            "catalog": {"maxentries": 50},
            "tags": {"maxtags": 60},
            "validation": {
                "disabled": false,
                "manifests": {"urls": {"allow": ["^https://"], "deny": []}},
            },
            "policy": {"repository": {"classes": ["image"]}},
        })
    );
    assert_eq!(
        loaded.config.http.secret.as_ref().unwrap().expose(),
        "a very secret secret"
    );
    assert!(!format!("{loaded:?}").contains("very secret"));
    assert_eq!(
        loaded.config.http.tls.as_ref().unwrap().clientauth,
        ClientAuth::RequireAndVerifyClientCert
    );
    assert_eq!(loaded.config.log.formatter, LogFormatter::Json);
    assert_eq!(
        loaded.config.http.addr,
        ListenAddr::Unix("/run/registry.sock".into())
    );
}

#[test]
fn every_value_knows_where_it_was_written() {
    let loaded = loaded(IMAGE, &[("REGISTRY_LOG_LEVEL", "debug")]);
    let of = |key: &str| loaded.sources.of(key).to_string();
    assert_eq!(of("version"), "config.yml:1:10");
    assert_eq!(of("log"), "config.yml:2:1");
    assert_eq!(of("log.level"), "environment variable REGISTRY_LOG_LEVEL");
    assert_eq!(of("log.fields.service"), "config.yml:4:5");
    assert_eq!(of("storage.filesystem.rootdirectory"), "config.yml:9:20");
    assert_eq!(
        of("http.headers.X-Content-Type-Options.0"),
        "config.yml:13:30"
    );
    assert_eq!(loaded.sources.of("log.formatter"), &Source::Default);
}

#[test]
fn the_version_is_mandatory_and_only_0_1() {
    for text in ["", "# nothing\n", "storage: inmemory\n"] {
        let error = refused(text, &[]);
        assert!(
            errors(&error).contains(&"`version` is missing".to_owned()),
            "{error}"
        );
    }
    for version in ["0.2", "0.10", "1", "[0.1]", "null"] {
        let error = refused(&format!("version: {version}\nstorage: inmemory\n"), &[]);
        assert!(
            errors(&error)[0].starts_with("unsupported version"),
            "{error}"
        );
        assert!(error.to_string().contains("--> config.yml:1:10"), "{error}");
    }
    for version in ["0.1", "'0.1'", "\"0.1\""] {
        loaded(&SMALL.replace("0.1", version), &[]);
    }
    for text in ["[a]", "just text"] {
        let error = refused(text, &[]);
        assert!(
            errors(&error)[0].starts_with("the file must be a mapping"),
            "{error}"
        );
    }
}

#[test]
fn everything_wrong_is_reported_at_once() {
    let error = refused(
        "\
version: 0.1
log:
  level: verbose
storage:
  filesystem:
    maxthreads: many
  delete:
    enabled: maybe
auth:
  htpasswd:
    realm: r
http:
  addr: 5000
  host: registry.example.com
  prefix: mirror
  draintimeout: soon
  headers:
    'Bad Name': [x]
  tls:
    key: /k.pem
",
        &[("REGISTRY_TAGS_MAXTAGS", "-1")],
    );
    assert_eq!(
        error.to_string(),
        "\
error: `log.level` must be one of `error`, `warn`, `info`, `debug`, not `verbose`
  --> config.yml:3:10
error: `storage.filesystem.maxthreads` must be a whole number not below 0, not `many`
  --> config.yml:6:17
error: `storage.delete.enabled` must be `true` or `false`, not `maybe`
  --> config.yml:8:14
error: `http.host` is `registry.example.com`: it has no scheme
  --> config.yml:14:9
   = fix: write scheme and host, as in `https://registry.example.com`
error: `http.prefix` is `mirror`: a prefix is a path that begins and ends with `/`
  --> config.yml:15:11
   = fix: write `/mirror/`
error: `http.draintimeout` must be a duration such as `10s` or `1h30m`, not `soon`: it is not a duration
  --> config.yml:16:17
   = fix: write numbers with the units `h`, `m`, `s` or `ms`
error: `tags.maxtags` must be a whole number not below 0, not `-1`
  --> environment variable REGISTRY_TAGS_MAXTAGS
error: `auth.htpasswd.path` is missing
  --> config.yml:10:3
   = why: without the file nobody could be recognised
   = fix: set it to the htpasswd file, as in `/auth/htpasswd`
error: `http.addr` is `5000`: it has no `:PORT`
  --> config.yml:13:9
   = fix: write `:5000`
error: `Bad Name` is no header name
  --> config.yml:18:5
   = fix: use a name of letters, digits and `-`, and a value of one line
error: `http.tls.key` is set but `http.tls.certificate` is not
  --> config.yml:20:10
   = why: without a certificate everything would be served in plain text
   = fix: set `http.tls.certificate` to the certificate file, or remove `key`
"
    );
}

#[test]
fn unknown_keys_are_warned_of_with_the_key_that_was_meant() {
    let text = "\
version: 0.1
storage:
  filesystem:
    rootDirectory: /data
http:
  addr: :5000
  relativeurl: true
made: up
";
    let loaded = loaded(text, &[]);
    assert_eq!(
        loaded.diagnostics.to_string(),
        "\
warning: unknown key `rootDirectory` in `storage.filesystem` is ignored
  --> config.yml:4:5
   = fix: did you mean `storage.filesystem.rootdirectory`?
warning: unknown key `relativeurl` in `http` is ignored
  --> config.yml:7:3
   = fix: did you mean `http.relativeurls`?
warning: unknown key `made` is ignored
  --> config.yml:8:1
   = fix: remove it
"
    );
    let strict = Loader::new().text("config.yml", text).strict(true).load();
    assert_eq!(
        errors(&strict.unwrap_err()),
        [
            "unknown key `rootDirectory` in `storage.filesystem`",
            "unknown key `relativeurl` in `http`",
            "unknown key `made`",
        ]
    );
}

#[test]
fn a_typing_error_never_leaves_the_registry_open_or_in_plain_text() {
    for (addition, what) in [
        (
            "http: {addr: ':5000', tls: {certificat: c, key: k}}",
            "unknown key `certificat` in `http.tls`",
        ),
        (
            "http: {addr: ':5000', tls: {minimum: tls1.3, certificate: c, key: k}}",
            "unknown key `minimum` in `http.tls`",
        ),
        (
            "http: {addr: ':5000', tsl: {certificate: c, key: k}}",
            "unknown key `tsl` in `http`",
        ),
        ("tls: {certificate: c, key: k}", "unknown key `tls`"),
        ("auht: {htpasswd: {path: p}}", "unknown key `auht`"),
        ("Auth: {htpasswd: {path: p}}", "unknown key `Auth`"),
        ("htpasswd: {path: p}", "unknown key `htpasswd`"),
        (
            "auth: {htpaswd: {path: p}}",
            "unknown authentication type `htpaswd`",
        ),
        (
            "auth: {htpasswd: {path: p, file: q}}",
            "unknown key `file` in `auth.htpasswd`",
        ),
        ("auth: ldap", "unknown authentication type `ldap`"),
    ] {
        let http = if addition.starts_with("http:") {
            ""
        } else {
            "http: {addr: ':5000'}\n"
        };
        let text = format!("version: 0.1\nstorage: inmemory\n{http}{addition}\n");
        assert_eq!(errors(&refused(&text, &[])), [what], "{text}");
    }
}

#[test]
fn tls_is_whole_or_absent() {
    let with = |tls: &str| {
        format!("version: 0.1\nstorage: inmemory\nhttp: {{addr: ':5000', tls: {tls}}}\n")
    };
    for absent in [
        "",
        "{}",
        "{certificate: , key: }",
        "{certificate: '', key: \"\"}",
        "{letsencrypt: {email: '', hosts: []}}",
        "{clientcas: []}",
    ] {
        let loaded = loaded(&with(absent), &[]);
        assert_eq!(loaded.config.http.tls, None, "{absent}");
        assert!(
            loaded.diagnostics.is_empty(),
            "{absent}: {}",
            loaded.diagnostics
        );
    }
    for (half, what) in [
        (
            "{certificate: c}",
            "`http.tls.certificate` is set but `http.tls.key` is not",
        ),
        (
            "{key: k, certificate: ''}",
            "`http.tls.key` is set but `http.tls.certificate` is not",
        ),
        (
            "{minimumtls: tls1.2}",
            "`http.tls` has settings but no certificate",
        ),
        (
            "{certificate: c, key: k, local: {hosts: [a]}}",
            "`http.tls.local` and `http.tls.certificate` are both set",
        ),
        (
            "{certificate: c, key: k, letsencrypt: {hosts: [a.example]}}",
            "`http.tls.letsencrypt` and `http.tls.certificate` are both set",
        ),
        (
            "{local: {hosts: [a]}, letsencrypt: {hosts: [a.example]}}",
            "`http.tls.letsencrypt` and `http.tls.local` are both set",
        ),
        (
            "{letsencrypt: {cachefile: /le, email: a@b.example}}",
            "`http.tls.letsencrypt` is set but `http.tls.letsencrypt.hosts` is not",
        ),
        (
            "{letsencrypt: {cachefile: /le, hosts: []}}",
            "`http.tls.letsencrypt` is set but `http.tls.letsencrypt.hosts` is not",
        ),
        (
            "{letsencrypt: {hosts: ['*.example.com']}}",
            "`http.tls.letsencrypt.hosts.0` is `*.example.com`: certificates for `*` need a proof by DNS, which is not supported",
        ),
        (
            "{letsencrypt: {hosts: [a.example], directoryurl: 'http://acme.example'}}",
            "`http.tls.letsencrypt.directoryurl` is `http://acme.example`: it is not an https URL, which ACME demands",
        ),
        (
            "{certificate: c, key: k, minimumtls: tls1.0}",
            "`http.tls.minimumtls` must be one of `tls1.2`, `tls1.3`, not `tls1.0`",
        ),
        (
            "{certificate: c, key: k, clientauth: verify-client-cert-if-given}",
            "`http.tls.clientauth` is set but `http.tls.clientcas` is not",
        ),
    ] {
        assert_eq!(errors(&refused(&with(half), &[])), [what], "{half}");
    }
}

#[test]
fn two_drivers_and_two_authentication_types_name_both_places() {
    let text = "\
version: 0.1
storage:
  filesystem:
    rootdirectory: /data
  inmemory:
auth:
  htpasswd: {path: /p}
http:
  addr: :5000
";
    assert_eq!(
        refused(text, &[("REGISTRY_AUTH_NONE", "")]).to_string(),
        "\
error: more than one storage driver: `storage.filesystem`, `storage.inmemory`
  --> config.yml:3:3
  --> config.yml:5:3
   = fix: remove all but one; a variable replaces what the file says: `REGISTRY_STORAGE=NAME`
error: more than one authentication type: `auth.none`, `auth.htpasswd`
  --> environment variable REGISTRY_AUTH_NONE
  --> config.yml:7:3
   = fix: remove all but one; a variable replaces what the file says: `REGISTRY_AUTH=NAME`
"
    );
}

#[test]
fn a_file_must_name_a_storage_driver() {
    for (storage, at) in [
        ("", "config.yml"),
        ("storage: {delete: {enabled: true}}\n", "config.yml:2:1"),
    ] {
        let text = format!("version: 0.1\n{storage}http: {{addr: ':5000'}}\n");
        let error = refused(&text, &[]);
        assert_eq!(errors(&error), ["no storage driver is configured"]);
        assert!(
            error.to_string().contains(&format!("  --> {at}\n")),
            "{error}"
        );
    }
    // A misspelt driver is one finding, not two.
    let error = refused(
        "version: 0.1\nstorage: {filesytem: {rootdirectory: /d}}\nhttp: {addr: ':1'}\n",
        &[],
    );
    assert_eq!(
        error.to_string(),
        "\
error: unknown storage driver or option `filesytem`
  --> config.yml:2:11
   = why: ignored, content could be kept in another place
   = fix: did you mean `storage.filesystem`?
"
    );
}

#[test]
fn numbers_and_booleans_that_mislead_are_warned_of() {
    let loaded = loaded(
        "\
version: 0.1
loglevel: debug
storage:
  filesystem: {maxthreads: 3}
  delete: {enabled: \"true\"}
http:
  draintimeout: 60
catalog: {maxentries: -1}
",
        &[],
    );
    assert_eq!(
        warnings(&loaded),
        [
            "`storage.delete.enabled` is the quoted text `true`",
            "`http.draintimeout` is 60 nanoseconds",
            "`loglevel` is deprecated",
            "`storage.filesystem.maxthreads` is 3; 25 is used",
            "`http.addr` is not set: `127.0.0.1:5000` is used",
            "`catalog.maxentries` is -1; 1000 is used",
        ]
    );
    assert_eq!(loaded.config.log.level, LogLevel::Debug);
    assert_eq!(
        loaded.sources.of("log.level").to_string(),
        "config.yml:2:11"
    );
    assert_eq!(value(&loaded, "storage.filesystem.maxthreads"), 25);
    assert_eq!(value(&loaded, "storage.delete.enabled"), true);
    assert_eq!(
        loaded.config.http.draintimeout,
        Some(Duration::from_nanos(60))
    );
    assert_eq!(loaded.config.catalog.maxentries, 1000);
}

#[test]
fn durations_without_a_unit_count_nanoseconds() {
    let text = SMALL.replace("':5000'", "':5000', draintimeout: 30000000000");
    let loaded = loaded(&text, &[]);
    assert_eq!(
        loaded.config.http.draintimeout,
        Some(Duration::from_secs(30))
    );
    assert!(loaded.diagnostics.is_empty());
}

#[test]
fn settings_without_effect_are_noted_not_warned_of() {
    let loaded = loaded(IMAGE, &[("REGISTRY_HTTP_SECRET", "hush")]);
    assert_eq!(warnings(&loaded), [""; 0]);
    assert_eq!(
        whats(&loaded, Severity::Note),
        [
            "`storage.cache.blobdescriptor` has no effect here",
            "`http.secret` has no effect here",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.yml");
    let error = Loader::new().path(&path).load().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "error: the configuration file cannot be read\n  --> {}\n   \
             = why: No such file or directory (os error 2)\n   \
             = fix: check the path and its permissions\n",
            path.display()
        )
    );
    fs::write(&path, b"version: 0.1\nx: \xff").unwrap();
    let error = Loader::new().path(&path).load().unwrap_err();
    assert!(
        error.to_string().contains("byte 16 is not UTF-8"),
        "{error}"
    );
    fs::write(&path, vec![b'#'; 4 * 1024 * 1024 + 1]).unwrap();
    let error = Loader::new().path(&path).load().unwrap_err();
    assert!(
        error.to_string().contains("longer than 4194304 bytes"),
        "{error}"
    );
    let error = Loader::new().path(directory.path()).load().unwrap_err();
    assert_eq!(errors(&error), ["the configuration file cannot be read"]);
    fs::write(&path, "version: 0.1\nstorage: [\n").unwrap();
    let error = Loader::new().path(&path).load().unwrap_err();
    assert!(errors(&error)[0].starts_with("not valid YAML"), "{error}");
    fs::write(&path, SMALL).unwrap();
    let loaded = Loader::new().path(&path).load().unwrap();
    assert_eq!(loaded.path, Some(path));
}

#[test]
fn values_of_operations_have_their_forms() {
    for (addition, what) in [
        (
            "http: {addr: ':1', trustedproxies: [proxy.lan]}",
            "http.trustedproxies",
        ),
        (
            "http: {addr: ':1', trustedproxies: [10.0.0.0/33]}",
            "http.trustedproxies",
        ),
        (
            "http: {addr: ':1', debug: {addr: '5001'}}",
            "http.debug.addr",
        ),
        (
            "http: {addr: ':1', debug: {prometheus: {path: metrics}}}",
            "http.debug.prometheus.path",
        ),
        (
            "http: {addr: ':1'}\nvalidation: {manifests: {urls: {allow: ['(']}}}",
            "validation.manifests.urls.allow",
        ),
    ] {
        let error = refused(
            &format!("version: 0.1\nstorage: inmemory\n{addition}\n"),
            &[],
        );
        let errors = errors(&error);
        assert!(
            errors.len() == 1 && errors[0].contains(what),
            "{addition}: {errors:?}"
        );
    }
}

#[test]
fn metrics_without_a_listener_are_warned_of() {
    let debug = |text: &str| {
        format!("version: 0.1\nstorage: inmemory\nhttp: {{addr: ':1', debug: {{{text}}}}}\n")
    };
    let without = loaded(&debug("prometheus: {enabled: true}"), &[]);
    assert!(
        warnings(&without)[0].contains("`http.debug.addr` is not set"),
        "{}",
        without.diagnostics
    );
    let with = loaded(&debug("addr: ':2', prometheus: {enabled: true}"), &[]);
    assert!(with.diagnostics.is_empty(), "{}", with.diagnostics);
}

#[test]
fn what_asks_for_tls_or_a_login_under_another_name_is_refused() {
    for (addition, what) in [
        (
            "HTTP: {addr: ':1', tls: {certificate: /c, key: /k}}",
            "unknown key `HTTP`",
        ),
        ("httpp: {tls: {local: {hosts: [a]}}}", "unknown key `httpp`"),
        (
            "authentication: {htpasswd: {path: /p}}",
            "unknown key `authentication`",
        ),
        ("authentication: htpasswd", "unknown key `authentication`"),
        (
            "server: {listeners: [{tls: {cert: /c}}]}",
            "unknown key `server`",
        ),
        ("https: {certificate: /c}", "unknown key `https`"),
    ] {
        let error = refused(&format!("{SMALL}{addition}\n"), &[]);
        assert_eq!(errors(&error), [what], "{addition}");
    }
    let below = SMALL.replace("':5000'", "':5000', https: {certificate: /c, key: /k}");
    let error = refused(&below, &[]);
    assert_eq!(errors(&error), ["unknown key `https` in `http`"]);
    assert!(
        error.to_string().contains("did you mean `http.tls`?"),
        "{error}"
    );
    // With nothing asked for, or only kept for others to refer to.
    for addition in [
        "HTTP: {addr: ':1'}",
        "listeners: [{tls: {enabled: false}}]",
        "x-files: {tls: {certificate: /c, key: /k}}",
    ] {
        let loaded = loaded(&format!("{SMALL}{addition}\n"), &[]);
        assert_eq!(warnings(&loaded).len(), 1, "{addition}");
    }
}

#[test]
fn one_driver_under_both_of_its_names_is_two() {
    let text =
        "version: 0.1\nhttp: {addr: ':1'}\nstorage:\n  s3: {bucket: a}\n  s3aws: {bucket: b}\n";
    let error = refused(text, &[]);
    assert!(
        error.to_string().starts_with(
            "\
error: more than one storage driver: `storage.s3`, `storage.s3aws`
  --> config.yml:4:3
  --> config.yml:5:3
"
        ),
        "{error}"
    );
}
