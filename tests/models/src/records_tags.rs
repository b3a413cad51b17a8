//! Pushes by tag against deletes by digest in the records engine, which has no repository lock.
//!
//! A tag and a revision are two records, and a compare-and-swap changes one. Deleting a manifest
//! means: nobody finds the revision, and no tag leads to it. The order that works:
//!
//! * **push**: write the revision; write the tag; **read the revision again**, and if it is gone
//!   start over from the revision; acknowledge.
//! * **delete**: read which tags lead to the digest only **after** the revision was swapped away;
//!   for each, read the revision **again**: if somebody pushed it meanwhile, leave the tag alone,
//!   else swap that version of the tag away.
//!
//! The promises:
//!
//! * [`DANGLING`]: when everybody is done no tag leads to a revision that is gone. (A push that
//!   crashes between its tag and its second look may leave one. It was never acknowledged; a reader
//!   answers 404 for it as for an absent tag, and the next push of the tag overwrites it.)
//! * [`KEPT`]: a tag that was acknowledged is there until a delete that came after its revision.

use stateright::{Model, Property};

use crate::{Actor, Step};

/// The first promise, as the checker names it.
pub const DANGLING: &str = "at rest no tag leads to a revision that is gone";
/// The second promise, as the checker names it.
pub const KEPT: &str = "an acknowledged tag is there unless a later delete took it";

/// The protocol with one assumption removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// A delete unlinks the tags first and the revision last, and a push does not look again.
    RevisionLast,
    /// A push does not look again after it wrote its tag.
    PushDoesNotLookAgain,
    /// A delete unlinks every tag it finds and does not look whether the manifest was pushed again.
    DeleteDoesNotLookAgain,
    /// A delete unlinks a tag by name, whatever version it has by then.
    UnlinksByName,
}

const MAX_PUSHES: usize = 2;
const MAX_DELETES: usize = 2;

