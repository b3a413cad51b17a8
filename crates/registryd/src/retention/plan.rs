//! What a policy means for the tags of a repository at one moment. No I/O, no clock.

use std::cmp::Reverse;
use std::fmt;
use std::time::{Duration, SystemTime};

use oci_core::Tag;
use oci_core::store::TagState;

use super::rules::{KeepRule, Policy};
use crate::config::format_duration;

/// A tag, as it was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tagged {
    pub(crate) tag: Tag,
    pub(crate) state: TagState,
    pub(crate) subject: Subject,
}

/// Whether a tag is named after a manifest, as signatures are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Subject {
    None,
    /// That manifest is in the repository.
    There,
    /// It is not, or not any more.
    Gone,
}

/// What is to become of a tag, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Stays(Stays),
    Goes(Goes),
}

/// Why a tag stays.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stays {
    /// No rule of its policy lets any tag go.
    NoRules,
    /// A rule keeps all that match.
    Matches,
    /// It is one of so many.
    Newest(u32),
    /// It was pushed within this time.
    Within(Duration),
    /// A rule that matches asks when it was pushed, and its store does not say.
    Undated,
    /// The manifest that it is named after is there.
    Attached,
}

/// Why a tag goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Goes {
    /// No rule matches it.
    Unmatched,
    /// Those that match keep others.
    Outlived,
    /// The manifest that it is named after is not there.
    Detached,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stays(Stays::NoRules) => f.write_str("its policy has no `keeptags`"),
            Self::Stays(Stays::Matches) => f.write_str("a rule keeps every tag like it"),
            Self::Stays(Stays::Newest(1)) => f.write_str("it was pushed last"),
            Self::Stays(Stays::Newest(count)) => {
                write!(f, "it is one of the {count} that were pushed last")
            }
            Self::Stays(Stays::Within(time)) => {
                write!(f, "it was pushed within {}", format_duration(*time))
            }
            Self::Stays(Stays::Undated) => {
                f.write_str("this store does not say when a tag was pushed")
            }
            Self::Stays(Stays::Attached) => {
                f.write_str("it belongs to a manifest of this repository")
            }
            Self::Goes(Goes::Detached) => {
                f.write_str("the manifest that it belongs to is not there, and no rule keeps it")
            }
            Self::Goes(Goes::Unmatched) => f.write_str("no rule keeps tags like it"),
            Self::Goes(Goes::Outlived) => {
                f.write_str("it is neither among those pushed last nor new enough")
            }
        }
    }
}

/// Decides about all tags of a repository, each in its place.
pub(crate) fn plan(policy: &Policy, tags: &[Tagged], now: SystemTime) -> Vec<Verdict> {
    let first = match policy.keep.as_slice() {
        [] => Verdict::Stays(Stays::NoRules),
        _ => Verdict::Goes(Goes::Unmatched),
    };
    let mut verdicts = vec![first; tags.len()];
    for rule in &policy.keep {
        let both = tags.iter().zip(&mut verdicts);
        let mut matching: Vec<_> = both
            .filter(|(tagged, _)| rule.matches(&tagged.tag))
            .collect();
        // The last first. What has no time has no place, and takes nobody's.
        matching.sort_by_key(|(tagged, _)| (Reverse(tagged.state.pushed), &tagged.tag));
        let mut places = 0..;
        for (tagged, verdict) in matching {
            // An image does not go because it has a signature.
            let place = match tagged.subject {
                Subject::None => places.next(),
                Subject::There | Subject::Gone => None,
            };
            // Whatever keeps it wins, and what kept it first is the reason.
            if matches!(verdict, Verdict::Goes(_)) {
                *verdict = decide(rule, place, tagged.state.pushed, now);
            }
        }
    }
    for (tagged, verdict) in tags.iter().zip(&mut verdicts) {
        if matches!(verdict, Verdict::Goes(_)) {
            match tagged.subject {
                Subject::None => {}
                Subject::There => *verdict = Verdict::Stays(Stays::Attached),
                Subject::Gone => *verdict = Verdict::Goes(Goes::Detached),
            }
        }
    }
    verdicts
}

