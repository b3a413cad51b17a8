//! The protocol of the records engine: condemn, recheck, tombstone; compare-and-swap and no locks.
//!
//! The engine keeps one record per blob and one per membership link, changed by compare-and-swap
//! only, and immutable extents (the bytes) under keys that are used once. Object stores have no
//! conditional delete and their deletes may arrive late, twice, or after a crash of the sender:
//! every delete here happens at any later moment.
//!
//! # What the engine promises
//!
//! [`ACKNOWLEDGED`]: from the moment a manifest PUT is answered 201 until its delete, the records of
//! all blobs it refers to and of their membership links are live or condemned (both are served), and
//! the extents they point at exist. In every state.
//!
//! # Why it holds
//!
//! A push writes its references **before** it reads the records; the collector condemns **before** it
//! lists the references. Whichever comes second sees the other. If the push reads first it reads
//! `condemned` and swaps the record back to live, so that the collector's last swap fails, because
//! every version carries a nonce of its own. If the collector lists first it finds the reference. A dead record
//! never becomes live without new bytes under a new key, so the delete of the old extent, whenever
//! it arrives, meets nobody's bytes. The sweeper of extents that no record names changes the record
//! before it deletes: whoever was about to register that extent expects the version before, fails
//! and starts again.
//!
//! # Raw and reduced
//!
//! Nonces and extent keys only grow, so most states of the raw form differ in numbers alone. The
//! reduced form visits one state of each class that behaves alike: see `State::canonical` for
//! the argument. The same bounds are checked in both forms, and the mutants that compare by content
//! are checked raw.

mod collect;
mod push;
mod state;
#[cfg(test)]
mod tests;

use stateright::{Model, Property};

pub use self::state::State;
use self::state::{
    Collector, CollectorAt, Condition, MAX_BLOBS, MAX_COLLECTORS, MAX_SWEEPERS, MAX_WRITERS,
    Record, Set, Sweeper, SweeperAt, Writer, WriterAt,
};
use crate::{Actor, Step};

/// The promise, as the checker names it.
pub const ACKNOWLEDGED: &str = "an acknowledged manifest has its blobs and links, in every state";

/// A protocol with one assumption removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// A push reads the records first and writes its references afterwards. Removes: *a collector
    /// that lists no reference has condemned before the push looks at the record*.
    CheckBeforeRefs,
    /// A push writes its references and trusts what HEAD said. Removes: *the record is read after
    /// the reference is written*.
    NoRecheck,
    /// The extent's key is derived from the digest. Removes: *an extent's key is used once*, so
    /// that a late delete meets nobody's bytes.
    ExtentKeyReused,
    /// Records carry no nonce, equal content compares equal. Removes: *a compare-and-swap fails
    /// when the record changed and changed back*. With a sweeper it also removes the point of its
    /// bump.
    NoNonce,
    /// The sweeper deletes an extent that no record names without changing the record first.
    /// Removes: *whoever is about to register this extent fails*.
    SweepWithoutBump,
    /// Tombstones are forgotten while a push is under way. Removes: *absent, once left, never
    /// comes back within the life of a push*.
    TombstonePurged,
    /// A manifest DELETE removes the references before the revision.
    DeleteRefsFirst,
    /// A push writes and checks references for the first digest only: what a push does that does
    /// not descend into the children of an index.
    ClosureFirstOnly,
    /// A push does not read the records of the membership links.
    LinksUnchecked,
}

/// The protocol, within bounds.
///
/// Every writer pushes its own manifest to the same repository; all manifests refer to the same
/// digests.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices of what to check"
)]
pub struct Records {
    /// Clients that push a manifest each: at most 2.
    pub writers: usize,
    /// Collector runs, each over one record of its choice: at most 2, at the same time.
    pub collectors: usize,
    /// Sweeper runs, each for one extent: at most 1.
    pub sweepers: usize,
    /// Digests per manifest: 1 or 2.
    pub blobs: usize,
    /// Whether membership links exist.
    pub links: bool,
    /// Whether a client may upload a blob that exists, which replaces its extent.
    pub replaces: bool,
    /// Whether the blobs exist at the start (unreferenced), or were collected before.
    pub stocked: bool,
    /// Whether equivalent states are visited once; the counts without it are the raw ones.
    pub reduced: bool,
    /// The assumption removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for Records {
    /// Two writers, one collector, one sweeper, one digest, no links.
    fn default() -> Self {
        Self {
            writers: 2,
            collectors: 1,
            sweepers: 1,
            blobs: 1,
            links: false,
            replaces: false,
            stocked: true,
            reduced: true,
            mutant: None,
        }
    }
}

