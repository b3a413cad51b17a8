//! The collector: the manifest first, then its blob.

use super::clean::Clean;
use super::{Life, MOVER, Mutant, RecordsUntagged, Set, State, bit};
use crate::{Actor, Step};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum CollectorAt {
    #[default]
    Ended,
    /// Removes stale references to the manifest.
    Parents,
    Read,
    Condemn,
    ListParents,
    ListHints,
    ReadTag,
    SwapTag,
    Decide,
    Clean,
    /// Removes stale references to the blob.
    References,
    Fence,
    CondemnBlob,
    ListReferences,
    DecideBlob,
}

/// A run of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that a step reads or writes"
)]
pub(super) struct Collector {
    at: CollectorAt,
    /// Whether the manifest's record is as it was read or condemned, the tag as it was read, the blob's
    /// record as it was condemned.
    pub(super) revision: bool,
    pub(super) tag: bool,
    pub(super) blob: bool,
    /// The tags it has to look at, and the one it is busy with.
    hints: Set,
    pub(super) next: u8,
    /// Whether something leads to the manifest, or keeps the blob; or the stale reference needs only be removed.
    needed: bool,
    /// The push whose reference is stale.
    stale: u8,
    pub(super) clean: Clean,
}

impl Collector {
    pub(super) fn new() -> Self {
        Self {
            at: CollectorAt::Parents,
            ..Self::default()
        }
    }

    fn at(at: CollectorAt) -> Self {
        Self {
            at,
            ..Self::default()
        }
    }
}

impl RecordsUntagged {
    pub(super) fn collector_steps(
        &self,
        state: &State,
        index: usize,
        steps: &mut Vec<Step<State>>,
    ) {
        let run = state.collectors[index];
        if run.at == CollectorAt::Ended {
            return;
        }
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
        if self.crashes {
            step("crash", &|_, run| *run = Collector::default());
        }
        if !run.clean.is_done() {
            let (what, after, clean) = self.clean_step(state, run.clean);
            step(what, &|to, run| {
                *to = after;
                run.clean = clean;
                if clean.is_done() && run.at == CollectorAt::Clean {
                    *run = Collector::at(CollectorAt::References);
                }
            });
            return;
        }
        if self.is(Mutant::LooksBeforeCondemned) && self.mutant_steps(state, run, &mut step) {
            return;
        }
        match run.at {
            CollectorAt::Ended | CollectorAt::Clean => {}
            CollectorAt::Parents => self.parents_step(state, &mut step),
            CollectorAt::Read if state.life.is_there() => step("reads the record", &|_, run| {
                run.revision = true;
                run.at = CollectorAt::Condemn;
            }),
            CollectorAt::Read => step("reads: it is gone", &|_, run| {
                *run = Collector::at(CollectorAt::References);
            }),
            CollectorAt::Condemn if run.revision => step("CAS: condemned", &|to, run| {
                to.life = Life::Condemned;
                to.revision_changes();
                if self.is(Mutant::ReferencesFirst) {
                    to.references &= !bit(to.push);
                }
                run.at = if self.is(Mutant::ParentsNotListed) {
                    CollectorAt::ListHints
                } else {
                    CollectorAt::ListParents
                };
            }),
            CollectorAt::Condemn => step("CAS lost, keeps it", &|_, run| {
                *run = Collector::at(CollectorAt::References);
            }),
            CollectorAt::ListParents => step("lists the indexes that need it", &|to, run| {
                run.needed = to.parents != 0;
                run.at = if run.needed {
                    CollectorAt::Decide
                } else {
                    CollectorAt::ListHints
                };
            }),
            CollectorAt::ListHints => step("lists the hints", &|to, run| {
                run.hints = to.hints;
                self.go_to_next_tag(run, 0);
            }),
            CollectorAt::ReadTag => step("reads a tag", &|to, run| {
                let tag = usize::from(run.next);
                run.needed = to.tags[tag].is_some();
                run.tag = true;
                if run.needed {
                    run.at = CollectorAt::Decide;
                } else if self.is(Mutant::TagsNotSwapped) {
                    self.go_to_next_tag(run, tag + 1);
                } else {
                    run.at = CollectorAt::SwapTag;
                }
            }),
            CollectorAt::SwapTag if run.tag => step("CAS: the tag, for itself", &|to, run| {
                let tag = usize::from(run.next);
                to.tag_changes(tag);
                self.go_to_next_tag(run, tag + 1);
            }),
            CollectorAt::SwapTag => step("CAS of the tag lost", &|_, run| {
                run.at = CollectorAt::ReadTag;
            }),
            CollectorAt::Decide => {
                let wins = run.revision
                    || (self.is(Mutant::EndsByName) && !run.needed && state.life.is_there());
                match (wins, run.needed) {
                    (true, true) => step("CAS: back to live", &|to, run| {
                        to.life = Life::Live;
                        to.revision_changes();
                        *run = Collector::at(CollectorAt::References);
                    }),
                    (true, false) => step("CAS: dead", &|to, run| {
                        to.end(false);
                        *run = Collector::at(CollectorAt::Clean);
                        run.clean = Clean::after(to);
                    }),
                    (false, _) => step("CAS lost, keeps it", &|_, run| {
                        *run = Collector::at(CollectorAt::References);
                    }),
                }
            }
            CollectorAt::References => self.references_step(state, &mut step),
            CollectorAt::Fence if run.revision => {
                step("CAS: the record, for itself", &|to, run| {
                    to.revision_changes();
                    // Then the reference goes, which nobody can come to rely on any more.
                    let stale = run.stale;
                    *run = Collector::at(CollectorAt::Fence);
                    run.stale = stale;
                    run.needed = true;
                });
            }
            CollectorAt::Fence if run.needed => step("removes the stale reference", &|to, run| {
                to.references &= !bit(run.stale);
                *run = Collector::at(CollectorAt::References);
            }),
            CollectorAt::Fence => step("CAS lost", &|_, run| {
                *run = Collector::at(CollectorAt::References);
            }),
            CollectorAt::CondemnBlob if !state.blob.is_there() => {
                step("the blob is gone", &|_, run| run.at = CollectorAt::Ended);
            }
            CollectorAt::CondemnBlob => step("CAS: the blob is condemned", &|to, run| {
                to.blob = Life::Condemned;
                to.blob_changes();
                run.blob = true;
                run.at = CollectorAt::ListReferences;
            }),
            CollectorAt::ListReferences => step("lists what needs the blob", &|to, run| {
                run.needed = to.references != 0 || to.index_references != 0;
                run.at = CollectorAt::DecideBlob;
            }),
            CollectorAt::DecideBlob => {
                step(
                    if run.blob {
                        "CAS: the blob is dead, or live again"
                    } else {
                        "CAS of the blob lost, keeps it"
                    },
                    &|to, run| {
                        if run.blob {
                            to.blob = if run.needed { Life::Live } else { Life::Dead };
                            to.blob_changes();
                        }
                        run.at = CollectorAt::Ended;
                    },
                );
            }
        }
    }

