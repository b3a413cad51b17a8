//! Why the key of a reference carries the nonce of its push.
//!
//! The records model gives every push a manifest of its own. Here everybody is about **the same**
//! manifest in the same repository: it is there from the start, somebody deletes it, and meanwhile
//! others push it again. If the reference keys of both were the same keys, the delete would remove
//! the references under which the new push acknowledged.
//!
//! * [`COMPLETE`]: while the revision exists, no record that its manifest rests on is dead.
//!
//! A push that replaces the revision knows the nonce it replaced and removes that push's references
//! (`Tidy` steps); without this every repeated push would leave keys behind.

use stateright::{Model, Property};

use crate::{Actor, Step};

/// The promise, as the checker names it.
pub const COMPLETE: &str = "while the revision exists its blobs and links do";

/// The protocol with one assumption removed: each must be caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mutant {
    /// The key of a reference is digest, repository and manifest: all pushes share it. Removes:
    /// *removing one's references removes nobody else's*.
    SharedKey,
    /// A delete removes the references before the revision. Removes: *a revision has references*.
    RefsFirst,
    /// A delete removes whatever references it finds instead of those of the nonce it unlinked.
    DeletesAllRefs,
    /// A push that replaced the revision removes every reference but its own. Removes: *a push that
    /// has written its references may rely on them until it is done*.
    TidiesAllRefs,
}

/// Most digests; each has a record for the blob and one for the membership link.
const MAX_DIGESTS: usize = 2;
const MAX_PUSHES: usize = 2;
/// The push that made the revision which is there from the start.
const OLD: u8 = 0;

/// A set of pushes, by nonce.
type Set = u8;

/// The protocol, within bounds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordsRefs {
    /// Clients that push the manifest again: at most 2.
    pub pushes: usize,
    /// Digests the manifest refers to: at most 2.
    pub digests: usize,
    /// Whether membership links exist.
    pub links: bool,
    /// The assumption removed, if any.
    pub mutant: Option<Mutant>,
}

