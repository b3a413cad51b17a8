//! What went wrong: whether a write may have happened, and what somebody can do about it.

use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use oci_core::error::BoxError;

use crate::records::{ExtentError, RecordError};

/// The tries of one conditional write, noted where they leave for the network.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<Vec<Attempt>>);

/// How one try ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Attempt {
    /// The service refused it with this status, and wrote nothing.
    #[cfg_attr(
        not(any(feature = "s3", feature = "gcs", feature = "azure", test)),
        expect(dead_code, reason = "memory has no statuses")
    )]
    Refused(u16),
    /// It never reached the service.
    #[cfg_attr(
        not(any(feature = "s3", feature = "gcs", feature = "azure", test)),
        expect(dead_code, reason = "memory is always reached")
    )]
    NotSent,
    /// It may have been carried out, or may still be.
    Perhaps,
}

impl Attempts {
    /// Notes a try as one whose outcome nobody knows, until [`settle`](Self::settle) says otherwise: it
    /// may be dropped on its way.
    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(super) fn begin(&self) {
        self.lock().push(Attempt::Perhaps);
    }

    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(super) fn settle(&self, attempt: Attempt) {
        if let Some(last) = self.lock().last_mut() {
            *last = attempt;
        }
    }

    /// What the failure of a conditional write means.
    pub(super) fn judge(&self, error: object_store::Error) -> RecordError {
        let attempts = self.lock();
        if attempts.contains(&Attempt::Perhaps) {
            return RecordError::Ambiguous(error.into());
        }
        let refused = match attempts.last() {
            Some(Attempt::Refused(status)) => Some(*status),
            _ => None,
        };
        match (refused, &error) {
            // 409 is Azure's word for "is there already" on a creation, and on S3 means that another
            // conditional write was under way, which may yet fail.
            (Some(409), _) => RecordError::Ambiguous(error.into()),
            (Some(507), _) => RecordError::NoSpace(error.into()),
            (
                _,
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotModified { .. },
            ) => RecordError::Conflict,
            _ => RecordError::Unavailable(error.into()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
impl Attempt {
    /// By the status of the answer.
    pub(super) fn answered(status: u16) -> Self {
        match status {
            507 => Self::Refused(status),
            // A success that is reported as a failure had an answer that could not be read.
            ..300 | 408 | 500.. => Self::Perhaps,
            _ => Self::Refused(status),
        }
    }
}

/// The failure of a read, a listing or a write of content.
pub(super) fn extent_error(error: object_store::Error) -> ExtentError {
    match error {
        object_store::Error::NotFound { .. } => ExtentError::NotFound,
        error if is_full(&error) => ExtentError::NoSpace(error.into()),
        error => ExtentError::Unavailable(error.into()),
    }
}

fn is_full(error: &object_store::Error) -> bool {
    let text = everything(error);
    text.contains("507 Insufficient Storage")
        || [
            "XMinioStorageFull",
            "QuotaExceeded",
            "QuotaExceededException",
        ]
        .iter()
        .any(|code| text.contains(&format!("<Code>{code}</Code>")))
}

/// Why a bucket cannot be used, in a form that a configuration can be corrected by.
#[derive(Debug, thiserror::Error)]
#[error("{bucket}: {trouble}")]
pub struct BucketError {
    bucket: String,
    trouble: Trouble,
    source: BoxError,
}

/// What is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Trouble {
    /// There is no bucket of this name.
    NoSuchBucket,
    /// The credentials are not known to the service, have expired, or do not belong together.
    WrongCredentials,
    /// No credentials are configured, and none were found where the service usually provides them.
    NoCredentials,
    /// The credentials are good and do not allow what is needed.
    Forbidden,
    /// The bucket is in another region, named where the service says it.
    WrongRegion(Option<String>),
    /// Nobody answers at the endpoint.
    Unreachable,
    /// The certificate of the endpoint is not trusted.
    Certificate,
    /// An option is missing or cannot be used; the text says which and why.
    Option(String),
    /// Something else; the sources say more.
    Other,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchBucket => "there is no such bucket",
            Self::WrongCredentials => "the service does not accept the credentials",
            Self::NoCredentials => "no credentials are configured and none were found",
            Self::Forbidden => "the credentials do not allow what the registry needs",
            Self::WrongRegion(Some(region)) => {
                return write!(f, "the bucket is in another region: {region}");
            }
            Self::WrongRegion(None) => "the bucket is in another region",
            Self::Unreachable => "the endpoint cannot be reached",
            Self::Certificate => "the certificate of the endpoint is not trusted",
            Self::Option(what) => what,
            Self::Other => "the service does not work as it should",
        })
    }
}

