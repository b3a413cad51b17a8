//! The protocol of the filesystem engine: a lock that pushes hold shared for moments, a delta log,
//! and a collector that marks without any lock.
//!
//! # What the engine promises
//!
//! * [`ACKNOWLEDGED`]: from the moment a manifest PUT is answered 201 until somebody deletes the
//!   manifest, a reader finds the manifest, the `data` of every digest it refers to, and the
//!   membership link of every one in the manifest's repository. In **every** state: not only in the
//!   end, and also after a crash or power loss at any moment.
//! * [`PROMISED`]: a client that was told a blob exists (HEAD 200, mount 201, upload 201) is not
//!   refused with `MANIFEST_BLOB_UNKNOWN` for that blob within the grace period. Losing this one
//!   would not lose data, but it breaks builds, which is why collectors get turned off.
//!
//! [`Grace::Ignored`] checks the first promise with every file old enough to collect at any moment:
//! clocks may jump and a push may take days. So the grace period is a comfort, and no safety rests
//! on it. The second promise is about the grace period and is checked with [`Grace::Honoured`].
//!
//! # Two forms of the same protocol
//!
//! [`Form::Plain`] syncs directories inside the locks; it is the simplest form, and the one that
//! all timing variants are compared with. [`Form::Shipped`] is what an engine should do: the slow
//! system calls move out of the locks (a push syncs the directories of the blobs it refers to
//! before it enters the section; the collector calls `syncfs` before it locks), and the delta log
//! names the manifest alone, the collector reads it and closes over what it refers to. Only the
//! shipped form has several digests per manifest and membership links.
//!
//! # Power loss
//!
//! A rename, and the appearance of a tag, reach the disk when their directory is synced, or earlier,
//! in any order and independently of each other: after power loss any subset of the unsynced
//! renames is found on disk. File *content* is synced before its rename (`fdatasync` of the
//! temporary file), so a name never leads to a torn file.

mod collect;
mod power;
mod push;
mod state;
#[cfg(test)]
mod tests;

use stateright::{Model, Property};

pub use self::state::State;
use self::state::{
    Collector, CollectorAt, MAX_BLOBS, MAX_COLLECTORS, MAX_NAMES, MAX_WRITERS, Name, OLD_FILE, Set,
    UploaderAt, Writer, WriterAt,
};
use crate::Step;

/// The first promise, as the checker names it.
pub const ACKNOWLEDGED: &str = "an acknowledged manifest has its blobs and links, in every state";
/// The second promise, as the checker names it.
pub const PROMISED: &str = "no MANIFEST_BLOB_UNKNOWN for a blob promised within the grace period";

/// Whether files may be collected before the grace period is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grace {
    /// A file whose modification time was set during the check is never collected.
    Honoured,
    /// Modification times say nothing.
    Ignored,
}

/// Where the slow system calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Form {
    /// Inside the locks; one digest per manifest, no membership links.
    Plain,
    /// Outside the locks.
    Shipped,
}

/// A protocol with one assumption removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The collector takes no lock for its batches. Removes: *nobody is between the check of a blob
    /// and the appearance of the manifest while a batch is decided and renamed away*.
    BatchWithoutLock,
    /// The collector trusts its mark and reads no delta log. Removes: *what was pushed since the
    /// mark is known when a batch is decided*.
    NoDeltaLog,
    /// The log is emptied without the exclusive lock. Removes: *a push that is in its section when
    /// the run begins has either logged to the log of this run or is seen by its mark*.
    LogEmptiedWithoutLock,
    /// An upload is renamed into place outside the section and is not logged. Removes: *a batch
    /// that was decided does not meet a file that was renamed there since*.
    CommitOutsideSection,
    /// HEAD looks and touches outside the section and does not log. Removes: *a 200 and the
    /// decision about a batch are ordered*.
    HeadOutsideSection,
    /// HEAD logs but leaves the modification time alone. Removes: *a promise outlives the run in
    /// which it was given*.
    HeadDoesNotTouch,
    /// HEAD and mount touch `data` and forget the membership link. Removes: *a link is as young as
    /// the promise that rests on it*.
    HeadTouchesDataOnly,
    /// The lock is released after the blobs were checked, before the manifest appears. Removes:
    /// *check and appearance are one section*.
    SectionEndsBeforePublish,
    /// The manifest PUT takes no lock and logs nothing.
    PutOutsideSection,
    /// PUT does not sync the directories of blobs which somebody else renamed into place. Removes:
    /// *what an acknowledged manifest refers to survives power loss*, even when the uploader
    /// crashed before it synced.
    ClaimWithoutSync,
    /// PUT syncs first and looks at the file afterwards. Removes: *the file that was looked at is
    /// the one that was synced*.
    SyncBeforeStat,
    /// The file that was synced is recognised by its inode number alone, and the filesystem hands
    /// the number of a deleted file out again. Removes: *equal identity means the same rename*.
    InodeNumberReused,
    /// No `syncfs` before files are renamed away. Removes: *a delete of a manifest reaches the disk
    /// before the loss of its blobs does*.
    TrashWithoutSync,
    /// `syncfs` once when the run begins, before the mark. Removes the same for deletes that
    /// happen between the two.
    SyncBeforeMark,
    /// The collector closes over a logged manifest only while its revision is there. Removes: *what
    /// was logged is kept until the run is over*; a deleted revision comes back with the power.
    LogFollowsRevision,
    /// The collector keeps the first reference of a logged manifest only.
    LogClosesOverFirst,
    /// PUT checks the first reference only.
    PutChecksFirst,
    /// PUT checks `data` and does not look at the membership links.
    PutIgnoresLinks,
}

