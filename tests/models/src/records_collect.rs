//! What the collector of the records engine does besides condemning: fences, orphans, stale references,
//! tombstones.
//!
//! The model in [`records`](crate::records) compares versions of whole records. The engine registers content
//! more leniently, namely as long as a *fence* in the record is what it was before the content's first byte,
//! whatever else has changed; its answers can get lost, after which it looks and tries again; and the
//! collector has more to do than that model's. Here is one digest, whose record all of them change, and
//! a manifest for each writer.
//!
//! * [`ACKNOWLEDGED`]: an acknowledged manifest has its blob, and the blob its extent, in every state.
//!
//! # Versions without numbers
//!
//! An actor that remembers a version only ever asks whether it is still the current one. So what it
//! remembers is one bit, which everybody who writes clears for all others, and no number grows. Deletes of
//! extents happen at any time after they were sent.

use stateright::{Model, Property};

use crate::{Actor, Step};

mod collector;
mod writer;

/// The promise, as the checker names it.
pub const ACKNOWLEDGED: &str = "an acknowledged manifest has its blob, whole, in every state";

/// The protocol with one assumption removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The collector lists references before it condemns. Removes: *whoever comes second sees the other*.
    ListBeforeCondemn,
    /// Ending a record leaves its fence. Removes: *a writer whose content was registered and collected, and
    /// who does not know, cannot register it again*.
    KillKeepsFence,
    /// A writer whose answer got lost reads the fence anew and goes on. Removes the same.
    RetryWithNewFence,
    /// The extents that are deleted are those the record names after it was ended.
    DeletesWhatIsThereNow,
    /// Orphans are deleted without changing the fence.
    SweepWithoutFence,
    /// Orphans are deleted although the record came to name them before the fence was changed.
    SweepWithoutLook,
    /// Stale references are removed without changing the manifest's record. Removes: *a push that is merely
    /// slow fails*.
    StaleWithoutFence,
    /// A push reads its manifest's record only when it is about to swap it. Removes the same.
    RevisionReadLate,
    /// Tombstones are removed whatever is there by then. Removes: *removing a record is conditional*.
    PurgeUnconditionally,
    /// Tombstones are removed while pushes are older than they are.
    PurgeEarly,
}

const MAX_WRITERS: usize = 2;
const MAX_COLLECTORS: usize = 2;
/// Every writer starts again once, with another extent and another nonce.
const TRIES: u8 = 2;

