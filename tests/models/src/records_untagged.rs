//! The records engine with a policy that collects untagged manifests.
//!
//! Nothing locks here: a manifest's record, the tags that point to it, the references of an index that names it
//! and those that keep its blob are written one by one, by pushes, deletes and collectors at once. What keeps
//! them together is an order for each:
//!
//! * **push of the manifest, by tag**: read its record (complete a delete of it first); read the tag; write the
//!   reference that keeps the blob, and a *hint* that the tag may point here; look at the blob; swap the record;
//!   swap the tag, from what was read at first. Any swap lost: begin again, with another nonce.
//! * **push of an index**: read its record; write the references to the manifest and to the blob; make both
//!   live; swap the record.
//! * **collector**: swap the manifest's record for condemned; list the references of indexes; list the hints, and
//!   swap each tag **for itself**, unless it points here. Something leads here: swap back to live. Nothing: swap
//!   for dead, and clean up as after a delete. The blob comes after that.
//! * **push by several tags that may be refused**: writes a reference to what each tag leads to and makes that
//!   live, as the push of an index does with its manifest. Refused, it moves back what it has moved: hint, tag read,
//!   manifest looked at, tag swapped.
//! * **clean-up**: for each tag that was hinted at: read it; look whether the record is still the dead one; swap
//!   the tag for what does not point here. Then remove the references and hints of the push that is gone, then
//!   say in the record that this is done.
//!
//! The promises:
//!
//! * [`WHOLE`]: a manifest that can be read has its blob, in every state.
//! * [`LEADS`]: what a tag points to is there, or its clean-up is due, in every state.
//! * [`INDEXED`]: an index that can be read has its manifest and the blob, in every state.
//! * [`KEPT`]: an acknowledged tag is there with its manifest and the blob, unless it was moved or the manifest
//!   deleted.
//! * [`RESTORED`]: a tag that a push by several has moved, before it was refused, is there again with its manifest.
//!
//! What an actor remembers of a version is whether it is still the current one, as in
//! [`records_collect`](crate::records_collect). The engine's collector looks at tags a first time before it
//! swaps them; that spares it the swaps, and nothing rests on it.

use stateright::{Model, Property};

use crate::Step;

mod clean;
mod collector;
mod pushes;

use clean::Clean;
use collector::Collector;
use pushes::{Deleter, Index, Mover, MoverAt, Writer, WriterAt};

/// The first promise, as the checker names it.
pub const WHOLE: &str = "a manifest that can be read has its blob";
/// The second promise, as the checker names it.
pub const LEADS: &str = "what a tag points to is there, or its clean-up is due";
/// The third promise, as the checker names it.
pub const INDEXED: &str = "an index that can be read has its manifest and the blob";
/// The fourth promise, as the checker names it.
pub const KEPT: &str = "an acknowledged tag is there with its manifest and the blob";

/// The fifth promise, as the checker names it.
pub const RESTORED: &str = "a tag that was moved back is there with its manifest";

/// The protocol with one step removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The collector looks at the tags and does not swap them. Removes: *a push that has yet to write its tag
    /// loses*.
    TagsNotSwapped,
    /// The collector looks at references and tags before it condemns.
    LooksBeforeCondemned,
    /// The collector does not list references after it has condemned.
    ParentsNotListed,
    /// A record is ended whatever has become of it. Removes: *a push takes back what was condemned*.
    EndsByName,
    /// The references of a manifest are removed before its record is ended.
    ReferencesFirst,
    /// A push writes its hint after the manifest. Removes: *whoever ends the manifest sees the hint, or the push
    /// does not get to write it*.
    HintAfterRevision,
    /// A push reads the tag only when it is about to swap it.
    TagReadLate,
    /// A push of an index looks at the manifest before it writes the reference.
    IndexLooksFirst,
    /// A push of an index leaves a condemned manifest condemned.
    IndexLeavesCondemned,
    /// A push by several tags that may be refused writes no reference to what it moves them from. Removes: *what a
    /// tag may have to be moved back to stays*.
    OriginNotReferenced,
    /// It writes the reference, and leaves what was condemned condemned.
    OriginNotProtected,
    /// A clean-up does not look whether the manifest is still the dead one.
    CleansWithoutLook,
    /// A clean-up removes all hints that it found, not those of pushes that are done.
    CleansAllHints,
}

