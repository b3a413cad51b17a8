//! The access log: one line per request, written when the response is sent or the client is gone.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use http::{HeaderValue, Method, Uri};

use super::RequestId;

/// What an access line tells.
#[derive(Debug)]
pub(crate) struct Access<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    /// 499 if the client went away before there was a response.
    pub(crate) status: u16,
    /// Of the response's body, as far as they were sent.
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    pub(crate) agent: Option<&'a HeaderValue>,
    pub(crate) remote: &'a str,
    pub(crate) user: Option<&'a str>,
}

impl Access<'_> {
    /// Probes come every few seconds and say nothing: they are for level debug.
    pub(crate) fn write(&self, probe: bool) {
        let Self {
            id,
            method,
            status,
            bytes,
            remote,
            ..
        } = *self;
        let id = id.as_str();
        let method = bounded(method.as_str(), METHOD);
        let (method, uri) = (&*method, &*shown(self.uri));
        let agent = self
            .agent
            .map(|agent| String::from_utf8_lossy(agent.as_bytes()))
            .unwrap_or_default();
        let agent = &*bounded(&agent, AGENT);
        let user = &*bounded(self.user.unwrap_or("-"), USER);
        let took = &*format!("{:?}", self.took);
        if probe {
            tracing::debug!(target: TARGET, id, method, uri, status, bytes, took, remote, user, agent, "request");
        } else {
            tracing::info!(target: TARGET, id, method, uri, status, bytes, took, remote, user, agent, "request");
        }
    }
}

/// The target of access lines, by which formats that have names of their own for their fields know them.
pub(super) const TARGET: &str = "registryd::access";

/// Path and query as they may be kept: of the query, only parameters that are known to be no secret
/// keep their value. Tokens, signatures and the state of uploads do not.
fn shown(uri: &Uri) -> Cow<'_, str> {
    let Some(query) = uri.query().filter(|query| !query.is_empty()) else {
        return bounded(uri.path(), URI);
    };
    let mut text = uri.path().to_owned();
    for (i, parameter) in query.split('&').enumerate() {
        text.push(if i == 0 { '?' } else { '&' });
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if PUBLIC.contains(&name) {
            text.push_str(parameter);
        } else if value.is_empty() {
            // A secret may also be a name without a value.
            let _ = write!(text, "{}", bounded(name, NAME));
        } else {
            let _ = write!(text, "{}=redacted", bounded(name, NAME));
        }
        if text.len() > URI {
            break;
        }
    }
    Cow::Owned(bounded(&text, URI).into_owned())
}

fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
    let kept = end.and_then(|end| text.get(..end)).unwrap_or_default();
    Cow::Owned(format!("{kept}…"))
}

/// Parameters of the registry's interface that say only what the path could.
const PUBLIC: &[&str] = &[
    "artifactType",
    "digest",
    "digest-algorithm",
    "from",
    "last",
    "mount",
    "n",
    "ns",
    "tag",
];
const AGENT: usize = 256;
const METHOD: usize = 32;
const NAME: usize = 24;
const URI: usize = 1024;
const USER: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_queries_are_left_out() {
        for (uri, expected) in [
            ("/v2/", "/v2/"),
            ("/v2/a/tags/list?n=2&last=b", "/v2/a/tags/list?n=2&last=b"),
            (
                "/v2/a/blobs/uploads/x?_state=abc&digest=sha256:1",
                "/v2/a/blobs/uploads/x?_state=redacted&digest=sha256:1",
            ),
            (
                "/v2/?token=s&access_token=t&X-Amz-Signature=u&sig",
                "/v2/?token=redacted&access_token=redacted&X-Amz-Signature=redacted&sig",
            ),
            ("/?", "/"),
        ] {
            assert_eq!(shown(&uri.parse().unwrap()), expected);
        }
    }

    #[test]
    fn what_clients_write_is_bounded() {
        let long: Uri = format!("/{}", "a".repeat(9000)).parse().unwrap();
        assert!(shown(&long).len() < URI + 8);
        let long: Uri = format!("/?{}", "a&".repeat(9000)).parse().unwrap();
        assert!(shown(&long).len() < URI + 64);
        assert_eq!(bounded("äöü", 3), "ä…");
    }
}
