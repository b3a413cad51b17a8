//! Running a model through stateright's checker and reading the verdict.

use std::{collections::BTreeMap, fmt, hash::Hash};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Worker threads of one check.
const THREADS: usize = 2;

/// What a check of one model found.
#[derive(Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// Distinct states visited. Exact and repeatable when nothing was violated; with a violation
    /// the search stops early and the number depends on the scheduling of its threads.
    pub states: usize,
    /// Each violated invariant with the steps that lead to the violation.
    pub violations: BTreeMap<&'static str, Vec<String>>,
    /// Situations that the model declares possible and the search did not meet. A model in which
    /// nobody can ever acknowledge anything keeps every invariant; this list is what tells it apart.
    pub unreached: Vec<&'static str>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} states", self.states)?;
        for (invariant, trace) in &self.violations {
            writeln!(f, "violated: {invariant}")?;
            for (number, step) in trace.iter().enumerate() {
                writeln!(f, "  {:>3}. {step}", number + 1)?;
            }
        }
        for situation in &self.unreached {
            writeln!(f, "never reached: {situation}")?;
        }
        Ok(())
    }
}

/// Visits every reachable state of `model`, breadth first, or stops soon after the first violation.
pub fn explore<M>(model: M) -> Verdict
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + fmt::Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + fmt::Debug + PartialEq,
{
    explore_until(model, HasDiscoveries::AnyFailures)
}

fn explore_until<M>(model: M, enough: HasDiscoveries) -> Verdict
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + fmt::Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + fmt::Debug + PartialEq,
{
    let properties = model.properties();
    let checker = model
        .checker()
        .threads(THREADS)
        .finish_when(enough)
        .spawn_bfs()
        .join();
    let mut found = checker.discoveries();
    let mut verdict = Verdict {
        states: checker.unique_state_count(),
        violations: BTreeMap::new(),
        unreached: Vec::new(),
    };
    for property in properties {
        let trace = found.remove(property.name);
        match (property.expectation, trace) {
            (Expectation::Sometimes, None) => verdict.unreached.push(property.name),
            (Expectation::Sometimes, Some(_)) | (_, None) => {}
            (_, Some(path)) => {
                let steps = path.into_actions();
                let steps = steps.iter().map(|step| format!("{step:?}")).collect();
                verdict.violations.insert(property.name, steps);
            }
        }
    }
    verdict
}

/// Asserts that every invariant holds in every reachable state, that every situation the model
/// promises is reached, and that the search visited exactly `states` states.
///
/// The number is part of the assertion because a slip that makes a model smaller (a step that is
/// no longer offered) also makes its invariants easier to keep.
///
/// # Panics
///
/// When one of the three is not so, with the trace.
#[cfg(test)]
pub(crate) fn assert_holds<M>(model: M, states: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + fmt::Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + fmt::Debug + PartialEq,
{
    let verdict = explore(model);
    println!("{verdict}");
    assert!(verdict.violations.is_empty(), "{verdict}");
    assert!(verdict.unreached.is_empty(), "{verdict}");
    assert_eq!(verdict.states, states, "the model changed its size");
}

/// Asserts that the checker finds a violation of `invariant`, and prints it.
///
/// # Panics
///
/// When the checker visits every state and finds none.
#[cfg(test)]
pub(crate) fn assert_caught<M>(model: M, invariant: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + fmt::Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + fmt::Debug + PartialEq,
{
    let verdict = explore_until(model, HasDiscoveries::AllOf([invariant].into()));
    println!("{verdict}");
    assert!(
        verdict.violations.contains_key(invariant),
        "the mutant kept \"{invariant}\": {verdict}"
    );
}
