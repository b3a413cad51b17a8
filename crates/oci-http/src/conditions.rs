//! Conditional requests, by RFC 9110, "Preconditions". The entity tag of a blob or manifest is its
//! digest in quotes.

use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderName};
use oci_core::Digest;

/// Whether the client has this content already, so that 304 is the answer.
pub(crate) fn not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    Condition::of(headers, &IF_NONE_MATCH).is_some_and(|condition| condition.names(digest))
}

/// Whether a `Range` counts: there is no `If-Range`, or it names this content.
pub(crate) fn range_applies(headers: &HeaderMap, digest: &Digest) -> bool {
    headers
        .get(IF_RANGE)
        .is_none_or(|value| value.as_bytes() == entity_tag(digest).as_bytes())
}

/// What must hold of a resource before it is written.
#[derive(Debug)]
pub(crate) enum WriteCondition {
    /// Nothing.
    Always,
    /// `If-Match`: it is one of these.
    Is(Condition),
    /// `If-None-Match`: it is none of these.
    IsNot(Condition),
}

impl WriteCondition {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if let Some(condition) = Condition::of(headers, &IF_MATCH) {
            Self::Is(condition)
        } else if let Some(condition) = Condition::of(headers, &IF_NONE_MATCH) {
            Self::IsNot(condition)
        } else {
            Self::Always
        }
    }

    /// Whether it holds for what is there now.
    pub(crate) fn holds(&self, current: Option<&Digest>) -> bool {
        match self {
            Self::Always => true,
            Self::Is(condition) => current.is_some_and(|current| condition.names(current)),
            Self::IsNot(condition) => !current.is_some_and(|current| condition.names(current)),
        }
    }
}

/// A list of entity tags, or `*` for any.
#[derive(Debug)]
pub(crate) struct Condition {
    tags: Vec<String>,
}

impl Condition {
    fn of(headers: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let mut values = headers.get_all(name).iter().peekable();
        values.peek()?;
        // Ours have no commas; a foreign tag that is torn apart here matches nothing, as it should.
        let tags = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/").to_owned())
            .collect();
        Some(Self { tags })
    }

    fn names(&self, digest: &Digest) -> bool {
        let own = entity_tag(digest);
        self.tags.iter().any(|tag| *tag == own || tag == "*")
    }
}

/// The entity tag of content.
pub(crate) fn entity_tag(digest: &Digest) -> String {
    let digest = digest.to_string();
    ["\"", &digest, "\""].concat()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use oci_core::Algorithm;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn entity_tags_in_lists() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let own = entity_tag(&digest);
        for value in [&own, &format!("\"x\", {own}"), &format!("W/{own}"), "*"] {
            assert!(
                not_modified(&headers(IF_NONE_MATCH, value), &digest),
                "{value}"
            );
        }
        for value in ["\"x\"", "rubbish", "", &digest.to_string()] {
            assert!(
                !not_modified(&headers(IF_NONE_MATCH, value), &digest),
                "{value}"
            );
        }
        assert!(!not_modified(&HeaderMap::new(), &digest));
    }

    #[test]
    fn conditions_on_writes() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let other = Digest::of(Algorithm::Sha256, b"other");
        let own = entity_tag(&digest);
        for (name, value, absent, same, different) in [
            (IF_NONE_MATCH, "*", true, false, false),
            (IF_NONE_MATCH, own.as_str(), true, false, true),
            (IF_MATCH, "*", false, true, true),
            (IF_MATCH, own.as_str(), false, true, false),
        ] {
            let condition = WriteCondition::of(&headers(name, value));
            assert_eq!(condition.holds(None), absent, "{condition:?}");
            assert_eq!(condition.holds(Some(&digest)), same, "{condition:?}");
            assert_eq!(condition.holds(Some(&other)), different, "{condition:?}");
        }
    }
}
