//! A response, and the checks that cases make on it.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::{
    failure::{Failure, ensure, fail},
    request::shorten,
    transport::Response,
};

/// The codes a registry may put into its error envelope: those of the distribution-spec, and those
/// that Docker's registry added.
const ERROR_CODES: &[&str] = &[
    "BLOB_UNKNOWN",
    "BLOB_UPLOAD_INVALID",
    "BLOB_UPLOAD_UNKNOWN",
    "DIGEST_INVALID",
    "MANIFEST_BLOB_UNKNOWN",
    "MANIFEST_INVALID",
    "MANIFEST_UNKNOWN",
    "NAME_INVALID",
    "NAME_UNKNOWN",
    "SIZE_INVALID",
    "UNAUTHORIZED",
    "DENIED",
    "UNSUPPORTED",
    "TOOMANYREQUESTS",
    "RANGE_INVALID",
    "PAGINATION_NUMBER_INVALID",
    "TAG_INVALID",
    "MANIFEST_UNVERIFIED",
    "UNKNOWN",
    "UNAVAILABLE",
    "EXTENSION_UNKNOWN",
];

/// A response and the request it answers.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    request: String,
    is_head: bool,
    response: Response,
}

impl Reply {
    pub(crate) fn new(request: String, is_head: bool, response: Response) -> Self {
        Self {
            request,
            is_head,
            response,
        }
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.response.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.response.headers
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.response.body
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    pub(crate) fn length(&self) -> u64 {
        self.response.length
    }

    /// One line: the request, the status, and the beginning of an error's body.
    pub(crate) fn summary(&self) -> String {
        let mut line = format!("{} -> {}", self.request, self.response.status.as_u16());
        if self.response.status.is_client_error() || self.response.status.is_server_error() {
            line.push(' ');
            line.push_str(&shorten(self.text().trim().replace('\n', " "), 240));
        }
        line
    }

    /// A failure about this response.
    pub(crate) fn failure(&self, what: impl std::fmt::Display) -> Failure {
        Failure::new(format!("{}: {what}", self.summary()))
    }

    /// What holds for any answer to anything: not a server error, `Warning` well formed, 429 with
    /// `Retry-After`, and no wildcard CORS with credentials.
    pub(crate) fn check_invariants(&self) -> Result<(), Failure> {
        if self.code().is_server_error() {
            return Err(self.failure("a request must not be answered with a server error"));
        }
        let warnings: Vec<_> = self.headers().get_all("warning").iter().collect();
        let total: usize = warnings.iter().map(|value| value.len()).sum();
        if total > 4096 {
            return Err(self.failure(format!("{total} bytes of Warning headers, at most 4096")));
        }
        for warning in warnings {
            let text = String::from_utf8_lossy(warning.as_bytes());
            if !(text.starts_with("299 - \"") && text.ends_with('"')) {
                return Err(self.failure(format!("Warning {text:?} is not `299 - \"text\"`")));
            }
        }
        if self.code() == StatusCode::TOO_MANY_REQUESTS && self.maybe("retry-after").is_none() {
            return Err(self.failure("429 without Retry-After"));
        }
        if self.maybe("access-control-allow-origin") == Some("*")
            && self.maybe("access-control-allow-credentials").is_some()
        {
            return Err(self.failure("CORS allows credentials to every origin"));
        }
        Ok(())
    }

    pub(crate) fn status(&self, expected: StatusCode) -> Result<&Self, Failure> {
        if self.code() == expected {
            return Ok(self);
        }
        Err(self.failure(format!("expected {}", expected.as_u16())))
    }

    pub(crate) fn status_in(&self, expected: &[StatusCode]) -> Result<&Self, Failure> {
        if expected.contains(&self.code()) {
            return Ok(self);
        }
        let codes: Vec<String> = expected
            .iter()
            .map(|code| code.as_u16().to_string())
            .collect();
        Err(self.failure(format!("expected {}", codes.join(" or "))))
    }

    /// The value of a header, if it is there once and is text.
    pub(crate) fn maybe(&self, name: &str) -> Option<&str> {
        self.headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
    }

    pub(crate) fn header(&self, name: &str) -> Result<&str, Failure> {
        let mut values = self.headers().get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Err(self.failure(format!("no {name} header"))),
            (Some(_), Some(_)) => Err(self.failure(format!("more than one {name} header"))),
            (Some(value), None) => value
                .to_str()
                .map_err(|_| self.failure(format!("{name}: {value:?} is not plain text"))),
        }
    }

    pub(crate) fn header_is(&self, name: &str, expected: &str) -> Result<&Self, Failure> {
        let found = self.header(name)?;
        if found == expected {
            return Ok(self);
        }
        Err(self.failure(format!("{name} is {found:?}, expected {expected:?}")))
    }

    pub(crate) fn no_header(&self, name: &str) -> Result<&Self, Failure> {
        match self.headers().get(name) {
            None => Ok(self),
            Some(value) => Err(self.failure(format!("unexpected {name}: {value:?}"))),
        }
    }

    /// `Content-Length` as a number.
    pub(crate) fn content_length(&self) -> Result<u64, Failure> {
        let text = self.header("content-length")?;
        text.parse()
            .map_err(|_| self.failure(format!("Content-Length is {text:?}")))
    }

