//! The collector: empty the log, mark without a lock, then batch by batch.

use super::{Collector, CollectorAt, Filesystem, Grace, MAX_NAMES, Mutant, Set, State, has, set};
use crate::{Actor, Step, filesystem::state::MAX_BLOBS};

impl Filesystem {
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
            if run.at == CollectorAt::Ended {
                run = Collector::default();
                release(&mut to, index);
            }
            to.collectors[index] = run;
            steps.push(Step::new(Actor::Collector(index), what, to));
        };
        let nobody = !state.held_exclusively() && !state.held_shared();
        let track = self.tracks_disk();
        if !matches!(run.at, CollectorAt::Ended | CollectorAt::Start) {
            // Also: gave up because the lock could not be had in time, or something was unreadable.
            step("crash or end of the run", &|_, run| {
                run.at = CollectorAt::Ended;
            });
        }
        match run.at {
            CollectorAt::Ended => {}
            CollectorAt::Start => {
                let idle = |at| matches!(at, CollectorAt::Start | CollectorAt::Ended);
                let alone = state.collectors.iter().all(|other| idle(other.at));
                if alone && (nobody || self.is(Mutant::LogEmptiedWithoutLock)) {
                    step("lock, empty delta log, unlock", &|to, run| {
                        to.logged_names = 0;
                        to.logged_manifests = 0;
                        if self.is(Mutant::SyncBeforeMark) {
                            sync_filesystem(to, track);
                        }
                        run.at = CollectorAt::Mark;
                    });
                }
            }
            CollectorAt::Mark => step("marks what is reachable", &|to, run| {
                // The simple form reads all manifests at one moment, the shipped one each at its own.
                let first = usize::from(run.cursor);
                let last = if self.shipped() {
                    first + 1
                } else {
                    self.writers
                };
                for manifest in first..last {
                    if has(to.visible, manifest) {
                        run.marked |= self.closure_set(manifest);
                    }
                }
                run.cursor = last as u8;
                if last == self.writers {
                    run.cursor = 0;
                    run.at = self.batch_begins();
                }
            }),
            CollectorAt::SyncBefore => step("syncfs", &|to, run| {
                if !self.is(Mutant::TrashWithoutSync) {
                    sync_filesystem(to, track);
                }
                run.at = CollectorAt::Lock;
            }),
            CollectorAt::Lock => {
                let unlocked = self.is(Mutant::BatchWithoutLock);
                if nobody || unlocked {
                    step("locks exclusively", &|to, run| {
                        if !unlocked {
                            to.exclusive = 1 + index as u8;
                        }
                        run.at = CollectorAt::Check;
                    });
                }
            }
            CollectorAt::Check => {
                let doomed = self.garbage(state, run);
                if doomed == 0 {
                    step("keeps the batch, unlocks", &|to, run| {
                        self.next_batch(to, index, run);
                    });
                } else {
                    step("finds garbage", &|_, run| {
                        run.doomed = doomed;
                        run.at = if self.shipped() || self.is(Mutant::TrashWithoutSync) {
                            CollectorAt::Remove
                        } else {
                            CollectorAt::SyncInside
                        };
                    });
                }
            }
            CollectorAt::SyncInside => step("syncfs", &|to, run| {
                sync_filesystem(to, track);
                run.at = CollectorAt::Remove;
            }),
            CollectorAt::Remove => step("renames one file into the trash", &|to, run| {
                let name = run.doomed.trailing_zeros() as usize;
                to.names[name].rename_away(track);
                run.doomed &= run.doomed - 1;
                if run.doomed == 0 {
                    self.next_batch(to, index, run);
                }
            }),
        }
    }

    fn batch_begins(&self) -> CollectorAt {
        let once = self.is(Mutant::SyncBeforeMark);
        if self.shipped() && self.tracks_disk() && !once {
            CollectorAt::SyncBefore
        } else {
            CollectorAt::Lock
        }
    }

    /// Unlocks. One batch per digest, its `data` and its links, so that batches interleave with
    /// everything else.
    fn next_batch(&self, to: &mut State, index: usize, run: &mut Collector) {
        release(to, index);
        run.cursor += 1;
        run.doomed = 0;
        run.at = if usize::from(run.cursor) < self.blobs {
            self.batch_begins()
        } else {
            CollectorAt::Ended
        };
    }

    /// The names of the batch that are neither marked nor logged nor young.
    fn garbage(&self, state: &State, run: Collector) -> Set {
        let kept = run.marked | self.logged(state);
        set((0..MAX_NAMES).filter(|name| {
            let file = state.names[*name];
            name % MAX_BLOBS == usize::from(run.cursor)
                && file.exists()
                && !has(kept, *name)
                && !(self.grace == Grace::Honoured && file.is_fresh())
        }))
    }
}

const fn release(to: &mut State, index: usize) {
    if to.exclusive == 1 + index as u8 {
        to.exclusive = 0;
    }
}

fn sync_filesystem(to: &mut State, track: bool) {
    for name in &mut to.names {
        name.sync(track);
    }
    to.durable = to.visible;
}
