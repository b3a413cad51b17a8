//! A policy that removes manifests, against power loss: what goes first, and what is synced between.
//!
//! By default the collector never removes a manifest. Told to collect those that no tag leads to, it removes
//! the revision and the blobs that only this manifest needed. That takes two renames in two directories, and
//! power loss keeps any of them. So revisions go in batches of their own, before all others, and the `syncfs`
//! that begins a batch makes them final before a blob goes. Meanwhile somebody may push the manifest again, and
//! move a tag to it: revision and tag are two files in two directories as well, and each has a durability of
//! its own here.
//!
//! * [`WHOLE`]: a revision that can be read has its blob, in every state.
//! * [`LEADS`]: a tag leads to a revision that is there, in every state.
//! * [`KEPT`]: an acknowledged push has its tag, its revision and its blob.

use stateright::{Model, Property};

use crate::{Actor, Step};

/// The first promise, as the checker names it.
pub const WHOLE: &str = "a revision that can be read has its blob";
/// The second promise, as the checker names it.
pub const LEADS: &str = "a tag leads to a revision that is there";
/// The third promise, as the checker names it.
pub const KEPT: &str = "an acknowledged push has its tag, its revision and its blob";

/// The protocol with one step removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The blob goes in the first batch, the revision in the second.
    BlobsFirst,
    /// `syncfs` only before the first batch. Removes: *what a manifest needs goes when the manifest is gone
    /// for good*.
    SyncedOnce,
    /// A manifest within its grace is not removed, and what it needs is. Removes: *what stays is a root*.
    YoungIsNoRoot,
    /// The collector does not read the log of pushes.
    NoDeltaLog,
    /// The revision is removed without the exclusive lock.
    RemovedWithoutLock,
    /// The tag is moved before the revision that it moves to is on the disk.
    TagMovesFirst,
    /// The push is acknowledged before its tag is on the disk.
    TagNotSynced,
}

/// The protocol, within bounds: one manifest of one blob, stored long ago and untagged.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Untagged {
    /// Collector runs, one after the other: at most 2.
    pub collectors: usize,
    /// How often the power fails.
    pub outages: u8,
    /// Whether the manifest is within its grace.
    pub young: bool,
    /// The step removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for Untagged {
    /// Two runs, the power fails twice, the manifest is old.
    fn default() -> Self {
        Self {
            collectors: 2,
            outages: 2,
            young: false,
            mutant: None,
        }
    }
}

/// A name in a directory: what a reader finds there, and all that power loss may leave, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Name {
    now: u8,
    maybe: u8,
}

impl Name {
    const fn holding(now: u8) -> Self {
        Self {
            now,
            maybe: 1 << now,
        }
    }

    const fn set(&mut self, now: u8) {
        self.now = now;
        self.maybe |= 1 << now;
    }

    const fn sync(&mut self) {
        self.maybe = 1 << self.now;
    }

    fn after_power_loss(self) -> impl Iterator<Item = Self> {
        (0..2)
            .filter(move |value| self.maybe & (1 << value) != 0)
            .map(Self::holding)
    }
}

const ABSENT: u8 = 0;
const THERE: u8 = 1;
/// Where the tag points: to another manifest, or to this one.
const ELSEWHERE: u8 = 0;
const HERE: u8 = 1;

