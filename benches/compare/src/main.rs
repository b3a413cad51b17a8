//! Measures registryd beside the registries and web servers of the machine.
//!
//! ```console
//! cargo run --release -p registry-compare                          # everything, about an hour
//! cargo run --release -p registry-compare -- --rows push --rounds 3
//! cargo run --release -p registry-compare -- --short               # does it all work? a minute
//! ```
//!
//! Rounds are interleaved, first a round of each server, then the next round of each, and what counts
//! are ratios of medians: absolute figures of shared machines drift by a factor of two.

mod arena;
mod load;
mod machine;
mod measure;
mod options;
mod report;
mod rows;
mod runner;
mod scratch;
mod seed;
mod server;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::arena::Arena;
use crate::options::Options;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("registry-compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<ExitCode> {
    options.check()?;
    if options.list {
        for row in rows::all(options) {
            println!("{:24} {}", row.name, row.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    machine::raise_file_limit()?;
    let arena = Arena::build(options)?;
    let outcomes = runner::run_all(&arena);
    let document = report::markdown(&arena, &outcomes);
    if let Some(path) = options.output() {
        std::fs::write(&path, &document).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report::json(&arena, &outcomes))
            .with_context(|| format!("write {}", path.display()))?;
    }
    println!("{document}");
    let failures = report::failures(&arena, &outcomes);
    for failure in &failures {
        eprintln!("registry-compare: {failure}");
    }
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
