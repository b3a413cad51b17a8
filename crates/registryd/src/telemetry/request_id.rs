//! What connects the lines of one request, here and in the logs of proxies.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request: the one that the client or a proxy gave it, if it is harmless, or one of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_harmless(given.as_bytes()) => Self(given.clone()),
            _ => Self::make(),
        }
    }

    /// Unique in this process by its second half, and among processes by its first.
    fn make() -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("process"));
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{:016x}-{next:x}", *PROCESS);
        Self(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-")))
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether it can stand in a log and in a header: bounded, and nothing that ends a word or a line.
fn is_harmless(id: &[u8]) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._:+/=@".contains(b);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(fits)
}

const LONGEST: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &'static [u8]) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(given).unwrap());
        RequestId::of(&headers)
    }

    #[test]
    fn harmless_ids_are_kept_and_others_replaced() {
        for kept in ["a", "7f3c-01_x.y:z+/=@", &"x".repeat(LONGEST)] {
            assert_eq!(of(kept.to_owned().leak().as_bytes()).as_str(), kept);
        }
        let long = "x".repeat(LONGEST + 1);
        for given in ["", "a b", "a\tb", "a\"b", "ä", &long] {
            let id = of(given.to_owned().leak().as_bytes());
            assert_ne!(id.as_str(), given);
            assert!(is_harmless(id.as_str().as_bytes()), "{id}");
        }
    }

    #[test]
    fn ours_do_not_repeat() {
        assert_ne!(
            RequestId::of(&HeaderMap::new()),
            RequestId::of(&HeaderMap::new())
        );
    }
}