/// The protocol, within bounds. Everybody is about one manifest in one repository.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordsTags {
    /// Clients that push the manifest: at most 2.
    pub pushes: usize,
    /// Clients that delete it: at most 2.
    pub deletes: usize,
    /// Whether all push by the same tag.
    pub same_tag: bool,
    /// The assumption removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for RecordsTags {
    /// Two pushes by a tag each, two deletes.
    fn default() -> Self {
        Self {
            pushes: 2,
            deletes: 2,
            same_tag: false,
            mutant: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum PushAt {
    #[default]
    Revision,
    Tag,
    LookAgain,
    Acknowledged,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Push {
    at: PushAt,
    /// A delete swapped the revision away since this push wrote it.
    deleted: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum DeleteAt {
    #[default]
    Revision,
    FindTags,
    LookAgain,
    Unlink,
    Done,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Delete {
    at: DeleteAt,
    /// The versions of the tags it found, and the one it is busy with.
    found: [u8; MAX_PUSHES],
    next: u8,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    revision: bool,
    /// The version of each tag, 0 where there is none.
    tags: [u8; MAX_PUSHES],
    next_version: u8,
    pushes: [Push; MAX_PUSHES],
    deletes: [Delete; MAX_DELETES],
}

impl RecordsTags {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn tag_of(&self, push: usize) -> usize {
        if self.same_tag { 0 } else { push }
    }

    fn push_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let mut to = *state;
        let push = &mut to.pushes[index];
        let what = match push.at {
            PushAt::Revision => {
                *push = Push {
                    at: PushAt::Tag,
                    deleted: false,
                };
                to.revision = true;
                "writes the revision"
            }
            PushAt::Tag => {
                let looks =
                    !self.is(Mutant::PushDoesNotLookAgain) && !self.is(Mutant::RevisionLast);
                push.at = if looks {
                    PushAt::LookAgain
                } else {
                    PushAt::Acknowledged
                };
                to.next_version += 1;
                to.tags[self.tag_of(index)] = to.next_version;
                "writes the tag"
            }
            PushAt::LookAgain if state.revision => {
                push.at = PushAt::Acknowledged;
                "sees the revision, 201"
            }
            PushAt::LookAgain => {
                push.at = PushAt::Revision;
                "misses the revision, starts again"
            }
            PushAt::Acknowledged => return,
        };
        steps.push(Step::new(Actor::Writer(index), what, to));
    }

    fn delete_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let mut to = *state;
        let delete = &mut to.deletes[index];
        let tags_first = self.is(Mutant::RevisionLast);
        let blind = tags_first || self.is(Mutant::DeleteDoesNotLookAgain);
        let tag = usize::from(delete.next);
        let what = match delete.at {
            DeleteAt::Revision if tags_first && delete.next == 0 => {
                delete.at = DeleteAt::FindTags;
                "begins"
            }
            DeleteAt::Revision => {
                *delete = Delete::default();
                delete.at = match (tags_first, state.revision) {
                    (false, true) => DeleteAt::FindTags,
                    _ => DeleteAt::Done,
                };
                if state.revision {
                    to.revision = false;
                    for push in &mut to.pushes {
                        push.deleted |= push.at != PushAt::Revision;
                    }
                    "swaps the revision away"
                } else {
                    "404"
                }
            }
            DeleteAt::FindTags => {
                delete.found = state.tags;
                delete.at = if blind {
                    DeleteAt::Unlink
                } else {
                    DeleteAt::LookAgain
                };
                "finds the tags"
            }
            DeleteAt::LookAgain if state.revision => {
                *delete = Delete {
                    at: DeleteAt::Done,
                    ..Delete::default()
                };
                "sees a revision pushed since, leaves the tags"
            }
            DeleteAt::LookAgain => {
                delete.at = DeleteAt::Unlink;
                "sees no revision"
            }
            DeleteAt::Unlink => {
                let found = delete.found[tag];
                delete.next += 1;
                if usize::from(delete.next) < self.pushes {
                    delete.at = if blind {
                        DeleteAt::Unlink
                    } else {
                        DeleteAt::LookAgain
                    };
                } else if tags_first {
                    delete.at = DeleteAt::Revision;
                } else {
                    *delete = Delete {
                        at: DeleteAt::Done,
                        ..Delete::default()
                    };
                }
                if found != 0 && (to.tags[tag] == found || self.is(Mutant::UnlinksByName)) {
                    to.tags[tag] = 0;
                    "unlinks a tag"
                } else {
                    "finds a tag written since, leaves it"
                }
            }
            DeleteAt::Done => return,
        };
        steps.push(Step::new(Actor::Deleter(index), what, to));
    }
}

impl Model for RecordsTags {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.pushes <= MAX_PUSHES && self.deletes <= MAX_DELETES);
        // The manifest is there, by the first tag.
        vec![State {
            revision: true,
            tags: [1, 0],
            next_version: 1,
            ..State::default()
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for push in 0..self.pushes {
            self.push_steps(state, push, steps);
        }
        for delete in 0..self.deletes {
            self.delete_steps(state, delete, steps);
        }
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(step.into_state())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(DANGLING, |model: &Self, state: &State| {
                let pushes = &state.pushes[..model.pushes];
                let deletes = &state.deletes[..model.deletes];
                let at_rest = pushes.iter().all(|push| push.at == PushAt::Acknowledged)
                    && deletes.iter().all(|delete| delete.at == DeleteAt::Done);
                !at_rest || state.revision || state.tags == [0; MAX_PUSHES]
            }),
            Property::always(KEPT, |model: &Self, state: &State| {
                (0..model.pushes).all(|index| {
                    let push = state.pushes[index];
                    push.at != PushAt::Acknowledged
                        || push.deleted
                        || state.tags[model.tag_of(index)] != 0
                })
            }),
            Property::sometimes(
                "every push is acknowledged",
                |model: &Self, state: &State| {
                    state.pushes[..model.pushes]
                        .iter()
                        .all(|push| push.at == PushAt::Acknowledged)
                },
            ),
            Property::sometimes("manifest and tags are deleted", |_, state: &State| {
                !state.revision && state.tags == [0; MAX_PUSHES]
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{DANGLING, KEPT, Mutant, RecordsTags};
    use crate::check::{assert_caught, assert_holds};

    #[test]
    fn two_tags() {
        assert_holds(RecordsTags::default(), 253_125);
    }

    #[test]
    fn one_tag() {
        assert_holds(
            RecordsTags {
                same_tag: true,
                ..RecordsTags::default()
            },
            63_965,
        );
    }

    macro_rules! mutants {
        ($($test:ident: $mutant:ident loses $invariant:ident;)*) => {$(
            #[test]
            fn $test() {
                let mutant = Some(Mutant::$mutant);
                assert_caught(RecordsTags { mutant, ..RecordsTags::default() }, $invariant);
            }
        )*};
    }

    mutants! {
        mutant_revision_last: RevisionLast loses DANGLING;
        mutant_push_does_not_look_again: PushDoesNotLookAgain loses DANGLING;
        mutant_delete_does_not_look_again: DeleteDoesNotLookAgain loses KEPT;
        mutant_unlinks_by_name: UnlinksByName loses KEPT;
    }
}
