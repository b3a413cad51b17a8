//! Every key of Distribution's configuration schema 0.1, those of 2.8 and 3.x alike.

use std::net::IpAddr;

use http::{HeaderName, Uri};
use ipnet::IpNet;
use regex::Regex;

use super::{
    addr::ListenAddr,
    buckets,
    diagnostic::code,
    schema::{Key, Kind, Misfit},
};
use crate::retention::{RepositoryPattern, TagPattern};
use crate::tls::{host_name_problem, suites};

const ANY_INT: Kind = Kind::Int {
    least: i64::MIN,
    most: i64::MAX,
};
const COUNT: Kind = Kind::Int {
    least: 0,
    most: u32::MAX as i64,
};
const HEADERS: Kind = Kind::Map(&Kind::List(&Kind::Text));

/// The top of the file.
pub(super) static ROOT: &[Key] = &[
    Key::new("version", Kind::Text),
    Key::new("log", Kind::Section(LOG)),
    Key::new("loglevel", Kind::Word(LEVELS)).sets("log.level"),
    Key::new("storage", Kind::Selector(STORAGE)),
    Key::new("auth", Kind::Selector(AUTH)),
    Key::new("http", Kind::Section(HTTP)),
    Key::new("health", Kind::Section(HEALTH)),
    Key::new("catalog", Kind::Section(CATALOG)),
    Key::new("tags", Kind::Section(TAGS)),
    Key::new("proxy", Kind::Section(PROXY)),
    Key::new("notifications", Kind::Section(NOTIFICATIONS)),
    Key::new("middleware", Kind::Opaque)
        .refused("there are no middlewares: clients would not be sent to what it names")
        .instead(
            "remove `middleware`; a network of caches goes before the registry, as a proxy; \
             `storage.redirect` sends clients to the bucket itself",
        ),
    Key::new("redis", Kind::Opaque)
        .ignored("nothing is kept in Redis")
        .instead("remove `redis`: the store needs no cache before it"),
    Key::new("validation", Kind::Section(VALIDATION)),
    Key::new("policy", Kind::Section(POLICY)),
    Key::new("compatibility", Kind::Opaque)
        .ignored("Docker image manifests of schema version 1 are not accepted")
        .instead("remove `compatibility`, and push with Docker 1.10 or later"),
    Key::new("reporting", Kind::Opaque)
        .ignored("failures are reported in the log only")
        .instead("remove `reporting`, and collect the log: `log: {formatter: json}`"),
];

/// Keys of `storage` that are no drivers.
pub(super) static STORAGE_OPTIONS: &[&str] = &[
    "delete",
    "redirect",
    "cache",
    "tag",
    "maintenance",
    "gc",
    "retention",
];

/// Misleading names, in the file and in variables, and the key they stand for.
pub(super) static MISTAKEN: &[(&str, &str)] = &[
    ("port", "http.addr"),
    ("http.port", "http.addr"),
    ("http.address", "http.addr"),
    ("http.tls.cert", "http.tls.certificate"),
    ("https", "http.tls"),
    ("http.https", "http.tls"),
    ("ssl", "http.tls"),
    ("http.ssl", "http.tls"),
    ("authentication", "auth"),
    (
        "storage.filesystem.path",
        "storage.filesystem.rootdirectory",
    ),
    (
        "storage.filesystem.root",
        "storage.filesystem.rootdirectory",
    ),
];

const LEVELS: &[&str] = &["error", "warn", "info", "debug"];

static LOG: &[Key] = &[
    Key::new("level", Kind::Word(LEVELS)),
    Key::new("formatter", Kind::Word(&["text", "json", "logstash"])),
    Key::new("fields", Kind::Map(&Kind::Text)),
    Key::new(
        "accesslog",
        Kind::Section(&[Key::new("disabled", Kind::Bool)]),
    ),
    Key::new("reportcaller", Kind::Opaque).ignored("log lines do not name the source code"),
    Key::new("hooks", Kind::Opaque).ignored("the log is not sent by mail"),
];

const OTHER_DRIVER: &str = "content would be kept in another place than the configuration says";

