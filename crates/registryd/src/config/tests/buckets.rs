//! `storage.s3`, `storage.gcs` and `storage.azure`.

use serde_json::json;

use super::{IMAGE, errors, loaded, refused, value, warnings};
use crate::config::{AzureIdentityKind, StorageDriver};

/// What a chart sets on the image of `registry:2`.
const VARIABLES: &[(&str, &str)] = &[
    ("REGISTRY_STORAGE", "s3"),
    ("REGISTRY_STORAGE_S3_BUCKET", "layers"),
    ("REGISTRY_STORAGE_S3_REGION", "mars-north-7"),
    ("REGISTRY_STORAGE_S3_REGIONENDPOINT", "minio:9000"),
    ("REGISTRY_STORAGE_S3_SECURE", "false"),
    ("REGISTRY_STORAGE_S3_ACCESSKEY", "AKIAHIDDEN"),
    ("REGISTRY_STORAGE_S3_SECRETKEY", "hidden+/=="),
    ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true"),
    ("REGISTRY_STORAGE_S3_CHUNKSIZE", "16777216"),
    ("REGISTRY_STORAGE_S3_ENCRYPT", "true"),
    ("REGISTRY_STORAGE_S3_STORAGECLASS", "standard_ia"),
];

#[test]
fn variables_alone_choose_a_bucket_and_no_secret_is_shown() {
    let loaded = loaded(IMAGE, VARIABLES);
    assert_eq!(warnings(&loaded), [""; 0]);
    let StorageDriver::S3(s3) = &loaded.config.storage.driver else {
        panic!("{:?}", loaded.config.storage);
    };
    assert_eq!(s3.bucket, "layers");
    assert_eq!(s3.regionendpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!(s3.secretkey.as_ref().unwrap().expose(), "hidden+/==");
    assert_eq!(s3.forcepathstyle, Some(true));
    assert_eq!(s3.chunksize, Some(16 << 20));
    assert_eq!(s3.storageclass.as_deref(), Some("STANDARD_IA"));
    // What the image's own file does not say is as in Distribution.
    assert_eq!(loaded.config.storage.redirect.disable, None);
    let shown = format!("{loaded:?} {}", value(&loaded, "storage"));
    assert!(
        !shown.contains("hidden") && !shown.contains("HIDDEN"),
        "{shown}"
    );
}

#[test]
fn every_key_of_distribution_is_read_or_named() {
    let loaded = loaded(
        "\
version: 0.1
http: {addr: ':5000'}
storage:
  s3aws:
    accesskey: a
    secretkey: s
    region: us-west-1
    regionendpoint: https://s3.example.com
    redirectendpoint: https://public.example.com
    forcepathstyle: true
    accelerate: false
    bucket: b
    encrypt: true
    keyid: k
    secure: true
    v4auth: true
    chunksize: 5242880
    multipartcopychunksize: 33554432
    multipartcopymaxconcurrency: 100
    multipartcopythresholdsize: 33554432
    rootdirectory: /s3/object/name/prefix
    usedualstack: false
    loglevel: debug
    objectacl: private
    useragent: me
    usefipsendpoint: false
    skipverify: true
    storageclass: STANDARD
",
        &[],
    );
    assert_eq!(warnings(&loaded), ["`s3aws` is read as `storage.s3`"]);
    assert_eq!(loaded.config.storage.redirect.disable, None);
}

#[test]
fn what_is_missing_or_cannot_be_done_is_an_error() {
    let with = |storage: &str| {
        let text = format!("version: 0.1\nhttp: {{addr: ':1'}}\nstorage: {storage}\n");
        errors(&refused(&text, &[]))
    };
    assert_eq!(with("s3"), ["`storage.s3.bucket` is missing"]);
    assert_eq!(with("gcs"), ["`storage.gcs.bucket` is missing"]);
    assert_eq!(
        with("azure"),
        [
            "`storage.azure.accountname` is missing",
            "`storage.azure.container` is missing"
        ]
    );
    assert_eq!(
        with("{s3: {bucket: b, accesskey: a}}"),
        ["`storage.s3.accesskey` is set but `storage.s3.secretkey` is not"]
    );
    assert_eq!(
        with("{s3: {bucket: b, v4auth: false}}"),
        ["`storage.s3.v4auth: false` is not supported"]
    );
    assert_eq!(
        with("{s3: {bucket: b, objectacl: public-read}}"),
        ["`storage.s3.objectacl` is `public-read`"]
    );
    for key in ["regionendpoint", "redirectendpoint"] {
        assert_eq!(
            with(&format!("{{s3: {{bucket: b, {key}: 'ftp://x'}}}}")),
            [format!(
                "`storage.s3.{key}` is `ftp://x`, which is no address of a service"
            )]
        );
    }
}

#[test]
fn google_and_azure() {
    let google = loaded(
        "\
version: 0.1
http: {addr: ':5000'}
storage: {gcs: {bucket: b, credentials: {type: service_account, private_key: hidden}, chunksize: 5242880}}
",
        &[],
    );
    let shown = value(&google, "storage.gcs.credentials");
    assert_eq!(
        shown,
        json!({"type": "[redacted]", "private_key": "[redacted]"})
    );
    let azure = loaded(
        "\
version: 0.1
http: {addr: ':5000'}
storage: {azure: {accountname: a, container: c, realm: core.chinacloudapi.cn, max_retries: 9,
  credentials: {type: client_secret, clientid: i, tenantid: t, secret: hidden}}}
",
        &[],
    );
    assert_eq!(warnings(&azure), [""; 0]);
    let StorageDriver::Azure(config) = &azure.config.storage.driver else {
        panic!("{:?}", azure.config.storage);
    };
    assert_eq!(
        config.credentials.kind,
        Some(AzureIdentityKind::ClientSecret)
    );
    assert!(!format!("{azure:?}").contains("hidden"));
}