impl Records {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether a compare-and-swap that expects `seen` succeeds on `record`.
    fn matches(&self, record: Record, seen: Record) -> bool {
        if self.is(Mutant::NoNonce) {
            (record.condition, record.extent) == (seen.condition, seen.extent)
        } else {
            record == seen
        }
    }

    /// Writes a version that never was before.
    fn write(to: &mut State, object: usize, condition: Condition, extent: u8) -> Record {
        let record = Record {
            condition,
            extent,
            nonce: to.next_nonce,
        };
        to.next_nonce += 1;
        to.records[object] = record;
        record
    }

    /// Where the bytes of `extent` lie.
    fn key(&self, extent: u8) -> u8 {
        if self.is(Mutant::ExtentKeyReused) {
            1
        } else {
            extent
        }
    }

    fn has_extent(&self, state: &State, blob: usize, extent: u8) -> bool {
        state.extents[blob] & (1 << self.key(extent)) != 0
    }

    /// Records that a manifest rests on.
    fn objects(&self) -> impl Iterator<Item = usize> + use<> {
        let links = if self.links { self.blobs } else { 0 };
        (0..self.blobs).chain(MAX_BLOBS..MAX_BLOBS + links)
    }

    fn keeps_acknowledged(&self, state: &State) -> bool {
        state.acknowledged == 0
            || self.objects().all(|object| {
                let record = state.records[object];
                record.exists()
                    && (object >= MAX_BLOBS || self.has_extent(state, object, record.extent))
            })
    }

    fn purger_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        if !self.is(Mutant::TombstonePurged) {
            return;
        }
        for object in self.objects() {
            if state.records[object].condition == Condition::Dead {
                let mut to = *state;
                to.records[object] = Record::default();
                steps.push(Step::new(Actor::Purger, "forgets a tombstone", to));
            }
        }
    }
}

impl Model for Records {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.writers <= MAX_WRITERS && self.collectors <= MAX_COLLECTORS);
        assert!(self.sweepers <= MAX_SWEEPERS && self.blobs <= MAX_BLOBS);
        let mut state = State {
            next_nonce: 1,
            ..State::default()
        };
        for object in self.objects() {
            let blob = object < MAX_BLOBS;
            state.records[object] = if self.stocked {
                let extent = u8::from(blob);
                Record {
                    condition: Condition::Live,
                    extent,
                    nonce: 0,
                }
            } else if self.is(Mutant::TombstonePurged) {
                Record::default()
            } else {
                Record {
                    condition: Condition::Dead,
                    extent: 0,
                    nonce: 0,
                }
            };
            if blob {
                state.extents[object] = if self.stocked { 1 << 1 } else { 1 };
                state.next_extent[object] = 2;
            }
        }
        for writer in &mut state.writers[..self.writers] {
            writer.at = WriterAt::Head;
        }
        for run in &mut state.collectors[..self.collectors] {
            run.at = CollectorAt::Read;
        }
        for sweeper in &mut state.sweepers[..self.sweepers] {
            sweeper.at = SweeperAt::Read;
        }
        vec![if self.reduced {
            state.canonical()
        } else {
            state
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for writer in 0..self.writers {
            self.writer_steps(state, writer, steps);
        }
        for run in 0..self.collectors {
            self.collector_steps(state, run, steps);
        }
        for sweeper in 0..self.sweepers {
            self.sweeper_steps(state, sweeper, steps);
        }
        self.purger_steps(state, steps);
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        let state = step.into_state();
        // Only fresh nonces make outdated versions alike.
        let reducible = !self.is(Mutant::NoNonce) && !self.is(Mutant::TombstonePurged);
        Some(if self.reduced && reducible {
            state.canonical()
        } else {
            state
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, Self::keeps_acknowledged),
            Property::sometimes(
                "every manifest is acknowledged",
                |model: &Self, state: &State| {
                    state.acknowledged.count_ones() as usize == model.writers
                },
            ),
            Property::sometimes("a manifest is deleted", |_, state: &State| {
                state
                    .writers
                    .iter()
                    .any(|writer| writer.at == WriterAt::Deleted)
            }),
            Property::sometimes("a collected blob is pushed again", |_, state: &State| {
                state.acknowledged != 0 && state.extents[0] & (1 << state.records[0].extent) != 0
            }),
        ]
    }
}