static STORAGE: &[Key] = &[
    Key::new(
        "filesystem",
        Kind::Section(&[
            Key::new("rootdirectory", Kind::Text),
            Key::new("maxthreads", COUNT),
        ]),
    ),
    // Its parameters do not exist; what is written below it has never had an effect.
    Key::new("inmemory", Kind::Section(&[])),
    Key::new("sled", Kind::Section(&[Key::new("path", Kind::Text)])),
    Key::new("s3", Kind::Section(buckets::S3_KEYS)).aka(&["s3aws"]),
    Key::new("azure", Kind::Section(buckets::AZURE_KEYS)),
    Key::new("gcs", Kind::Section(buckets::GCS_KEYS)),
    Key::new("swift", Kind::Opaque).refused(OTHER_DRIVER),
    Key::new("oss", Kind::Opaque).refused(OTHER_DRIVER),
    Key::new("delete", Kind::Section(&[Key::new("enabled", Kind::Bool)])),
    Key::new("gc", Kind::Section(GC)),
    Key::new("retention", Kind::Section(RETENTION)),
    Key::new(
        "redirect",
        Kind::Section(&[
            Key::new("disable", Kind::Bool),
            Key::new("ttl", Kind::Duration),
        ]),
    ),
    Key::new(
        "cache",
        Kind::Section(&[
            Key::new("blobdescriptor", Kind::Text)
                .aka(&["layerinfo"])
                .no_effect("descriptors are read from the store, which needs no cache before it"),
            Key::new("blobdescriptorsize", ANY_INT)
                .no_effect("descriptors are read from the store, which needs no cache before it"),
        ]),
    ),
    Key::new(
        "tag",
        Kind::Section(&[Key::new("concurrencylimit", ANY_INT).no_effect(
            "deleting a manifest looks at the tags of its repository one after the other",
        )]),
    ),
    Key::new(
        "maintenance",
        Kind::Section(&[
            Key::new(
                "uploadpurging",
                Kind::Section(&[
                    Key::new("enabled", Kind::Bool),
                    Key::new("age", Kind::Duration),
                    Key::new("interval", Kind::Duration),
                    Key::new("dryrun", Kind::Bool),
                ]),
            ),
            Key::new(
                "readonly",
                Kind::Section(&[Key::new("enabled", Kind::Bool)]),
            ),
        ]),
    ),
];

/// Not one of Distribution's, which collects by hand.
static GC: &[Key] = &[
    Key::new("enabled", Kind::Bool),
    Key::new("interval", Kind::Duration),
    Key::new("grace", Kind::Duration),
    Key::new("untagged", Kind::Bool),
    Key::new("dryrun", Kind::Bool),
    Key::new(
        "maxshare",
        Kind::Int {
            least: 0,
            most: 100,
        },
    ),
    Key::new("anyfilesystem", Kind::Bool),
];

/// Not one of Distribution's either. The names are those of zot.
static RETENTION: &[Key] = &[
    Key::new("enabled", Kind::Bool),
    Key::new("dryrun", Kind::Bool),
    Key::new(
        "policies",
        Kind::List(&Kind::Section(&[
            Key::new("repositories", Kind::List(&Kind::Form(repositories))),
            Key::new(
                "keeptags",
                Kind::List(&Kind::Section(&[
                    Key::new("patterns", Kind::List(&Kind::Form(tags))),
                    Key::new(
                        "mostrecentlypushedcount",
                        Kind::Int {
                            least: 1,
                            most: u32::MAX as i64,
                        },
                    ),
                    Key::new("pushedwithin", Kind::Duration),
                ])),
            ),
        ])),
    ),
];

const OTHER_AUTH: &str = "access would not be protected as the configuration says";

static AUTH: &[Key] = &[
    Key::new("none", Kind::Section(&[])),
    Key::new(
        "htpasswd",
        Kind::Section(&[Key::new("realm", Kind::Text), Key::new("path", Kind::Text)]),
    ),
    Key::new("token", Kind::Opaque)
        .refused(OTHER_AUTH)
        .instead("use `auth.htpasswd`, or let a proxy before the registry check the tokens"),
    Key::new("silly", Kind::Opaque)
        .refused("it lets in everybody who sends any credentials")
        .instead("use `auth.htpasswd`; or, if everybody is meant, `auth.none`"),
];

