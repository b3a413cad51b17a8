//! What one key alone does not tell: rules between keys, and defaults that depend on others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderValue, Uri};
use serde_json::{Map, Value as Json};

use super::{
    check::Checked,
    diagnostic::{Diagnostic, Diagnostics, code},
    keys::{self, STORAGE_OPTIONS},
    model::NATIVE_ROOT,
    schema::{self, Misfit},
    source::Source,
};

/// Distribution's own floor for `storage.filesystem.maxthreads`.
const FLOOR: i64 = 25;

const AN_HOUR: Duration = Duration::from_secs(3600);

/// Applies every rule. `file` is the configuration file, if there is one.
pub(super) fn apply(checked: &mut Checked, file: Option<&Source>, diagnostics: &mut Diagnostics) {
    let mut rules = Rules {
        checked,
        diagnostics,
    };
    rules.log_level();
    rules.storage(file);
    rules.collection();
    rules.buckets(file);
    rules.auth();
    rules.listener(file);
    rules.headers();
    rules.tls();
    rules.page_sizes();
    rules.metrics();
}

struct Rules<'a> {
    checked: &'a mut Checked,
    diagnostics: &'a mut Diagnostics,
}

impl Rules<'_> {
    /// `loglevel` became `log.level`.
    fn log_level(&mut self) {
        let Some(level) = self.checked.values.remove("loglevel") else {
            return;
        };
        let source = self.source("loglevel");
        if self.wrote("log.level") {
            self.diagnostics.push(
                Diagnostic::warning("`loglevel` is ignored: `log.level` is set", source)
                    .fix("remove `loglevel`"),
            );
            return;
        }
        self.diagnostics.push(
            Diagnostic::warning("`loglevel` is deprecated", source).fix("write `log: {level: …}`"),
        );
        self.set("log.level", level);
        self.checked.sources.rename("loglevel", "log.level");
    }

    fn storage(&mut self, file: Option<&Source>) {
        let drivers = self.chosen("storage", STORAGE_OPTIONS);
        match (drivers.as_slice(), file) {
            ([], Some(file)) if !self.is_unclear("storage") => {
                let place = self.place_in(file, "storage");
                self.diagnostics.push(
                    Diagnostic::error("no storage driver is configured", place)
                        .why("the configuration file does not say where content is kept")
                        .fix("write `storage: {filesystem: {rootdirectory: /var/lib/registry}}`"),
                );
            }
            ([], None) => self.set("storage.filesystem", Json::Object(Map::new())),
            ([], Some(_)) | ([_], _) => {}
            _ => self.only_one(&drivers, "storage driver", "REGISTRY_STORAGE"),
        }
        if file.is_none() {
            self.default("storage.filesystem", "rootdirectory", NATIVE_ROOT.into());
            if self.get("storage.delete").is_none() {
                self.set("storage.delete", Json::Object(Map::new()));
            }
            self.default("storage.delete", "enabled", true.into());
            if self.get("validation").is_none() {
                self.set("validation", Json::Object(Map::new()));
            }
            self.default("validation", "disabled", true.into());
        }
        let threads = self.get("storage.filesystem.maxthreads");
        if let Some(threads) = threads.and_then(Json::as_i64).filter(|n| *n < FLOOR) {
            let source = self.source("storage.filesystem.maxthreads");
            let what = format!("`storage.filesystem.maxthreads` is {threads}; {FLOOR} is used");
            self.diagnostics.push(
                Diagnostic::warning(what, source)
                    .why("fewer would let slow transfers hold up all others")
                    .fix(format!("write {FLOOR} or more")),
            );
            self.set("storage.filesystem.maxthreads", FLOOR.into());
        }
    }

    fn collection(&mut self) {
        let enabled = self.get("storage.gc.enabled").and_then(Json::as_bool);
        if enabled.is_none() && self.has_settings("storage.gc") {
            let source = self.source("storage.gc");
            self.diagnostics.push(
                Diagnostic::warning("`storage.gc` has settings but is not enabled", source)
                    .why("nothing is collected in the background")
                    .fix("write `storage: {gc: {enabled: true}}`"),
            );
        }
        if enabled == Some(true) && self.get("storage.inmemory").is_some() {
            let source = self.source("storage.gc.enabled");
            self.diagnostics.push(
                Diagnostic::warning("`storage.gc` has no effect on this storage driver", source)
                    .why("what is only in memory is not collected")
                    .fix("remove `gc`"),
            );
        }
        let tags_go = self
            .get("storage.retention.enabled")
            .and_then(Json::as_bool);
        if tags_go.is_none() && self.has_settings("storage.retention") {
            let source = self.source("storage.retention");
            self.diagnostics.push(
                Diagnostic::warning(
                    "`storage.retention` has settings but is not enabled",
                    source,
                )
                .why("every tag stays")
                .fix("write `storage: {retention: {enabled: true}}`"),
            );
        }
        let short = |text: &str| super::duration::parse(text).is_ok_and(|grace| grace < AN_HOUR);
        if enabled == Some(true)
            && self
                .text("storage.gc.grace")
                .is_some_and(|text| short(&text))
        {
            let source = self.source("storage.gc.grace");
            self.diagnostics.push(
                Diagnostic::warning("`storage.gc.grace` is less than an hour", source)
                    .why(
                        "blobs may be collected between their upload and their manifest; no image \
                          breaks, but slow clients have to push again",
                    )
                    .fix("write `24h`"),
            );
        }
    }

    /// What the drivers for object storage cannot do without, and what they cannot do.
    fn buckets(&mut self, file: Option<&Source>) {
        let drivers = ["storage.s3", "storage.gcs", "storage.azure"];
        if file.is_none() && drivers.iter().any(|driver| self.get(driver).is_some()) {
            if self.get("storage.redirect").is_none() {
                self.set("storage.redirect", Json::Object(Map::new()));
            }
            // Not every client reaches the bucket; in Distribution's own format it is said so.
            self.default("storage.redirect", "disable", true.into());
        }
        for (needed, example) in [
            ("storage.s3.bucket", "my-registry"),
            ("storage.gcs.bucket", "my-registry"),
            ("storage.azure.accountname", "myaccount"),
            ("storage.azure.container", "my-registry"),
        ] {
            let driver = needed.rsplit_once('.').map_or(needed, |(driver, _)| driver);
            if self.wrote(driver) && !self.wrote(needed) && !self.is_unclear(driver) {
                let source = self.source(driver);
                self.diagnostics.push(
                    Diagnostic::error(format!("`{needed}` is missing"), source)
                        .why("it says where content is kept")
                        .fix(format!("set it, as in {}", code(example))),
                );
            }
        }
        for (one, other) in [("accesskey", "secretkey"), ("secretkey", "accesskey")] {
            let [one, other] = [one, other].map(|key| format!("storage.s3.{key}"));
            if self.wrote(&one) && !self.wrote(&other) {
                let source = self.source(&one);
                self.diagnostics.push(
                    Diagnostic::error(format!("`{one}` is set but `{other}` is not"), source)
                        .why("each is of no use without the other")
                        .fix(format!(
                            "set `{other}`, or remove `{one}` to use AWS_* variables, the role of \
                             the pod or that of the instance"
                        )),
                );
            }
        }
        if self.get("storage.s3.v4auth").and_then(Json::as_bool) == Some(false) {
            let source = self.source("storage.s3.v4auth");
            self.diagnostics.push(
                Diagnostic::error("`storage.s3.v4auth: false` is not supported", source)
                    .why("requests are signed with version 4 only")
                    .fix("remove it; a service that knows only version 2 cannot be used"),
            );
        }
        let acl = self.text("storage.s3.objectacl");
        if let Some(acl) = acl.filter(|acl| acl != "private") {
            let source = self.source("storage.s3.objectacl");
            let what = format!("`storage.s3.objectacl` is {}", code(&acl));
            self.diagnostics.push(
                Diagnostic::error(what, source)
                    .why("objects are written with the access that the bucket gives them")
                    .fix("remove it, and set a policy on the bucket"),
            );
        }
        self.endpoint("storage.s3.regionendpoint");
        self.endpoint("storage.s3.redirectendpoint");
    }

    /// The URL of a service may come without a scheme; `secure` then says which.
    fn endpoint(&mut self, key: &str) {
        let Some(endpoint) = self.text(key) else {
            return;
        };
        let secure = self.get("storage.s3.secure").and_then(Json::as_bool);
        let whole = match endpoint.split_once("://") {
            None if secure == Some(false) => format!("http://{endpoint}"),
            None => format!("https://{endpoint}"),
            Some(_) => endpoint.clone(),
        };
        let uri = whole.parse::<Uri>().ok();
        let is_service = uri.as_ref().is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if is_service {
            self.set(key, whole.into());
            return;
        }
        let source = self.source(key);
        let what = format!(
            "`{key}` is {}, which is no address of a service",
            code(&endpoint)
        );
        self.diagnostics.push(
            Diagnostic::error(what, source)
                .fix("write scheme, host and port, as in `https://minio.example.com:9000`"),
        );
    }

    fn auth(&mut self) {
        let types = self.chosen("auth", &[]);
        match types.as_slice() {
            [] => {
                self.checked.values.remove("auth");
                if self.wrote("auth") && !self.is_unclear("auth") {
                    let source = self.source("auth");
                    self.diagnostics.push(
                        Diagnostic::warning("`auth` names no type of authentication", source)
                            .why("everybody can push and pull")
                            .fix("write `auth: none` if that is meant"),
                    );
                }
            }
            [_] => {}
            _ => self.only_one(&types, "authentication type", "REGISTRY_AUTH"),
        }
        if !self.wrote("auth.htpasswd") {
            return;
        }
        match self.text("auth.htpasswd.path") {
            Some(path) => self.htpasswd(&PathBuf::from(path)),
            // A path that is there and wrong has been reported.
            None if self.wrote("auth.htpasswd.path") => {}
            None => {
                let source = self.source("auth.htpasswd");
                self.diagnostics.push(
                    Diagnostic::error("`auth.htpasswd.path` is missing", source)
                        .why("without the file nobody could be recognised")
                        .fix("set it to the htpasswd file, as in `/auth/htpasswd`"),
                );
            }
        }
    }

    /// A Kubernetes Secret is mounted as a directory, and people give that.
    fn htpasswd(&mut self, path: &Path) {
        if !path.is_dir() {
            return;
        }
        let source = self.source("auth.htpasswd.path");
        let file = path.join("htpasswd");
        let names = file_names(path);
        let what = format!(
            "`auth.htpasswd.path` is the directory {}",
            code(&path.to_string_lossy())
        );
        if let ([name, ..], false) = (names.as_slice(), file.exists()) {
            let holds: Vec<_> = names.iter().take(3).map(|n| code(n).to_string()).collect();
            let fix = if names.len() == 1 {
                format!("write {}", code(&path.join(name).to_string_lossy()))
            } else {
                "write the path of the htpasswd file".to_owned()
            };
            self.diagnostics.push(
                Diagnostic::error(what, source)
                    .why(format!(
                        "it holds no file `htpasswd`, but {}",
                        holds.join(", ")
                    ))
                    .fix(fix),
            );
            return;
        }
        let file = file.to_string_lossy().into_owned();
        self.diagnostics.push(
            Diagnostic::warning(what, source)
                .why(format!("{} is used", code(&file)))
                .fix(format!("write {}", code(&file))),
        );
        self.set("auth.htpasswd.path", file.into());
    }

    fn listener(&mut self, file: Option<&Source>) {
        let net = match &mut self.checked.values.get_mut("http") {
            Some(Json::Object(http)) => http.remove("net"),
            _ => None,
        };
        let unix = net.as_ref().and_then(Json::as_str) == Some("unix");
        match (self.text("http.addr"), file) {
            (Some(path), _) if unix => {
                let path = path.strip_prefix("unix:").unwrap_or(&path).to_owned();
                self.set("http.addr", format!("unix:{path}").into());
            }
            (Some(addr), _) => match keys::listen(&addr) {
                Ok(addr) => self.set("http.addr", addr.into()),
                Err(Misfit { why, fix }) => {
                    let what = format!("`http.addr` is {}: {why}", code(&addr));
                    let source = self.source("http.addr");
                    self.diagnostics
                        .push(Diagnostic::error(what, source).fix(fix));
                }
            },
            (None, _) if unix => {
                let source = self.source("http.net");
                self.diagnostics.push(
                    Diagnostic::error("`http.net` is `unix` but `http.addr` is not set", source)
                        .fix("set `http.addr` to the path of the socket"),
                );
            }
            // An `http` that is no mapping has been reported.
            (None, Some(_)) if self.wrote("http") && self.get("http").is_none() => {}
            (None, Some(file)) if !self.wrote("http.addr") => {
                let place = self.place_in(file, "http");
                self.diagnostics.push(
                    Diagnostic::warning("`http.addr` is not set: `127.0.0.1:5000` is used", place)
                        .why("only this host can reach it; in a container, nobody")
                        .fix("write `http: {addr: \":5000\"}`"),
                );
            }
            (None, _) => {}
        }
    }

    fn headers(&mut self) {
        let Some(Json::Object(headers)) = self.get("http.headers") else {
            return;
        };
        let mut wrong = Vec::new();
        for (name, values) in headers {
            let path = schema::join("http.headers", name);
            if !keys::is_header_name(name) {
                wrong.push((path.clone(), format!("{} is no header name", code(name))));
            }
            for value in values.as_array().into_iter().flatten() {
                let value = value.as_str().unwrap_or_default();
                if HeaderValue::from_str(value).is_err() {
                    // Not shown: it may be a secret.
                    let what = format!(
                        "a value of {} has characters that no header may have",
                        code(name)
                    );
                    wrong.push((path.clone(), what));
                }
            }
        }
        for (path, what) in wrong {
            let source = self.source(&path);
            self.diagnostics.push(
                Diagnostic::error(what, source)
                    .fix("use a name of letters, digits and `-`, and a value of one line"),
            );
        }
    }

    fn tls(&mut self) {
        const WHOLE: &str = "http.tls";
        const LOCAL: &str = "http.tls.local";
        const ACME: &str = "http.tls.letsencrypt";
        let certificate = self.wrote("http.tls.certificate");
        let key = self.wrote("http.tls.key");
        let plain = "without a certificate everything would be served in plain text";
        let (local, acme) = (self.wrote(LOCAL), self.has_settings(ACME));
        let incomplete = match (certificate, key) {
            (true, true) => None,
            (false, false) if local => None,
            (false, false) if acme => self.acme(),
            // What is missing may be what was misspelt, which has been reported.
            _ if self.is_unclear(WHOLE) => None,
            (false, true) => Some((
                "http.tls.key",
                "`http.tls.key` is set but `http.tls.certificate` is not",
                plain,
                "set `http.tls.certificate` to the certificate file, or remove `key`",
            )),
            (true, false) => Some((
                "http.tls.certificate",
                "`http.tls.certificate` is set but `http.tls.key` is not",
                "a certificate cannot be used without its private key",
                "set `http.tls.key` to the key file",
            )),
            // Switched off, or left empty by a template.
            (false, false) if !self.has_settings(WHOLE) => {
                if let Some(Json::Object(http)) = self.checked.values.get_mut("http") {
                    http.remove("tls");
                }
                return;
            }
            (false, false) => Some((
                WHOLE,
                "`http.tls` has settings but no certificate",
                plain,
                "set `http.tls.certificate` and `http.tls.key`, or `http.tls.local.hosts`, or `http.tls.letsencrypt.hosts`; or remove `http.tls`",
            )),
        };
        let files = if certificate {
            "http.tls.certificate"
        } else {
            "http.tls.key"
        };
        let sources = [(certificate || key, files), (local, LOCAL), (acme, ACME)];
        let written = sources.into_iter().filter(|(wrote, _)| *wrote);
        let written: Vec<_> = written.map(|(_, path)| path).collect();
        let twice = written.len() > 1;
        if let [one, other, ..] = written[..] {
            self.diagnostics.push(
                Diagnostic::error(
                    format!("`{other}` and `{one}` are both set"),
                    self.source(one),
                )
                .also_at(self.source(other))
                .why("a certificate comes from one place")
                .fix(format!("remove `{one}`, or `{other}`")),
            );
        }
        if let Some((path, what, why, fix)) = incomplete.filter(|_| !twice) {
            let source = self.source(path);
            self.diagnostics
                .push(Diagnostic::error(what, source).why(why).fix(fix));
        }
        if self.wrote("http.tls.clientauth") && !self.wrote("http.tls.clientcas") {
            let source = self.source("http.tls.clientauth");
            self.diagnostics.push(
                Diagnostic::error(
                    "`http.tls.clientauth` is set but `http.tls.clientcas` is not",
                    source,
                )
                .why("no client would be asked for a certificate")
                .fix("set `http.tls.clientcas` to the files of the authorities, or remove it"),
            );
        }
    }

    /// What is wrong with `http.tls.letsencrypt`, where nothing else gives a certificate.
    fn acme(&mut self) -> Option<(&'static str, &'static str, &'static str, &'static str)> {
        const ACME: &str = "http.tls.letsencrypt";
        const HOSTS: &str = "http.tls.letsencrypt.hosts";
        // What was reported as no host name is not reported as missing.
        let reported = |found: &Diagnostic| found.what.contains(HOSTS);
        if self.is_unclear(ACME) || self.diagnostics.iter().any(reported) {
            return None;
        }
        let hosts = self.get(HOSTS).and_then(Json::as_array);
        hosts.is_none_or(Vec::is_empty).then_some((
            ACME,
            "`http.tls.letsencrypt` is set but `http.tls.letsencrypt.hosts` is not",
            "a certificate is for names, and whoever connects must not choose them",
            "set `http.tls.letsencrypt.hosts` to the names of this registry",
        ))
    }

    /// Metrics need a listener.
    fn metrics(&mut self) {
        const ENABLED: &str = "http.debug.prometheus.enabled";
        let enabled = self.get(ENABLED).and_then(Json::as_bool) == Some(true);
        if !enabled || self.wrote("http.debug.addr") {
            return;
        }
        let source = self.source(ENABLED);
        self.diagnostics.push(
            Diagnostic::warning(
                "`http.debug.prometheus.enabled` is true but `http.debug.addr` is not set",
                source,
            )
            .why("metrics are served on that listener only")
            .fix("set `http.debug.addr`, as in `127.0.0.1:5001`"),
        );
    }

    fn page_sizes(&mut self) {
        let entries = self.get("catalog.maxentries").and_then(Json::as_i64);
        let Some(entries) = entries.filter(|n| u32::try_from(*n).map_or(true, |n| n == 0)) else {
            return;
        };
        let source = self.source("catalog.maxentries");
        let used = if entries > 0 { u32::MAX } else { 1000 };
        let what = format!("`catalog.maxentries` is {entries}; {used} is used");
        self.diagnostics.push(
            Diagnostic::warning(what, source).fix(format!("write a number from 1 to {}", u32::MAX)),
        );
        self.set("catalog.maxentries", used.into());
    }

    /// Two drivers, or two types of authentication.
    fn only_one(&mut self, chosen: &[String], what: &str, variable: &str) {
        let mut diagnostic: Option<Diagnostic> = None;
        for key in chosen {
            let source = self.source(key);
            diagnostic = Some(match diagnostic {
                None => {
                    let names: Vec<_> = chosen.iter().map(|key| format!("`{key}`")).collect();
                    let what = format!("more than one {what}: {}", names.join(", "));
                    Diagnostic::error(what, source)
                }
                Some(diagnostic) => diagnostic.also_at(source),
            });
        }
        if let Some(diagnostic) = diagnostic {
            self.diagnostics.push(diagnostic.fix(format!(
                "remove all but one; a variable replaces what the file says: `{variable}=NAME`"
            )));
        }
    }

    /// The keys directly below `parent` that somebody wrote, `options` left out.
    fn chosen(&self, parent: &str, options: &[&str]) -> Vec<String> {
        let below = schema::ROOT.iter().find(|key| key.name == parent);
        below
            .map_or(&[][..], |key| key.kind.keys())
            .iter()
            .filter(|key| !options.contains(&key.name))
            .map(|key| schema::join(parent, key.name))
            .filter(|path| self.wrote(path))
            .collect()
    }

    fn has_settings(&self, path: &str) -> bool {
        let is_empty = |key| self.get(key).is_some_and(asks_for_nothing);
        self.is_unclear(path)
            || self.checked.sources.iter().any(|(key, _)| {
                key.strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with('.'))
                    && !is_empty(key)
            })
    }

    fn is_unclear(&self, path: &str) -> bool {
        self.checked.unclear.iter().any(|unclear| unclear == path)
    }

    fn wrote(&self, path: &str) -> bool {
        self.checked.sources.contains(path)
    }

    fn source(&self, path: &str) -> Source {
        self.checked.sources.of(path).clone()
    }

    /// The place of `path` in the file, or the whole file if it is not there.
    fn place_in(&self, file: &Source, path: &str) -> Source {
        match self.source(path) {
            written @ Source::File { .. } => written,
            _ => file.clone(),
        }
    }

    fn get(&self, path: &str) -> Option<&Json> {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let top = self.checked.values.get(first)?;
        rest.split('.')
            .filter(|name| !name.is_empty())
            .try_fold(top, |value, name| value.get(name))
    }

    fn text(&self, path: &str) -> Option<String> {
        self.get(path)?.as_str().map(str::to_owned)
    }

    fn set(&mut self, path: &str, value: Json) {
        let mut map = &mut self.checked.values;
        let mut rest = path;
        while let Some((name, below)) = rest.split_once('.') {
            let slot = map.entry(name).or_insert_with(|| Json::Object(Map::new()));
            let Json::Object(inner) = slot else { return };
            map = inner;
            rest = below;
        }
        map.insert(rest.to_owned(), value);
    }

    /// Sets `name` in the mapping at `path`, if that is there and has no such name.
    fn default(&mut self, path: &str, name: &str, value: Json) {
        if matches!(self.get(path), Some(Json::Object(map)) if !map.contains_key(name)) {
            self.set(&schema::join(path, name), value);
        }
    }
}

/// The files of a directory whose names do not begin with a dot, sorted.
fn file_names(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Whether a value is what templates leave behind: lists and mappings with nothing in them.
fn asks_for_nothing(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.is_empty(),
        Json::Object(keys) => keys.values().all(asks_for_nothing),
        _ => false,
    }
}
