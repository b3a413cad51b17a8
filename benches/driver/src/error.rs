//! What can be wrong with an answer.

use std::io;

/// The result of a request.
pub type Result<T> = std::result::Result<T, Error>;

/// A request that could not be sent, or whose answer is not what a registry must answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection failed.
    #[error("{request}: {source}")]
    Io {
        /// Method and target, or what else was done.
        request: String,
        /// Why.
        source: io::Error,
    },
    /// The answer has another status.
    #[error("{request}: answered with status {got} instead of {expected}{}", excerpt(.body))]
    Status {
        /// Method and target.
        request: String,
        /// What a registry answers.
        expected: u16,
        /// What it answered.
        got: u16,
        /// The beginning of its body.
        body: String,
    },
    /// A header is missing or has another value.
    #[error("{request}: header {name} is {got:?} instead of {expected:?}")]
    Header {
        /// Method and target.
        request: String,
        /// The header.
        name: &'static str,
        /// What it must be.
        expected: String,
        /// What it is; nothing if it is missing.
        got: Option<String>,
    },
    /// The body has another length.
    #[error("{request}: the body has {got} bytes instead of {expected}")]
    Length {
        /// Method and target.
        request: String,
        /// How many bytes were pushed.
        expected: u64,
        /// How many came.
        got: u64,
    },
    /// The body has other bytes.
    #[error("{request}: the body's bytes are wrong: {what}")]
    Bytes {
        /// Method and target.
        request: String,
        /// In which way.
        what: String,
    },
    /// The answer is not HTTP, or not as this client reads it.
    #[error("{request}: {what}")]
    Protocol {
        /// Method and target.
        request: String,
        /// In which way.
        what: String,
    },
}

impl Error {
    /// Names the request that an I/O error belongs to.
    pub fn io(request: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let request = request.into();
        move |source| Self::Io { request, source }
    }

    pub(crate) fn protocol(request: &str, what: impl Into<String>) -> Self {
        Self::Protocol {
            request: request.into(),
            what: what.into(),
        }
    }
}

fn excerpt(body: &str) -> String {
    if body.is_empty() {
        return String::new();
    }
    format!(": {body}")
}