static HTTP: &[Key] = &[
    // Its form depends on `net`.
    Key::new("addr", Kind::Text),
    Key::new("net", Kind::Word(&["tcp", "unix"])).sets("http.addr"),
    Key::new("host", Kind::Form(host)),
    Key::new("prefix", Kind::Form(prefix)),
    Key::new("secret", Kind::Text)
        .no_effect("upload sessions are kept on the server and need no signature"),
    Key::new("relativeurls", Kind::Bool),
    // Not of Distribution, which believes whoever sends `X-Forwarded-For`.
    Key::new("trustedproxies", Kind::List(&Kind::Form(network))),
    Key::new("draintimeout", Kind::Duration),
    Key::new("headers", HEADERS),
    Key::new("tls", Kind::Section(TLS)),
    Key::new("http2", Kind::Section(&[Key::new("disabled", Kind::Bool)])),
    Key::new(
        "h2c",
        Kind::Section(&[Key::new("enabled", Kind::Opaque)
            .no_effect("clients that begin with HTTP/2 are always understood, also without TLS")]),
    ),
    Key::new(
        "debug",
        Kind::Section(&[
            Key::new("addr", Kind::Form(listen)),
            Key::new(
                "prometheus",
                Kind::Section(&[
                    Key::new("enabled", Kind::Bool),
                    Key::new("path", Kind::Form(metrics_path)),
                ]),
            ),
        ]),
    ),
];

static TLS: &[Key] = &[
    Key::new("certificate", Kind::Text).aka(&["cert"]),
    Key::new("key", Kind::Text),
    Key::new("minimumtls", Kind::Word(&["tls1.2", "tls1.3"])),
    Key::new("clientcas", Kind::List(&Kind::Text)),
    Key::new(
        "clientauth",
        Kind::Word(&[
            "request-client-cert",
            "require-any-client-cert",
            "verify-client-cert-if-given",
            "require-and-verify-client-cert",
        ]),
    ),
    Key::new("ciphersuites", Kind::List(&Kind::Form(cipher_suite))),
    Key::new(
        "local",
        Kind::Section(&[
            Key::new("hosts", Kind::List(&Kind::Text)),
            Key::new("directory", Kind::Text),
        ]),
    ),
    Key::new(
        "letsencrypt",
        Kind::Section(&[
            // A directory, whatever its name says.
            Key::new("cachefile", Kind::Text),
            Key::new("email", Kind::Form(email)),
            Key::new("hosts", Kind::List(&Kind::Form(acme_host))),
            Key::new("directoryurl", Kind::Form(acme_directory)),
            // Not of Distribution, which knows no private authorities.
            Key::new("directoryca", Kind::Text),
        ]),
    ),
];

static HEALTH: &[Key] = &[
    Key::new(
        "storagedriver",
        Kind::Section(&[
            Key::new("enabled", Kind::Bool),
            Key::new("interval", Kind::Duration),
            Key::new("threshold", COUNT),
        ]),
    ),
    Key::new(
        "file",
        Kind::List(&Kind::Section(&[
            Key::new("file", Kind::Text),
            Key::new("interval", Kind::Duration),
        ])),
    )
    .go("FILECHECKERS"),
    Key::new(
        "http",
        Kind::List(&Kind::Section(&[
            Key::new("uri", Kind::Text),
            Key::new("headers", HEADERS),
            Key::new(
                "statuscode",
                Kind::Int {
                    least: 0,
                    most: 999,
                },
            ),
            Key::new("timeout", Kind::Duration),
            Key::new("interval", Kind::Duration),
            Key::new("threshold", COUNT),
        ])),
    )
    .go("HTTPCHECKERS"),
    Key::new(
        "tcp",
        Kind::List(&Kind::Section(&[
            Key::new("addr", Kind::Text),
            Key::new("timeout", Kind::Duration),
            Key::new("interval", Kind::Duration),
            Key::new("threshold", COUNT),
        ])),
    )
    .go("TCPCHECKERS"),
];

