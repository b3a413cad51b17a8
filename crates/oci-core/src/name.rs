//! Repository names, tags and references: the names that clients put into URLs.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::digest::{Digest, DigestError};

/// The name of a repository, for example `library/debian`.
///
/// OCI distribution-spec, "Pulling manifests": lower-case path components joined by `/`, each of
/// letters and digits with `.`, `_`, `__` or dashes between them. No component is empty, starts
/// with `_` or is `.` or `..`, so a name is always a safe relative path.
///
/// Cloning is cheap.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The longest name, in bytes. Clients refuse references longer than 255 in all.
    pub const MAX_LEN: usize = 255;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes, at least one.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for RepositoryName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong);
        }
        if text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(NameError::Grammar)
        }
    }
}

impl AsRef<str> for RepositoryName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for RepositoryName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A tag: a name inside a repository that can be moved from manifest to manifest.
///
/// At most 128 characters of letters, digits, `_`, `.` and `-`; the first is not `.` or `-`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tag(Arc<str>);

impl Tag {
    /// The longest tag, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = TagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = text.bytes();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let first = bytes.next().ok_or(TagError)?;
        if text.len() <= Self::MAX_LEN
            && word(first)
            && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
        {
            Ok(Self(text.into()))
        } else {
            Err(TagError)
        }
    }
}

impl AsRef<str> for Tag {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Tag {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What names a manifest inside a repository: a tag or a digest.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the specification knows exactly these two"
)]
pub enum Reference {
    /// By digest, which always names the same bytes.
    Digest(Digest),
    /// By tag.
    Tag(Tag),
}

impl FromStr for Reference {
    type Err = ReferenceError;

    /// A colon never stands in a tag, so it decides.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains(':') {
            Ok(Self::Digest(text.parse()?))
        } else {
            Ok(Self::Tag(text.parse()?))
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

impl From<Digest> for Reference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<Tag> for Reference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

/// Why a text is not a repository name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no name.
    #[error("the repository name is empty")]
    Empty,
    /// A component breaks the grammar.
    #[error(
        "a repository name has lower-case letters and digits, with `.`, `_`, `__` or dashes between \
         them and `/` between components, for example `team/app`"
    )]
    Grammar,
    /// More than [`RepositoryName::MAX_LEN`] bytes.
    #[error("a repository name has at most 255 characters")]
    TooLong,
}

/// Why a text is not a tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a tag has at most 128 letters, digits, `_`, `.` and `-`, and starts with a letter, digit or `_`"
)]
#[non_exhaustive]
pub struct TagError;

/// Why a text is neither a tag nor a digest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It has a colon, so it should be a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// It has no colon, so it should be a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, in one pass.
fn is_component(text: &str) -> bool {
    let mut separator: Option<(u8, usize)> = None;
    let mut empty = true;
    for byte in text.bytes() {
        separator = match (byte, separator) {
            (b'a'..=b'z' | b'0'..=b'9', _) => None,
            // A component never starts with a separator.
            (b'.' | b'_' | b'-', None) if !empty => Some((byte, 1)),
            (b'-', Some((b'-', n))) => Some((b'-', n + 1)),
            (b'_', Some((b'_', 1))) => Some((b'_', 2)),
            _ => return false,
        };
        empty = false;
    }
    !empty && separator.is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_by_the_grammar() {
        for good in [
            "a",
            "a/b/c",
            "a__b",
            "a_b",
            "a---b",
            "a.b",
            "0",
            "library/debian",
            "a-b.c_d",
        ] {
            assert!(good.parse::<RepositoryName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "a___b",
            "a..b",
            "-a",
            "a-",
            "A",
            "a//b",
            "/a",
            "a/",
            ".",
            "..",
            "a/../b",
            "_a",
            "a/_manifests",
            "a._b",
            "a_.b",
            "a:b",
            "a b",
            "é",
            "a\0",
        ] {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
        assert_eq!(
            "a".repeat(256).parse::<RepositoryName>(),
            Err(NameError::TooLong)
        );
    }

    #[test]
    fn tags_by_the_grammar() {
        for good in ["a", "_", "A.b-c_1", "latest", "v1.0", &"x".repeat(128)] {
            assert!(good.parse::<Tag>().is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a:b", "a b", "é", &"x".repeat(129)] {
            assert!(bad.parse::<Tag>().is_err(), "{bad:?}");
        }
    }

    /// The grammar once more, written as the specification's expression reads.
    fn by_the_book(text: &str) -> bool {
        fn alnum(s: &str) -> usize {
            s.bytes()
                .take_while(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                .count()
        }
        fn component(mut s: &str) -> bool {
            loop {
                let n = alnum(s);
                if n == 0 {
                    return false;
                }
                s = &s[n..];
                if s.is_empty() {
                    return true;
                }
                let dashes = s.bytes().take_while(|b| *b == b'-').count();
                let n = if dashes > 0 {
                    dashes
                } else if s.starts_with("__") {
                    2
                } else if s.starts_with('_') || s.starts_with('.') {
                    1
                } else {
                    return false;
                };
                s = &s[n..];
            }
        }
        !text.is_empty() && text.len() <= 255 && text.split('/').all(component)
    }

    proptest! {
        #[test]
        fn the_one_pass_scan_is_the_grammar(text in "[a-b0_./A-]{0,12}") {
            prop_assert_eq!(text.parse::<RepositoryName>().is_ok(), by_the_book(&text));
        }

        #[test]
        fn references_round_trip(text in ".{0,140}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