const MAX_COLLECTORS: usize = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum WriterAt {
    #[default]
    Put,
    Check,
    Revision,
    SyncRevision,
    Tag,
    Sync,
    Acknowledge,
    /// Acknowledged, refused, crashed.
    Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum CollectorAt {
    #[default]
    Ended,
    Start,
    Mark,
    SyncBefore,
    Lock,
    Check,
    Remove,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Collector {
    at: CollectorAt,
    /// The tag led to the manifest when it was read.
    marked: bool,
    /// The batch it is busy with.
    batch: u8,
    /// What is in the batch goes.
    doomed: bool,
}

/// Everything.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a step reads or writes"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    revision: Name,
    blob: Name,
    tag: Name,
    writer: WriterAt,
    /// The writer is in its section.
    shared: bool,
    collectors: [Collector; MAX_COLLECTORS],
    exclusive: bool,
    logged: bool,
    acknowledged: bool,
    outages_left: u8,
}

impl Untagged {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Whether the batch is the revision; else it is the blob.
    fn removes_revision(&self, run: Collector) -> bool {
        (run.batch == 0) != self.is(Mutant::BlobsFirst)
    }

    fn writer_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let mut step = |what, change: &dyn Fn(&mut State)| {
            let mut to = *state;
            change(&mut to);
            steps.push(Step::new(Actor::Writer(0), what, to));
        };
        if !matches!(state.writer, WriterAt::Put | WriterAt::Ended) {
            step("crash", &|to| {
                to.writer = WriterAt::Ended;
                to.shared = false;
            });
        }
        match state.writer {
            WriterAt::Put if !state.exclusive => step("PUT enters the section, logs", &|to| {
                to.logged = true;
                to.shared = true;
                to.writer = WriterAt::Check;
            }),
            WriterAt::Put | WriterAt::Ended => {}
            WriterAt::Check if state.blob.now == ABSENT => {
                step("PUT: MANIFEST_BLOB_UNKNOWN", &|to| {
                    to.writer = WriterAt::Ended;
                    to.shared = false;
                });
            }
            WriterAt::Check => step("PUT: the blob is there", &|to| {
                to.writer = WriterAt::Revision;
            }),
            WriterAt::Revision => step("PUT: revision", &|to| {
                if to.revision.now == ABSENT {
                    to.revision.set(THERE);
                }
                to.writer = if self.is(Mutant::TagMovesFirst) {
                    WriterAt::Tag
                } else {
                    WriterAt::SyncRevision
                };
            }),
            WriterAt::SyncRevision => step("PUT: fsync, for a tag is about to move", &|to| {
                to.revision.sync();
                to.writer = WriterAt::Tag;
            }),
            WriterAt::Tag => step("PUT: tag, leaves the section", &|to| {
                to.tag.set(HERE);
                to.shared = false;
                to.writer = WriterAt::Sync;
            }),
            WriterAt::Sync => step("PUT: fsync directories", &|to| {
                to.revision.sync();
                if !self.is(Mutant::TagNotSynced) {
                    to.tag.sync();
                }
                to.writer = WriterAt::Acknowledge;
            }),
            WriterAt::Acknowledge => step("PUT 201", &|to| {
                to.acknowledged = true;
                to.writer = WriterAt::Ended;
            }),
        }
    }

    fn collector_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let run = state.collectors[index];
        let mut step = |what, change: &dyn Fn(&mut State, &mut Collector)| {
            let mut to = *state;
            let mut run = run;
            change(&mut to, &mut run);
            if run.at == CollectorAt::Ended {
                run = Collector::default();
            }
            to.collectors[index] = run;
            steps.push(Step::new(Actor::Collector(index), what, to));
        };
        if !matches!(run.at, CollectorAt::Ended | CollectorAt::Start) {
            let inside = matches!(run.at, CollectorAt::Check | CollectorAt::Remove);
            step("crash or end of the run", &|to, run| {
                run.at = CollectorAt::Ended;
                if inside {
                    to.exclusive = false;
                }
            });
        }
        let nobody = !state.exclusive && !state.shared;
        match run.at {
            CollectorAt::Ended => {}
            CollectorAt::Start => {
                let idle = |at| matches!(at, CollectorAt::Start | CollectorAt::Ended);
                if nobody && state.collectors.iter().all(|other| idle(other.at)) {
                    step("lock, empty delta log, unlock", &|to, run| {
                        to.logged = false;
                        run.at = CollectorAt::Mark;
                    });
                }
            }
            CollectorAt::Mark => step("marks from the tag", &|to, run| {
                let root = self.young && to.revision.now == THERE;
                run.marked = to.tag.now == HERE || (root && !self.is(Mutant::YoungIsNoRoot));
                run.at = CollectorAt::SyncBefore;
            }),
            CollectorAt::SyncBefore => step("syncfs", &|to, run| {
                if run.batch == 0 || !self.is(Mutant::SyncedOnce) {
                    for name in [&mut to.revision, &mut to.blob, &mut to.tag] {
                        name.sync();
                    }
                }
                run.at = CollectorAt::Lock;
            }),
            CollectorAt::Lock => {
                let unlocked = self.is(Mutant::RemovedWithoutLock) && run.batch == 0;
                if nobody || unlocked {
                    step("locks exclusively", &|to, run| {
                        to.exclusive |= !unlocked;
                        run.at = CollectorAt::Check;
                    });
                }
            }
            CollectorAt::Check => step("reads the log, decides", &|to, run| {
                let is_revision = self.removes_revision(*run);
                let logged = to.logged && !self.is(Mutant::NoDeltaLog);
                run.doomed = !(run.marked || logged || is_revision && self.young);
                run.at = CollectorAt::Remove;
            }),
            CollectorAt::Remove => step("renames what nobody needs into the trash", &|to, run| {
                let name = if self.removes_revision(*run) {
                    &mut to.revision
                } else {
                    &mut to.blob
                };
                if run.doomed && name.now == THERE {
                    name.set(ABSENT);
                }
                to.exclusive = false;
                run.at = if run.batch == 0 {
                    CollectorAt::SyncBefore
                } else {
                    CollectorAt::Ended
                };
                run.doomed = false;
                run.batch += 1;
            }),
        }
    }

    fn power_steps(state: &State, steps: &mut Vec<Step<State>>) {
        if state.outages_left == 0 {
            return;
        }
        for revision in state.revision.after_power_loss() {
            for blob in state.blob.after_power_loss() {
                for tag in state.tag.after_power_loss() {
                    let mut to = State {
                        revision,
                        blob,
                        tag,
                        shared: false,
                        exclusive: false,
                        logged: false,
                        outages_left: state.outages_left - 1,
                        ..*state
                    };
                    if to.writer != WriterAt::Put {
                        to.writer = WriterAt::Ended;
                    }
                    for run in &mut to.collectors {
                        if run.at != CollectorAt::Start {
                            *run = Collector::default();
                        }
                    }
                    steps.push(Step::new(Actor::Power, "fails; everybody starts again", to));
                }
            }
        }
    }
}

