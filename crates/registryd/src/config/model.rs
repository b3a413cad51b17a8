//! The typed configuration.
//!
//! Field names are the keys of Distribution's configuration schema 0.1. `Serialize` writes the same
//! layout back, secrets left out.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize, Serializer};

use super::{addr::ListenAddr, duration};

mod storage;

pub use storage::{
    Cache, Delete, Filesystem, Gc, KeepTags, Maintenance, ReadOnly, Redirect, Retention,
    RetentionPolicy, Sled, Storage, StorageDriver, TagLookup, UploadPurging,
};

/// Where the filesystem store lies when there is no configuration file.
pub(super) const NATIVE_ROOT: &str = "./registry-data";
/// Where it lies when a configuration file names the driver but no directory.
pub(super) const FILE_ROOT: &str = "/var/lib/registry";

/// The whole configuration.
///
/// `Config::default()` is what runs without a configuration file: the filesystem store in
/// `./registry-data`, listening on `127.0.0.1:5000`, deletion allowed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Config {
    /// The version of the schema; always `0.1`.
    #[serde(default = "schema_version")]
    pub version: String,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// Where content is kept.
    pub storage: Storage,
    /// Who may do what.
    #[serde(default)]
    pub auth: Auth,
    /// How requests come in.
    #[serde(default)]
    pub http: Http,
    /// Which checks decide whether the registry reports itself ready.
    #[serde(default)]
    pub health: Health,
    /// Limits of the repository catalog.
    #[serde(default)]
    pub catalog: Catalog,
    /// Limits of the tag listing.
    #[serde(default)]
    pub tags: Tags,
    /// Which URLs manifests may send clients to.
    #[serde(default)]
    pub validation: Validation,
    /// Which kinds of content are accepted.
    #[serde(default)]
    pub policy: Policy,
}

fn schema_version() -> String {
    "0.1".to_owned()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: schema_version(),
            log: Log::default(),
            storage: Storage {
                driver: StorageDriver::Filesystem(Filesystem {
                    rootdirectory: PathBuf::from(NATIVE_ROOT),
                    ..Filesystem::default()
                }),
                delete: Delete { enabled: true },
                maintenance: Maintenance::default(),
                gc: Gc::default(),
                retention: Retention::default(),
                redirect: Redirect::default(),
                cache: Cache::default(),
                tag: TagLookup::default(),
            },
            auth: Auth::default(),
            http: Http::default(),
            health: Health::default(),
            catalog: Catalog::default(),
            tags: Tags::default(),
            validation: Validation {
                disabled: true,
                ..Validation::default()
            },
            policy: Policy::default(),
        }
    }
}

/// `log`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Log {
    /// The least severe level that is logged.
    pub level: LogLevel,
    /// How a line is written.
    pub formatter: LogFormatter,
    /// Constant fields of every line.
    pub fields: BTreeMap<String, String>,
    /// The log of requests.
    pub accesslog: AccessLog,
}

/// `log.level`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogLevel {
    /// Only failures.
    Error,
    /// And what looks wrong.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And how.
    Debug,
}

/// `log.formatter`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogFormatter {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// One JSON object a line, with Logstash's field names.
    Logstash,
}

/// `log.accesslog`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AccessLog {
    /// Whether requests are left out of the log.
    pub disabled: bool,
}

/// `auth`: the one authentication type; its key names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Auth {
    /// Everybody may do everything.
    None {},
    /// `auth.htpasswd`: everybody in the file may do everything.
    Htpasswd(Htpasswd),
}

impl Default for Auth {
    fn default() -> Self {
        Self::None {}
    }
}

/// `auth.htpasswd`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Htpasswd {
    /// What the client shows when it asks for a password.
    #[serde(default = "realm")]
    pub realm: String,
    /// The htpasswd file.
    pub path: PathBuf,
}

fn realm() -> String {
    "Registry Realm".to_owned()
}

