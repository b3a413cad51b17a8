//! The configurations of five public tutorials for `registry:2`, as they stand there.

use std::fs;

use super::{
    super::{Auth, StorageDriver, TlsSource},
    IMAGE, errors, loaded, refused, value, warnings,
};

/// A `ConfigMap` with two mistakes: `cert` for `certificate`, a directory for the htpasswd file.
#[test]
fn a_config_map_with_tls_and_a_secret_directory() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("htpasswd"), "docker:$2y$05$x\n").unwrap();
    let directory = secret.path().to_str().unwrap();
    let text = format!(
        "\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: 0.0.0.0:443
  headers:
    X-Content-Type-Options: [nosniff]
  tls:
    cert: /etc/ssl/registry/tls.crt
    key: /etc/ssl/registry/tls.key       
auth:
  htpasswd:
    realm: \"Registry Realm\"
    path: {directory}
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"
    );
    let loaded = loaded(&text, &[]);
    let tls = loaded.config.http.tls.as_ref().unwrap();
    let files = TlsSource::Files {
        certificate: "/etc/ssl/registry/tls.crt".into(),
        key: "/etc/ssl/registry/tls.key".into(),
    };
    assert_eq!(tls.source, files);
    let Auth::Htpasswd(htpasswd) = &loaded.config.auth else {
        panic!("{:?}", loaded.config.auth)
    };
    assert_eq!(htpasswd.realm, "Registry Realm");
    assert_eq!(htpasswd.path, secret.path().join("htpasswd"));
    assert_eq!(value(&loaded, "http.addr"), "0.0.0.0:443");
    assert_eq!(value(&loaded, "health.storagedriver.threshold"), 3);
    assert_eq!(value(&loaded, "health.storagedriver.interval"), "10s");
    assert_eq!(
        value(&loaded, "http.headers.X-Content-Type-Options.0"),
        "nosniff"
    );
    assert_eq!(
        warnings(&loaded),
        [
            "`cert` is read as `http.tls.certificate`".to_owned(),
            format!("`auth.htpasswd.path` is the directory `{directory}`"),
        ]
    );
    let cert = loaded.diagnostics.iter().find(|d| d.what.contains("cert"));
    assert_eq!(
        cert.unwrap().to_string(),
        "\
warning: `cert` is read as `http.tls.certificate`
  --> config.yml:15:5
   = why: the schema has no key `cert` there
   = fix: write `certificate`
"
    );
}

/// A Deployment whose Service is called `registry-service`, so that Kubernetes adds variables.
#[test]
fn a_deployment_with_service_links() {
    let loaded = loaded(
        IMAGE,
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/tls.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "/certs/tls.key"),
            ("REGISTRY_SERVICE_PORT", "tcp://10.43.102.7:5000"),
            ("REGISTRY_SERVICE_PORT_5000_TCP", "tcp://10.43.102.7:5000"),
            ("REGISTRY_SERVICE_PORT_5000_TCP_ADDR", "10.43.102.7"),
            ("REGISTRY_SERVICE_PORT_5000_TCP_PORT", "5000"),
            ("REGISTRY_SERVICE_PORT_5000_TCP_PROTO", "tcp"),
            ("REGISTRY_SERVICE_SERVICE_HOST", "10.43.102.7"),
            ("REGISTRY_SERVICE_SERVICE_PORT", "5000"),
        ],
    );
    assert_eq!(warnings(&loaded), [""; 0]);
    assert_eq!(value(&loaded, "http.tls.certificate"), "/certs/tls.crt");
    assert_eq!(value(&loaded, "http.addr"), ":5000");
    assert_eq!(
        loaded.sources.of("http.tls.key").to_string(),
        "environment variable REGISTRY_HTTP_TLS_KEY"
    );
}

/// A pod with a user interface beside the registry.
#[test]
fn a_pod_with_addr_root_and_tls() {
    let loaded = loaded(
        IMAGE,
        &[
            ("REGISTRY_HTTP_ADDR", ":5000"),
            (
                "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY",
                "/var/lib/registry",
            ),
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/domain.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "/certs/domain.key"),
        ],
    );
    assert_eq!(warnings(&loaded), [""; 0]);
    let StorageDriver::Filesystem(filesystem) = &loaded.config.storage.driver else {
        panic!("{:?}", loaded.config.storage)
    };
    assert_eq!(filesystem.rootdirectory.to_str(), Some("/var/lib/registry"));
}

/// `docker run` with variables only.
#[test]
fn docker_run_with_htpasswd() {
    let loaded = loaded(
        IMAGE,
        &[
            ("REGISTRY_HTTP_TLS_CERTIFICATE", "/certs/registry-cert.crt"),
            ("REGISTRY_HTTP_TLS_KEY", "/certs/registry-cert.key"),
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/htpasswd"),
        ],
    );
    assert_eq!(warnings(&loaded), [""; 0]);
    assert_eq!(value(&loaded, "auth.htpasswd.realm"), "Registry Realm");
    assert_eq!(value(&loaded, "auth.htpasswd.path"), "/auth/htpasswd");
    // The file of registry:2 does not say, so deletion is off.
    assert_eq!(value(&loaded, "storage.delete.enabled"), false);
}

/// A compose file that writes a boolean as YAML 1.1 does.
#[test]
fn compose_with_deletion() {
    let loaded = loaded(
        IMAGE,
        &[
            (
                "REGISTRY_HTTP_TLS_CERTIFICATE",
                "/certs/private-registry.crt",
            ),
            ("REGISTRY_HTTP_TLS_KEY", "/private/private-registry.key"),
            ("REGISTRY_HTTP_ADDR", "0.0.0.0:5000"),
            ("REGISTRY_AUTH", "htpasswd"),
            ("REGISTRY_AUTH_HTPASSWD_PATH", "/auth/passwd"),
            ("REGISTRY_AUTH_HTPASSWD_REALM", "Registry Realm"),
            ("REGISTRY_STORAGE_DELETE_ENABLED", "yes"),
        ],
    );
    assert_eq!(warnings(&loaded), [""; 0]);
    assert_eq!(value(&loaded, "storage.delete.enabled"), true);
    assert_eq!(value(&loaded, "http.addr"), "0.0.0.0:5000");
}

#[test]
fn a_secret_directory_without_htpasswd_names_what_is_there() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("auth"), "").unwrap();
    let directory = secret.path().to_str().unwrap();
    let variables = [("REGISTRY_AUTH_HTPASSWD_PATH", directory)];
    let error = refused(IMAGE, &variables);
    assert_eq!(
        error.to_string().lines().collect::<Vec<_>>()[1..],
        [
            "  --> config.yml:7:5".to_owned(),
            "   = why: descriptors are read from the store, which needs no cache before it".into(),
            format!("error: `auth.htpasswd.path` is the directory `{directory}`"),
            "  --> environment variable REGISTRY_AUTH_HTPASSWD_PATH".into(),
            "   = why: it holds no file `htpasswd`, but `auth`".into(),
            format!("   = fix: write `{directory}/auth`"),
        ]
    );
    assert_eq!(errors(&error).len(), 1);
}
