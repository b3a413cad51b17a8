//! Options of a service.

use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use oci_core::store::PresignOptions;
use oci_core::{Authenticator, Authorizer, Registry};

use crate::access::Gate;
use crate::drain::{Drain, Timer};
use crate::response::{Links, Origin};
use crate::service::{RegistryService, Shared};

/// Options of a [`RegistryService`].
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct RegistryServiceBuilder {
    registry: Registry,
    gate: Gate,
    base_path: String,
    base_path_is_stripped: bool,
    origin: Origin,
    origin_text: Option<String>,
    drain_limit: u64,
    timer: Option<Timer>,
    redirects: Option<Redirects>,
}

/// How downloads are sent to the store itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Redirects {
    /// How long an address is good; 20 minutes. A client that resumes later asks the registry again.
    pub ttl: Duration,
    /// Blobs of fewer bytes are served by the registry; 64 KiB.
    pub at_least: u64,
}

impl Default for Redirects {
    fn default() -> Self {
        let options = PresignOptions::default();
        Self {
            ttl: options.ttl,
            at_least: options.at_least,
        }
    }
}

impl RegistryServiceBuilder {
    pub(crate) fn new(registry: Registry) -> Self {
        Self {
            registry,
            gate: Gate::default(),
            base_path: String::new(),
            base_path_is_stripped: false,
            origin: Origin::None,
            origin_text: None,
            drain_limit: Drain::default().limit,
            timer: None,
            redirects: None,
        }
    }

    /// Who tells the callers apart. Without one, a caller is the [`Identity`](oci_core::Identity) in the
    /// extensions of the request, or else anonymous.
    pub fn authenticator(self, authenticator: impl Authenticator) -> Self {
        self.shared_authenticator(Arc::new(authenticator))
    }

    /// The same, for an authenticator that is also used elsewhere.
    pub fn shared_authenticator(mut self, authenticator: Arc<dyn Authenticator>) -> Self {
        self.gate.authenticator = Some(authenticator);
        self
    }

    /// Who decides what callers may do. Without one, whoever is authenticated may do everything; without
    /// an authenticator either, everybody may.
    pub fn authorizer(self, authorizer: impl Authorizer) -> Self {
        self.shared_authorizer(Arc::new(authorizer))
    }

    /// The same, for an authorizer that is also used elsewhere.
    pub fn shared_authorizer(mut self, authorizer: Arc<dyn Authorizer>) -> Self {
        self.gate.authorizer = Some(authorizer);
        self
    }