    /// An index that needs it, or a reference of a push that is not there, which goes.
    fn parents_step(
        &self,
        state: &State,
        step: &mut impl FnMut(&'static str, &dyn Fn(&mut State, &mut Collector)),
    ) {
        if state.parents == 0 {
            step("lists the indexes that need it: none", &|_, run| {
                run.at = CollectorAt::Read;
            });
        } else if !self.stale || state.parents & state.index_of() != 0 {
            step("lists the indexes that need it: one does", &|_, run| {
                *run = Collector::at(CollectorAt::References);
            });
        } else {
            // Both at once: in between, the push that wrote it has failed already.
            step(
                "CAS: the index, for itself; removes a stale reference",
                &|to, _| {
                    if to.parents == bit(MOVER) {
                        to.mover.revision = false;
                    } else {
                        to.index.revision = false;
                    }
                    to.parents &= to.parents - 1;
                },
            );
        }
    }

    fn references_step(
        &self,
        state: &State,
        step: &mut impl FnMut(&'static str, &dyn Fn(&mut State, &mut Collector)),
    ) {
        let kept = state.index_references & state.index_of() != 0
            || (state.life.is_there() && state.references & bit(state.push) != 0);
        let stale = state.references;
        if kept || (!self.stale && stale | state.index_references != 0) {
            step("lists what needs the blob: something does", &|_, run| {
                run.at = CollectorAt::Ended;
            });
        } else if state.index_references != 0 {
            step(
                "CAS: the index, for itself; removes a stale reference",
                &|to, _| {
                    to.index.revision = false;
                    to.index_references &= to.index_references - 1;
                },
            );
        } else if stale != 0 && state.pending {
            step(
                "lists what needs the blob: a clean-up is due",
                &|to, run| {
                    run.clean = Clean::after(to);
                },
            );
        } else if stale != 0 {
            step("lists what needs the blob: a stale one", &|_, run| {
                run.revision = true;
                run.stale = stale.trailing_zeros() as u8;
                run.at = CollectorAt::Fence;
            });
        } else if state.blob.is_there() {
            step("lists what needs the blob: nothing", &|_, run| {
                run.at = CollectorAt::CondemnBlob;
            });
        } else {
            step("the blob is gone", &|_, run| run.at = CollectorAt::Ended);
        }
    }

    fn go_to_next_tag(&self, run: &mut Collector, from: usize) {
        run.tag = false;
        (run.at, run.next) = match self.next_tag(run.hints, from) {
            Some(tag) => (CollectorAt::ReadTag, tag),
            None => (CollectorAt::Decide, 0),
        };
        if run.at == CollectorAt::Decide {
            run.hints = 0;
        }
    }

    /// Looks, condemns, decides.
    fn mutant_steps(
        &self,
        state: &State,
        run: Collector,
        step: &mut impl FnMut(&'static str, &dyn Fn(&mut State, &mut Collector)),
    ) -> bool {
        match run.at {
            CollectorAt::Read if state.life.is_there() => step("looks first", &|to, run| {
                run.needed = to.parents != 0 || to.tags.iter().any(Option::is_some);
                for tag in 0..super::TAGS {
                    if self.about(to.hints, tag) != 0 {
                        to.tag_changes(tag);
                    }
                }
                run.revision = true;
                run.at = CollectorAt::Condemn;
            }),
            CollectorAt::Condemn => step("CAS: condemned, whatever it is by now", &|to, run| {
                if to.life.is_there() {
                    to.life = Life::Condemned;
                    to.revision_changes();
                    run.revision = true;
                    run.at = CollectorAt::Decide;
                } else {
                    run.at = CollectorAt::Ended;
                }
            }),
            _ => return false,
        }
        true
    }
}

impl State {
    /// The pushes of the index that is there, and of what a tag was moved to.
    fn index_of(&self) -> Set {
        let mover = if self.mover.visible { bit(MOVER) } else { 0 };
        match self.indexed {
            0 => mover,
            push => mover | bit(push - 1),
        }
    }
}