/// `http`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Http {
    /// What to listen on; `http.net` is part of it.
    pub addr: ListenAddr,
    /// Scheme and authority of the URLs clients see, such as `https://registry.example.com`;
    /// without a slash at the end.
    pub host: Option<String>,
    /// The path everything is served below; begins and ends with `/`.
    pub prefix: String,
    /// Accepted; has no effect: upload sessions are not signed.
    pub secret: Option<Secret>,
    /// Whether `Location` headers are relative; `None` where it was not written.
    pub relativeurls: Option<bool>,
    /// The proxies whose `X-Forwarded-*` headers are believed; nobody's by default.
    pub trustedproxies: Vec<IpNet>,
    /// How long requests in flight may take to end when the process is told to stop; `None` where
    /// it was not written.
    #[serde(with = "duration::optional")]
    pub draintimeout: Option<Duration>,
    /// Headers added to every response of the API.
    pub headers: BTreeMap<String, Vec<String>>,
    /// TLS; plain HTTP without.
    pub tls: Option<Tls>,
    /// HTTP/2.
    pub http2: Http2,
    /// A second listener for operators.
    pub debug: Debug,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ListenAddr::Tcp {
                host: Some("127.0.0.1".to_owned()),
                port: 5000,
            },
            host: None,
            prefix: "/".to_owned(),
            secret: None,
            relativeurls: None,
            trustedproxies: Vec::new(),
            draintimeout: None,
            headers: BTreeMap::new(),
            tls: None,
            http2: Http2::default(),
            debug: Debug::default(),
        }
    }
}

/// `http.tls`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tls {
    /// Where certificate and key come from.
    #[serde(flatten)]
    pub source: TlsSource,
    /// The oldest version clients may use.
    #[serde(default)]
    pub minimumtls: TlsVersion,
    /// The PEM files with the authorities client certificates are checked against.
    #[serde(default)]
    pub clientcas: Vec<PathBuf>,
    /// What is asked of clients, when there are [`clientcas`](Self::clientcas).
    #[serde(default)]
    pub clientauth: ClientAuth,
    /// The cipher suites of TLS 1.2, by Go's names; all that are safe if there are none.
    #[serde(default)]
    pub ciphersuites: Vec<String>,
}

impl Tls {
    /// TLS with a local authority and without client certificates.
    pub fn local(local: LocalTls) -> Self {
        Self {
            source: TlsSource::Local { local },
            minimumtls: TlsVersion::default(),
            clientcas: Vec::new(),
            clientauth: ClientAuth::default(),
            ciphersuites: Vec::new(),
        }
    }
}

/// Where certificate and key of `http.tls` come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum TlsSource {
    /// From files that somebody else makes.
    Files {
        /// The PEM file with the certificate and its chain.
        certificate: PathBuf,
        /// The PEM file with the private key.
        key: PathBuf,
    },
    /// From an authority of our own.
    Local {
        /// `http.tls.local`
        local: LocalTls,
    },
    /// From an authority that gives certificates by ACME.
    Acme {
        /// `http.tls.letsencrypt`
        letsencrypt: LetsEncrypt,
    },
}

/// `http.tls.local`: an authority of our own, and a certificate that it signs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LocalTls {
    /// The names and addresses of the registry; this machine's own come by themselves.
    pub hosts: Vec<String>,
    /// Where it is kept; `registryd-tls` beside the content by default.
    pub directory: Option<PathBuf>,
}

/// `http.tls.letsencrypt`: certificates of Let's Encrypt, or of another authority that speaks ACME.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LetsEncrypt {
    /// The directory where account and certificate are kept; `registryd-acme` beside the content by default.
    pub cachefile: Option<PathBuf>,
    /// Whom the authority may write to.
    pub email: Option<String>,
    /// The names of the registry.
    pub hosts: Vec<String>,
    /// Where the authority's ACME begins.
    pub directoryurl: String,
    /// The PEM file with the authorities that vouch for [`directoryurl`](Self::directoryurl), where the
    /// system does not trust them.
    pub directoryca: Option<PathBuf>,
}

/// Let's Encrypt itself, not its staging environment.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

impl Default for LetsEncrypt {
    fn default() -> Self {
        Self {
            cachefile: None,
            email: None,
            hosts: Vec::new(),
            directoryurl: LETS_ENCRYPT.to_owned(),
            directoryca: None,
        }
    }
}

