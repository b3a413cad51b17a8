//! Letting tags go, repository by repository.

use std::time::{Duration, SystemTime};

use oci_core::store::{PageRequest, TagState};
use oci_core::{Identity, Registry, RegistryError, RepositoryName, StoreError, Tag};

use super::attached;
use super::plan::{Subject, Tagged, Verdict, plan};
use super::rules::Rules;

/// What was done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Retained {
    /// Repositories that a policy is about.
    pub(crate) repositories: u64,
    /// Tags that stay.
    pub(crate) kept: u64,
    /// Tags that went, or in a dry run would.
    pub(crate) removed: u64,
    /// Tags that would have gone and were pushed or deleted a moment ago or meanwhile.
    pub(crate) overtaken: u64,
    /// Tags that a policy of the host kept.
    pub(crate) refused: u64,
}

/// What became of one tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Kept,
    Removed,
    /// It was pushed or deleted since it was looked at, or so shortly before that another push might not
    /// show: then that counts, until the next run.
    Overtaken,
    /// The host's hooks said no.
    Refused,
}

/// Lets go of the tags that no rule keeps, and tells `told` of every one that a policy is about. In a dry run
/// nothing changes.
///
/// # Errors
/// Whatever could not be read or removed; what went before is gone.
pub(crate) async fn apply(
    registry: &Registry,
    rules: &Rules,
    dry_run: bool,
    told: &mut (dyn FnMut(&RepositoryName, &Tag, Outcome, Verdict) + Send),
) -> Result<Retained, RegistryError> {
    let mut retained = Retained::default();
    let mut page = PageRequest::first(PAGE);
    loop {
        let found = registry.repositories(&page).await?;
        for repository in &found.items {
            let Some(policy) = rules.policy(repository) else {
                continue;
            };
            // Before the look: a push that does not show came before this.
            let now = SystemTime::now();
            let tags = tags(registry, repository).await?;
            let verdicts = plan(policy, &tags, now);
            retained.repositories += 1;
            for (Tagged { tag, state, .. }, verdict) in tags.iter().zip(verdicts) {
                let outcome = match verdict {
                    Verdict::Stays(_) => Outcome::Kept,
                    Verdict::Goes(_) if is_fresh(state, now) => Outcome::Overtaken,
                    Verdict::Goes(_) if dry_run => Outcome::Removed,
                    Verdict::Goes(_) => remove(registry, repository, tag, state).await?,
                };
                retained.count(outcome);
                told(repository, tag, outcome, verdict);
            }
        }
        match found.items.last() {
            Some(last) if found.more => page = PageRequest::after(last.as_str(), PAGE),
            _ => return Ok(retained),
        }
    }
}

impl Retained {
    fn count(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Kept => &mut self.kept,
            Outcome::Removed => &mut self.removed,
            Outcome::Overtaken => &mut self.overtaken,
            Outcome::Refused => &mut self.refused,
        };
        *count += 1;
    }
}

async fn tags(
    registry: &Registry,
    repository: &RepositoryName,
) -> Result<Vec<Tagged>, RegistryError> {
    let manifests = registry.manifests();
    let mut all = Vec::new();
    let mut page = PageRequest::first(PAGE);
    loop {
        let found = match manifests.tags(repository, &page).await {
            Err(StoreError::NotFound) => return Ok(all),
            found => found.map_err(unknown)?,
        };
        let next = match found.items.last() {
            Some(last) if found.more => Some(PageRequest::after(last.as_str(), PAGE)),
            _ => None,
        };
        for tag in found.items {
            match manifests.tag_state(repository, &tag).await {
                Ok(state) => {
                    let subject = match attached::Subject::of(&tag) {
                        None => Subject::None,
                        Some(subject) if subject.is_in(registry, repository).await? => {
                            Subject::There
                        }
                        Some(_) => Subject::Gone,
                    };
                    all.push(Tagged {
                        tag,
                        state,
                        subject,
                    });
                }
                // Deleted since.
                Err(StoreError::NotFound) => {}
                Err(error) => return Err(unknown(error)),
            }
        }
        match next {
            Some(next) => page = next,
            None => return Ok(all),
        }
    }
}