/// The protocol, within bounds.
///
/// Every writer pushes its own manifest; all manifests refer to the same digests, which lie in the
/// store from the start, unreferenced and old.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Filesystem {
    /// Clients that push a manifest each: at most 3.
    pub writers: usize,
    /// Whether one more client uploads the first blob and goes away.
    pub uploader: bool,
    /// Collector runs: at most 2. `gc.lock` keeps them from overlapping, a crash frees it.
    pub collectors: usize,
    /// How often the power fails.
    pub outages: u8,
    /// Digests per manifest: 1 or 2 ([`Form::Shipped`]).
    pub blobs: usize,
    /// Whether membership links exist ([`Form::Shipped`]).
    pub links: bool,
    /// Whether each writer pushes to a repository of its own. With links, at most 2 writers.
    pub own_repositories: bool,
    /// Whether modification times protect.
    pub grace: Grace,
    /// Where the slow system calls are made.
    pub form: Form,
    /// The assumption removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for Filesystem {
    /// Two writers, one uploader, two collector runs, one digest, no links, no power loss.
    fn default() -> Self {
        Self {
            writers: 2,
            uploader: true,
            collectors: 2,
            outages: 0,
            blobs: 1,
            links: false,
            own_repositories: false,
            grace: Grace::Ignored,
            form: Form::Plain,
            mutant: None,
        }
    }
}

impl Filesystem {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn tracks_disk(&self) -> bool {
        self.outages > 0
    }

    fn shipped(&self) -> bool {
        self.form == Form::Shipped
    }

    fn repository_of(&self, writer: usize) -> usize {
        if self.own_repositories { writer } else { 0 }
    }

    /// The membership link of `blob` in the repository of `writer`.
    fn link(&self, writer: usize, blob: usize) -> usize {
        MAX_BLOBS * (1 + self.repository_of(writer)) + blob
    }

    /// The names that must exist for `blob` to be a blob of the writer's repository.
    fn names_of(&self, writer: usize, blob: usize) -> impl Iterator<Item = usize> + use<> {
        let link = self.links.then(|| self.link(writer, blob));
        std::iter::once(blob).chain(link)
    }

    /// All names that the writer's manifest rests on.
    fn closure(&self, writer: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.blobs).flat_map(move |blob| self.names_of(writer, blob))
    }

    fn closure_set(&self, writer: usize) -> Set {
        set(self.closure(writer))
    }

    fn keeps_acknowledged(&self, state: &State) -> bool {
        (0..self.writers)
            .filter(|writer| has(state.acknowledged, *writer))
            .all(|writer| {
                if has(state.visible, writer) {
                    self.closure(writer).all(|name| state.names[name].exists())
                } else {
                    matches!(
                        state.writers[writer].at,
                        WriterAt::DeleteSync
                            | WriterAt::DeleteAcknowledge
                            | WriterAt::DeleteInterrupted
                    )
                }
            })
    }

    fn keeps_promised(&self, state: &State) -> bool {
        self.grace == Grace::Ignored
            || !state
                .writers
                .iter()
                .any(|writer| writer.at == WriterAt::Refused && writer.promised != 0)
    }

    fn collected_something(&self, state: &State) -> bool {
        (0..self.blobs).all(|blob| !state.names[blob].exists())
    }
}

impl Model for Filesystem {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.writers <= MAX_WRITERS && self.collectors <= MAX_COLLECTORS);
        assert!(self.blobs <= MAX_BLOBS && !(self.own_repositories && self.writers > 2));
        assert!(self.shipped() || (self.blobs == 1 && !self.links));
        let mut state = State {
            outages_left: self.outages,
            ..State::default()
        };
        for name in self.closure(0) {
            state.names[name] = Name::holding(OLD_FILE, self.tracks_disk());
        }
        for writer in &mut state.writers[..self.writers] {
            *writer = Writer {
                at: WriterAt::Start,
                ..Writer::default()
            };
        }
        for run in &mut state.collectors[..self.collectors] {
            *run = Collector {
                at: CollectorAt::Start,
                ..Collector::default()
            };
        }
        if self.uploader {
            state.uploader = UploaderAt::Start;
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        Self::power_steps(state, steps);
        for writer in 0..self.writers {
            self.writer_steps(state, writer, steps);
        }
        self.uploader_steps(state, steps);
        for run in 0..self.collectors {
            self.collector_steps(state, run, steps);
        }
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(step.into_state())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ACKNOWLEDGED, Self::keeps_acknowledged),
            Property::always(PROMISED, Self::keeps_promised),
            Property::sometimes(
                "every manifest is acknowledged",
                |model: &Self, state: &State| state.acknowledged == set(0..model.writers),
            ),
            Property::sometimes("a manifest is deleted", |_, state: &State| {
                state
                    .writers
                    .iter()
                    .any(|writer| writer.at == WriterAt::Deleted)
            }),
            Property::sometimes("every blob is collected", Self::collected_something),
        ]
    }
}

/// Whether `index` is in `set`.
const fn has(set: Set, index: usize) -> bool {
    set & (1 << index) != 0
}

/// The set of `indices`.
fn set(indices: impl Iterator<Item = usize>) -> Set {
    indices.fold(0, |set, index| set | 1 << index)
}

const _: () = assert!(MAX_NAMES <= Set::BITS as usize);
