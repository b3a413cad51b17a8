//! Letting tags go, repository by repository.

use std::time::SystemTime;

use oci_core::store::{PageRequest, TagState};
use oci_core::{Identity, Registry, RegistryError, RepositoryName, StoreError, Tag};

use super::plan::{Tagged, Verdict, plan};
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
    /// Tags that would have gone and were pushed or deleted meanwhile.
    pub(crate) overtaken: u64,
    /// Tags that a policy of the host kept.
    pub(crate) refused: u64,
}

/// What became of one tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Kept,
    Removed,
    /// It was pushed or deleted since it was looked at: then that counts.
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
            let tags = tags(registry, repository).await?;
            let verdicts = plan(policy, &tags, SystemTime::now());
            retained.repositories += 1;
            for (Tagged { tag, state }, verdict) in tags.iter().zip(verdicts) {
                let outcome = match verdict {
                    Verdict::Stays(_) => Outcome::Kept,
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
    let unknown = |error| RegistryError::from_store(error, oci_core::ErrorCode::NameUnknown);
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
                Ok(state) => all.push(Tagged { tag, state }),
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

const PAGE: usize = 1000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

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
