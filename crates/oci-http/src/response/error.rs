//! Errors as responses: OCI distribution-spec, "Error Codes".

use std::sync::Arc;

use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode};
use oci_core::{ErrorCode, RegistryError};

use super::{Reply, json_type};
use crate::endpoint::EndpointError;
use crate::range::ContentRangeError;

/// An error on its way to the client, with what its headers have to say.
#[derive(Debug)]
pub(crate) struct Failure {
    error: RegistryError,
    /// Further headers that only the place of the error knows, gathered in an otherwise unused reply.
    reply: Box<Reply>,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        RegistryError::new(code, message).into()
    }

    /// The path has no such method.
    pub(crate) fn method(method: &Method, allowed: &[Method]) -> Self {
        let names = names(allowed);
        Self::new(
            ErrorCode::Unsupported,
            format!("{method} is not supported here; {names} are"),
        )
    }

    /// A range outside a blob of `size` bytes.
    pub(crate) fn unsatisfiable(size: u64) -> Self {
        let mut failure = Self::new(
            ErrorCode::RangeInvalid,
            format!("the range lies outside the {size} bytes of the blob"),
        );
        failure.reply.set(
            CONTENT_RANGE,
            HeaderValue::try_from(format!("bytes */{size}")).ok(),
        );
        failure
    }

    /// Adds where to go on: `change` writes the headers.
    pub(crate) fn with(mut self, change: impl FnOnce(Reply) -> Reply) -> Self {
        self.reply = Box::new(change(*self.reply));
        self
    }

    pub(crate) fn into_reply(self) -> Reply {
        let mut reply = *self.reply;
        reply.status = self.error.status();
        reply.set(CONTENT_TYPE, Some(json_type()));
        let retry = self.error.retry_after().map(|after| after.as_secs().max(1));
        reply.set(RETRY_AFTER, retry.map(HeaderValue::from));
        reply.body = super::RegistryBody::once(self.error.to_json());
        reply.error = Some(Arc::new(self.error));
        reply
    }
}

impl Reply {
    /// Says which methods there are.
    pub(crate) fn allowing(mut self, methods: &[Method]) -> Self {
        self.set(ALLOW, HeaderValue::try_from(names(methods)).ok());
        self
    }

    /// Says how to authenticate.
    pub(crate) fn challenging(mut self, challenge: Option<HeaderValue>) -> Self {
        self.set(WWW_AUTHENTICATE, challenge);
        self
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self {
            error,
            reply: Box::new(Reply::new(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    }
}

impl From<EndpointError> for Failure {
    fn from(error: EndpointError) -> Self {
        let code = match error {
            EndpointError::Digest(_) | EndpointError::DigestConflict => ErrorCode::DigestInvalid,
            EndpointError::Name(_) => ErrorCode::NameInvalid,
            EndpointError::NotFound => ErrorCode::Unsupported,
            EndpointError::PageSize => ErrorCode::PaginationNumberInvalid,
            EndpointError::Tag(_) => ErrorCode::TagInvalid,
            EndpointError::UploadId(_) => ErrorCode::BlobUploadUnknown,
        };
        let registry_error = RegistryError::new(code, error.to_string());
        match error {
            EndpointError::NotFound => registry_error.with_status(StatusCode::NOT_FOUND),
            _ => registry_error,
        }
        .into()
    }
}

impl From<ContentRangeError> for Failure {
    fn from(error: ContentRangeError) -> Self {
        // Sending the same elsewhere would not help, so it is not 416.
        RegistryError::new(ErrorCode::RangeInvalid, error.to_string())
            .with_status(StatusCode::BAD_REQUEST)
            .into()
    }
}

fn names(methods: &[Method]) -> String {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    names.join(", ")
}