/// The protocol, within bounds: one manifest of one blob, stored long ago.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent choices of what to check"
)]
pub struct RecordsUntagged {
    /// Clients that push the manifest again, by tag: at most 2.
    pub writers: usize,
    /// Whether all push by the same tag.
    pub same_tag: bool,
    /// Whether the first tag points to the manifest at first, and a client moves it elsewhere.
    pub mover: bool,
    /// Whether that client is refused after it, and moves the tag back.
    pub refused: bool,
    /// Whether a client pushes an index that names the manifest.
    pub index: bool,
    /// Whether a client deletes the manifest.
    pub deleter: bool,
    /// Collectors: at most 2.
    pub collectors: usize,
    /// Whether collectors remove stale references.
    pub stale: bool,
    /// Whether processes end at any time.
    pub crashes: bool,
    /// The step removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for RecordsUntagged {
    /// A push by tag and a collector; processes end.
    fn default() -> Self {
        Self {
            writers: 1,
            same_tag: false,
            mover: false,
            refused: false,
            index: false,
            deleter: false,
            collectors: 1,
            stale: false,
            crashes: true,
            mutant: None,
        }
    }
}

const MAX_WRITERS: usize = 2;
const MAX_COLLECTORS: usize = 2;
const TAGS: usize = 2;
/// Every push begins again once.
const TRIES: u8 = 2;
/// The push that wrote the manifest which is there from the start, by the first tag.
const OLD: u8 = 0;

/// The push that moves the first tag, and that by which it points here when it was moved back.
const MOVER: u8 = 7;

/// A set of pushes, by nonce.
type Set = u8;

const fn bit(nonce: u8) -> Set {
    1 << nonce
}

