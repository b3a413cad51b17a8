//! `kill -9` under concurrent pushers, again and again; then one large upload, interrupted.

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use registry_crash_tests::{
    crash::Kill,
    cycles::{self, Plan},
    options::{Options, Variant, conclude},
    resume::Demand,
    resume_large,
};

/// Kills the registry under load, restarts it, and compares what it holds with what it said.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    variant: Variant,
    /// Kills.
    #[arg(long, default_value_t = 200)]
    cycles: u32,
    /// Concurrent clients.
    #[arg(long, default_value_t = 8)]
    pushers: usize,
    /// MiB of the large upload that is interrupted at nine tenths; 0 leaves it out.
    #[arg(long, default_value_t = 512)]
    large: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    arguments.options.watch();
    conclude("kill_cycles", run(&arguments))
}

fn run(arguments: &Arguments) -> Result<String> {
    let program = arguments.options.program()?.store(arguments.variant.store);
    let seed = arguments.options.seed();
    let scratch = arguments.options.scratch()?;
    let mut machine = Kill::new(scratch.path().join("store"));
    let mut plan = Plan::new(arguments.cycles, Demand::Kept, seed);
    plan.pushers = arguments.pushers;
    arguments.variant.apply(&mut plan);
    let report = cycles::run(&plan, &program, &mut machine, scratch.path())?;
    if !report.violations.is_empty() {
        for violation in report.violations.iter().take(20) {
            println!("  {violation}");
        }
        println!("last lines of the server's log:\n{}", report.log);
        bail!(
            "{report}; seed {seed}; evidence in {}",
            scratch.keep().display()
        );
    }
    arguments.variant.check(&report)?;
    if arguments.large == 0 {
        return Ok(format!("{report}; seed {seed}"));
    }
    match resume_large::run(&program, arguments.large << 20, scratch.path()) {
        Ok(large) => Ok(format!("{report}; {large}; seed {seed}")),
        Err(error) => Err(error.context(format!(
            "{report}; the large upload; evidence in {}",
            scratch.keep().display()
        ))),
    }
}
