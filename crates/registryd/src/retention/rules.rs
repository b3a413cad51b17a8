//! `storage.retention`, parsed.

use std::time::Duration;

use oci_core::{RepositoryName, Tag};
use regex::Regex;

use crate::config;

/// Everything that is to be kept; what no policy is about is kept too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    policies: Vec<Policy>,
}

/// What is to be kept in some repositories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policy {
    pub(super) repositories: Vec<RepositoryPattern>,
    pub(super) keep: Vec<KeepRule>,
}

/// Tags that are to be kept. Without a bound, all that match.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeepRule {
    /// Any tag, if there is none.
    pub(super) patterns: Vec<TagPattern>,
    /// So many of those that were pushed last.
    pub(super) newest: Option<u32>,
    /// Those pushed within this time.
    pub(super) within: Option<Duration>,
}

impl Rules {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If one of its patterns is none.
    pub(crate) fn parse(retention: &config::Retention) -> Result<Self, PatternError> {
        let policies = retention.policies.iter().map(Policy::parse);
        Ok(Self {
            policies: policies.collect::<Result<_, _>>()?,
        })
    }

    /// The policy that decides about a repository: the first that matches.
    pub(super) fn policy(&self, repository: &RepositoryName) -> Option<&Policy> {
        let matches = |policy: &&Policy| {
            let mut patterns = policy.repositories.iter();
            patterns.any(|pattern| pattern.0.is_match(repository.as_str()))
        };
        self.policies.iter().find(matches)
    }
}

impl Policy {
    fn parse(policy: &config::RetentionPolicy) -> Result<Self, PatternError> {
        let patterns = policy.repositories.iter();
        let keep = policy.keeptags.iter().map(KeepRule::parse);
        Ok(Self {
            repositories: patterns
                .map(|text| RepositoryPattern::parse(text))
                .collect::<Result<_, _>>()?,
            keep: keep.collect::<Result<_, _>>()?,
        })
    }
}

impl KeepRule {
    fn parse(rule: &config::KeepTags) -> Result<Self, PatternError> {
        let patterns = rule.patterns.iter().map(|text| TagPattern::parse(text));
        Ok(Self {
            patterns: patterns.collect::<Result<_, _>>()?,
            newest: rule.mostrecentlypushedcount,
            within: rule.pushedwithin,
        })
    }

    pub(super) fn matches(&self, tag: &Tag) -> bool {
        let mut patterns = self.patterns.iter();
        self.patterns.is_empty() || patterns.any(|pattern| pattern.0.is_match(tag.as_str()))
    }

    pub(super) fn is_unbounded(&self) -> bool {
        self.newest.is_none() && self.within.is_none()
    }
}

/// Names of repositories: `*` is anything within a component, `**` anything, `?` one sign.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryPattern(Regex);

impl RepositoryPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If no name can match it.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        let possible = |sign: char| {
            sign.is_ascii_lowercase() || sign.is_ascii_digit() || "._-/*?".contains(sign)
        };
        if text.is_empty() || !text.chars().all(possible) {
            return Err(PatternError(format!(
                "no repository has a name like `{text}`: they are of a-z, 0-9, `.`, `_`, `-` and `/`"
            )));
        }
        let mut regex = String::with_capacity(2 * text.len());
        let mut signs = text.chars().peekable();
        while let Some(sign) = signs.next() {
            match sign {
                '*' if signs.next_if_eq(&'*').is_some() => regex.push_str(".*"),
                '*' => regex.push_str("[^/]*"),
                '?' => regex.push_str("[^/]"),
                sign => regex.push_str(&regex::escape(sign.encode_utf8(&mut [0; 4]))),
            }
        }
        whole(&regex).map(Self)
    }
}

/// A regular expression of whole tags.
#[derive(Clone, Debug)]
pub(crate) struct TagPattern(Regex);

impl TagPattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        whole(text).map(Self)
    }
}

fn whole(text: &str) -> Result<Regex, PatternError> {
    // By itself first: a bracket too many would close the one that is put around it.
    let alone = Regex::new(text).and_then(|_| Regex::new(&format!("^(?:{text})$")));
    alone.map_err(|error| {
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default();
        let why = why.trim_start_matches("error: ");
        PatternError(format!("`{text}` is not a regular expression: {why}"))
    })
}

/// A pattern that is none.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PatternError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_names_as_zot_and_harbor_have_them() {
        for (pattern, matching, other) in [
            ("team/*", "team/app", "team/app/web"),
            ("team/*", "team/a.b", "other/app"),
            ("team/**", "team/app/web", "team"),
            ("**", "team/app/web", ""),
            ("*", "app", "team/app"),
            ("a.b", "a.b", "axb"),
            ("v?", "v1", "v12"),
            ("**/ci-*", "team/app/ci-1", "team/app/ci-1/x"),
        ] {
            let pattern = RepositoryPattern::parse(pattern).unwrap();
            assert!(pattern.0.is_match(matching), "{pattern:?} {matching}");
            assert!(
                !pattern.0.is_match(other) || other.is_empty(),
                "{pattern:?} {other}"
            );
        }
        for wrong in ["", "Team/*", "a b", "a|b", "[a-z]"] {
            assert!(RepositoryPattern::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_of_tags_are_about_the_whole_tag() {
        let pattern = TagPattern::parse(r"v\d+|latest").unwrap();
        for (tag, matches) in [
            ("v1", true),
            ("latest", true),
            ("v1-rc", false),
            ("xlatest", false),
        ] {
            assert_eq!(pattern.0.is_match(tag), matches, "{tag}");
        }
        for wrong in ["(", "a)(b", "[", "*"] {
            let error = TagPattern::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("not a regular expression"), "{error}");
        }
    }
}