    pub(crate) fn body_is(&self, expected: &[u8]) -> Result<&Self, Failure> {
        let found = self.body();
        if found == expected {
            return Ok(self);
        }
        let at = found.iter().zip(expected).position(|(a, b)| a != b);
        Err(self.failure(format!(
            "the body is not what was stored: {} bytes instead of {}, first difference at {at:?}",
            found.len(),
            expected.len()
        )))
    }

    /// The body has this length and sha256 digest; for bodies too large to collect.
    pub(crate) fn body_digest_is(&self, length: u64, digest: &str) -> Result<&Self, Failure> {
        if self.response.length == length && self.response.digest == digest {
            return Ok(self);
        }
        Err(self.failure(format!(
            "the body is not what was stored: {} bytes ({}) instead of {length} ({digest})",
            self.response.length, self.response.digest
        )))
    }

    pub(crate) fn json(&self) -> Result<Value, Failure> {
        serde_json::from_slice(self.body())
            .map_err(|error| self.failure(format!("the body is not JSON: {error}")))
    }

    /// `Location` as a path and query. An absolute URL loses scheme and host.
    pub(crate) fn location(&self) -> Result<String, Failure> {
        let location = self.header("location")?;
        let path = match location.split_once("://") {
            None => location,
            Some((_, rest)) => rest
                .find('/')
                .map_or("/", |at| rest.get(at..).unwrap_or("/")),
        };
        if !path.starts_with('/') {
            return Err(self.failure(format!("Location {location:?} does not start with /")));
        }
        Ok(path.to_owned())
    }

    /// The last byte's index in a `Range: 0-<end>` header of an upload response.
    pub(crate) fn range_end(&self) -> Result<i64, Failure> {
        let range = self.header("range")?;
        let end = range.strip_prefix("0-").and_then(|end| end.parse().ok());
        end.ok_or_else(|| self.failure(format!("Range is {range:?}, expected 0-<end>")))
    }

    /// An upload response says that `received` bytes are there. For none, both `0-0` and `0--1`
    /// are in use: the text defines no value.
    pub(crate) fn received_is(&self, received: u64) -> Result<&Self, Failure> {
        let end = self.range_end()?;
        let fits = match received {
            0 => end == 0 || end == -1,
            n => i64::try_from(n).is_ok_and(|n| end == n - 1),
        };
        if fits {
            return Ok(self);
        }
        Err(self.failure(format!(
            "Range ends at {end}, but {received} bytes were received"
        )))
    }

    /// The path and query of the `Link: <…>; rel="next"` header, if there is one.
    pub(crate) fn next_link(&self) -> Result<Option<String>, Failure> {
        let Some(link) = self.maybe("link") else {
            return Ok(None);
        };
        let target = link
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'))
            .filter(|(_, parameters)| parameters.trim() == r#"; rel="next""#)
            .map(|(target, _)| target);
        let Some(target) = target else {
            return Err(self.failure(format!("Link {link:?} is not `<target>; rel=\"next\"`")));
        };
        if !target.starts_with('/') {
            return Err(self.failure(format!("Link {link:?} is not a path")));
        }
        Ok(Some(target.to_owned()))
    }

    /// An error with this status, in the JSON envelope, whose first code is one of `codes`.
    pub(crate) fn error(&self, status: StatusCode, codes: &[&str]) -> Result<&Self, Failure> {
        self.status(status)?;
        self.error_code_in(codes)
    }

    /// A client error in the JSON envelope whose first code is one of `codes`.
    pub(crate) fn error_code_in(&self, codes: &[&str]) -> Result<&Self, Failure> {
        let found = self.error_codes()?;
        if self.is_head
            || found
                .first()
                .is_some_and(|code| codes.contains(&code.as_str()))
        {
            return Ok(self);
        }
        Err(self.failure(format!(
            "expected code {}, found {found:?}",
            codes.join(" or ")
        )))
    }

    /// The codes of the JSON error envelope, which is checked on the way. HEAD has none.
    pub(crate) fn error_codes(&self) -> Result<Vec<String>, Failure> {
        if self.is_head {
            return Ok(Vec::new());
        }
        let media_type = self.header("content-type")?;
        let bare = media_type.split(';').next().unwrap_or_default().trim();
        if bare != "application/json" {
            return Err(self.failure(format!(
                "an error in {media_type:?}: docker reads only application/json"
            )));
        }
        let json = self.json()?;
        let errors = json.get("errors").and_then(Value::as_array);
        let Some(errors) = errors.filter(|errors| !errors.is_empty()) else {
            return Err(self.failure("an error without a list of errors"));
        };
        let mut codes = Vec::new();
        for error in errors {
            let Some(code) = error.get("code").and_then(Value::as_str) else {
                return Err(self.failure("an error without a code"));
            };
            if !ERROR_CODES.contains(&code) {
                return Err(self.failure(format!("error code {code:?} is in no table")));
            }
            if error
                .get("message")
                .is_some_and(|message| !message.is_string())
            {
                return Err(self.failure("an error message that is not a string"));
            }
            codes.push(code.to_owned());
        }
        Ok(codes)
    }
}

/// The strings of a JSON array.
pub(crate) fn strings(value: Option<&Value>) -> Result<Vec<String>, Failure> {
    let Some(items) = value.and_then(Value::as_array) else {
        fail!("expected a JSON array, found {value:?}");
    };
    let mut strings = Vec::new();
    for item in items {
        let text = item.as_str();
        ensure!(text.is_some(), "expected a JSON string, found {item}");
        strings.extend(text.map(str::to_owned));
    }
    Ok(strings)
}