/// `http.tls.minimumtls`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2
    #[default]
    #[serde(rename = "tls1.2")]
    Tls12,
    /// TLS 1.3
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// `http.tls.clientauth`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClientAuth {
    /// Ask, take any answer.
    RequestClientCert,
    /// A certificate is needed; it is not checked.
    RequireAnyClientCert,
    /// A certificate is checked if there is one.
    VerifyClientCertIfGiven,
    /// A certificate is needed and checked.
    #[default]
    RequireAndVerifyClientCert,
}

/// `http.http2`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Http2 {
    /// Whether only HTTP/1.1 is offered.
    pub disabled: bool,
}

/// `http.debug`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Debug {
    /// What to listen on; no listener without.
    pub addr: Option<ListenAddr>,
    /// Metrics on that listener.
    pub prometheus: Prometheus,
}

/// `http.debug.prometheus`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Prometheus {
    /// Whether metrics are collected and served.
    pub enabled: bool,
    /// Where.
    pub path: String,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self {
            enabled: false,
            path: "/metrics".to_owned(),
        }
    }
}

/// `health`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// The check of the store.
    pub storagedriver: HealthStorage,
    /// Checks that fail while a file exists.
    pub file: Vec<HealthFile>,
    /// Checks that ask a URL.
    pub http: Vec<HealthHttp>,
    /// Checks that connect to a port.
    pub tcp: Vec<HealthTcp>,
}

/// `health.storagedriver`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HealthStorage {
    /// Whether the store is checked.
    pub enabled: bool,
    /// How often.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// How many checks must fail in a row.
    pub threshold: u32,
}

impl Default for HealthStorage {
    fn default() -> Self {
        Self {
            enabled: false,
            interval: INTERVAL,
            threshold: 0,
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(10);

fn interval() -> Duration {
    INTERVAL
}

/// An item of `health.file`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthFile {
    /// The file whose existence means trouble.
    #[serde(default)]
    pub file: PathBuf,
    /// How often to look.
    #[serde(default = "interval", with = "duration")]
    pub interval: Duration,
}

/// An item of `health.http`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthHttp {
    /// The URL to ask.
    #[serde(default)]
    pub uri: String,
    /// Headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<String, Vec<String>>,
    /// The status that means health; 0 is 200.
    #[serde(default)]
    pub statuscode: u16,
    /// How long to wait for the answer.
    #[serde(default, with = "duration")]
    pub timeout: Duration,
    /// How often to ask.
    #[serde(default = "interval", with = "duration")]
    pub interval: Duration,
    /// How many checks must fail in a row.
    #[serde(default)]
    pub threshold: u32,
}

/// An item of `health.tcp`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HealthTcp {
    /// HOST:PORT to connect to.
    #[serde(default)]
    pub addr: String,
    /// How long to wait for the connection.
    #[serde(default, with = "duration")]
    pub timeout: Duration,
    /// How often to connect.
    #[serde(default = "interval", with = "duration")]
    pub interval: Duration,
    /// How many checks must fail in a row.
    #[serde(default)]
    pub threshold: u32,
}

/// `catalog`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Catalog {
    /// The most repositories of one page.
    pub maxentries: u32,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { maxentries: 1000 }
    }
}

/// `tags`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Tags {
    /// The most tags of one page.
    pub maxtags: u32,
}

impl Default for Tags {
    fn default() -> Self {
        Self { maxtags: 1000 }
    }
}

/// `validation`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Validation {
    /// Whether the URLs in manifests are left unchecked. So it is without a configuration file.
    pub disabled: bool,
    /// What is checked of manifests.
    pub manifests: ValidationManifests,
}

/// `validation.manifests`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ValidationManifests {
    /// Where clients may be sent for content that the registry does not hold.
    pub urls: ValidationUrls,
}

/// `validation.manifests.urls`: regular expressions. With neither list, no URL is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ValidationUrls {
    /// A URL has to match one of these, if there are any.
    pub allow: Vec<String>,
    /// A URL must match none of these.
    pub deny: Vec<String>,
}

/// `policy`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Policy {
    /// What repositories may hold.
    pub repository: PolicyRepository,
}

/// `policy.repository`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PolicyRepository {
    /// The classes of images that are accepted, `image` and `plugin`; all content if empty.
    pub classes: Vec<String>,
}

/// A value that is never shown: neither `Debug` nor `Serialize` write it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}