/// The nonce of a writer's try.
const fn nonce_of(writer: usize, tries: u8) -> u8 {
    1 + writer as u8 * TRIES + tries
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Life {
    #[default]
    Live,
    Condemned,
    Dead,
}

impl Life {
    const fn is_there(self) -> bool {
        !matches!(self, Self::Dead)
    }
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    life: Life,
    /// The push that wrote the manifest.
    push: u8,
    /// Dead, and not cleaned up.
    pending: bool,
    /// Dead because a client wanted it so.
    deleted: bool,
    /// By tag: the push under which it points to the manifest.
    tags: [Option<u8>; TAGS],
    hints: Set,
    /// References of the manifest's pushes to the blob.
    references: Set,
    /// References of the index's pushes: to the manifest, and to the blob.
    parents: Set,
    index_references: Set,
    /// Which push has written the index, from 1.
    indexed: u8,
    blob: Life,
    writers: [Writer; MAX_WRITERS],
    mover: Mover,
    index: Index,
    deleter: Deleter,
    collectors: [Collector; MAX_COLLECTORS],
}

impl State {
    fn cleaners(&mut self) -> impl Iterator<Item = &mut Clean> {
        let writers = self.writers.iter_mut().map(|writer| &mut writer.clean);
        let collectors = self.collectors.iter_mut().map(|run| &mut run.clean);
        writers.chain(collectors).chain([&mut self.deleter.clean])
    }

    /// The manifest's record was written: nobody has read this version.
    fn revision_changes(&mut self) {
        for clean in self.cleaners() {
            clean.revision = false;
        }
        for writer in &mut self.writers {
            writer.revision = false;
        }
        for run in &mut self.collectors {
            run.revision = false;
        }
        self.deleter.revision = false;
    }

    fn tag_changes(&mut self, tag: usize) {
        for clean in self.cleaners() {
            clean.tag &= usize::from(clean.next) != tag;
        }
        for writer in &mut self.writers {
            writer.tag &= usize::from(writer.by) != tag;
        }
        for run in &mut self.collectors {
            run.tag &= usize::from(run.next) != tag;
        }
        self.mover.tag &= tag != 0;
    }

    fn blob_changes(&mut self) {
        for run in &mut self.collectors {
            run.blob = false;
        }
    }

    /// What a push does with a manifest that it needs. `false` if it is not there.
    fn revive(&mut self) -> bool {
        if self.life == Life::Condemned {
            self.life = Life::Live;
            self.revision_changes();
        }
        self.life.is_there()
    }

    /// The same with the blob.
    fn revive_blob(&mut self) -> bool {
        if self.blob == Life::Condemned {
            self.blob = Life::Live;
            self.blob_changes();
        }
        self.blob.is_there()
    }
}

impl RecordsUntagged {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn tag_of(&self, nonce: u8) -> usize {
        match nonce {
            OLD | MOVER => 0,
            _ if self.same_tag => 0,
            nonce => usize::from((nonce - 1) / TRIES),
        }
    }

    /// Those of `nonces` that are about a tag.
    fn about(&self, nonces: Set, tag: usize) -> Set {
        (0..Set::BITS as u8)
            .filter(|nonce| nonces & bit(*nonce) != 0 && self.tag_of(*nonce) == tag)
            .fold(0, |set, nonce| set | bit(nonce))
    }

    /// The first tag from `from` on that one of `hints` is about.
    fn next_tag(&self, hints: Set, from: usize) -> Option<u8> {
        (from..TAGS)
            .find(|tag| self.about(hints, *tag) != 0)
            .map(|tag| tag as u8)
    }
}

impl Model for RecordsUntagged {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.writers <= MAX_WRITERS && self.collectors <= MAX_COLLECTORS);
        assert!(
            !(self.index || self.refused) || !self.deleter,
            "a delete does not ask"
        );
        let mut state = State {
            references: bit(OLD),
            ..State::default()
        };
        if self.mover {
            state.tags[0] = Some(OLD);
            state.hints = bit(OLD);
            state.mover = Mover::new();
        }
        for (index, writer) in state.writers[..self.writers].iter_mut().enumerate() {
            *writer = Writer::new(self.tag_of(nonce_of(index, 0)) as u8);
        }
        for run in &mut state.collectors[..self.collectors] {
            *run = Collector::new();
        }
        if self.index {
            state.index = Index::new();
        }
        if self.deleter {
            state.deleter = Deleter::new();
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for writer in 0..self.writers {
            self.writer_steps(state, writer, steps);
        }
        self.mover_steps(state, steps);
        self.index_steps(state, steps);
        self.deleter_steps(state, steps);
        for run in 0..self.collectors {
            self.collector_steps(state, run, steps);
        }
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(step.into_state())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(WHOLE, |_: &Self, state: &State| {
                !state.life.is_there() || state.blob.is_there()
            }),
            Property::always(LEADS, |_, state: &State| {
                state.tags == [None; TAGS] || state.life.is_there() || state.pending
            }),
            Property::always(INDEXED, |_, state: &State| {
                state.indexed == 0 || (state.life.is_there() && state.blob.is_there())
            }),
            Property::always(KEPT, |model: &Self, state: &State| {
                state.writers[..model.writers].iter().all(|writer| {
                    writer.at != WriterAt::Acknowledged
                        || (state.tags[usize::from(writer.by)].is_some()
                            && state.life.is_there()
                            && state.blob.is_there())
                })
            }),
            Property::sometimes(
                "every push is acknowledged",
                |model: &Self, state: &State| {
                    let writers = &state.writers[..model.writers];
                    writers
                        .iter()
                        .all(|writer| writer.at == WriterAt::Acknowledged)
                        && (!model.index || state.indexed != 0)
                },
            ),
        ];
        if self.refused {
            properties.extend([
                Property::always(RESTORED, |_: &Self, state: &State| {
                    state.mover.at != MoverAt::Returned
                        || (state.tags[0].is_some() && state.life.is_there())
                }),
                Property::sometimes("a tag is moved back", |_, state: &State| {
                    state.tags[0] == Some(MOVER)
                }),
            ]);
        }
        if self.collectors > 0 && !self.refused {
            properties.push(Property::sometimes(
                "everything is collected, and nothing is left to do",
                |_, state: &State| {
                    !state.life.is_there() && !state.pending && !state.blob.is_there()
                },
            ));
        }
        properties
    }
}

#[cfg(test)]
mod tests;