/// The protocol, within bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices of what to check"
)]
pub struct RecordsCollect {
    /// Clients that push a manifest each: at most 2.
    pub writers: usize,
    /// Collectors of the record: at most 2.
    pub collectors: usize,
    /// Whether somebody removes orphaned extents.
    pub sweeper: bool,
    /// Whether somebody removes stale references.
    pub stale: bool,
    /// Whether somebody purges tombstones.
    pub purger: bool,
    /// Whether answers get lost.
    pub lost: bool,
    /// Whether writers and collectors crash.
    pub crashes: bool,
    /// The assumption removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for RecordsCollect {
    /// Two writers, whose answers get lost, and a collector.
    fn default() -> Self {
        Self {
            writers: 2,
            collectors: 1,
            sweeper: false,
            stale: false,
            purger: false,
            lost: true,
            crashes: false,
            mutant: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    Absent,
    Live,
    Condemned,
    Dead,
}

impl Life {
    const fn is_there(self) -> bool {
        matches!(self, Self::Live | Self::Condemned)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum WriterAt {
    #[default]
    Gone,
    Head,
    Put,
    Look,
    Register,
    ReadRevision,
    Refer,
    Check,
    Revive,
    Revision,
    Acknowledged,
    RemoveReference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a step reads or writes"
)]
struct Writer {
    at: WriterAt,
    /// Which try this is.
    tries: u8,
    /// Whether the blob's record is as it was read.
    current: bool,
    /// Whether the fence is as it was read.
    fence: bool,
    /// Whether there was no record, and so no fence, when it was read.
    unfenced: bool,
    /// Whether the manifest's record is as it was read.
    revision: bool,
    /// Whether its content may have been registered.
    tried: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum CollectorAt {
    #[default]
    Read,
    Condemn,
    List,
    Kill,
    Reprieve,
    Send,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Collector {
    at: CollectorAt,
    current: bool,
    /// The extent of the record it read.
    extent: u8,
    /// What the mutant saw that lists too early.
    referenced: bool,
}

/// Where the removers of orphans, references and tombstones are: at most one of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Remover {
    /// What it saw: an extent, or a writer and a try; from 1.
    seen: u8,
    /// Whether it has changed the record that others rely on.
    fenced: bool,
    current: bool,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    life: Life,
    /// What the record names; 0 for nothing.
    extent: u8,
    /// Extents that are there, and deletes that were sent and may happen.
    extents: u8,
    deletes: u8,
    /// By writer: the references of its tries, and the try whose manifest is there.
    references: [u8; MAX_WRITERS],
    manifests: [u8; MAX_WRITERS],
    writers: [Writer; MAX_WRITERS],
    collectors: [Collector; MAX_COLLECTORS],
    sweeper: Remover,
    stale: Remover,
    purger: Remover,
}

impl State {
    /// Writes the blob's record: nobody has read this version.
    fn write(&mut self, life: Life, extent: u8) {
        (self.life, self.extent) = (life, extent);
        for writer in &mut self.writers {
            writer.current = false;
        }
        for collector in &mut self.collectors {
            collector.current = false;
        }
        self.sweeper.current = false;
        self.purger.current = false;
    }

    fn change_fence(&mut self) {
        for writer in &mut self.writers {
            writer.fence = false;
        }
    }
}

/// The extent of a writer's try.
const fn extent_of(writer: usize, tries: u8) -> u8 {
    1 + writer as u8 * TRIES + tries
}

const fn bit(number: u8) -> u8 {
    1 << number
}

impl RecordsCollect {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Without what nobody looks at again.
    fn canonical(&self, mut state: State) -> State {
        let mut wanted = bit(state.extent);
        for (index, writer) in state.writers.iter_mut().enumerate() {
            match writer.at {
                WriterAt::Put | WriterAt::Look | WriterAt::Register => {
                    wanted |= bit(extent_of(index, writer.tries));
                }
                _ => {
                    writer.fence = false;
                    writer.unfenced = false;
                }
            }
            writer.current &= matches!(writer.at, WriterAt::Register | WriterAt::Revive);
            writer.unfenced &= self.purger;
            writer.tries *= u8::from(writer.at != WriterAt::Gone);
        }
        state.deletes &= state.extents;
        if !self.sweeper {
            // An orphan stays one.
            state.extents &= wanted;
            state.deletes &= wanted;
        }
        state
    }

    fn is_whole(state: &State) -> bool {
        let promised = state.manifests.iter().any(|tries| *tries != 0);
        !promised || (state.life.is_there() && state.extents & bit(state.extent) != 0)
    }
}

impl Model for RecordsCollect {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.writers <= MAX_WRITERS && self.collectors <= MAX_COLLECTORS);
        let mut state = State::default();
        for writer in &mut state.writers[..self.writers] {
            writer.at = WriterAt::Head;
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for writer in 0..self.writers {
            self.writer_steps(state, writer, steps);
        }
        for collector in 0..self.collectors {
            self.collector_steps(state, collector, steps);
        }
        if self.sweeper {
            self.sweeper_steps(state, steps);
        }
        if self.stale {
            self.stale_steps(state, steps);
        }
        if self.purger {
            self.purger_steps(state, steps);
        }
        let due = state.deletes & state.extents;
        for extent in (1..8).filter(|extent| due & bit(*extent) != 0) {
            let mut to = *state;
            to.extents &= !bit(extent);
            steps.push(Step::new(Actor::Sweeper(0), "an extent is deleted", to));
        }
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(self.canonical(step.into_state()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, |_, state: &State| Self::is_whole(state)),
            Property::sometimes(
                "every manifest is acknowledged",
                |model: &Self, state: &State| {
                    state.manifests[..model.writers]
                        .iter()
                        .all(|manifest| *manifest != 0)
                },
            ),
            Property::sometimes("all content is collected", |_, state: &State| {
                state.life == Life::Dead && state.extents == 0
            }),
            Property::sometimes("every purpose is served", |model: &Self, state: &State| {
                (!model.sweeper || state.sweeper.fenced)
                    && (!model.stale || state.stale.fenced)
                    && (!model.purger || state.purger.fenced)
            }),
        ]
    }
}

#[cfg(test)]
mod tests;
