//! `storage.s3`, `storage.gcs` and `storage.azure`: their keys and what becomes of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::model::Secret;
use super::schema::{Key, Kind};

const COPY: &str = "finishing an upload copies nothing";
const AT_ONCE: &str = "the parts of an upload are sent as memory allows";

/// The size of a part.
const PART: Kind = Kind::Int {
    least: 5 << 20,
    most: 5 << 30,
};
const ANY: Kind = Kind::Int {
    least: 0,
    most: i64::MAX,
};

pub(super) static S3_KEYS: &[Key] = &[
    Key::new("accesskey", Kind::Text),
    Key::new("secretkey", Kind::Text),
    Key::new("sessiontoken", Kind::Text),
    Key::new("region", Kind::Text),
    Key::new("regionendpoint", Kind::Text),
    Key::new("redirectendpoint", Kind::Text),
    Key::new("forcepathstyle", Kind::Bool),
    Key::new("bucket", Kind::Text),
    Key::new("rootdirectory", Kind::Text),
    Key::new("encrypt", Kind::Bool),
    Key::new("keyid", Kind::Text),
    Key::new("secure", Kind::Bool),
    Key::new("skipverify", Kind::Bool),
    Key::new("cafile", Kind::Text),
    Key::new("v4auth", Kind::Bool),
    Key::new("chunksize", PART),
    Key::new("multipartcopychunksize", ANY).no_effect(COPY),
    Key::new("multipartcopymaxconcurrency", ANY).no_effect(COPY),
    Key::new("multipartcopythresholdsize", ANY).no_effect(COPY),
    Key::new(
        "storageclass",
        Kind::Word(&[
            "NONE",
            "STANDARD",
            "REDUCED_REDUNDANCY",
            "STANDARD_IA",
            "ONEZONE_IA",
            "INTELLIGENT_TIERING",
            "OUTPOSTS",
            "GLACIER_IR",
            "EXPRESS_ONEZONE",
        ]),
    ),
    Key::new("objectacl", Kind::Text),
    Key::new("useragent", Kind::Text),
    Key::new("usedualstack", Kind::Bool),
    Key::new("accelerate", Kind::Bool),
    Key::new("usefipsendpoint", Kind::Bool),
    Key::new("loglevel", Kind::Text).no_effect("what goes wrong is in the registry's own log"),
];

pub(super) static GCS_KEYS: &[Key] = &[
    Key::new("bucket", Kind::Text),
    Key::new("keyfile", Kind::Text),
    // The fields of a key file.
    Key::new("credentials", Kind::Map(&Kind::Text)),
    Key::new("rootdirectory", Kind::Text),
    Key::new("chunksize", ANY),
    Key::new("maxconcurrency", ANY).no_effect(AT_ONCE),
    Key::new("useragent", Kind::Text),
];

pub(super) static AZURE_KEYS: &[Key] = &[
    Key::new("accountname", Kind::Text),
    Key::new("accountkey", Kind::Text),
    Key::new("container", Kind::Text),
    Key::new("rootdirectory", Kind::Text),
    Key::new("realm", Kind::Text),
    Key::new(
        "credentials",
        Kind::Section(&[
            Key::new(
                "type",
                Kind::Word(&["shared_key", "client_secret", "default_credentials"]),
            ),
            Key::new("clientid", Kind::Text),
            Key::new("tenantid", Kind::Text),
            Key::new("secret", Kind::Text),
        ]),
    ),
    Key::new("max_retries", ANY).no_effect("a failed request is repeated up to 4 times"),
    Key::new("retry_delay", Kind::Text)
        .no_effect("the pause before a request is repeated grows from 100 ms to 3 s"),
];

/// `storage.s3`
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of the configuration"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct S3 {
    /// The access key; without one, credentials are looked for where Amazon's services provide them.
    pub accesskey: Option<Secret>,
    /// Its secret.
    pub secretkey: Option<Secret>,
    /// The token of the session that they belong to. Distribution has no such key.
    pub sessiontoken: Option<Secret>,
    /// The region, in any form.
    pub region: Option<String>,
    /// The URL of a service other than Amazon's.
    pub regionendpoint: Option<String>,
    /// The URL of the service for clients that are sent there, where it is another.
    pub redirectendpoint: Option<String>,
    /// Whether the bucket is part of the path; `None` where it was not written.
    pub forcepathstyle: Option<bool>,
    /// The bucket.
    pub bucket: String,
    /// The prefix of all objects.
    pub rootdirectory: String,
    /// Whether the service is asked to encrypt, beyond what the bucket says.
    pub encrypt: bool,
    /// The key of the key management service to encrypt with.
    pub keyid: Option<String>,
    /// Whether an endpoint without a scheme is spoken to over TLS.
    pub secure: bool,
    /// Whether any certificate is accepted.
    pub skipverify: bool,
    /// The PEM file with the authorities to trust beside the system's. Distribution has no such key.
    pub cafile: Option<PathBuf>,
    /// Signatures of version 4; there are no others.
    pub v4auth: bool,
    /// The size of a part in bytes; `None` where it was not written.
    pub chunksize: Option<u64>,
    /// The storage class of content; `None` is that of the bucket.
    pub storageclass: Option<String>,
    /// The canned access control list; only `private`.
    pub objectacl: Option<String>,
    /// What the client calls itself.
    pub useragent: Option<String>,
    /// Endpoints for IPv4 and IPv6.
    pub usedualstack: bool,
    /// Transfer acceleration.
    pub accelerate: bool,
    /// Endpoints with validated cryptography.
    pub usefipsendpoint: bool,
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            accesskey: None,
            secretkey: None,
            sessiontoken: None,
            region: None,
            regionendpoint: None,
            redirectendpoint: None,
            forcepathstyle: None,
            bucket: String::new(),
            rootdirectory: String::new(),
            encrypt: false,
            keyid: None,
            secure: true,
            skipverify: false,
            cafile: None,
            v4auth: true,
            chunksize: None,
            storageclass: None,
            objectacl: None,
            useragent: None,
            usedualstack: false,
            accelerate: false,
            usefipsendpoint: false,
        }
    }
}

/// `storage.gcs`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Gcs {
    /// The bucket.
    pub bucket: String,
    /// The key file of a service account.
    pub keyfile: Option<PathBuf>,
    /// The fields of such a file.
    pub credentials: BTreeMap<String, Secret>,
    /// The prefix of all objects.
    pub rootdirectory: String,
    /// The size of a part in bytes; `None` where it was not written.
    pub chunksize: Option<u64>,
    /// What the client calls itself.
    pub useragent: Option<String>,
}

/// `storage.azure`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Azure {
    /// The storage account.
    pub accountname: String,
    /// Its key.
    pub accountkey: Option<Secret>,
    /// The container.
    pub container: String,
    /// The prefix of all objects.
    pub rootdirectory: String,
    /// The domain of the cloud, `core.windows.net` if not said.
    pub realm: Option<String>,
    /// Who asks, where that is not the account's key.
    pub credentials: AzureIdentity,
}

/// `storage.azure.credentials`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AzureIdentity {
    /// Of which kind; `None` where it was not written.
    #[serde(rename = "type")]
    pub kind: Option<AzureIdentityKind>,
    /// The application.
    pub clientid: Option<String>,
    /// The directory.
    pub tenantid: Option<String>,
    /// The application's secret.
    pub secret: Option<Secret>,
}

/// `storage.azure.credentials.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AzureIdentityKind {
    /// The key of the account.
    SharedKey,
    /// A service principal.
    ClientSecret,
    /// What the environment or the instance provides.
    DefaultCredentials,
}
