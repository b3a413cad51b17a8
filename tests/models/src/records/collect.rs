//! The collector, record by record, and the sweeper of extents that no record names.

use super::{
    Collector, CollectorAt, Condition, MAX_BLOBS, Mutant, Records, Set, State, Sweeper, SweeperAt,
};
use crate::{Actor, Step};

impl Records {
    pub(super) fn collector_steps(
        &self,
        state: &State,
        index: usize,
        steps: &mut Vec<Step<State>>,
    ) {
        let run = state.collectors[index];
        let object = usize::from(run.object);
        let record = state.records[object];
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
        let end = |_: &mut State, run: &mut Collector| run.at = CollectorAt::Ended;
        if !matches!(run.at, CollectorAt::Ended | CollectorAt::Read) {
            step("crash", &end);
        }
        let unchanged = self.matches(record, run.seen);
        match run.at {
            CollectorAt::Ended => {}
            CollectorAt::Read => {
                // Which records are candidates comes from a listing that may be arbitrarily old.
                for object in self.objects() {
                    let record = state.records[object];
                    let what = if object < MAX_BLOBS {
                        "reads a blob's record"
                    } else {
                        "reads a link's record"
                    };
                    if record.exists() {
                        step(what, &|_, run| {
                            run.object = object as u8;
                            run.seen = record;
                            run.at = CollectorAt::Condemn;
                        });
                    } else {
                        step("nothing to do", &end);
                    }
                }
            }
            CollectorAt::Condemn if unchanged => step("CAS: condemned", &|to, run| {
                run.seen = Self::write(to, object, Condition::Condemned, record.extent);
                run.at = CollectorAt::List;
            }),
            CollectorAt::List => {
                let referenced = state.refs[object % MAX_BLOBS] != 0;
                let what = if referenced {
                    "lists references: some"
                } else {
                    "lists references: none"
                };
                step(what, &|_, run| {
                    run.at = if referenced {
                        CollectorAt::Reprieve
                    } else {
                        CollectorAt::Kill
                    };
                });
            }
            CollectorAt::Reprieve if unchanged => step("CAS: back to live", &|to, run| {
                Self::write(to, object, Condition::Live, record.extent);
                run.at = CollectorAt::Ended;
            }),
            CollectorAt::Kill if unchanged => step("CAS: dead", &|to, run| {
                Self::write(to, object, Condition::Dead, record.extent);
                let blob = object < MAX_BLOBS;
                run.at = if blob {
                    CollectorAt::DeleteExtent
                } else {
                    CollectorAt::Ended
                };
            }),
            CollectorAt::Condemn | CollectorAt::Reprieve | CollectorAt::Kill => {
                step("CAS lost: leaves the record alone", &end);
            }
            CollectorAt::DeleteExtent => step("deletes the extent", &|to, run| {
                to.extents[object] &= !(1 << self.key(run.seen.extent));
                run.at = CollectorAt::Ended;
            }),
        }
    }

    pub(super) fn sweeper_steps(&self, state: &State, index: usize, steps: &mut Vec<Step<State>>) {
        let sweeper = state.sweepers[index];
        let mut step = |what, change: &dyn Fn(&mut State, &mut Sweeper)| {
            let mut to = *state;
            let mut sweeper = sweeper;
            change(&mut to, &mut sweeper);
            to.sweepers[index] = sweeper;
            steps.push(Step::new(Actor::Sweeper(index), what, to));
        };
        match sweeper.at {
            SweeperAt::Ended => {}
            SweeperAt::Read => {
                for blob in 0..self.blobs {
                    let record = state.records[blob];
                    let named = |extent| {
                        record.condition != Condition::Absent && self.key(record.extent) == extent
                    };
                    for extent in 0..Set::BITS as u8 {
                        if state.extents[blob] & (1 << extent) != 0 && !named(extent) {
                            step("sees an extent no record names", &|_, sweeper| {
                                sweeper.blob = blob as u8;
                                sweeper.seen = record;
                                sweeper.extent = extent;
                                sweeper.at = if self.is(Mutant::SweepWithoutBump) {
                                    SweeperAt::DeleteExtent
                                } else {
                                    SweeperAt::Bump
                                };
                            });
                        }
                    }
                }
            }
            SweeperAt::Bump => {
                let blob = usize::from(sweeper.blob);
                let record = state.records[blob];
                if self.matches(record, sweeper.seen) {
                    step("CAS: bumps the record's nonce", &|to, sweeper| {
                        let condition = match record.condition {
                            Condition::Absent => Condition::Dead,
                            condition => condition,
                        };
                        Self::write(to, blob, condition, record.extent);
                        sweeper.at = SweeperAt::DeleteExtent;
                    });
                } else {
                    step("CAS lost: leaves the extent alone", &|_, sweeper| {
                        *sweeper = Sweeper::default();
                    });
                }
            }
            SweeperAt::DeleteExtent => step("deletes the extent", &|to, sweeper| {
                to.extents[usize::from(sweeper.blob)] &= !(1 << sweeper.extent);
                *sweeper = Sweeper::default();
            }),
        }
    }
}