static CATALOG: &[Key] = &[Key::new("maxentries", ANY_INT)];

static TAGS: &[Key] = &[Key::new("maxtags", COUNT)];

const NO_PROXY: &str = "it belongs to the pull-through cache, which is not supported";

static PROXY: &[Key] = &[
    Key::new("remoteurl", Kind::Opaque)
        .refused(
            "the registry would not fetch from there: what it does not hold would be missing, \
         and it would accept pushes",
        )
        .instead("remove `proxy`, and copy what is needed: `skopeo sync`, `crane copy`"),
    Key::new("username", Kind::Opaque).no_effect(NO_PROXY),
    Key::new("password", Kind::Opaque).no_effect(NO_PROXY),
    Key::new("ttl", Kind::Opaque).no_effect(NO_PROXY),
    Key::new("cachewritetimeout", Kind::Opaque).no_effect(NO_PROXY),
    Key::new("exec", Kind::Opaque).no_effect(NO_PROXY),
];

static NOTIFICATIONS: &[Key] = &[
    Key::new("events", Kind::Opaque)
        .go("EVENTCONFIG")
        .no_effect("notifications are not sent"),
    Key::new("endpoints", Kind::Opaque)
        .refused("no events would be sent, and what waits for them would wait for ever")
        .instead("remove `notifications`, and ask the registry: `GET /v2/NAME/tags/list`"),
];

static VALIDATION: &[Key] = &[
    Key::new("enabled", Kind::Opaque).no_effect("manifests are always validated"),
    Key::new("disabled", Kind::Bool),
    Key::new(
        "manifests",
        Kind::Section(&[
            Key::new(
                "urls",
                Kind::Section(&[
                    Key::new("allow", Kind::List(&Kind::Form(pattern))),
                    Key::new("deny", Kind::List(&Kind::Form(pattern))),
                ]),
            ),
            Key::new("indexes", Kind::Opaque).ignored(
                "an index is accepted when all its manifests are there, whatever their platform",
            )
            .instead("remove `validation.manifests.indexes`, and push every manifest of an index"),
        ]),
    ),
];

static POLICY: &[Key] = &[Key::new(
    "repository",
    Kind::Section(&[Key::new("classes", Kind::List(&Kind::Text))]),
)];

/// An item of `http.trustedproxies`: a network, or one address.
fn network(text: &str) -> Result<String, Misfit> {
    let address = |text: &str| {
        text.parse()
            .ok()
            .map(|address: IpAddr| IpNet::from(address))
    };
    let network = text.parse().ok().or_else(|| address(text));
    network
        .map(|net: IpNet| net.trunc().to_string())
        .ok_or_else(|| Misfit {
            why: "it is neither an IP address nor a network".to_owned(),
            fix: "write it as `10.0.0.0/8` or `192.168.1.5`".to_owned(),
        })
}

/// `http.debug.prometheus.path`
fn metrics_path(text: &str) -> Result<String, Misfit> {
    if text.starts_with('/') && text.parse::<Uri>().is_ok() && !text.contains('?') {
        return Ok(text.to_owned());
    }
    Err(Misfit {
        why: "it is not a path".to_owned(),
        fix: "write it as `/metrics`".to_owned(),
    })
}

/// An item of `validation.manifests.urls`: a regular expression.
fn repositories(text: &str) -> Result<String, Misfit> {
    match RepositoryPattern::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Misfit {
            why: error.to_string(),
            fix: "write one as in `team/*` or `**`".to_owned(),
        }),
    }
}

fn tags(text: &str) -> Result<String, Misfit> {
    match TagPattern::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Misfit {
            why: error.to_string(),
            fix: "write one as in `v[0-9.]+`; it is about the whole tag".to_owned(),
        }),
    }
}

fn pattern(text: &str) -> Result<String, Misfit> {
    match Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            // Its last line says what is wrong; those before show where, for a terminal.
            let error = error.to_string();
            let why = error.lines().last().unwrap_or_default();
            let why = why.trim_start_matches("error: ");
            Err(Misfit {
                why: format!("it is not a regular expression: {why}"),
                fix: "write one as in `^https://example\\.com/`".to_owned(),
            })
        }
    }
}