async fn remove(
    registry: &Registry,
    repository: &RepositoryName,
    tag: &Tag,
    state: &TagState,
) -> Result<Outcome, RegistryError> {
    let identity = Identity::anonymous();
    match registry.untag_if(&identity, repository, tag, state).await {
        Ok(true) => Ok(Outcome::Removed),
        Ok(false) => Ok(Outcome::Overtaken),
        Err(error) if error.code() == oci_core::ErrorCode::Denied => Ok(Outcome::Refused),
        Err(error) => Err(error),
    }
}

/// Whether a tag is so new that a push to the manifest that it points to already might leave it as it is:
/// then its removal would not see that push.
fn is_fresh(state: &TagState, now: SystemTime) -> bool {
    let age = |pushed| now.duration_since(pushed).unwrap_or_default();
    state.pushed.is_some_and(|pushed| age(pushed) < FRESH)
}

pub(super) fn unknown(error: StoreError) -> RegistryError {
    RegistryError::from_store(error, oci_core::ErrorCode::NameUnknown)
}

const PAGE: usize = 1000;
/// A second more than stores need to date another push of a tag: those on a disk do so once a minute.
const FRESH: Duration = Duration::from_secs(61);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use oci_core::memory::MemoryStore;
    use oci_core::registry::PushManifest;
    use oci_core::runtime::Clock;

    use super::*;
    use crate::config::{KeepTags, Retention, RetentionPolicy};

    /// Stands still until it is told to go on.
    #[derive(Debug)]
    struct Standing(std::sync::Mutex<SystemTime>);

    impl Clock for Standing {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    async fn push(registry: &Registry, tag: &str, serial: u64) {
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{{"serial":"{serial}"}}}}"#
        );
        let tag: Tag = tag.parse().unwrap();
        let push = PushManifest::new(tag, json);
        let name = "team/app".parse().unwrap();
        let nobody = Identity::anonymous();
        let pushed = registry.put_manifest(&nobody, &name, push).await;
        pushed.unwrap();
    }

    async fn left(registry: &Registry) -> Vec<String> {
        let name = "team/app".parse().unwrap();
        let tags = registry
            .tags(&name, &PageRequest::first(100))
            .await
            .unwrap();
        tags.items.iter().map(ToString::to_string).collect()
    }

    fn rules(count: u32) -> Rules {
        let keep = |patterns: &[&str], count| KeepTags {
            patterns: patterns.iter().map(ToString::to_string).collect(),
            mostrecentlypushedcount: count,
            pushedwithin: None,
        };
        Rules::parse(&Retention {
            policies: vec![RetentionPolicy {
                repositories: vec!["team/*".to_owned()],
                keeptags: vec![keep(&["latest"], None), keep(&["v.*"], Some(count))],
            }],
            ..Retention::default()
        })
        .unwrap()
    }

    async fn filled() -> (Registry, Arc<Standing>) {
        let clock = Arc::new(Standing(std::sync::Mutex::new(SystemTime::UNIX_EPOCH)));
        let registry = Registry::new(MemoryStore::with_clock(Arc::clone(&clock) as _));
        for (serial, tag) in ["latest", "v1", "v3", "v2", "x"].into_iter().enumerate() {
            *clock.0.lock().unwrap() += Duration::from_secs(60);
            push(&registry, tag, serial as u64).await;
        }
        (registry, clock)
    }

    #[tokio::test]
    async fn a_dry_run_says_what_the_next_run_does() {
        let (registry, _) = filled().await;
        let mut said = Vec::new();
        for dry_run in [true, false] {
            let mut told = |at: &RepositoryName, tag: &Tag, outcome, verdict: Verdict| {
                said.push(format!("{at}:{tag} {outcome:?} {verdict}"));
            };
            let retained = apply(&registry, &rules(1), dry_run, &mut told)
                .await
                .unwrap();
            assert_eq!((retained.kept, retained.removed), (2, 3));
            let count = if dry_run { 5 } else { 2 };
            assert_eq!(left(&registry).await.len(), count);
        }
        assert_eq!(left(&registry).await, ["latest", "v2"]);
        assert_eq!(said[..5], said[5..]);
        assert!(
            said[1].starts_with("team/app:v1 Removed it is neither"),
            "{said:?}"
        );
    }

    /// A push of the very moment in which its tag was to go.
    #[tokio::test]
    async fn a_push_that_races_wins() {
        let (registry, clock) = filled().await;
        let (name, tag): (RepositoryName, Tag) =
            ("team/app".parse().unwrap(), "v1".parse().unwrap());
        for serial in [1, 99] {
            let state = registry.manifests().tag_state(&name, &tag).await.unwrap();
            *clock.0.lock().unwrap() += Duration::from_secs(60);
            // To the same manifest, and to another.
            push(&registry, "v1", serial).await;
            let outcome = remove(&registry, &name, &tag, &state).await.unwrap();
            assert_eq!(outcome, Outcome::Overtaken);
            assert!(left(&registry).await.contains(&"v1".to_owned()));
        }
        let state = registry.manifests().tag_state(&name, &tag).await.unwrap();
        let outcome = remove(&registry, &name, &tag, &state).await.unwrap();
        assert_eq!(outcome, Outcome::Removed);
    }

    /// A push within a minute after another, to the same manifest, leaves the tag as it was on a disk.
    #[tokio::test]
    async fn what_was_pushed_within_a_minute_stays_until_the_next_run() {
        let (registry, clock) = filled().await;
        let mut told = |_: &RepositoryName, _: &Tag, _, _: Verdict| {};
        for (age, dry_run, removed) in [(30, true, 0), (30, false, 0), (62, false, 1)] {
            let pushed = SystemTime::now() - Duration::from_secs(age);
            *clock.0.lock().unwrap() = pushed;
            for (serial, tag) in ["latest", "v1", "v3", "v2", "x"].into_iter().enumerate() {
                push(&registry, tag, serial as u64).await;
            }
            let retained = apply(&registry, &rules(3), dry_run, &mut told).await;
            let retained = retained.unwrap();
            assert_eq!(
                (retained.removed, retained.overtaken),
                (removed, 1 - removed)
            );
            assert_eq!(left(&registry).await.len() as u64, 5 - removed);
        }
    }

    /// Signatures of cosign, and the tags under which clients keep referrers.
    #[tokio::test]
    async fn what_is_attached_goes_with_its_manifest_and_not_before() {
        let (registry, _) = filled().await;
        let name: RepositoryName = "team/app".parse().unwrap();
        let subject = |tag: &str| {
            let tag: Tag = tag.parse().unwrap();
            let (registry, name) = (registry.clone(), name.clone());
            async move { registry.manifests().resolve(&name, &tag).await.unwrap() }
        };
        let (first, last) = (subject("v1").await, subject("v2").await);
        let of = |digest: &oci_core::Digest, suffix: &str| {
            format!("{}-{}{suffix}", digest.algorithm(), digest.hex())
        };
        let other = oci_core::Digest::of(oci_core::Algorithm::Sha512, b"not there");
        let cut = &other.hex()[..64];
        push(&registry, &of(&first, ".sig"), 10).await;
        push(&registry, &of(&last, ".sig"), 11).await;
        push(&registry, &of(&last, ""), 12).await;
        push(&registry, &format!("sha512-{cut}"), 13).await;
        let mut told = |_: &RepositoryName, _: &Tag, _, _: Verdict| {};
        let mut run = async || apply(&registry, &rules(1), false, &mut told).await.unwrap();
        run().await;
        let mut expected = vec!["latest".to_owned(), "v2".to_owned()];
        expected.extend([of(&first, ".sig"), of(&last, ""), of(&last, ".sig")]);
        expected.sort();
        assert_eq!(left(&registry).await, expected);

        // Only the tag went until now.
        let gone = oci_core::Reference::Digest(first);
        let nobody = Identity::anonymous();
        registry
            .delete_manifest(&nobody, &name, &gone)
            .await
            .unwrap();
        run().await;
        expected.retain(|tag| *tag != of(&first, ".sig"));
        assert_eq!(left(&registry).await, expected);
    }

    #[tokio::test]
    async fn what_no_policy_is_about_stays() {
        let (registry, _) = filled().await;
        let none = Rules::default();
        let mut told = |_: &RepositoryName, _: &Tag, _, _: Verdict| panic!("nothing is decided");
        let retained = apply(&registry, &none, false, &mut told).await.unwrap();
        assert_eq!(retained, Retained::default());
        assert_eq!(left(&registry).await.len(), 5);
    }
}