impl BucketError {
    pub(super) fn new(bucket: &str, error: object_store::Error) -> Self {
        Self {
            bucket: bucket.to_owned(),
            trouble: trouble(&error),
            source: error.into(),
        }
    }

    pub(super) fn key(key: &str, error: object_store::path::Error) -> Self {
        Self {
            bucket: key.to_owned(),
            trouble: Trouble::Option("not the name of an object".to_owned()),
            source: error.into(),
        }
    }

    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    pub(super) fn option(bucket: &str, what: impl Into<String>, source: BoxError) -> Self {
        Self {
            bucket: bucket.to_owned(),
            trouble: Trouble::Option(what.into()),
            source,
        }
    }

    pub(super) fn other(bucket: &str, source: impl Into<BoxError>) -> Self {
        Self {
            bucket: bucket.to_owned(),
            trouble: Trouble::Other,
            source: source.into(),
        }
    }

    /// What is wrong.
    pub fn trouble(&self) -> &Trouble {
        &self.trouble
    }
}

/// Names a failure by the codes of the services, and by what the transport says.
fn trouble(error: &object_store::Error) -> Trouble {
    let text = everything(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let code = between(&text, "<Code>", "</Code>").unwrap_or_default();
    match code {
        "NoSuchBucket" | "ContainerNotFound" => return Trouble::NoSuchBucket,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "InvalidToken"
        | "TokenRefreshRequired"
        | "AuthenticationFailed"
        | "InvalidAuthenticationInfo" => {
            return Trouble::WrongCredentials;
        }
        "AccessDenied"
        | "AllAccessDisabled"
        | "AuthorizationFailure"
        | "AuthorizationPermissionMismatch"
        | "InsufficientAccountPermissions" => {
            return Trouble::Forbidden;
        }
        "AuthorizationHeaderMalformed"
        | "PermanentRedirect"
        | "IllegalLocationConstraintException" => {
            let region = between(&text, "<Region>", "</Region>").map(str::to_owned);
            return Trouble::WrongRegion(region);
        }
        _ => {}
    }
    if says(&["incorrectly configured region", "301 Moved Permanently"]) {
        return Trouble::WrongRegion(None);
    }
    if says(&[
        "169.254.169.254",
        "metadata.google.internal",
        "metadata/identity",
    ]) {
        return Trouble::NoCredentials;
    }
    if says(&[
        "UnknownIssuer",
        "invalid peer certificate",
        "CaUsedAsEndEntity",
    ]) {
        return Trouble::Certificate;
    }
    if is_unreachable(error) {
        return Trouble::Unreachable;
    }
    match error {
        object_store::Error::Unauthenticated { .. } => Trouble::WrongCredentials,
        object_store::Error::PermissionDenied { .. } => Trouble::Forbidden,
        _ if says(&["status code: 401"]) => Trouble::WrongCredentials,
        _ if says(&["status code: 403"]) => Trouble::Forbidden,
        _ if says(&["status code: 404"]) => Trouble::NoSuchBucket,
        _ => Trouble::Other,
    }
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn is_unreachable(error: &object_store::Error) -> bool {
    use object_store::client::HttpErrorKind::{Connect, Timeout};

    matches!(transport(error), Some(Connect | Timeout))
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
fn is_unreachable(_: &object_store::Error) -> bool {
    false
}

/// Whether the service may still be doing what it was asked: the answer did not come, or not whole.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
pub(super) fn is_unsettled(error: &object_store::Error) -> bool {
    use object_store::client::HttpErrorKind::Connect;

    transport(error).is_some_and(|kind| kind != Connect)
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
pub(super) fn is_unsettled(_: &object_store::Error) -> bool {
    false
}

/// What the transport says, if that is what failed.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn transport(error: &object_store::Error) -> Option<object_store::client::HttpErrorKind> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(http) = error.downcast_ref::<object_store::client::HttpError>() {
            return Some(http.kind());
        }
        next = error.source();
    }
    None
}

/// An error and its sources, as text.
fn everything(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push('\n');
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(attempts: &[Attempt], error: object_store::Error) -> RecordError {
        Attempts(Mutex::new(attempts.to_vec())).judge(error)
    }

    fn exists() -> object_store::Error {
        object_store::Error::AlreadyExists {
            path: "key".to_owned(),
            source: "refused".into(),
        }
    }

    fn generic(text: &'static str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn a_refusal_is_one_only_if_nothing_before_it_may_have_been_carried_out() {
        use Attempt::{NotSent, Perhaps, Refused};
        assert!(matches!(
            judged(&[Refused(412)], exists()),
            RecordError::Conflict
        ));
        assert!(matches!(
            judged(&[NotSent, Refused(429), Refused(412)], exists()),
            RecordError::Conflict
        ));
        // The first try may be what the second was refused for.
        assert!(matches!(
            judged(&[Perhaps, Refused(412)], exists()),
            RecordError::Ambiguous(_)
        ));
        // The other write that was under way may fail: it does not prove that there is a value.
        assert!(matches!(
            judged(&[Refused(409)], exists()),
            RecordError::Ambiguous(_)
        ));
        assert!(matches!(
            judged(&[Refused(403)], generic("denied")),
            RecordError::Unavailable(_)
        ));
        assert!(matches!(
            judged(&[NotSent, NotSent], generic("refused")),
            RecordError::Unavailable(_)
        ));
        assert!(matches!(
            judged(&[Refused(507)], generic("full")),
            RecordError::NoSpace(_)
        ));
        // In memory nothing is sent.
        assert!(matches!(judged(&[], exists()), RecordError::Conflict));
    }

    #[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
    #[test]
    fn what_a_status_says_about_a_write() {
        for status in [200, 204, 408, 500, 502, 503, 504] {
            assert_eq!(Attempt::answered(status), Attempt::Perhaps, "{status}");
        }
        for status in [301, 400, 401, 403, 404, 409, 412, 429, 507] {
            assert_eq!(Attempt::answered(status), Attempt::Refused(status));
        }
    }

    #[test]
    fn trouble_is_named() {
        for (text, expected) in [
            (
                "404: <Error><Code>NoSuchBucket</Code></Error>",
                Trouble::NoSuchBucket,
            ),
            (
                "403: <Code>SignatureDoesNotMatch</Code>",
                Trouble::WrongCredentials,
            ),
            ("403: <Code>AccessDenied</Code>", Trouble::Forbidden),
            (
                "400: <Code>AuthorizationHeaderMalformed</Code><Region>eu-west-3</Region>",
                Trouble::WrongRegion(Some("eu-west-3".to_owned())),
            ),
            (
                "PUT http://169.254.169.254/latest/api/token",
                Trouble::NoCredentials,
            ),
            (
                "invalid peer certificate: UnknownIssuer",
                Trouble::Certificate,
            ),
            ("what else", Trouble::Other),
        ] {
            assert_eq!(trouble(&generic(text)), expected, "{text}");
        }
    }
}