/// `http.host`: only scheme and authority are used.
fn host(text: &str) -> Result<String, Misfit> {
    let misfit = |why: &str| Misfit {
        why: why.to_owned(),
        fix: "write scheme and host, as in `https://registry.example.com`".to_owned(),
    };
    let uri: Uri = text.parse().map_err(|_| misfit("it is not a URL"))?;
    let scheme = match uri.scheme_str() {
        Some(scheme @ ("http" | "https")) => scheme,
        Some(_) => return Err(misfit("its scheme is neither `http` nor `https`")),
        None => return Err(misfit("it has no scheme")),
    };
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(misfit(
            "it contains a user name, which every client would see",
        )),
        Some(authority) if !authority.host().is_empty() => Ok(format!("{scheme}://{authority}")),
        _ => Err(misfit("it has no host")),
    }
}

/// `http.prefix`
fn prefix(text: &str) -> Result<String, Misfit> {
    if text.starts_with('/') && text.ends_with('/') && text.parse::<Uri>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(Misfit {
        why: "a prefix is a path that begins and ends with `/`".to_owned(),
        fix: format!("write {}", code(&format!("/{}/", text.trim_matches('/')))),
    })
}

/// An item of `http.tls.ciphersuites`
fn cipher_suite(text: &str) -> Result<String, Misfit> {
    let name = text.to_ascii_uppercase();
    match suites::named(&name) {
        Some(_) => Ok(name),
        None => Err(Misfit {
            why: "it is not a cipher suite of Go's `crypto/tls`".to_owned(),
            fix: format!("use {}, or remove `ciphersuites`", suites::OFFERED),
        }),
    }
}

/// `http.tls.letsencrypt.email`
fn email(text: &str) -> Result<String, Misfit> {
    let text = text.strip_prefix("mailto:").unwrap_or(text);
    match text.split_once('@') {
        Some((user, host))
            if !user.is_empty()
                && !host.is_empty()
                && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',') =>
        {
            Ok(text.to_owned())
        }
        _ => Err(Misfit {
            why: "it is not one mail address".to_owned(),
            fix: "write it as `ops@example.com`, or remove `email`".to_owned(),
        }),
    }
}

/// An item of `http.tls.letsencrypt.hosts`: a name that the proof by TLS can be given for.
fn acme_host(text: &str) -> Result<String, Misfit> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let why = if name.parse::<IpAddr>().is_ok() {
        "it is an address, and the authority is asked for names"
    } else if name.starts_with("*.") {
        "certificates for `*` need a proof by DNS, which is not supported"
    } else {
        match host_name_problem(&name) {
            Some(problem) => problem,
            None => return Ok(name),
        }
    };
    Err(Misfit {
        why: why.to_owned(),
        fix: "write a host name as in `registry.example.com`".to_owned(),
    })
}

/// `http.tls.letsencrypt.directoryurl`
fn acme_directory(text: &str) -> Result<String, Misfit> {
    match text.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("https") && uri.authority().is_some() => {
            Ok(text.to_owned())
        }
        _ => Err(Misfit {
            why: "it is not an https URL, which ACME demands".to_owned(),
            fix: "write it as `https://acme-v02.api.letsencrypt.org/directory`".to_owned(),
        }),
    }
}

/// An address to listen on.
pub(super) fn listen(text: &str) -> Result<String, Misfit> {
    match text.parse::<ListenAddr>() {
        Ok(addr) => Ok(addr.to_string()),
        Err(error) => {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            let fix = if digits {
                format!("write {}", code(&format!(":{text}")))
            } else {
                "write HOST:PORT, or `:PORT` for every interface".to_owned()
            };
            Err(Misfit {
                why: error.to_string(),
                fix,
            })
        }
    }
}

/// Whether a header may have this name.
pub(super) fn is_header_name(name: &str) -> bool {
    HeaderName::try_from(name).is_ok()
}
