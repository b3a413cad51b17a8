//! Runs the rows in interleaved rounds.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::arena::Arena;
use crate::load::Load;
use crate::machine;
use crate::measure::{Metric, Sample, median};
use crate::rows::{self, Row};
use crate::server::{Kind, Program, Server};

/// A row and what came of it.
pub(crate) struct Outcome {
    pub(crate) row: Row,
    pub(crate) contestants: Vec<Contestant>,
}

/// One program with one load.
pub(crate) struct Contestant {
    pub(crate) label: String,
    pub(crate) samples: Vec<Sample>,
    /// Why there are no more samples.
    pub(crate) failure: Option<Failure>,
}

pub(crate) enum Failure {
    /// What it did was wrong, or it could not be started.
    Failed(String),
    /// It was not tried.
    Skipped(String),
}

impl Contestant {
    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        let figures = self
            .samples
            .iter()
            .filter_map(|sample| sample.figures.get(&metric));
        median(figures.copied().collect())
    }
}

impl Outcome {
    pub(crate) fn contestant(&self, label: &str) -> Option<&Contestant> {
        self.contestants
            .iter()
            .find(|contestant| contestant.label == label)
    }
}

struct Entry<'a> {
    program: &'a Program,
    load: Box<dyn Load>,
    /// Runs through all rounds, unless each has a new one.
    server: Option<Server>,
    /// Those of earlier rounds, for what they stored.
    ended: Vec<Server>,
    contestant: Contestant,
}

pub(crate) fn run_all(arena: &Arena) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let all = rows::all(&arena.options);
    let count = all.len();
    for (index, row) in all.into_iter().enumerate() {
        eprintln!("[{}/{count}] {}: {}", index + 1, row.name, row.title);
        outcomes.push(run(arena, row));
    }
    outcomes
}

fn run(arena: &Arena, row: Row) -> Outcome {
    let mut entries = entries(arena, &row);
    for entry in &mut entries {
        if entry.contestant.failure.is_none()
            && !entry.load.fresh()
            && let Err(error) = begin(arena, entry)
        {
            entry.fail(&error);
        }
    }
    let rounds = row.round_count(arena);
    for round in 1..=rounds {
        for entry in &mut entries {
            if entry.contestant.failure.is_some() {
                continue;
            }
            match one_round(arena, entry) {
                Ok(sample) => {
                    eprintln!(
                        "  {round}/{rounds} {}: {}",
                        entry.contestant.label,
                        line(&sample)
                    );
                    entry.contestant.samples.push(sample);
                }
                Err(error) => entry.fail(&error),
            }
        }
    }
    let contestants = entries.into_iter().map(|entry| entry.contestant).collect();
    Outcome { row, contestants }
}

fn entries<'a>(arena: &'a Arena, row: &Row) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    for variant in &row.variants {
        for program in arena
            .programs
            .iter()
            .filter(|program| variant.on.covers(program))
        {
            let label = if variant.suffix.is_empty() {
                program.name.clone()
            } else {
                format!("{}, {}", program.name, variant.suffix)
            };
            let attached = matches!(program.kind, Kind::Attached(_));
            let skipped = "it was running already, and this row needs to start it";
            entries.push(Entry {
                program,
                load: (variant.load)(&arena.sizes, program),
                server: None,
                ended: Vec::new(),
                contestant: Contestant {
                    label,
                    samples: Vec::new(),
                    failure: (attached && row.starts_only)
                        .then(|| Failure::Skipped(skipped.into())),
                },
            });
        }
    }
    entries
}

fn one_round(arena: &Arena, entry: &mut Entry<'_>) -> Result<Sample> {
    if entry.load.fresh() {
        begin(arena, entry)?;
    }
    machine::flush(arena.scratch.path())?;
    let longest = Duration::from_secs(arena.options.idle_wait);
    let busy = !arena.options.short && !machine::wait_until_idle(longest);
    let server = entry.server.as_ref().context("no server")?;
    let sample = entry.load.measure(arena, server);
    if entry.load.fresh()
        && let Some(mut server) = entry.server.take()
    {
        server.end();
        if entry.load.stores_stay() {
            entry.ended.push(server);
        }
    }
    Ok(Sample { busy, ..sample? })
}

fn begin(arena: &Arena, entry: &mut Entry<'_>) -> Result<()> {
    let setup = entry.load.setup(arena)?;
    let server = entry.program.start(arena, &setup)?;
    entry.load.prepare(arena, &server)?;
    entry.server = Some(server);
    Ok(())
}

impl Entry<'_> {
    fn fail(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        eprintln!("  {}: FAILED: {text}", self.contestant.label);
        self.contestant.failure = Some(Failure::Failed(text));
        self.server = None;
    }
}

fn line(sample: &Sample) -> String {
    let mut parts: Vec<_> = sample
        .figures
        .iter()
        .map(|(metric, value)| format!("{} {}", crate::report::figure(*value), metric.unit()))
        .collect();
    if sample.busy {
        parts.push("(machine not idle)".into());
    }
    parts.join(", ")
}
