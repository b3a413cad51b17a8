//! The collector's jobs, each of which may run beside all others.

use super::{
    Collector, CollectorAt, Life, MAX_WRITERS, Mutant, RecordsCollect, Remover, State, TRIES,
    WriterAt, bit, extent_of,
};
use crate::{Actor, Step};

impl RecordsCollect {
    pub(super) fn collector_steps(
        &self,
        state: &State,
        index: usize,
        steps: &mut Vec<Step<State>>,
    ) {
        let run = state.collectors[index];
        let mut step = |what, change: &dyn Fn(&mut State, &mut Collector)| {
            let mut to = *state;
            let mut run = run;
            change(&mut to, &mut run);
            if run.at == CollectorAt::Read {
                run = Collector::default();
            }
            to.collectors[index] = run;
            steps.push(Step::new(Actor::Collector(index), what, to));
        };
        let referenced = state.references.iter().any(|tries| *tries != 0);
        let decide = |referenced| {
            if referenced {
                CollectorAt::Reprieve
            } else {
                CollectorAt::Kill
            }
        };
        match run.at {
            CollectorAt::Read if state.life.is_there() => step("reads the record", &|_, run| {
                run.current = true;
                run.extent = state.extent;
                run.referenced = referenced;
                run.at = CollectorAt::Condemn;
            }),
            CollectorAt::Read => {}
            CollectorAt::Condemn if run.current => step("CAS: condemned", &|to, run| {
                to.write(Life::Condemned, run.extent);
                run.current = true;
                run.at = if self.is(Mutant::ListBeforeCondemn) {
                    decide(run.referenced)
                } else {
                    CollectorAt::List
                };
                run.referenced = false;
            }),
            CollectorAt::List => step("lists references", &|_, run| run.at = decide(referenced)),
            CollectorAt::Reprieve if run.current => step("CAS: back to live", &|to, run| {
                to.write(Life::Live, run.extent);
                run.at = CollectorAt::Read;
            }),
            CollectorAt::Kill if run.current => {
                step("CAS: dead, with another fence", &|to, run| {
                    to.write(Life::Dead, run.extent);
                    if !self.is(Mutant::KillKeepsFence) {
                        to.change_fence();
                    }
                    run.at = CollectorAt::Send;
                });
            }
            CollectorAt::Condemn | CollectorAt::Kill | CollectorAt::Reprieve => {
                step("CAS lost: leaves the record alone", &|_, run| {
                    run.at = CollectorAt::Read;
                });
            }
            CollectorAt::Send => step("sends the delete of the extent", &|to, run| {
                let extent = if self.is(Mutant::DeletesWhatIsThereNow) {
                    to.extent
                } else {
                    run.extent
                };
                to.deletes |= bit(extent);
                run.at = CollectorAt::Read;
            }),
        }
        if self.crashes && run.at != CollectorAt::Read {
            step("crash", &|_, run| run.at = CollectorAt::Read);
        }
    }

    /// Removes an extent that no record names.
    pub(super) fn sweeper_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let sweeper = state.sweeper;
        let mut step = |what, change: &dyn Fn(&mut State, &mut Remover)| {
            let mut to = *state;
            let mut sweeper = sweeper;
            change(&mut to, &mut sweeper);
            to.sweeper = sweeper;
            steps.push(Step::new(Actor::Sweeper(0), what, to));
        };
        let named = |extent| state.life.is_there() && state.extent == extent;
        if sweeper.seen == 0 {
            let all = (0..MAX_WRITERS)
                .flat_map(|writer| (0..TRIES).map(move |tries| extent_of(writer, tries)));
            for extent in all.filter(|extent| state.extents & bit(*extent) != 0) {
                if !named(extent) {
                    step("sees an extent that no record names", &|_, sweeper| {
                        sweeper.seen = extent;
                        sweeper.current = true;
                    });
                }
            }
        } else if sweeper.fenced {
            step("sends the delete of the orphan", &|to, sweeper| {
                to.deletes |= bit(sweeper.seen);
                *sweeper = Remover::default();
            });
        } else if sweeper.current {
            step("CAS: another fence", &|to, sweeper| {
                if !self.is(Mutant::SweepWithoutFence) {
                    let life = match to.life {
                        Life::Absent => Life::Dead,
                        life => life,
                    };
                    let extent = to.extent;
                    to.write(life, extent);
                    to.change_fence();
                }
                sweeper.current = false;
                sweeper.fenced = true;
            });
        } else if named(sweeper.seen) && !self.is(Mutant::SweepWithoutLook) {
            step("CAS lost: it is named now", &|_, sweeper| {
                *sweeper = Remover::default();
            });
        } else {
            step("CAS lost: reads again", &|_, sweeper| {
                sweeper.current = true;
            });
        }
    }

    /// Removes a reference whose manifest is not there by its push.
    pub(super) fn stale_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let stale = state.stale;
        let mut step = |what, change: &dyn Fn(&mut State, &mut Remover)| {
            let mut to = *state;
            let mut stale = stale;
            change(&mut to, &mut stale);
            to.stale = stale;
            steps.push(Step::new(Actor::Purger, what, to));
        };
        for writer in 0..self.writers {
            for tries in 0..TRIES {
                let name = 1 + writer as u8 * TRIES + tries;
                let is_stale = state.manifests[writer] != 1 + tries;
                let there = state.references[writer] & bit(tries) != 0;
                if stale.seen == 0 && there && is_stale {
                    step("sees a stale reference", &|_, stale| stale.seen = name);
                } else if stale.seen == name && !stale.fenced {
                    if is_stale {
                        step("CAS: rewrites the manifest's record", &|to, stale| {
                            if !self.is(Mutant::StaleWithoutFence) {
                                to.writers[writer].revision = false;
                            }
                            stale.fenced = true;
                        });
                    } else {
                        step("the reference is not stale", &|_, stale| {
                            *stale = Remover::default();
                        });
                    }
                } else if stale.seen == name {
                    step("removes the reference", &|to, stale| {
                        to.references[writer] &= !bit(tries);
                        *stale = Remover::default();
                    });
                }
            }
        }
    }

    /// Removes the record of what is gone, when nobody can remember that it was there.
    pub(super) fn purger_steps(&self, state: &State, steps: &mut Vec<Step<State>>) {
        let purger = state.purger;
        let mut step = |what, change: &dyn Fn(&mut State, &mut Remover)| {
            let mut to = *state;
            let mut purger = purger;
            change(&mut to, &mut purger);
            to.purger = purger;
            steps.push(Step::new(Actor::Purger, what, to));
        };
        if purger.seen == 0 {
            // What was begun before has ended by now: content is registered or given up.
            let young = self.is(Mutant::PurgeEarly)
                || state.writers.iter().all(|writer| {
                    !matches!(
                        writer.at,
                        WriterAt::Put | WriterAt::Look | WriterAt::Register
                    )
                });
            if state.life == Life::Dead && young {
                step("sees an old tombstone", &|_, purger| {
                    *purger = Remover {
                        seen: 1,
                        current: true,
                        fenced: true,
                    };
                });
            }
        } else if purger.current || self.is(Mutant::PurgeUnconditionally) {
            step("removes it", &|to, purger| {
                to.write(Life::Absent, 0);
                // There is no fence again, as some may remember it.
                for writer in &mut to.writers {
                    writer.fence |= writer.unfenced;
                }
                *purger = Remover::default();
            });
        } else {
            step("it has changed", &|_, purger| *purger = Remover::default());
        }
    }
}
