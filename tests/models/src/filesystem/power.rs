//! Power loss: any subset of what was not synced survives, everybody is gone.

use super::{Collector, CollectorAt, Filesystem, Set, State, UploaderAt, Writer, WriterAt};
use crate::{Actor, Step};

impl Filesystem {
    pub(super) fn power_steps(state: &State, steps: &mut Vec<Step<State>>) {
        if state.outages_left == 0 {
            return;
        }
        let mut worlds = vec![*state];
        for index in 0..state.names.len() {
            let survivors = state.names[index].after_power_loss();
            worlds = worlds
                .iter()
                .flat_map(|world| {
                    survivors.iter().map(|name| {
                        let mut world = *world;
                        world.names[index] = *name;
                        world
                    })
                })
                .collect();
        }
        for world in worlds {
            for visible in subsets_between(state.durable, state.visible) {
                let to = State {
                    visible,
                    durable: visible,
                    ..restarted(world)
                };
                steps.push(Step::new(Actor::Power, "fails; everybody starts again", to));
            }
        }
    }
}

/// Nobody remembers anything; who was told something was told it.
fn restarted(mut state: State) -> State {
    for writer in &mut state.writers {
        let at = match writer.at {
            WriterAt::Absent
            | WriterAt::Done
            | WriterAt::Crashed
            | WriterAt::Deleted
            | WriterAt::Refused
            | WriterAt::DeleteInterrupted => continue,
            WriterAt::DeleteSync | WriterAt::DeleteAcknowledge => WriterAt::DeleteInterrupted,
            _ => WriterAt::Crashed,
        };
        *writer = Writer {
            at,
            ..Writer::default()
        };
    }
    for run in &mut state.collectors {
        if run.at != CollectorAt::Start {
            *run = Collector::default();
        }
    }
    state.uploader = UploaderAt::Gone;
    state.exclusive = 0;
    state.logged_names = 0;
    state.logged_manifests = 0;
    state.outages_left -= 1;
    state
}

/// Every set that differs from `a` only where `a` and `b` differ.
fn subsets_between(a: Set, b: Set) -> impl Iterator<Item = Set> {
    let differing = a ^ b;
    (0..=Set::MAX)
        .filter(move |part| part & !differing == 0)
        .map(move |part| a ^ part)
}
