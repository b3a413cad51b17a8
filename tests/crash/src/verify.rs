//! Comparing what a registry holds with what it said.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ledger::{Key, Ledger, Presence},
    payload::{Random, digest},
    registry::{Error, Found, Registry},
    violation::{Kind, Violations},
};

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Depth {
    /// Every tag, everything touched since the last look, and this many of the rest of each kind.
    Touched(usize),
    /// Everything.
    All,
}

/// Looks, notes what is wrong, and settles what was in doubt. Returns how many objects it read.
pub fn verify(
    registry: &mut Registry,
    ledger: &mut Ledger,
    depth: Depth,
    random: &mut Random,
    violations: &Violations,
) -> usize {
    let mut read = 0;
    let needed = ledger.needed();
    for key in selection(ledger.blobs.keys(), &ledger.touched_blobs, depth, random) {
        let Some(blob) = ledger.blobs.get_mut(&key) else {
            continue;
        };
        read += 1;
        let may_go = ledger.collected && !needed.contains(&key);
        match (ledger.collected, blob.presence) {
            (true, Presence::Present) if may_go => blob.presence = Presence::Unknown,
            (true, Presence::Unknown) if !may_go => blob.presence = Presence::Present,
            _ => {}
        }
        let undecided = blob.presence == Presence::Unknown;
        let found = registry.blob(&key.0, &blob.payload);
        let what = || {
            format!(
                "blob {} of {} bytes in {}",
                key.1,
                blob.payload.len(),
                key.0
            )
        };
        settle(
            found.map(|found| presence(&found)),
            &mut blob.presence,
            what,
            violations,
        );
        if may_go && undecided && blob.presence == Presence::Absent {
            // What is collected may come back with the power: nobody was told that it is gone.
            blob.presence = Presence::Unknown;
            ledger.gone += 1;
        }
    }
    for key in selection(
        ledger.manifests.keys(),
        &ledger.touched_manifests,
        depth,
        random,
    ) {
        let Some(manifest) = ledger.manifests.get_mut(&key) else {
            continue;
        };
        read += 1;
        let what = || format!("manifest {} in {}", key.1, key.0);
        let found = registry
            .manifest(&key.0, &key.1)
            .and_then(|found| match found {
                Found::Here(bytes) if bytes != manifest.bytes => Err(Error::Wrong {
                    call: what(),
                    problem: format!("{} other bytes", bytes.len()),
                }),
                found => Ok(presence(&found)),
            });
        settle(found, &mut manifest.presence, what, violations);
    }
    read += tags(registry, ledger, violations);
    ledger.touched_blobs.clear();
    ledger.touched_manifests.clear();
    read
}

fn selection<'a>(
    all: impl Iterator<Item = &'a Key>,
    touched: &BTreeSet<Key>,
    depth: Depth,
    random: &mut Random,
) -> BTreeSet<Key> {
    let all: Vec<_> = all.collect();
    match depth {
        Depth::All => all.into_iter().cloned().collect(),
        Depth::Touched(more) => {
            let mut chosen = touched.clone();
            for _ in 0..more {
                let key = random.index(all.len()).and_then(|at| all.get(at));
                chosen.extend(key.copied().cloned());
            }
            chosen
        }
    }
}

fn presence<T>(found: &Found<T>) -> Presence {
    match found {
        Found::Here(_) => Presence::Present,
        Found::Absent => Presence::Absent,
    }
}

fn settle(
    found: Result<Presence, Error>,
    expected: &mut Presence,
    what: impl Fn() -> String,
    violations: &Violations,
) {
    match (found, *expected) {
        (Ok(Presence::Absent), Presence::Present) => {
            violations.add(Kind::Lost, format!("{}: acknowledged, now 404", what()));
        }
        (Ok(Presence::Present), Presence::Absent) => {
            violations.add(Kind::Resurrected, format!("{}: deleted, now back", what()));
        }
        (Ok(found), _) => *expected = found,
        (Err(error), _) => violations.add(kind(&error), format!("{}: {error}", what())),
    }
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::Wrong { .. } | Error::Refused { .. } => Kind::Corrupt,
        Error::NoAnswer(_) => Kind::Answer,
    }
}

/// Every tag points where it was told to, and the listing names these and no others.
fn tags(registry: &mut Registry, ledger: &mut Ledger, violations: &Violations) -> usize {
    let mut present: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut read = 0;
    for ((repository, tag), targets) in &mut ledger.tags {
        read += 1;
        let named = present.entry(repository.clone()).or_default();
        let found = match registry.manifest(repository, tag) {
            Ok(Found::Here(bytes)) => Some(digest(&bytes)),
            Ok(Found::Absent) => None,
            Err(error) => {
                violations.add(kind(&error), format!("tag {repository}:{tag}: {error}"));
                continue;
            }
        };
        if !targets.contains(&found) {
            let problem = match &found {
                None => Kind::Lost,
                Some(_) if targets.iter().all(Option::is_none) => Kind::Resurrected,
                Some(_) => Kind::Corrupt,
            };
            violations.add(
                problem,
                format!("tag {repository}:{tag} points at {found:?}, not one of {targets:?}"),
            );
            continue;
        }
        if let Some(target) = &found {
            named.insert(tag.clone());
            let manifest = ledger.manifests.get(&(repository.clone(), target.clone()));
            if manifest.is_some_and(|manifest| manifest.presence == Presence::Absent) {
                violations.add(
                    Kind::Corrupt,
                    format!(
                        "tag {repository}:{tag} points at {target}, which is not there by digest"
                    ),
                );
            }
        }
        *targets = BTreeSet::from([found]);
    }
    for (repository, named) in present {
        match registry.tags(&repository) {
            Ok(listed) => {
                let listed: BTreeSet<_> = listed.into_iter().collect();
                for tag in named.difference(&listed) {
                    violations.add(
                        Kind::Lost,
                        format!("{repository}:{tag} resolves, but is not listed"),
                    );
                }
                for tag in listed.difference(&named) {
                    violations.add(
                        Kind::Resurrected,
                        format!("{repository}:{tag} is listed, but does not resolve"),
                    );
                }
            }
            Err(error) => violations.add(kind(&error), format!("tags of {repository}: {error}")),
        }
    }
    read
}