fn decide(
    rule: &KeepRule,
    place: Option<u32>,
    pushed: Option<SystemTime>,
    now: SystemTime,
) -> Verdict {
    if rule.is_unbounded() {
        return Verdict::Stays(Stays::Matches);
    }
    let Some(pushed) = pushed else {
        return Verdict::Stays(Stays::Undated);
    };
    let is_in = |newest: &u32| place.is_some_and(|place| place < *newest);
    if let Some(newest) = rule.newest.filter(is_in) {
        return Verdict::Stays(Stays::Newest(newest));
    }
    // From a clock that is ahead, it is new.
    let age = now.duration_since(pushed).unwrap_or_default();
    match rule.within.filter(|within| age <= *within) {
        Some(within) => Verdict::Stays(Stays::Within(within)),
        None => Verdict::Goes(Goes::Outlived),
    }
}

#[cfg(test)]
mod tests {
    use oci_core::Digest;
    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::*;

    use super::super::rules::TagPattern;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + 1000 * HOUR
    }

    /// A tag that was pushed so many hours ago; in the future if negative.
    fn tagged(tag: &str, hours: Option<i16>) -> Tagged {
        let mut state = TagState::new(Digest::sha256(tag.as_bytes()));
        state.pushed = hours.map(|hours| {
            let age = HOUR * u32::from(hours.unsigned_abs());
            if hours < 0 { now() + age } else { now() - age }
        });
        Tagged {
            tag: tag.parse().unwrap(),
            state,
            subject: Subject::None,
        }
    }

    fn rule(patterns: &[&str], newest: Option<u32>, within: Option<u16>) -> KeepRule {
        let patterns = patterns.iter().map(|text| TagPattern::parse(text).unwrap());
        KeepRule {
            patterns: patterns.collect(),
            newest,
            within: within.map(|hours| HOUR * u32::from(hours)),
        }
    }

    fn policy(keep: Vec<KeepRule>) -> Policy {
        Policy {
            keep,
            ..Policy::default()
        }
    }

    fn rules() -> impl Strategy<Value = Vec<KeepRule>> {
        let patterns = prop_oneof![
            Just(vec![]),
            Just(vec!["a.*"]),
            Just(vec!["b.*", "a1"]),
            Just(vec!["c"]),
        ];
        let bounds = (option::of(1..5_u32), option::of(0..60_u16));
        vec(
            (patterns, bounds).prop_map(|(p, (newest, within))| rule(&p, newest, within)),
            0..4,
        )
    }

    fn tags(undated: bool) -> impl Strategy<Value = Vec<Tagged>> {
        let hours = if undated {
            option::of(-5..60_i16).boxed()
        } else {
            (-5..60_i16).prop_map(Some).boxed()
        };
        btree_map("[abc][0-9]{0,2}", hours, 0..20).prop_map(|tags| {
            tags.iter()
                .map(|(tag, hours)| tagged(tag, *hours))
                .collect()
        })
    }

    /// Whether a tag stays, said the long way: it is compared with each other tag.
    fn stays(keep: &[KeepRule], tags: &[Tagged], one: &Tagged) -> bool {
        let after = |other: &Tagged| {
            (other.state.pushed > one.state.pushed)
                || (other.state.pushed == one.state.pushed && other.tag < one.tag)
        };
        keep.is_empty()
            || keep
                .iter()
                .filter(|rule| rule.matches(&one.tag))
                .any(|rule| {
                    let newer = tags
                        .iter()
                        .filter(|other| rule.matches(&other.tag) && after(other));
                    let Some(pushed) = one.state.pushed else {
                        return true;
                    };
                    (rule.newest.is_none() && rule.within.is_none())
                        || rule
                            .newest
                            .is_some_and(|count| newer.count() < count as usize)
                        || rule.within.is_some_and(|within| pushed + within >= now())
                })
    }

    proptest! {
        #[test]
        fn a_tag_stays_if_and_only_if_a_rule_keeps_it(keep in rules(), tags in tags(true)) {
            let verdicts = plan(&policy(keep.clone()), &tags, now());
            prop_assert_eq!(verdicts.len(), tags.len());
            for (tagged, verdict) in tags.iter().zip(verdicts) {
                let expected = stays(&keep, &tags, tagged);
                prop_assert_eq!(matches!(verdict, Verdict::Stays(_)), expected, "{:?}", tagged);
            }
        }

        #[test]
        fn one_more_rule_lets_nothing_go_that_another_keeps(
            keep in rules(), more in rules(), tags in tags(true),
        ) {
            prop_assume!(!keep.is_empty());
            let before = plan(&policy(keep.clone()), &tags, now());
            let after = plan(&policy([keep, more].concat()), &tags, now());
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(matches!(before, Verdict::Goes(_)) || matches!(after, Verdict::Stays(_)));
            }
        }

        #[test]
        fn the_order_in_which_tags_are_found_means_nothing(keep in rules(), tags in tags(true)) {
            let forth = plan(&policy(keep.clone()), &tags, now());
            let reversed: Vec<_> = tags.iter().rev().cloned().collect();
            let mut back = plan(&policy(keep), &reversed, now());
            back.reverse();
            prop_assert_eq!(forth, back);
        }

        #[test]
        fn a_count_keeps_as_many_as_it_says(count in 1..8_u32, tags in tags(false)) {
            let verdicts = plan(&policy(vec![rule(&[], Some(count), None)]), &tags, now());
            let kept = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Stays(_)));
            prop_assert_eq!(kept.count(), tags.len().min(count as usize));
        }
    }

    /// Signatures used to push images out of the counted ones, and to go where no rule matched them.
    #[test]
    fn what_is_attached_takes_no_place_and_stays_as_long_as_its_subject() {
        let attached = |suffix: &str, hours, subject| Tagged {
            subject,
            ..tagged(&format!("sha256-{}{suffix}", "a".repeat(64)), Some(hours))
        };
        let tags = [
            tagged("v1", Some(400)),
            tagged("v2", Some(300)),
            attached(".sig", 200, Subject::There),
            attached(".att", 2, Subject::Gone),
            attached("", 200, Subject::Gone),
        ];
        let said = |keep| {
            let verdicts = plan(&policy(keep), &tags, now());
            verdicts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let detached = "the manifest that it belongs to is not there, and no rule keeps it";
        assert_eq!(
            said(vec![rule(&[], Some(2), Some(24))]),
            [
                "it is one of the 2 that were pushed last",
                "it is one of the 2 that were pushed last",
                "it belongs to a manifest of this repository",
                "it was pushed within 24h0m0s",
                detached,
            ]
        );
        let said_of_versions = said(vec![rule(&["v.*"], None, None)]);
        assert_eq!(
            said_of_versions[2..],
            [
                "it belongs to a manifest of this repository",
                detached,
                detached
            ]
        );
        let kept = said(vec![rule(&["sha256-.*"], None, None)]);
        assert_eq!(kept[2..], ["a rule keeps every tag like it"; 3]);
        assert_eq!(said(vec![])[4], "its policy has no `keeptags`");
    }

    #[test]
    fn each_verdict_says_why() {
        let keep = vec![
            rule(&["latest"], None, None),
            rule(&["v.*"], Some(2), Some(24)),
        ];
        let tags = [
            tagged("latest", Some(500)),
            tagged("v1", Some(400)),
            tagged("v2", Some(20)),
            tagged("v3", Some(3)),
            tagged("v4", Some(2)),
            tagged("v5", None),
            tagged("x", Some(0)),
        ];
        let said: Vec<_> = plan(&policy(keep), &tags, now())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "a rule keeps every tag like it",
                "it is neither among those pushed last nor new enough",
                "it was pushed within 24h0m0s",
                "it is one of the 2 that were pushed last",
                "it is one of the 2 that were pushed last",
                "this store does not say when a tag was pushed",
                "no rule keeps tags like it",
            ]
        );
        let said = plan(&Policy::default(), &tags[..1], now())[0].to_string();
        assert_eq!(said, "its policy has no `keeptags`");
    }
}
