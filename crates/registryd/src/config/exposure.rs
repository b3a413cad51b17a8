//! Who may push, and from where.

use std::net::IpAddr;

use super::{
    ListenAddr,
    diagnostic::{Diagnostic, code},
    loader::Loaded,
    model::{Auth, Config},
};

impl Loaded {
    /// A warning if everybody who reaches this machine may push, and nobody wrote that this is meant.
    ///
    /// Not among the [diagnostics](Self::diagnostics), because nothing that was written is read as
    /// something else: it is no reason for `--strict` to refuse the files of the official images.
    pub fn exposure(&self) -> Option<Diagnostic> {
        let config = &self.config;
        let said = self.sources.contains("auth");
        if said || !matches!(config.auth, Auth::None {}) || !is_open(config) {
            return None;
        }
        let addr = config.http.addr.to_string();
        let what = format!("everybody who reaches {} can push and pull", code(&addr));
        Some(
            Diagnostic::warning(what, self.sources.of("http.addr").clone())
                .why("there is no `auth`, and the address is not of this machine alone")
                .fix(
                    "set `auth.htpasswd.path` to a file made by `registryd user add`, or listen on \
                     `127.0.0.1:PORT`, or set `storage.maintenance.readonly.enabled: true`; or write \
                     `auth: none` if that is meant",
                ),
        )
    }
}

/// Whether others than this machine can write, as far as the configuration tells.
fn is_open(config: &Config) -> bool {
    let elsewhere = match &config.http.addr {
        ListenAddr::Tcp { host: None, .. } => true,
        ListenAddr::Tcp {
            host: Some(host), ..
        } => match host.parse::<IpAddr>() {
            Ok(address) => !address.to_canonical().is_loopback(),
            Err(_) => host != "localhost",
        },
        ListenAddr::Unix(_) => false,
    };
    // Whom client certificates let in is another question.
    let tls = config.http.tls.as_ref();
    let by_certificate = tls.is_some_and(|tls| !tls.clientcas.is_empty());
    elsewhere && !by_certificate && !config.storage.maintenance.readonly.enabled
}