impl Default for RecordsRefs {
    /// One push, one digest, no links.
    fn default() -> Self {
        Self {
            pushes: 1,
            digests: 1,
            links: false,
            mutant: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Condition {
    #[default]
    Live,
    Condemned,
    Dead,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum PushAt {
    #[default]
    Refs,
    Check,
    Revision,
    Tidy,
    Acknowledge,
    Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Push {
    at: PushAt,
    /// The digest or record it is busy with.
    next: u8,
    /// The nonce of the revision it replaced.
    replaced: Option<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum DeleteAt {
    #[default]
    Read,
    Unlink,
    Refs,
    Ended,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Delete {
    at: DeleteAt,
    nonce: u8,
    next: u8,
}

/// How far the collector is with one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum CollectAt {
    #[default]
    Condemn,
    List,
    Kill,
    Reprieve,
    Ended,
}

/// Everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Whose reference keys exist, per digest.
    refs: [Set; MAX_DIGESTS],
    /// The nonce in the revision.
    revision: Option<u8>,
    /// Per digest the blob's record, then the links'.
    records: [Condition; 2 * MAX_DIGESTS],
    pushes: [Push; MAX_PUSHES],
    acknowledged: Set,
    delete: Delete,
    collectors: [CollectAt; 2 * MAX_DIGESTS],
}

impl RecordsRefs {
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    fn records(&self) -> impl Iterator<Item = usize> + use<> {
        let links = if self.links { self.digests } else { 0 };
        (0..self.digests).chain(MAX_DIGESTS..MAX_DIGESTS + links)
    }

    fn key(&self, nonce: u8) -> Set {
        if self.is(Mutant::SharedKey) {
            1
        } else {
            1 << nonce
        }
    }

    fn push_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let push = state.pushes[index];
        let nonce = 1 + index as u8;
        let mut step = |what, change: &dyn Fn(&mut State, &mut Push)| {
            let mut to = *state;
            let mut push = push;
            change(&mut to, &mut push);
            to.pushes[index] = push;
            steps.push(Step::new(Actor::Writer(index), what, to));
        };
        let digest = usize::from(push.next);
        let records: Vec<usize> = self.records().collect();
        match push.at {
            PushAt::Refs => step("writes its reference", &|to, push| {
                to.refs[digest] |= self.key(nonce);
                push.next += 1;
                if usize::from(push.next) == self.digests {
                    *push = Push {
                        at: PushAt::Check,
                        ..Push::default()
                    };
                }
            }),
            PushAt::Check => {
                let record = records[digest];
                if state.records[record] == Condition::Dead {
                    step("MANIFEST_BLOB_UNKNOWN", &|_, push| push.at = PushAt::Ended);
                } else {
                    step("finds or makes the record live", &|to, push| {
                        to.records[record] = Condition::Live;
                        push.next += 1;
                        if usize::from(push.next) == records.len() {
                            *push = Push {
                                at: PushAt::Revision,
                                ..Push::default()
                            };
                        }
                    });
                }
            }
            PushAt::Revision => step("CAS: revision with its nonce", &|to, push| {
                push.replaced = to.revision.replace(nonce);
                push.at = match push.replaced {
                    Some(_) if !self.is(Mutant::SharedKey) => PushAt::Tidy,
                    _ => PushAt::Acknowledge,
                };
            }),
            PushAt::Tidy => step(
                "removes a reference of the nonce it replaced",
                &|to, push| {
                    if self.is(Mutant::TidiesAllRefs) {
                        to.refs[digest] &= self.key(nonce);
                    } else if let Some(replaced) = push.replaced {
                        to.refs[digest] &= !self.key(replaced);
                    }
                    push.next += 1;
                    if usize::from(push.next) == self.digests {
                        *push = Push {
                            at: PushAt::Acknowledge,
                            ..Push::default()
                        };
                    }
                },
            ),
            PushAt::Acknowledge => step("201", &|to, push| {
                to.acknowledged |= 1 << nonce;
                push.at = PushAt::Ended;
            }),
            PushAt::Ended => {}
        }
        if push.at != PushAt::Ended {
            step("crash", &|_, push| {
                *push = Push {
                    at: PushAt::Ended,
                    ..Push::default()
                }
            });
        }
    }

    fn delete_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let mut step = |what, change: &dyn Fn(&mut State, &mut Delete)| {
            let mut to = *state;
            let mut delete = to.delete;
            change(&mut to, &mut delete);
            to.delete = delete;
            steps.push(Step::new(Actor::Deleter(0), what, to));
        };
        let refs_first = self.is(Mutant::RefsFirst);
        let ended = Delete {
            at: DeleteAt::Ended,
            ..Delete::default()
        };
        match state.delete.at {
            DeleteAt::Read => {
                if let Some(nonce) = state.revision {
                    step("reads the revision", &|_, delete| {
                        delete.nonce = nonce;
                        delete.at = if refs_first {
                            DeleteAt::Refs
                        } else {
                            DeleteAt::Unlink
                        };
                    });
                }
            }
            DeleteAt::Unlink => {
                let mine = state.revision == Some(state.delete.nonce);
                if mine || (self.is(Mutant::SharedKey) && state.revision.is_some()) {
                    step("CAS: revision is gone", &|to, delete| {
                        to.revision = None;
                        delete.at = if refs_first {
                            DeleteAt::Ended
                        } else {
                            DeleteAt::Refs
                        };
                    });
                } else {
                    step("CAS lost", &|_, delete| *delete = ended);
                }
            }
            DeleteAt::Refs => step("removes a reference of that nonce", &|to, delete| {
                let digest = usize::from(delete.next);
                let all = self.is(Mutant::DeletesAllRefs);
                to.refs[digest] &= if all { 0 } else { !self.key(delete.nonce) };
                delete.next += 1;
                if usize::from(delete.next) == self.digests {
                    if refs_first {
                        delete.at = DeleteAt::Unlink;
                    } else {
                        *delete = ended;
                    }
                }
            }),
            DeleteAt::Ended => {}
        }
        if state.delete.at != DeleteAt::Ended {
            step("crash", &|_, delete| *delete = ended);
        }
    }

    fn collector_steps(state: &State, record: usize, steps: &mut Vec<Step<State>>) {
        let mut step = |what, at, condition| {
            let mut to = *state;
            to.collectors[record] = at;
            to.records[record] = condition;
            steps.push(Step::new(Actor::Collector(record), what, to));
        };
        // Versions carry nonces: a record that is condemned here was condemned by this run, for a
        // push that looks at it makes it live, and nobody else condemns it.
        let condition = state.records[record];
        let unchanged = condition == Condition::Condemned;
        match state.collectors[record] {
            CollectAt::Condemn if condition == Condition::Live => {
                step("CAS: condemned", CollectAt::List, Condition::Condemned);
            }
            CollectAt::List => {
                if state.refs[record % MAX_DIGESTS] == 0 {
                    step("lists references: none", CollectAt::Kill, condition);
                } else {
                    step("lists references: some", CollectAt::Reprieve, condition);
                }
            }
            CollectAt::Kill if unchanged => step("CAS: dead", CollectAt::Ended, Condition::Dead),
            CollectAt::Reprieve if unchanged => {
                step("CAS: back to live", CollectAt::Ended, Condition::Live);
            }
            CollectAt::Kill | CollectAt::Reprieve => step("CAS lost", CollectAt::Ended, condition),
            CollectAt::Condemn | CollectAt::Ended => {}
        }
    }
}

impl Model for RecordsRefs {
    type State = State;
    type Action = Step<State>;

    fn init_states(&self) -> Vec<State> {
        assert!(self.pushes <= MAX_PUSHES && self.digests <= MAX_DIGESTS);
        let mut state = State {
            revision: Some(OLD),
            ..State::default()
        };
        for refs in &mut state.refs[..self.digests] {
            *refs = self.key(OLD);
        }
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step<State>>) {
        for push in 0..self.pushes {
            self.push_steps(state, push, steps);
        }
        self.delete_steps(state, steps);
        for record in self.records() {
            Self::collector_steps(state, record, steps);
        }
    }

    fn next_state(&self, _: &State, step: Step<State>) -> Option<State> {
        Some(step.into_state())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(COMPLETE, |model: &Self, state: &State| {
                state.revision.is_none()
                    || model
                        .records()
                        .all(|record| state.records[record] != Condition::Dead)
            }),
            Property::sometimes(
                "every push is acknowledged",
                |model: &Self, state: &State| {
                    state.acknowledged.count_ones() as usize == model.pushes
                },
            ),
            Property::sometimes("everything is collected", |model: &Self, state: &State| {
                model
                    .records()
                    .all(|record| state.records[record] == Condition::Dead)
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{COMPLETE, Mutant, RecordsRefs};
    use crate::check::{assert_caught, assert_holds};

    fn wide() -> RecordsRefs {
        RecordsRefs {
            pushes: 2,
            digests: 2,
            links: true,
            mutant: None,
        }
    }

    #[test]
    fn one_push_one_digest() {
        assert_holds(RecordsRefs::default(), 384);
    }

    #[test]
    fn two_pushes_one_digest_and_link() {
        assert_holds(
            RecordsRefs {
                digests: 1,
                ..wide()
            },
            38_090,
        );
    }

    #[test]
    fn one_push_two_digests_and_links() {
        assert_holds(
            RecordsRefs {
                pushes: 1,
                ..wide()
            },
            198_065,
        );
    }

    #[test]
    fn two_pushes_two_digests() {
        assert_holds(
            RecordsRefs {
                links: false,
                ..wide()
            },
            100_172,
        );
    }

    #[test]
    fn mutant_shared_key() {
        let mutant = Some(Mutant::SharedKey);
        assert_caught(
            RecordsRefs {
                mutant,
                ..RecordsRefs::default()
            },
            COMPLETE,
        );
    }

    #[test]
    fn wide_mutant_shared_key() {
        assert_caught(
            RecordsRefs {
                mutant: Some(Mutant::SharedKey),
                ..wide()
            },
            COMPLETE,
        );
    }

    #[test]
    fn mutant_refs_first() {
        assert_caught(
            RecordsRefs {
                mutant: Some(Mutant::RefsFirst),
                ..wide()
            },
            COMPLETE,
        );
    }

    #[test]
    fn mutant_deletes_all_refs() {
        assert_caught(
            RecordsRefs {
                mutant: Some(Mutant::DeletesAllRefs),
                ..wide()
            },
            COMPLETE,
        );
    }

    #[test]
    fn mutant_tidies_all_refs() {
        assert_caught(
            RecordsRefs {
                mutant: Some(Mutant::TidiesAllRefs),
                ..wide()
            },
            COMPLETE,
        );
    }
}
