//! URLs in responses.

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use crate::endpoint::Endpoint;

/// Writes the URLs of endpoints the way clients can follow them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// What clients put before `/v2`: empty, or a path that begins with a slash.
    pub(crate) prefix: String,
    pub(crate) origin: Origin,
}

/// What stands before the path.
#[derive(Clone, Debug, Default)]
pub(crate) enum Origin {
    /// Nothing: a client stays where it is, whatever proxies stand between.
    #[default]
    None,
    /// Always this scheme and host, such as `https://registry.example`.
    Fixed(String),
    /// This scheme, and the host that the client asked.
    Requested(&'static str),
}

/// The scheme and host that a client used, where a trusted proxy has told the server that they are others
/// than the request itself shows.
///
/// A server puts it into the extensions of a request. It counts for
/// [`absolute_urls_by_host`](crate::RegistryServiceBuilder::absolute_urls_by_host) only.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClientOrigin {
    /// `http` or `https`, if it is known.
    pub scheme: Option<&'static str>,
    /// Host and port, if they are known.
    pub authority: Option<Authority>,
}

impl Links {
    /// The links of responses to one request.
    pub(crate) fn for_request(&self, request: &Parts) -> Self {
        let origin = match &self.origin {
            Origin::Requested(scheme) => {
                // What the server knows of the proxies before it, which clients cannot reach.
                let told = request.extensions.get::<ClientOrigin>();
                let scheme = told.and_then(|told| told.scheme).unwrap_or(scheme);
                told.and_then(|told| told.authority.as_ref().map(ToString::to_string))
                    .or_else(|| host(&request.headers))
                    .or_else(|| request.uri.authority().map(ToString::to_string))
                    .map_or(Origin::None, |host| {
                        Origin::Fixed(format!("{scheme}://{host}"))
                    })
            }
            other => other.clone(),
        };
        Self {
            prefix: self.prefix.clone(),
            origin,
        }
    }

    pub(crate) fn url(&self, endpoint: &Endpoint) -> String {
        let origin = match &self.origin {
            Origin::Fixed(origin) => origin.as_str(),
            Origin::None | Origin::Requested(_) => "",
        };
        format!("{origin}{}{endpoint}", self.prefix)
    }

    pub(crate) fn location(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        HeaderValue::try_from(self.url(endpoint)).ok()
    }

    pub(crate) fn next(&self, endpoint: &Endpoint) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("<{}>; rel=\"next\"", self.url(endpoint))).ok()
    }
}

/// The `Host` header, if it is one that can stand in a URL.
fn host(headers: &HeaderMap) -> Option<String> {
    let host = headers.get(HOST)?.to_str().ok()?;
    host.parse::<Authority>().ok()?;
    Some(host.to_owned())
}
