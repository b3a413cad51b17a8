//! Whether a reference is one: its manifest has to be there, by the push that wrote it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oci_core::{Digest, RepositoryName, StoreError};

use super::super::access::Swap;
use super::super::content::contended;
use super::super::delete::Dead;
use super::super::encoding::Nonce;
use super::super::keys::Key;
use super::super::model::{Life, MarkRecord, RevisionRecord};
use super::super::{Engine, SWAP_TRIES};
use super::is_old;

/// What is known of manifests: a bounded part of what was read in this run.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    known: HashMap<(RepositoryName, Digest), State>,
    /// Those that are to go, and keep nothing.
    doomed: HashSet<(RepositoryName, Digest)>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    ThereBy(Nonce),
    Gone,
    /// It is to go with this run.
    Doomed,
    /// It cannot be read, so its references count, whoever wrote them.
    Unclear,
}

/// Whether something keeps content.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kept {
    Yes,
    No,
    /// A manifest that goes with this run does.
    UntilNow,
}

impl Manifests {
    pub(super) fn doom(&mut self, repository: &RepositoryName, digest: Digest) {
        let what = (repository.clone(), digest);
        self.known.remove(&what);
        self.doomed.insert(what);
    }

    /// Remembers a manifest that was read, as long as there is room.
    pub(super) fn note(&mut self, repository: &RepositoryName, digest: Digest, push: Nonce) {
        if self.known.len() < MOST_KNOWN {
            let what = (repository.clone(), digest);
            self.known.insert(what, State::ThereBy(push));
        }
    }

    async fn state(
        &mut self,
        engine: &Engine,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<State, StoreError> {
        let what = (repository.clone(), *digest);
        if let Some(state) = self.known.get(&what) {
            return Ok(*state);
        }
        let doomed = self.doomed.contains(&what);
        let key = Key::Manifest(repository.clone(), *digest);
        let found = engine.get::<RevisionRecord>(&key).await?;
        let state = match (&found.version, found.header()) {
            (None, _) => State::Gone,
            (Some(_), None) => State::Unclear,
            (_, Some(revision)) if revision.life.is_there() && doomed => State::Doomed,
            (_, Some(revision)) if revision.life.is_there() => State::ThereBy(revision.push),
            _ => State::Gone,
        };
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(what, state);
        Ok(state)
    }

    /// Whether the reference under `key` keeps what it refers to, as far as this run has seen: a push that
    /// is under way may not have written its manifest yet.
    pub(super) async fn keeps(
        &mut self,
        engine: &Engine,
        key: &str,
        now: u64,
        grace: Duration,
    ) -> Result<Kept, StoreError> {
        let Some(
            reference @ Key::Reference {
                repository,
                from,
                push,
                ..
            },
        ) = &Key::parse(key)
        else {
            return Ok(Kept::Yes);
        };
        match self.state(engine, repository, from).await? {
            State::ThereBy(by) if by == *push => return Ok(Kept::Yes),
            State::Unclear => return Ok(Kept::Yes),
            State::Doomed => return Ok(Kept::UntilNow),
            State::ThereBy(_) | State::Gone => {}
        }
        let mark = engine.get::<MarkRecord>(reference).await?;
        let mark = mark.header();
        let young = mark.is_some_and(|mark| !is_old(now, mark.since, grace));
        Ok(if young { Kept::Yes } else { Kept::No })
    }
}

impl Engine {
    /// Removes a reference if it is stale; `false` if it keeps what it refers to.
    ///
    /// A push that wrote it and is still under way has read its manifest's record before, and swaps the
    /// manifest in from there. So that record is rewritten first: then the push fails, and begins again with
    /// references of its own.
    pub(super) async fn remove_stale(
        self: &Arc<Self>,
        reference: &Key,
        now: u64,
        grace: Duration,
    ) -> Result<bool, StoreError> {
        let Key::Reference {
            repository,
            from,
            push,
            ..
        } = reference
        else {
            return Ok(false);
        };
        let mark = self.get::<MarkRecord>(reference).await?;
        if mark.version.is_none() {
            return Ok(true);
        }
        if mark
            .header()
            .is_some_and(|mark| !is_old(now, mark.since, grace))
        {
            return Ok(false);
        }
        let key = Key::Manifest(repository.clone(), *from);
        for _ in 0..SWAP_TRIES {
            let found = self.get::<RevisionRecord>(&key).await?;
            let (revision, body) = match (&found.version, found.record) {
                (Some(_), None) => return Ok(false),
                (None, _) => (self.no_manifest(), Bytes::new()),
                (_, Some(record)) => (record.header, record.body),
            };
            if revision.life.is_there() && revision.push == *push {
                return Ok(false);
            }
            if revision.pending {
                if !is_old(now, revision.touched, grace) {
                    // Its delete is about to remove it.
                    return Ok(false);
                }
                let dead = Dead {
                    repository: repository.clone(),
                    digest: *from,
                    revision,
                    version: found.version,
                };
                self.clean_up(dead).await?;
                continue;
            }
            let swap = self.swap(&key, found.version.as_ref(), &revision, &body);
            if let Swap::Won(..) = swap.await? {
                self.purge(reference).await?;
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// What says that a manifest is not there.
    fn no_manifest(&self) -> RevisionRecord {
        RevisionRecord {
            life: Life::Dead,
            push: self.nonce(),
            media_type: String::new(),
            references: Vec::new(),
            subject: None,
            pending: false,
            touched: self.now(),
        }
    }
}

/// Some 250 bytes each.
const MOST_KNOWN: usize = 100_000;