impl Model for Untagged {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.collectors <= MAX_COLLECTORS);
        let mut state = State {
            revision: Name::holding(THERE),
            blob: Name::holding(THERE),
            tag: Name::holding(ELSEWHERE),
            outages_left: self.outages,
            ..State::default()
        };
        for run in &mut state.collectors[..self.collectors] {
            run.at = CollectorAt::Start;
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        self.writer_steps(state, steps);
        for run in 0..self.collectors {
            self.collector_steps(state, run, steps);
        }
        Self::power_steps(state, steps);
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(step.into_state())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(WHOLE, |_: &Self, state: &State| {
                state.revision.now == ABSENT || state.blob.now == THERE
            }),
            Property::always(LEADS, |_, state: &State| {
                state.tag.now == ELSEWHERE || state.revision.now == THERE
            }),
            Property::always(KEPT, |_, state: &State| {
                !state.acknowledged
                    || (state.tag.now == HERE
                        && state.revision.now == THERE
                        && state.blob.now == THERE)
            }),
            Property::sometimes("the push is acknowledged", |_, state: &State| {
                state.acknowledged
            }),
        ];
        if !self.young {
            properties.push(Property::sometimes(
                "everything is collected",
                |_, state: &State| state.revision.now == ABSENT && state.blob.now == ABSENT,
            ));
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, LEADS, Mutant, Untagged, WHOLE};
    use crate::check::{assert_caught, assert_holds};

    fn young() -> Untagged {
        Untagged {
            young: true,
            ..Untagged::default()
        }
    }

    #[test]
    fn an_old_manifest() {
        assert_holds(Untagged::default(), 3_045);
    }

    #[test]
    fn a_young_manifest() {
        assert_holds(young(), 1_866);
    }

    macro_rules! mutants {
        ($($test:ident: $mutant:ident loses $invariant:ident in $model:expr;)*) => {$(
            #[test]
            fn $test() {
                let model = Untagged { mutant: Some(Mutant::$mutant), ..$model };
                assert_caught(model, $invariant);
            }
        )*};
    }

    mutants! {
        mutant_blobs_first: BlobsFirst loses WHOLE in Untagged::default();
        mutant_synced_once: SyncedOnce loses WHOLE in Untagged::default();
        mutant_young_is_no_root: YoungIsNoRoot loses WHOLE in young();
        mutant_no_delta_log: NoDeltaLog loses KEPT in Untagged::default();
        mutant_removed_without_lock: RemovedWithoutLock loses LEADS in Untagged::default();
        mutant_tag_moves_first: TagMovesFirst loses LEADS in Untagged::default();
        mutant_tag_not_synced: TagNotSynced loses KEPT in Untagged::default();
    }
}