    /// Serves `<path>/v2/…` instead of `/v2/…`, and writes URLs so. `path` is what clients see.
    ///
    /// Docker and most other clients always ask for `/v2/` of a host: this is for a registry behind
    /// something that rewrites paths, and for clients that can be told a base URL.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = path.into();
        self.base_path_is_stripped = false;
        self
    }

    /// As [`base_path`](Self::base_path), for a host that takes `path` off before the service sees the
    /// request, as axum's `nest_service` does: URLs are written with it, but requests come without.
    pub fn stripped_base_path(mut self, path: impl Into<String>) -> Self {
        self.base_path = path.into();
        self.base_path_is_stripped = true;
        self
    }

    /// Writes URLs that begin with `origin`, for example `https://registry.example:5000`.
    ///
    /// By default URLs are paths, which are right however many proxies rename the host in between.
    pub fn absolute_urls(mut self, origin: impl Into<String>) -> Self {
        self.origin_text = Some(origin.into());
        self
    }

    /// Writes URLs with `https` or `http` and the host that the request names, as Docker's registry does.
    ///
    /// By default URLs are paths. Behind a proxy that changes the host, these are wrong.
    pub fn absolute_urls_by_host(mut self, https: bool) -> Self {
        self.origin_text = None;
        self.origin = Origin::Requested(if https { "https" } else { "http" });
        self
    }

    /// How many bytes of a request body are read after the request was answered without it, so that
    /// the client sees the answer; 8 MiB by default. Longer bodies are not read at all: the answer is
    /// sent at once, and the connection closes.
    pub fn drain_limit(mut self, bytes: u64) -> Self {
        self.drain_limit = bytes;
        self
    }

    /// How to wait, for example `tokio::time::sleep`. With it, a slow client has one second to send
    /// such a rest. Without it, only the server's own timeouts bound that time.
    pub fn timer<F>(mut self, sleep: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.timer = Some(Timer::new(sleep));
        self
    }

    /// Answers GET of a blob with 307 and an address in the store, where the store gives out such
    /// ([`BlobStore::presigned`](oci_core::BlobStore::presigned)), after the caller was let in and the blob
    /// was found in the repository. HEAD is answered here, and so is what is small or in several pieces.
    ///
    /// Clients must be able to reach the store. Whoever has an address may read that blob until it expires.
    pub fn redirects(mut self, redirects: Redirects) -> Self {
        self.redirects = Some(redirects);
        self
    }

    /// The service.
    ///
    /// # Errors
    /// If the base path is no path, or the origin of absolute URLs is none.
    pub fn build(self) -> Result<RegistryService, BuildError> {
        let prefix = base_path(&self.base_path)?;
        let origin = match self.origin_text {
            Some(text) => Origin::Fixed(checked_origin(&text)?),
            None => self.origin,
        };
        Ok(RegistryService::from_shared(Shared {
            registry: self.registry,
            gate: self.gate,
            prefix: if self.base_path_is_stripped {
                String::new()
            } else {
                prefix.clone()
            },
            links: Links { prefix, origin },
            redirects: self.redirects,
            drain: Drain {
                limit: self.drain_limit,
                timer: self.timer,
            },
        }))
    }
}

/// Why a service cannot be built.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The base path is no path.
    #[error("the base path `{path}` is no path; write it like `/registry`")]
    BasePath {
        /// What was given.
        path: String,
    },
    /// The origin for absolute URLs is none.
    #[error(
        "`{origin}` is no origin for absolute URLs; write it like `https://registry.example:5000`"
    )]
    Origin {
        /// What was given.
        origin: String,
    },
}

/// The path without a slash at its end: empty, or `/…`.
fn base_path(path: &str) -> Result<String, BuildError> {
    let trimmed = path.trim_end_matches('/');
    let harmless =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'.' | b'_' | b'~');
    let components = trimmed.split('/').skip(1);
    let sound = trimmed.is_empty()
        || trimmed.starts_with('/')
            && trimmed.bytes().all(harmless)
            && components
                .into_iter()
                .all(|part| !matches!(part, "" | "." | ".."));
    if sound {
        Ok(trimmed.to_owned())
    } else {
        Err(BuildError::BasePath {
            path: path.to_owned(),
        })
    }
}

fn checked_origin(text: &str) -> Result<String, BuildError> {
    let trimmed = text.trim_end_matches('/');
    let parsed = trimmed.split_once("://").and_then(|(scheme, authority)| {
        let scheme: Scheme = scheme.parse().ok()?;
        let authority: Authority = authority.parse().ok()?;
        matches!(scheme.as_str(), "http" | "https").then(|| format!("{scheme}://{authority}"))
    });
    parsed.ok_or_else(|| BuildError::Origin {
        origin: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_paths() {
        for (path, expected) in [("", ""), ("/", ""), ("/a", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(base_path(path).as_deref(), Ok(expected));
        }
        for path in ["a", "//a", "/a//b", "/../a", "/a b", "/%2e", "/a?b", "/ä"] {
            assert!(base_path(path).is_err(), "{path}");
        }
    }

    #[test]
    fn origins() {
        for (text, expected) in [
            ("https://r.example", "https://r.example"),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5000"),
        ] {
            assert_eq!(checked_origin(text).as_deref(), Ok(expected));
        }
        for text in [
            "",
            "r.example",
            "ftp://r.example",
            "https://",
            "https://a/b",
            "https://a b",
        ] {
            assert!(checked_origin(text).is_err(), "{text}");
        }
    }
}
